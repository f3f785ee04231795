//! How much each channel matters: by what the last layer or batch norm that makes it writes, and the loss's gradient there, or by the batch
//! norm's scale alone. In which order channels leave is for [`super::removal`].

use std::collections::BTreeMap;

use dnnshifter_network::{ChannelGroup, Node, channels::Writer};
use dnnshifter_portfolio::plan::ImportanceCriterion;
use tch::{TchError, Tensor, no_grad};

use super::StructuredError;
use crate::{
    interpreter::{Mode, TrainableNetwork, copied},
    training::{TrainingError, cross_entropy, doing, samples::Samples},
};

/// Images that the gradient is collected over, and those whose losses are taken together. Few: in the mean over many images what each of
/// them loses cancels out, near a minimum all of it. A thousand images in fours made each of three steps of VGG-16 0.1 to 0.2 points more
/// accurate than two thousand in batches of 64, in the same time (three seeds, validation images).
const IMAGES: usize = 1024;
const TOGETHER: usize = 4;
/// Images that are computed at a time at most, which keep libtorch busy, and the values that the largest layer may write for them
/// (32 MiB): what all layers write is kept for the gradient.
const AT_A_TIME: usize = 64;
const MOST_VALUES: usize = 1 << 23;

/// A network whose channels are judged.
pub(super) struct Judged<'a> {
    pub(super) network: &'a TrainableNetwork,
    pub(super) groups: &'a [ChannelGroup],
    pub(super) samples: &'a Samples,
}

/// A value that holds the channels of a group, images x channels and places if there are any.
struct Witness {
    group: usize,
    value: Tensor,
}

impl Judged<'_> {
    /// Importance of every channel of every group, larger for what matters more, comparable between the groups.
    pub(super) fn importance(
        &self,
        criterion: ImportanceCriterion,
    ) -> Result<Vec<Vec<f64>>, StructuredError> {
        match criterion {
            ImportanceCriterion::Taylor => Ok(self.taylor(images_at_a_time(self.network.most_values()))?),
            ImportanceCriterion::BatchNormScale => {
                self.groups.iter().map(|group| self.squared_scales(group)).collect()
            }
        }
    }

    /// The sum of the squared scales of the batch norms that a group goes through.
    fn squared_scales(&self, group: &ChannelGroup) -> Result<Vec<f64>, StructuredError> {
        let scales: Vec<_> = group.writers.iter().filter_map(|writer| writer.scale.as_ref()).collect();
        if scales.is_empty() {
            return Err(StructuredError::NoBatchNorm { layer: group.name.clone() });
        }
        let mut sums = vec![0.0; group.channels];
        for scale in scales {
            if let Some(scale) = self.network.parameters().get(scale) {
                for (sum, value) in sums.iter_mut().zip(read(&scale.tensor)?) {
                    *sum += value * value;
                }
            }
        }
        Ok(sums)
    }

    /// What the loss would change if a channel were zero, to first order and squared: the square of the sum of `w dL/dw` over
    /// all that makes the channel (Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, equations
    /// 8 and 9), summed over every four images; of fewer than four, over all of them together.
    ///
    /// A channel is made by the scale and shift of a batch norm, or by a layer's weights and bias where none follows. What they write, `y`,
    /// is linear in them together, so the sum is that of `y dL/dy` over the places of `y`. Each image has a `y` of its own, so many fours
    /// are computed at once. A bias that an `Add` behind a `MatMul` adds does not count.
    fn taylor(&self, at_a_time: usize) -> Result<Vec<Vec<f64>>, TrainingError> {
        let written_by = self.written_by();
        let mut sums: Vec<Vec<f64>> = self.groups.iter().map(|group| vec![0.0; group.channels]).collect();
        for indices in self.samples.in_order(at_a_time as i64)?.into_iter().take(IMAGES / at_a_time) {
            // A rest of the last four is left out.
            if indices.numel() < TOGETHER && self.samples.len() > TOGETHER {
                break;
            }
            let (images, labels) = self.samples.batch(&indices)?;
            let mut witnesses = Vec::new();
            let answers = self.network.observed_logits(&images, Mode::Evaluation, |node, value| {
                witnesses.extend(Witness::of(node, value, &written_by));
            })?;
            let squares = cross_entropy(&answers, &labels).and_then(|loss| {
                // The sum over images, as of each four alone.
                let loss = loss.f_mul_scalar(indices.numel() as f64)?;
                let values: Vec<&Tensor> = witnesses.iter().map(|witness| &witness.value).collect();
                let gradients = Tensor::f_run_backward(&[loss], &values, false, false)?;
                no_grad(|| squares(&witnesses, &gradients))
            });
            for (group, squares) in squares.map_err(doing("estimate importance"))? {
                let sums = sums.get_mut(group).into_iter().flatten();
                sums.zip(read(&squares)?).for_each(|(sum, square)| *sum += square);
            }
        }
        Ok(sums)
    }

    /// The groups by the tensors whose nodes write their channels.
    fn written_by(&self) -> BTreeMap<&str, usize> {
        let groups = self.groups.iter().enumerate();
        let writers =
            groups.flat_map(|(group, channels)| channels.writers.iter().map(move |writer| (writer, group)));
        writers.map(|(writer, group)| (last_tensor(writer), group)).collect()
    }
}

