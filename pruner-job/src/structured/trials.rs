//! Measures networks of many widths, each beside the whole one, for the [`super::table`]. What one learns of a layer from a
//! network in which all others have changed as well is as much as from one in which it alone has, and each network tells of all
//! layers (Fisher's argument for factorial experiments, "The Design of Experiments", 1935): so a few dozen short measurements do.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use dnnshifter_network::{Channels, Network, slice::keep_channels};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    StructuredError,
    table::{LatencyTable, Trial},
};
use crate::{
    engine::{Engine, Inference},
    latency::{self, Effort},
};

/// Networks that are measured at most: more hardly made the table better, even that of a chain with as many layers and groups.
const MOST: usize = 48;
/// And at least, however slow they are: the ridge stands in for what so few leave open.
const LEAST: usize = 12;
/// No more are begun after so long.
const PATIENCE: Duration = Duration::from_secs(8);
/// A few short turns beside the whole network: what their median is off by, the fit over all networks evens out.
const TRIAL: Effort = Effort { rounds: 5, turn: Duration::from_millis(1) };
/// Enough to aim at a ratio.
const AIMING: Effort = Effort { rounds: 9, turn: Duration::from_millis(3) };
/// Groups lose up to this share of their channels; hardly one loses more from one network to the next.
const MOST_LOST: f64 = 0.9;
/// Channels that ONNX Runtime computes at a time: 16 with AVX-512, 8 with AVX2.
const VECTORS: [usize; 2] = [16, 8];
/// How much faster a network must get from layers of two vectors to layers of one, or nothing can be told from them: the noise of
/// a ratio is a hundredth.
const LEAST_GAIN: f64 = 0.1;
/// Of what layers gain from two vectors to one, those of one and a half gain 0.26 where cost is the product of what is read and
/// written, and 0.33 or more where it falls with one of them; where a half is computed as a whole, nothing.
const GAIN_OF_NO_VECTOR: f64 = 0.15;
/// Widths are drawn alike in every run.
const SEED: u64 = 0;
/// Draws for each that is wanted: where this does not do, there are hardly as many widths.
const DRAWS: usize = 4;

/// A network, beside which networks with fewer channels are measured.
pub(super) struct Trials<'a> {
    engine: &'a Engine,
    network: &'a Network,
    channels: &'a Channels,
    /// Channels of each group.
    full: Vec<usize>,
    /// The network with all of them.
    whole: Inference,
}

impl<'a> Trials<'a> {
    pub(super) fn of(
        engine: &'a Engine,
        network: &'a Network,
        channels: &'a Channels,
    ) -> Result<Self, StructuredError> {
        let full = channels.groups.iter().map(|group| group.channels).collect();
        let whole = open(engine, network)?;
        Ok(Self { engine, network, channels, full, whole })
    }

    /// The multiples at which widths may be kept, the best first: as many channels as are computed at a time, if that is a multiple of what
    /// was `asked` for, since widths between cost as much as the next or more; then `asked`, since less than a vector is faster than one.
    pub(super) fn multiples(&self, asked: usize) -> Result<Vec<usize>, StructuredError> {
        let coarser = VECTORS.into_iter().filter(|vector| *vector > asked && vector.is_multiple_of(asked));
        for vector in coarser {
            if self.is_vector(vector)? {
                return Ok(vec![vector, asked]);
            }
        }
        Ok(vec![asked])
    }

    /// Measures networks whose groups keep a multiple of `multiple` channels, and makes a table of that.
    pub(super) fn table(&mut self, multiple: usize) -> Result<LatencyTable, StructuredError> {
        let trials = self.measured(multiple)?;
        let table = LatencyTable::fit(&self.full, &self.channels.work, multiple, &trials);
        tracing::debug!(multiple, trials = trials.len(), error = table.error(&trials), "latency table made");
        Ok(table)
    }

    /// How many times faster `smaller` is.
    pub(super) fn ratio(&mut self, smaller: &Network) -> Result<f64, StructuredError> {
        self.ratio_by(smaller, AIMING)
    }

    fn ratio_by(&mut self, smaller: &Network, effort: Effort) -> Result<f64, StructuredError> {
        let mut smaller = open(self.engine, smaller)?;
        Ok(latency::ratio(&mut self.whole, &mut smaller, effort)?)
    }

    /// How many times faster the network is when each group has only `width` channels, or as many as it had.
    pub(super) fn ratio_at_most(&mut self, width: usize) -> Result<f64, StructuredError> {
        let widths: Vec<usize> = self.full.iter().map(|&channels| channels.min(width)).collect();
        self.ratio(&self.narrowed(&widths)?)
    }

    fn measured(&mut self, multiple: usize) -> Result<Vec<Trial>, StructuredError> {
        let started = Instant::now();
        let mut trials = Vec::new();
        for widths in widths(&self.full, multiple, MOST) {
            if trials.len() >= LEAST && started.elapsed() > PATIENCE {
                break;
            }
            let latency = 1.0 / self.ratio_by(&self.narrowed(&widths)?, TRIAL)?;
            tracing::trace!(?widths, latency, "trial measured");
            trials.push(Trial { widths, latency });
        }
        Ok(trials)
    }

