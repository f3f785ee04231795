//! How much each channel matters, by the batch norm that follows its convolution.

use std::collections::BTreeMap;

use dnnshifter_network::{ChannelGroup, channels::ScaleAndShift};
use dnnshifter_portfolio::plan::ImportanceCriterion;
use tch::{TchError, Tensor};

use super::StructuredError;
use crate::{
    interpreter::{Mode, TrainableNetwork, copied},
    training::{TrainingError, cross_entropy, doing, samples::Samples},
};

/// Batches over which the gradient is collected, and images in each: two thousand images settle the order of channels.
const BATCHES: usize = 32;
const BATCH_SIZE: i64 = 64;

/// A network whose channels are judged.
pub(super) struct Judged<'a> {
    pub(super) network: &'a TrainableNetwork,
    pub(super) groups: &'a [ChannelGroup],
    pub(super) samples: &'a Samples,
}

impl Judged<'_> {
    /// Importance of every channel of every group, larger for what matters more, comparable between the groups.
    pub(super) fn importance(
        &self,
        criterion: ImportanceCriterion,
    ) -> Result<Vec<Vec<f64>>, StructuredError> {
        let norms = norms(self.network, self.groups)?;
        match criterion {
            ImportanceCriterion::Taylor => taylor(self.network, &norms, self.samples),
            ImportanceCriterion::BatchNormScale => {
                let squares = |scales: Vec<f64>| scales.into_iter().map(|scale| scale * scale).collect();
                norms.iter().map(|norm| Ok(squares(read(&norm.scale)?))).collect()
            }
        }
    }
}

/// A batch norm's trained tensors.
struct Norm {
    scale: Tensor,
    shift: Tensor,
}

fn norms(network: &TrainableNetwork, groups: &[ChannelGroup]) -> Result<Vec<Norm>, StructuredError> {
    let tensor =
        |name: &str| network.parameters().get(name).map(|parameter| parameter.tensor.shallow_clone());
    let of_group = |group: &ChannelGroup| {
        let ScaleAndShift { scale, shift } = group.batch_norm.as_ref()?;
        Some(Norm { scale: tensor(scale)?, shift: tensor(shift)? })
    };
    let missing = |group: &ChannelGroup| StructuredError::NoBatchNorm { convolution: group.name.clone() };
    groups.iter().map(|group| of_group(group).ok_or_else(|| missing(group))).collect()
}

/// What the loss would change if a channel were zero, to first order and squared: `(scale dL/dscale + shift dL/dshift)^2`
/// (Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, equation 8), summed over batches.
fn taylor(
    network: &TrainableNetwork,
    norms: &[Norm],
    samples: &Samples,
) -> Result<Vec<Vec<f64>>, StructuredError> {
    let inputs: Vec<&Tensor> = norms.iter().flat_map(|norm| [&norm.scale, &norm.shift]).collect();
    let mut sums: BTreeMap<usize, Tensor> = BTreeMap::new();
    for indices in samples.in_order(BATCH_SIZE)?.into_iter().take(BATCHES) {
        let (images, labels) = samples.batch(&indices)?;
        let answers = network.forward(&images, Mode::Evaluation).map_err(TrainingError::from)?;
        let collected = cross_entropy(&answers, &labels)
            .and_then(|loss| Tensor::f_run_backward(&[loss], &inputs, false, false))
            .and_then(|gradients| tch::no_grad(|| add_squares(&mut sums, norms, &gradients)));
        collected.map_err(doing("estimate importance"))?;
    }
    Ok(sums.values().map(read).collect::<Result<_, _>>()?)
}

fn add_squares(
    sums: &mut BTreeMap<usize, Tensor>,
    norms: &[Norm],
    gradients: &[Tensor],
) -> Result<(), TchError> {
    for (position, (norm, gradient)) in norms.iter().zip(gradients.as_chunks::<2>().0).enumerate() {
        let [of_scale, of_shift] = gradient;
        let change = norm.scale.f_mul(of_scale)?.f_add(&norm.shift.f_mul(of_shift)?)?.f_square()?;
        let sum = match sums.remove(&position) {
            Some(sum) => sum.f_add(&change)?,
            None => change,
        };
        sums.insert(position, sum);
    }
    Ok(())
}

fn read(tensor: &Tensor) -> Result<Vec<f64>, TrainingError> {
    Ok(copied(tensor).map_err(doing("read importance"))?.into_iter().map(f64::from).collect())
}
