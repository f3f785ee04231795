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
    training::{TrainingError, samples::Samples},
};

mod fit;
mod importance;
mod patches;
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
const ROUNDS: u32 = 3;
/// A group of one channel is another kind of layer: a depthwise convolution of one channel is a plain one.
const LEAST_MULTIPLE: usize = 2;
/// A grid of widths leaves a choice of channels if its narrowest network gains so many times what is asked for: where it hardly gains
/// enough, nearly all that can leave must, however much they matter. Where whole vectors gained 1.25 to 1.4 times of it, half vectors
/// made VGG-16 a tenth faster, of a sixth fewer operations, and were as accurate to 0.1 points; where they gained 2.8 times, half vectors
/// made it no faster (three seeds, validation images).
const CHOICE: f64 = 1.5;
/// A network that is to be as fast as possible may be slower than the fastest by this share.
const ALMOST_ALL: f64 = 0.97;

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
            && group.writers.iter().all(|writer| writer.scale.is_none())
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
        let mut spent = Spent::default();
        let channels = timed(&mut spent.removal, || prunable_channels(network, self.method.criterion))?;
        let multiple = usize::from(self.method.channel_multiple).max(LEAST_MULTIPLE);
        if channels.groups.iter().all(|group| group.channels <= multiple) {
            return Ok(None);
        }
        let started = Instant::now();
        let mut trials = Trials::of(self.engine, network, &channels)?;
        let Some((multiple, ratio)) = self.goal(&mut trials, multiple)? else { return Ok(None) };
        let table = trials.table(multiple)?;
        spent.measuring += started.elapsed();
        let mut step = Step { pruner: self, trials, table, multiple, spent };
        let share = |round: u32| ratio.powf(f64::from(round) / f64::from(ROUNDS));
        let aim = |round| Aim { ratio: share(round), is_last: round == ROUNDS };
        let mut smaller = step.round(network, &channels, aim(1))?;
        for round in 2..=ROUNDS {
            let channels =
                timed(&mut step.spent.removal, || prunable_channels(&smaller, self.method.criterion))?;
            smaller = step.round(&smaller, &channels, aim(round))?;
        }
        step.tell(&smaller)?;
        Ok(Some(smaller))
    }

    /// The multiple of channels that widths are kept to, and the ratio that is aimed at; `None` if nothing is worth a variant.
    fn goal(
        &self,
        trials: &mut Trials<'_>,
        multiple: usize,
    ) -> Result<Option<(usize, f64)>, StructuredError> {
        let mut grids = Vec::new();
        for multiple in trials.multiples(multiple)? {
            grids.push((multiple, trials.ratio_at_most(multiple)?));
        }
        let (wanted, least) = (wanted_ratio(self.method), least_ratio(self.method));
        Ok(best_grid(&grids, wanted, least)
            .and_then(|(multiple, most)| Some((multiple, aimed_ratio(most, wanted, least)?))))
    }
}

/// Of multiples, each with how many times faster the narrowest network is, the first that is worth a variant, and either leaves a choice
/// of channels or makes the network almost as fast as any does.
fn best_grid(grids: &[(usize, f64)], wanted: f64, least: f64) -> Option<(usize, f64)> {
    let fastest = grids.iter().map(|(_, most)| *most).fold(0.0, f64::max);
    let enough = (1.0 + (wanted - 1.0) * CHOICE).min(fastest * ALMOST_ALL).max(least);
    grids.iter().find(|(_, most)| *most >= enough).copied()
}

/// The ratio to aim at where `most` is possible: what is wanted, or almost all that is possible, if that is worth a variant. The last
/// channels cost accuracy and save next to nothing.
fn aimed_ratio(most: f64, wanted: f64, least: f64) -> Option<f64> {
    if most < least {
        return None;
    }
    Some(if most >= wanted { wanted } else { (most * ALMOST_ALL).max(least / ALMOST_ALL).min(most) })
}

/// How many times faster a round makes a network than the one that the step began with.
#[derive(Clone, Copy)]
struct Aim {
    ratio: f64,
    /// What earlier rounds fall short by is made up for; what they go too far by stays.
    is_last: bool,
}

/// One network on its way to the next smaller one.
struct Step<'a> {
    pruner: &'a Pruner<'a>,
    trials: Trials<'a>,
    table: LatencyTable,
    /// Groups keep a multiple of so many channels.
    multiple: usize,
    spent: Spent,
}

impl Step<'_> {
    /// Removes as few channels of `network` as reach the aim, and repairs it. The table knows in which order they leave, but not to a
    /// hundredth what a network takes: for the last round whole networks are measured.
    fn round(
        &mut self,
        network: &Network,
        channels: &Channels,
        Aim { ratio, is_last }: Aim,
    ) -> Result<Network, StructuredError> {
        let Self { pruner, trials, table, multiple, spent } = self;
        let Pruner { method, samples, .. } = pruner;
        let started = Instant::now();
        let larger = &TrainableNetwork::of(network).map_err(TrainingError::from)?;
        let judged = Judged { network: larger, groups: &channels.groups, samples };
        let importance = judged.importance(method.criterion)?;
        spent.judging += started.elapsed();
        let order = timed(&mut spent.removal, || RemovalOrder::plan(&importance, table, *multiple));
        let mut ratio_of = |kept: &[Vec<usize>]| -> Result<f64, StructuredError> {
            if is_last {
                trials.ratio(&keep_channels(network, channels, kept)?)
            } else {
                let widths: Vec<usize> = kept.iter().map(Vec::len).collect();
                Ok(1.0 / table.latency(&widths))
            }
        };
        let count = timed(&mut spent.measuring, || {
            fewest(order.len(), |count| Ok(ratio_of(&order.kept_after(count))? >= ratio))
        })?;
        let kept = &timed(&mut spent.removal, || order.kept_after(count));
        let smaller = &timed(&mut spent.removal, || keep_channels(network, channels, kept))?;
        let repair = Repair { larger, smaller, channels, kept, samples };
        timed(&mut spent.repair, || repair.repaired())
    }

    /// Logs what came out.
    fn tell(&mut self, smaller: &Network) -> Result<(), StructuredError> {
        let Self { pruner, trials, table, spent, .. } = self;
        let channels = prunable_channels(smaller, pruner.method.criterion)?;
        let widths: Vec<usize> = channels.groups.iter().map(|group| group.channels).collect();
        let ratio = timed(&mut spent.measuring, || trials.ratio(smaller))?;
        tracing::info!(
            latency_ratio = hundredths(ratio),
            predicted_latency_ratio = hundredths(1.0 / table.latency(&widths)),
            ?widths,
            judging_seconds = spent.judging.as_secs_f64(),
            measuring_seconds = spent.measuring.as_secs_f64(),
            removal_seconds = spent.removal.as_secs_f64(),
            repair_seconds = spent.repair.as_secs_f64(),
            "channels removed"
        );
        Ok(())
    }
}

/// Where time went.
#[derive(Default)]
struct Spent {
    judging: Duration,
    measuring: Duration,
    /// Which channels go together, the order in which they leave, and the network without them.
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