    /// Whether so many channels are computed at a time: a half costs as much as the whole.
    fn is_vector(&self, vector: usize) -> Result<bool, StructuredError> {
        let Some([two, half_less, one]) = around_a_vector(&self.full, vector) else { return Ok(false) };
        let opened = |widths: &[usize]| open(self.engine, &self.narrowed(widths)?);
        let mut two = opened(&two)?;
        let mut gain = |widths: &[usize]| -> Result<f64, StructuredError> {
            Ok(latency::ratio(&mut two, &mut opened(widths)?, AIMING)? - 1.0)
        };
        Ok(is_vector(gain(&half_less)?, gain(&one)?))
    }

    /// The network with so many channels of each group; for its latency it does not matter which.
    fn narrowed(&self, widths: &[usize]) -> Result<Network, StructuredError> {
        let kept: Vec<Vec<usize>> = widths.iter().map(|&width| (0..width).collect()).collect();
        Ok(keep_channels(self.network, self.channels, &kept)?)
    }
}

fn open(engine: &Engine, network: &Network) -> Result<Inference, StructuredError> {
    Ok(engine.open(&network.write(), network.input())?)
}

/// Whether so many channels are computed at a time, by how much faster (a ratio less 1) a network of layers of two vectors gets when
/// half a vector of each leaves, and when a whole one does. The second says how much of the network's time it is about at all.
fn is_vector(gain_of_half: f64, gain_of_whole: f64) -> bool {
    gain_of_whole > LEAST_GAIN && gain_of_half < GAIN_OF_NO_VECTOR * gain_of_whole
}

/// Widths of two vectors, of one and a half, and of one; groups that have fewer than two keep all channels. `None` if none has as
/// many: what is narrower than a vector is computed in another way.
fn around_a_vector(channels: &[usize], vector: usize) -> Option<[Vec<usize>; 3]> {
    let is_wide = |channels: usize| channels >= 2 * vector;
    let widths = |wide: usize| {
        channels.iter().map(|&channels| if is_wide(channels) { wide } else { channels }).collect()
    };
    let any = channels.iter().any(|&channels| is_wide(channels));
    any.then(|| [2 * vector, vector + vector / 2, vector].map(widths))
}

/// Up to `count` different widths of all groups, drawn at random: multiples of `multiple`, or all channels, but never all of all.
pub(super) fn widths(channels: &[usize], multiple: usize, count: usize) -> Vec<Vec<usize>> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut width = |channels: usize| {
        let wanted = channels as f64 * (1.0 - MOST_LOST * random.random::<f64>());
        ((wanted / multiple as f64).round() as usize * multiple).max(multiple).min(channels)
    };
    let draws = (0..count * DRAWS).map(|_| channels.iter().map(|&channels| width(channels)).collect());
    let mut known = BTreeSet::from([channels.to_vec()]);
    draws.filter(|widths: &Vec<usize>| known.insert(widths.clone())).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_multiples_and_differ() {
        let drawn = widths(&[64, 20, 3], 8, 16);
        assert_eq!(drawn.len(), 16);
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 16);
        assert!(!drawn.contains(&vec![64, 20, 3]));
        for widths in &drawn {
            let &[large, small, least] = widths.as_slice() else { panic!("three groups") };
            assert!((8..=64).contains(&large) && large.is_multiple_of(8), "{large}");
            assert!(small == 20 || small == 8 || small == 16, "{small}");
            assert_eq!(least, 3, "too few to lose any");
        }
        let of_first: BTreeSet<usize> = drawn.iter().map(|widths| widths[0]).collect();
        assert!(of_first.len() >= 6, "{of_first:?}");
        assert_eq!(drawn, widths(&[64, 20, 3], 8, 16));
        assert_eq!(widths(&[9, 8], 8, 16), [[8, 8]], "there is no other");
    }

    #[test]
    fn halves_of_vectors_are_compared_where_there_are_any() {
        let found = around_a_vector(&[64, 20, 3], 16);
        assert_eq!(found, Some([vec![32, 20, 3], vec![24, 20, 3], vec![16, 20, 3]]));
        assert_eq!(around_a_vector(&[20, 3], 16), None);
    }

    #[test]
    fn a_vector_is_told_from_layers_that_hardly_count() {
        // Of layers that read and write two vectors, in a network that takes so much time beside them.
        let gains = |beside: f64, cost: fn(f64) -> f64| {
            let latency = |vectors: f64| beside + cost(vectors);
            (latency(2.0) / latency(1.5) - 1.0, latency(2.0) / latency(1.0) - 1.0)
        };
        let is_vector = |(half, whole)| is_vector(half, whole);
        for beside in [0.0, 3.0, 20.0] {
            assert!(!is_vector(gains(beside, |vectors| vectors * vectors)), "{beside}");
            assert!(!is_vector(gains(beside, |vectors| vectors)), "{beside}");
            assert!(is_vector(gains(beside, |vectors| vectors.ceil().powi(2))), "{beside}");
        }
        assert!(!is_vector((0.0, 0.05)), "noise alone says nothing");
    }
}
