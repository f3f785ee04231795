//! What layers cost as a function of their widths: a table of latency, learnt from whole networks of many widths that were
//! measured ([`super::trials`]), so that each layer counts as it runs among its neighbours, with what is converted between them.
//! Pure.
//!
//! A network's latency is one part that nothing changes, a part for each layer that falls with the channels that it reads and with
//! those that it writes, and a part for each group of channels that falls with them alone (activations, pooling, sums). Parts are
//! found by least squares, with a ridge that holds to multiply-accumulates what the measurements do not settle. Latency-aware
//! pruning by tables of layers is that of Yang et al., "`NetAdapt`", ECCV 2018, section 3.4 ("Fast Resource Consumption Estimation"),
//! and of Shen et al., "Structural Pruning via Latency-Saliency Knapsack", `NeurIPS` 2022; they measure each layer by itself.

use dnnshifter_network::channels::{LayerWork, Segment};

/// A network of other widths that was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    /// Channels that are left of each group.
    pub(super) widths: Vec<usize>,
    /// Latency as a share of that with all channels.
    pub(super) latency: f64,
}

/// The latency of a network's parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LatencyTable {
    /// Channels of each group.
    channels: Vec<usize>,
    parts: Vec<Part>,
    /// Widths are multiples of this; the odd rest of a whole group counts as one more.
    multiple: usize,
}

/// What falls with some widths.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    /// Share of the latency with all channels.
    share: f64,
    /// It is proportional to what is left of each.
    factors: Vec<Factor>,
}

/// Channels that a layer reads or writes, as shares of all of them.
#[derive(Clone, Debug, PartialEq)]
struct Factor {
    /// Those that stay.
    fixed: f64,
    /// Those of each group, by its position.
    groups: Vec<(usize, f64)>,
}

/// How far a short measurement is off, as a share of the latency.
const NOISE: f64 = 0.01;
/// No network takes less than a thousandth of the one that it was cut from. Parts that were fitted each by itself can add up to more
/// than all, near the widths at which nothing is left to cut.
const LEAST_LATENCY: f64 = 1e-3;
/// Each round settles the parts one by one; by then they have stopped moving.
const ROUNDS: usize = 200;

impl LatencyTable {
    /// The table that explains `trials` best, of widths that are a multiple of `multiple` or all channels of a group; with none, latency is
    /// taken to be proportional to multiply-accumulates.
    pub(super) fn fit(channels: &[usize], work: &[LayerWork], multiple: usize, trials: &[Trial]) -> Self {
        let mut table = Self::by_work(channels, work, multiple.max(1));
        table.settle(trials);
        table
    }

    fn by_work(channels: &[usize], work: &[LayerWork], multiple: usize) -> Self {
        let all: u64 = work.iter().map(|layer| layer.macs).sum();
        let layers = work.iter().map(|layer| Part {
            share: layer.macs as f64 / all.max(1) as f64,
            factors: layer.factors.iter().map(|segments| Factor::of(segments)).collect(),
        });
        let groups = (0..channels.len()).map(|group| Part {
            share: 0.0,
            factors: vec![Factor { fixed: 0.0, groups: vec![(group, 1.0)] }],
        });
        Self { channels: channels.to_vec(), parts: layers.chain(groups).collect(), multiple }
    }

    /// Least squares by coordinates; no part takes less than no time.
    fn settle(&mut self, trials: &[Trial]) {
        let gone = |part: &Part, trial: &Trial| 1.0 - part.left(|group| self.share(&trial.widths, group));
        let gone_in_trials = |part| trials.iter().map(|trial| gone(part, trial)).collect();
        let gone: Vec<Vec<f64>> = self.parts.iter().map(gone_in_trials).collect();
        // What the trials have lost more than the parts explain.
        let mut unexplained: Vec<f64> = trials.iter().map(|trial| 1.0 - trial.latency).collect();
        for (part, gone) in self.parts.iter().zip(&gone) {
            subtract(&mut unexplained, gone, part.share);
        }
        // Before anything is measured, each part may be off by as much as an average one takes.
        let ridge = (NOISE * self.parts.len() as f64).powi(2);
        let before: Vec<f64> = self.parts.iter().map(|part| part.share).collect();
        for _ in 0..ROUNDS {
            for ((part, gone), before) in self.parts.iter_mut().zip(&gone).zip(&before) {
                let squares: f64 = gone.iter().map(|gone| gone * gone).sum();
                let product: f64 = gone.iter().zip(&unexplained).map(|(gone, missing)| gone * missing).sum();
                let wanted = (product + squares * part.share + ridge * before) / (squares + ridge);
                let change = wanted.max(0.0) - part.share;
                part.share += change;
                subtract(&mut unexplained, gone, change);
            }
        }
    }

    /// Root of the mean square of what the table is off by.
    pub(super) fn error(&self, trials: &[Trial]) -> f64 {
        let off = |trial: &Trial| self.latency(&trial.widths) - trial.latency;
        (trials.iter().map(|trial| off(trial).powi(2)).sum::<f64>() / trials.len().max(1) as f64).sqrt()
    }

    /// The latency with so many channels of each group, as a share of that with all of them; always above 0.
    pub(super) fn latency(&self, widths: &[usize]) -> f64 {
        let gone_of = |part: &Part| part.share * (1.0 - part.left(|group| self.share(widths, group)));
        (1.0 - self.parts.iter().map(gone_of).sum::<f64>()).max(LEAST_LATENCY)
    }

