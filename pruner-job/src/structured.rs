//! Structured pruning: from a trained network, one that is so many times faster, measured in ONNX
//! Runtime. Whole channels leave in aligned blocks, by their [`importance`] for the time that they take,
//! which [`trials`] measure and a [`table`] tells, in the order of [`removal`]; [`repair`] makes up for them as far as it can without
//! training, which is elsewhere, and those that are left are judged anew.

use std::time::{Duration, Instant};

use dnnshifter_network::{
    Channels, Graph, Network, Shapes, channels::NoChannels, graph::UnsupportedNodes, shapes::InvalidShape,
    slice::InvalidSlice, slice::keep_channels,
};
use dnnshifter_portfolio::plan::{ImportanceCriterion, StructuredPruning};

use crate::{
    engine::{Engine, EngineError},
    interpreter::TrainableNetwork,
    latency::Effort,
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
use table::LatencyTable;
use trials::Trials;

/// A step that falls short of its latency ratio by more than this share is not worth a variant.
const RATIO_SLACK: f64 = 0.85;
/// Nor is one that gains less than this share of what was asked: of a small ratio the slack alone would leave nothing.
const LEAST_GAIN: f64 = 0.5;

/// Channels leave in so many rounds, after each of which the network is repaired and what is left judged anew: what a channel is worth
/// depends on its neighbours.
const ROUNDS: i32 = 3;
/// A network that is to be as fast as possible may be slower than the fastest by this share.
const ALMOST_ALL: f64 = 0.97;
/// Enough to aim at a ratio to a hundredth, by a median of as many turns.
const AIM: Effort = Effort { rounds: 15, turn: Duration::from_millis(3) };

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
        let channels = prunable_channels(network, self.method.criterion)?;
        let multiple = usize::from(self.method.channel_multiple);
        if channels.groups.iter().all(|group| group.channels <= multiple) {
            return Ok(None);
        }
        let mut spent = Spent::default();
        let mut trials = Trials::of(self.engine, network, &channels)?;
        let Some(goal) = timed(&mut spent.measuring, || self.goal(&mut trials))? else { return Ok(None) };
        let mut smaller = None;
        for round in 1..=ROUNDS {
            let before = smaller.as_ref().unwrap_or(network);
            smaller = Some(self.round(before, &goal, round, &mut trials, &mut spent)?);
        }
        let Some(smaller) = smaller else { return Ok(None) };
        let widths = self.widths(&smaller)?;
        tracing::info!(
            latency_ratio = hundredths(trials.ratio(&smaller, AIM)?),
            predicted_latency_ratio = hundredths(1.0 / goal.table.latency(&widths)),
            ?widths,
            judging_seconds = spent.judging.as_secs_f64(),
            measuring_seconds = spent.measuring.as_secs_f64(),
            removal_seconds = spent.removal.as_secs_f64(),
            repair_seconds = spent.repair.as_secs_f64(),
            "channels removed"
        );
        Ok(Some(smaller))
    }

    /// The wanted ratio, or almost what is possible where that is less and still worth a variant; `None` where it is not.
    fn goal(&self, trials: &mut Trials<'_>) -> Result<Option<Goal>, StructuredError> {
        for multiple in trials.multiples(usize::from(self.method.channel_multiple))? {
            let most = trials.ratio_at_most(multiple, Effort::THOROUGH)?;
            let wanted = wanted_ratio(self.method);
            if most >= least_ratio(self.method) {
                // The last channels are not given away for next to nothing.
                let ratio =
                    if most < wanted { (most * ALMOST_ALL).max(least_ratio(self.method)) } else { wanted };
                return Ok(Some(Goal { multiple, ratio, table: trials.table(multiple)? }));
            }
        }
        Ok(None)
    }

    /// Removes so many channels that `round` of all rounds are done. How many that is, the table tells before the last round, and
    /// measuring in the last: the table knows the order, but not to a hundredth what a network takes.
    fn round(
        &self,
        network: &Network,
        goal: &Goal,
        round: i32,
        trials: &mut Trials<'_>,
        spent: &mut Spent,
    ) -> Result<Network, StructuredError> {
        let channels = &prunable_channels(network, self.method.criterion)?;
        let larger = &TrainableNetwork::of(network).map_err(TrainingError::from)?;
        let judged = Judged { network: larger, groups: &channels.groups, samples: self.samples };
        let importance = timed(&mut spent.judging, || judged.importance(self.method.criterion))?;
        let order = timed(&mut spent.removal, || RemovalOrder::plan(&importance, &goal.table, goal.multiple));
        let without = |count| keep_channels(network, channels, &order.kept_after(count));
        let count = if round == ROUNDS {
            timed(&mut spent.measuring, || {
                fewest(order.len(), |count| Ok(trials.ratio(&without(count)?, AIM)? >= goal.ratio))
            })?
        } else {
            let ratio = goal.ratio.powf(f64::from(round) / f64::from(ROUNDS));
            fewest(order.len(), |count| Ok(goal.table.latency(&order.widths_after(count)) * ratio <= 1.0))?
        };
        let smaller = &timed(&mut spent.removal, || without(count))?;
        let kept = &order.kept_after(count);
        let repair = Repair { larger, smaller, channels, kept, samples: self.samples };
        timed(&mut spent.repair, || repair.repaired())
    }

    fn widths(&self, network: &Network) -> Result<Vec<usize>, StructuredError> {
        let channels = prunable_channels(network, self.method.criterion)?;
        Ok(channels.groups.iter().map(|group| group.channels).collect())
    }
}

/// What a network is made smaller to.
struct Goal {
    /// Groups keep a multiple of so many channels.
    multiple: usize,
    /// How many times faster it will be.
    ratio: f64,
    /// What widths cost.
    table: LatencyTable,
}

/// Where time went.
#[derive(Default)]
struct Spent {
    judging: Duration,
    measuring: Duration,
    /// Finding the order of removal, and making the network without what leaves.
    removal: Duration,
    repair: Duration,
}

fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = work();
    *spent += started.elapsed();
    done
}

/// The least number up to `most` that is enough; `most` itself is taken to be.
fn fewest(
    most: usize,
    mut is_enough: impl FnMut(usize) -> Result<bool, StructuredError>,
) -> Result<usize, StructuredError> {
    let (mut least, mut enough) = (0, most);
    while least < enough {
        let middle = usize::midpoint(least, enough);
        if is_enough(middle)? {
            enough = middle;
        } else {
            least = middle + 1;
        }
    }
    Ok(enough)
}

/// As much of a number as a log needs.
fn hundredths(number: f64) -> f64 {
    (100.0 * number).round() / 100.0
}

#[cfg(test)]
mod tests;
