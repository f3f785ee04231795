//! Structured pruning: from a trained network, one that is so many times faster, measured in ONNX
//! Runtime. Whole channels leave in aligned blocks, by their [`importance`] for the time that they take,
//! which [`trials`] measure and a [`table`] tells, in the order of [`removal`]; [`repair`] makes up for them as far as it can without
//! training, which is elsewhere.

use std::time::Instant;

use dnnshifter_network::{
    Channels, Graph, Network, Shapes, channels::NoChannels, graph::UnsupportedNodes, shapes::InvalidShape,
    slice::InvalidSlice, slice::keep_channels,
};
use dnnshifter_portfolio::plan::{ImportanceCriterion, StructuredPruning};

use crate::{
    engine::{Engine, EngineError, Inference},
    interpreter::TrainableNetwork,
    latency::{self, Effort},
    training::{TrainingError, samples::Samples},
};

mod fit;
mod importance;
mod removal;
mod repair;
mod table;
mod trials;

use importance::Judged;
use removal::RemovalOrder;
use repair::Repair;
use trials::Trials;

/// A step that falls short of its latency ratio by more than this share is not worth a variant.
const RATIO_SLACK: f64 = 0.85;
/// Nor is one that gains less than this share of what was asked: of a small ratio the slack alone would leave nothing.
const LEAST_GAIN: f64 = 0.5;

/// How many times faster than its larger neighbour a network must be to be worth a variant; always above 1.
pub(crate) fn least_ratio(method: &StructuredPruning) -> f64 {
    let wanted = wanted_ratio(method);
    (wanted * RATIO_SLACK).max(1.0 + (wanted - 1.0) * LEAST_GAIN)
}

fn wanted_ratio(method: &StructuredPruning) -> f64 {
    f64::from(method.latency_ratio_hundredths) / 100.0
}

/// Why a network cannot be pruned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StructuredError {
    #[error(transparent)]
    Unsupported(#[from] UnsupportedNodes),
    #[error(transparent)]
    Shape(#[from] InvalidShape),
    #[error(transparent)]
    NoChannels(#[from] NoChannels),
    #[error(
        "no BatchNormalization follows the layer \"{layer}\", so its channels cannot be judged by its scale; take the criterion Taylor, or export the model with it kept (torch.onnx.export(..., dynamo=False, training=TrainingMode.PRESERVE))"
    )]
    NoBatchNorm { layer: String },
    #[error(transparent)]
    Slice(#[from] InvalidSlice),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Training(#[from] TrainingError),
}

/// The channels of a network that structured pruning can remove by `criterion`; what it cannot is said before any work starts.
pub(crate) fn prunable_channels(
    network: &Network,
    criterion: ImportanceCriterion,
) -> Result<Channels, StructuredError> {
    let graph = Graph::of(network)?;
    let shapes = Shapes::infer(network, &graph)?;
    let channels = Channels::of(network, &graph, &shapes)?;
    let unjudged = channels.groups.iter().find(|group| {
        criterion == ImportanceCriterion::BatchNormScale
            && group.writers.iter().all(|writer| writer.batch_norm.is_none())
    });
    match unjudged {
        Some(group) => Err(StructuredError::NoBatchNorm { layer: group.name.clone() }),
        None => Ok(channels),
    }
}

/// Makes networks smaller.
pub(crate) struct Pruner<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) method: &'a StructuredPruning,
    /// The images that channels are judged on.
    pub(crate) samples: &'a Samples,
}

impl Pruner<'_> {
    /// A smaller network, faster than `network` by about the method's latency ratio; `None` if there is none. It was repaired
    /// without labels; training makes it better.
    pub(crate) fn shrink(&self, network: &Network) -> Result<Option<Network>, StructuredError> {
        let started = Instant::now();
        let channels = &prunable_channels(network, self.method.criterion)?;
        let multiple = usize::from(self.method.channel_multiple);
        if channels.groups.iter().all(|group| group.channels <= multiple) {
            return Ok(None);
        }
        let trainable = &TrainableNetwork::of(network).map_err(TrainingError::from)?;
        let judged = Judged { network: trainable, groups: &channels.groups, samples: self.samples };
        let importance = judged.importance(self.method.criterion)?;
        let judged = Instant::now();
        let table = &Trials::of(self.engine, network, channels).table(multiple)?;
        let tried = Instant::now();
        let order = &RemovalOrder::plan(&importance, table, multiple);
        let planned = Instant::now();
        let mut aim = Aim::new(self, network, channels, order)?;
        let Some((count, reached)) = aim.fewest_blocks()? else { return Ok(None) };
        let measured = Instant::now();
        let kept = &order.kept_after(count);
        let smaller = &keep_channels(network, channels, kept)?;
        let removed = Instant::now();
        let repair = Repair { larger: trainable, smaller, channels, kept, samples: self.samples };
        let repaired = repair.repaired()?;
        let widths: Vec<usize> = kept.iter().map(Vec::len).collect();
        tracing::info!(
            blocks = count,
            latency_ratio = hundredths(reached),
            predicted_latency_ratio = hundredths(1.0 / table.latency(&widths)),
            ?widths,
            judging_seconds = (judged - started).as_secs_f64(),
            measuring_seconds = (tried - judged + (measured - planned)).as_secs_f64(),
            removal_seconds = (planned - tried + (removed - measured)).as_secs_f64(),
            repair_seconds = removed.elapsed().as_secs_f64(),
            "channels removed"
        );
        Ok(Some(repaired))
    }
}

/// As much of a number as a log needs.
fn hundredths(number: f64) -> f64 {
    (100.0 * number).round() / 100.0
}

/// Finds how many blocks must leave by measuring: the table knows the order, but not to a hundredth what a network takes.
struct Aim<'a> {
    engine: &'a Engine,
    network: &'a Network,
    channels: &'a Channels,
    order: &'a RemovalOrder,
    method: &'a StructuredPruning,
    /// The network with all channels.
    whole: Inference,
}

impl<'a> Aim<'a> {
    fn new(
        Pruner { engine, method, .. }: &Pruner<'a>,
        network: &'a Network,
        channels: &'a Channels,
        order: &'a RemovalOrder,
    ) -> Result<Self, EngineError> {
        let whole = engine.open(&network.write(), network.input())?;
        Ok(Self { engine, network, channels, order, method, whole })
    }

    /// The least number of blocks with which the network is as much faster as wanted, and the ratio that was measured.
    fn fewest_blocks(&mut self) -> Result<Option<(usize, f64)>, StructuredError> {
        let mut best = (self.order.len(), self.ratio_without(self.order.len())?);
        if best.1 < least_ratio(self.method) {
            return Ok(None);
        }
        let ratio = wanted_ratio(self.method);
        let mut too_few = 0;
        while too_few + 1 < best.0 {
            let middle = usize::midpoint(too_few, best.0);
            let reached = self.ratio_without(middle)?;
            if reached >= ratio {
                best = (middle, reached);
            } else {
                too_few = middle;
            }
        }
        Ok(Some(best))
    }

    fn ratio_without(&mut self, count: usize) -> Result<f64, StructuredError> {
        let smaller = keep_channels(self.network, self.channels, &self.order.kept_after(count))?;
        let mut smaller = self.engine.open(&smaller.write(), smaller.input())?;
        Ok(latency::ratio(&mut self.whole, &mut smaller, Effort::THOROUGH)?)
    }
}

#[cfg(test)]
mod tests;
