//! Measures networks of many widths, each beside the whole one, for the [`super::table`]. What one learns of a layer from a
//! network in which all others have changed as well is as much as from one in which it alone has, and each network tells of all
//! layers (Fisher's argument for factorial experiments, "The Design of Experiments", 1935): so a few dozen short measurements do.

use std::time::{Duration, Instant};

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

/// Networks that are measured at most: as many as a deep chain has layers and groups.
const MOST: usize = 64;
/// And at least, however slow they are: the ridge stands in for what so few leave open.
const LEAST: usize = 12;
/// No more are begun after so long.
const PATIENCE: Duration = Duration::from_secs(8);
/// The median of a few short turns beside the whole network is good to a hundredth, and the fit is over all of them.
const EFFORT: Effort = Effort { rounds: 9, turn: Duration::from_millis(2) };
/// Groups lose up to this share of their channels; hardly one loses more from one network to the next.
const MOST_LOST: f64 = 0.9;
/// Channels that ONNX Runtime computes at a time: 16 with AVX-512, 8 with AVX2 and NEON.
const VECTORS: [usize; 2] = [16, 8];
/// Of layers of two vectors each, one and a half takes 1.8 times less work: what is no faster than this is computed by whole ones.
const DEARER: f64 = 1.1;
/// Widths are drawn alike in every run.
const SEED: u64 = 0;

/// Networks of other widths than one has.
pub(super) struct Trials<'a> {
    engine: &'a Engine,
    network: &'a Network,
    channels: &'a Channels,
    /// Channels of each group.
    full: Vec<usize>,
}

impl<'a> Trials<'a> {
    pub(super) fn of(engine: &'a Engine, network: &'a Network, channels: &'a Channels) -> Self {
        let full = channels.groups.iter().map(|group| group.channels).collect();
        Self { engine, network, channels, full }
    }

    /// Measures networks whose groups keep a multiple of `multiple` channels, and makes a table of that.
    pub(super) fn table(&self, multiple: usize) -> Result<LatencyTable, StructuredError> {
        let vector = self.vector()?;
        let trials = self.measured(multiple)?;
        let table = LatencyTable::fit(&self.full, &self.channels.work, vector, &trials);
        tracing::debug!(vector, trials = trials.len(), error = table.error(&trials), "latency table made");
        Ok(table)
    }

    fn measured(&self, multiple: usize) -> Result<Vec<Trial>, StructuredError> {
        let started = Instant::now();
        let mut whole = self.open(&self.full)?;
        let mut trials = Vec::new();
        for widths in widths(&self.full, multiple, MOST) {
            if trials.len() >= LEAST && started.elapsed() > PATIENCE {
                break;
            }
            let latency = 1.0 / latency::ratio(&mut whole, &mut self.open(&widths)?, EFFORT)?;
            trials.push(Trial { widths, latency });
        }
        Ok(trials)
    }

    /// The channels that are computed at a time: the most of which a half costs as much as the whole.
    fn vector(&self) -> Result<usize, StructuredError> {
        for vector in VECTORS {
            let Some((half, whole)) = half_and_whole(&self.full, vector) else { continue };
            let ratio = latency::ratio(&mut self.open(&whole)?, &mut self.open(&half)?, Effort::THOROUGH)?;
            if ratio < DEARER {
                return Ok(vector);
            }
        }
        Ok(1)
    }

    fn open(&self, widths: &[usize]) -> Result<Inference, StructuredError> {
        // Which channels they are does not matter.
        let kept: Vec<Vec<usize>> = widths.iter().map(|&width| (0..width).collect()).collect();
        let network = keep_channels(self.network, self.channels, &kept)?;
        Ok(self.engine.open(&network.write(), network.input())?)
    }
}

/// Widths of one vector and a half and of two; groups that have fewer channels keep all. `None` if none has as many: what is narrower
/// than a vector is computed in another way.
fn half_and_whole(channels: &[usize], vector: usize) -> Option<(Vec<usize>, Vec<usize>)> {
    let is_wide = |channels: usize| channels >= 2 * vector;
    let widths = |wide: usize| {
        channels.iter().map(|&channels| if is_wide(channels) { wide } else { channels }).collect()
    };
    let any = channels.iter().any(|&channels| is_wide(channels));
    any.then(|| (widths(vector + vector / 2), widths(2 * vector)))
}

/// Widths of all groups, drawn `count` times: multiples of `multiple`, or all channels.
pub(super) fn widths(channels: &[usize], multiple: usize, count: usize) -> Vec<Vec<usize>> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut width = |channels: usize| {
        let wanted = channels as f64 * (1.0 - MOST_LOST * random.random::<f64>());
        ((wanted / multiple as f64).round() as usize * multiple).max(multiple).min(channels)
    };
    (0..count).map(|_| channels.iter().map(|&channels| width(channels)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_multiples_and_differ() {
        let drawn = widths(&[64, 20, 3], 8, 32);
        assert_eq!(drawn.len(), 32);
        for widths in &drawn {
            let &[large, small, least] = widths.as_slice() else { panic!("three groups") };
            assert!((8..=64).contains(&large) && large.is_multiple_of(8), "{large}");
            assert!(small == 20 || small == 8 || small == 16, "{small}");
            assert_eq!(least, 3, "too few to lose any");
        }
        let of_first: std::collections::BTreeSet<usize> = drawn.iter().map(|widths| widths[0]).collect();
        assert!(of_first.len() >= 6, "{of_first:?}");
        assert_eq!(drawn, widths(&[64, 20, 3], 8, 32));
    }

    #[test]
    fn halves_of_vectors_are_compared_where_there_are_any() {
        assert_eq!(half_and_whole(&[64, 20, 3], 16), Some((vec![24, 20, 3], vec![32, 20, 3])));
        assert_eq!(half_and_whole(&[20, 3], 16), None);
    }
}