/// A power of two, so that it divides [`IMAGES`]; whole fours.
fn images_at_a_time(most_values: usize) -> usize {
    let most = (MOST_VALUES / most_values.max(1)).clamp(TOGETHER, AT_A_TIME);
    1 << most.ilog2()
}

/// The tensor of the node that writes a channel last: the scale of the batch norm, or the weight if none follows.
fn last_tensor(writer: &Writer) -> &str {
    writer.scale.as_ref().unwrap_or(&writer.weight)
}

/// For each group the squares of what its channels change the loss of every four images by, summed over the fours.
fn squares(witnesses: &[Witness], gradients: &[Tensor]) -> Result<BTreeMap<usize, Tensor>, TchError> {
    let mut changes = BTreeMap::new();
    for (witness, gradient) in witnesses.iter().zip(gradients) {
        let change = witness.change(gradient)?;
        let together = match changes.remove(&witness.group) {
            Some(others) => change.f_add(&others)?,
            None => change,
        };
        changes.insert(witness.group, together);
    }
    changes.into_iter().map(|(group, change)| Ok((group, squares_of_fours(&change)?))).collect()
}

impl Witness {
    fn of(node: &Node, value: &Tensor, written_by: &BTreeMap<&str, usize>) -> Option<Self> {
        let &group = node.inputs.iter().find_map(|input| written_by.get(input.as_str()))?;
        Some(Self { group, value: value.shallow_clone() })
    }

    /// `y dL/dy` of each image and channel.
    fn change(&self, gradient: &Tensor) -> Result<Tensor, TchError> {
        let change = self.value.f_mul(gradient)?;
        let places: Vec<i64> = (2..change.dim() as i64).collect();
        if places.is_empty() { Ok(change) } else { change.f_sum_dim_intlist(places, false, None) }
    }
}

/// Of images x channels, the sum of every four images, squared and summed. A rest is left out.
fn squares_of_fours(change: &Tensor) -> Result<Tensor, TchError> {
    let [images, channels] = *change.size() else {
        return Err(TchError::Shape("changes are of images and channels".to_owned()));
    };
    let together = images.clamp(1, TOGETHER as i64);
    let fours = change.f_narrow(0, 0, images / together * together)?.f_reshape([-1, together, channels])?;
    fours.f_sum_dim_intlist(1, false, None)?.f_square()?.f_sum_dim_intlist(0, false, None)
}

fn read(tensor: &Tensor) -> Result<Vec<f64>, TrainingError> {
    Ok(copied(tensor).map_err(doing("read importance"))?.into_iter().map(f64::from).collect())
}

#[cfg(test)]
mod tests;
