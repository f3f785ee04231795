//! Repair without labels, after channels have left: each layer is fitted to answer as it did in the larger network, from what the
//! layers before it now give it, and the statistics of batch norms follow (He et al., "Channel Pruning for Accelerating Very
//! Deep Neural Networks", ICCV 2017, section 3.1; least squares with a ridge that holds to the weights that were kept).

use dnnshifter_network::{Channels, Network, Node, Operator, slice::kept_entries};
use tch::{TchError, Tensor, no_grad};

use super::{StructuredError, fit::Fit};
use crate::{
    interpreter::{InterpreterError, Mode, TrainableNetwork, Walk},
    training::{TrainingError, samples::Samples},
};

/// Images that layers are fitted on, and the values that the largest layer may have for all of them (1 GiB).
const IMAGES: usize = 512;
const MOST_VALUES: usize = 1 << 28;

/// A network that has lost channels, and the one that it has lost them from.
pub(super) struct Repair<'a> {
    pub(super) larger: &'a TrainableNetwork,
    pub(super) smaller: &'a Network,
    pub(super) channels: &'a Channels,
    /// What was kept of each group.
    pub(super) kept: &'a [Vec<usize>],
    pub(super) samples: &'a Samples,
}

impl Repair<'_> {
    /// The smaller network with other weights.
    pub(super) fn repaired(&self) -> Result<Network, StructuredError> {
        let smaller = TrainableNetwork::of(self.smaller).map_err(TrainingError::from)?;
        no_grad(|| self.walk(&smaller))?;
        Ok(smaller.to_network().map_err(TrainingError::from)?)
    }

    fn walk(&self, smaller: &TrainableNetwork) -> Result<(), TrainingError> {
        let images = self.samples.first(self.images())?;
        let mut before = Walk::start(self.larger, &images)?;
        let mut after = Walk::start(smaller, &images)?;
        // Slicing keeps every node.
        while let Some(node) = after.next() {
            let had = node.input(0).and_then(|name| before.value(name)).map(Tensor::shallow_clone);
            before.step(Mode::Evaluation)?;
            let (given, wanted) =
                (node.input(0).and_then(|name| after.value(name)), before.value(&node.output));
            if let (Some(given), Some(had), Some(wanted)) = (given, had, wanted) {
                let layer = RepairedLayer { node, given, had: &had, wanted, network: smaller };
                let repaired = match &node.operator {
                    Operator::BatchNorm { epsilon } => self.correct_statistics(&layer, *epsilon),
                    _ => self.fit(&layer),
                };
                repaired.map_err(|source| InterpreterError::Node { node: node.name.clone(), source })?;
            }
            after.step(Mode::Evaluation)?;
        }
        Ok(())
    }

    fn images(&self) -> usize {
        let most = self.larger.most_values().max(1);
        (MOST_VALUES / most).clamp(1, IMAGES)
    }

    /// Fits a layer that mixes channels; leaves others alone.
    fn fit(&self, layer: &RepairedLayer<'_>) -> Result<(), TchError> {
        let RepairedLayer { node, given, wanted, .. } = *layer;
        let (written, window) = match &node.operator {
            Operator::Conv(convolution) if convolution.groups == 1 => (0, Some(&convolution.window)),
            Operator::Gemm { transposed: true } => (0, None),
            Operator::Gemm { transposed: false } | Operator::MatMul if given.dim() == 2 => (1, None),
            _ => return Ok(()),
        };
        let (Some(weight), Some(kept)) = (layer.tensor(1), self.kept_of(node, written)?) else {
            return Ok(());
        };
        Fit { given, wanted, kept: &kept, window, weight, bias: layer.tensor(2), written }.apply()
    }

    /// Moves a batch norm's statistics as those of the images have moved: what is left of a fitted layer varies less.
    fn correct_statistics(&self, layer: &RepairedLayer<'_>, epsilon: f64) -> Result<(), TchError> {
        let (Some(mean), Some(variance), Some(kept)) =
            (layer.tensor(3), layer.tensor(4), self.kept_of(layer.node, 0)?)
        else {
            return Ok(());
        };
        let (mean_now, variance_now) = statistics(layer.given)?;
        let (mean_before, variance_before) = statistics(layer.had)?;
        let [mean_before, variance_before] =
            [mean_before.f_index_select(0, &kept)?, variance_before.f_index_select(0, &kept)?];
        let ratio = variance_now.f_add_scalar(epsilon)?.f_div(&variance_before.f_add_scalar(epsilon)?)?;
        mean.shallow_clone().f_copy_(&mean.f_add(&mean_now)?.f_sub(&mean_before)?)?;
        variance.shallow_clone().f_copy_(&variance.f_mul(&ratio)?)
    }

    /// The channels that were kept of what a node writes; `axis` is that of its first tensor which runs over them.
    fn kept_of(&self, node: &Node, axis: usize) -> Result<Option<Tensor>, TchError> {
        let kept = node.input(1).and_then(|name| kept_entries(self.channels, self.kept, name, axis));
        let kept = kept.map(|kept| kept.into_iter().map(|entry| entry as i64).collect::<Vec<_>>());
        kept.map(|kept| Tensor::f_from_slice(&kept)).transpose()
    }
}

/// A node of the smaller network on its way, and what flows there.
#[derive(Clone, Copy)]
struct RepairedLayer<'a> {
    node: &'a Node,
    /// What the node is given now.
    given: &'a Tensor,
    /// What it was given in the larger network.
    had: &'a Tensor,
    /// What it wrote there.
    wanted: &'a Tensor,
    network: &'a TrainableNetwork,
}

impl<'a> RepairedLayer<'a> {
    fn tensor(&self, position: usize) -> Option<&'a Tensor> {
        let parameter = self.node.input(position).and_then(|name| self.network.parameters().get(name));
        parameter.map(|parameter| &parameter.tensor)
    }
}

/// Mean and variance of each channel.
fn statistics(values: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    let others: Vec<i64> = (0..values.dim() as i64).filter(|&axis| axis != 1).collect();
    Ok((
        values.f_mean_dim(others.as_slice(), false, None)?,
        values.f_var_dim(others.as_slice(), false, false)?,
    ))
}