    /// The latency that is saved when only `width` channels are left of `group`, as a share of that with all channels.
    pub(super) fn saved(&self, widths: &[usize], group: usize, width: usize) -> f64 {
        let before = |of: usize| self.share(widths, of);
        let narrower = self.share_of(width, group);
        let after = |of: usize| if of == group { narrower } else { before(of) };
        let touched = self.parts.iter().filter(|part| part.touches(group));
        touched.map(|part| part.share * (part.left(before) - part.left(after))).sum()
    }

    /// What is left of a group.
    fn share(&self, widths: &[usize], group: usize) -> f64 {
        widths.get(group).map_or(1.0, |&width| self.share_of(width, group))
    }

    fn share_of(&self, width: usize, group: usize) -> f64 {
        let padded = |width: usize| width.next_multiple_of(self.multiple) as f64;
        self.channels.get(group).map_or(1.0, |&channels| padded(width) / padded(channels).max(1.0))
    }
}

fn subtract(from: &mut [f64], values: &[f64], times: f64) {
    from.iter_mut().zip(values).for_each(|(from, value)| *from -= value * times);
}

impl Part {
    fn touches(&self, group: usize) -> bool {
        self.factors.iter().flat_map(|factor| &factor.groups).any(|&(of, _)| of == group)
    }

    /// What is left of it when such a `share` of each group is.
    fn left(&self, share: impl Fn(usize) -> f64) -> f64 {
        self.factors.iter().map(|factor| factor.left(&share)).product()
    }
}

impl Factor {
    fn of(segments: &[Segment]) -> Self {
        let size = |segment: &Segment| (segment.channels * segment.entries) as f64;
        let all = segments.iter().map(size).sum::<f64>().max(1.0);
        let fixed = segments.iter().filter(|segment| segment.group.is_none()).map(size).sum::<f64>() / all;
        let of_group = |segment: &Segment| Some((segment.group?, size(segment) / all));
        Self { fixed, groups: segments.iter().filter_map(of_group).collect() }
    }

    fn left(&self, share: impl Fn(usize) -> f64) -> f64 {
        self.fixed + self.groups.iter().map(|&(group, part)| part * share(group)).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structured::trials::widths;

    fn segment(group: usize) -> Vec<Segment> {
        vec![Segment { group: Some(group), channels: 64, entries: 1 }]
    }

    /// A chain of three groups between four layers, which all have the same operations.
    fn chain() -> (Vec<usize>, Vec<LayerWork>) {
        let factors =
            [vec![segment(0)], vec![segment(0), segment(1)], vec![segment(1), segment(2)], vec![segment(2)]];
        (vec![64; 3], factors.map(|factors| LayerWork { macs: 1000, factors }).to_vec())
    }

    /// Trials of a processor on which layers take such shares, and groups of channels by themselves.
    fn trials(layers: [f64; 4], groups: [f64; 3], multiple: usize) -> Vec<Trial> {
        let (channels, work) = chain();
        let mut table = LatencyTable::by_work(&channels, &work, multiple);
        for (part, share) in table.parts.iter_mut().zip(layers.into_iter().chain(groups)) {
            part.share = share;
        }
        let trial = |widths: Vec<usize>| Trial { latency: table.latency(&widths), widths };
        widths(&channels, 8, 48).into_iter().map(trial).collect()
    }

    fn fitted(trials: &[Trial]) -> LatencyTable {
        let (channels, work) = chain();
        LatencyTable::fit(&channels, &work, 1, trials)
    }

    #[test]
    fn without_trials_latency_is_work() {
        let table = fitted(&[]);
        assert!((table.latency(&[64, 64, 64]) - 1.0).abs() < 1e-9);
        assert!((table.latency(&[32, 64, 64]) - 0.75).abs() < 1e-9);
        assert!((table.saved(&[64, 32, 64], 0, 32) - 0.1875).abs() < 1e-9);
    }

    #[test]
    fn a_layer_that_is_slow_for_its_work_is_found() {
        let trials = trials([0.05, 0.6, 0.1, 0.05], [0.0; 3], 1);
        let table = fitted(&trials);
        assert!(table.error(&trials) < 0.005, "{}", table.error(&trials));
        for (widths, wanted) in [([32, 64, 64], 0.675), ([64, 64, 32], 0.925), ([32, 32, 32], 0.425)] {
            let found = table.latency(&widths);
            assert!((found - wanted).abs() < 0.01, "{widths:?}: {found}");
        }
    }

    #[test]
    fn what_falls_with_channels_alone_is_told_from_what_falls_with_products() {
        let trials = trials([0.1, 0.1, 0.1, 0.1], [0.0, 0.4, 0.0], 1);
        let table = fitted(&trials);
        let found = table.saved(&[32, 64, 32], 1, 32);
        assert!((found - 0.25).abs() < 0.015, "{found}");
    }

    #[test]
    fn half_a_vector_costs_what_a_whole_one_does() {
        let (channels, work) = chain();
        let table = LatencyTable::fit(&channels, &work, 16, &trials([0.25; 4], [0.0; 3], 16));
        assert!(table.saved(&[64; 3], 1, 56).abs() < 1e-9 && table.saved(&[64; 3], 1, 48) > 0.1);
    }

    #[test]
    fn no_network_is_foretold_to_take_no_time() {
        let (channels, work) = chain();
        let mut table = LatencyTable::by_work(&channels, &work, 1);
        table.parts.iter_mut().for_each(|part| part.share = 0.5);
        assert!(table.latency(&[8, 8, 8]) > 0.0);
    }

    #[test]
    fn the_same_trials_give_the_same_table() {
        let trials = trials([0.05, 0.6, 0.1, 0.05], [0.01, 0.02, 0.03], 8);
        assert_eq!(fitted(&trials), fitted(&trials));
    }
}
