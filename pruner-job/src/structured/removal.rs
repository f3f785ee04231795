//! In which order channels go: always those that cost the least loss for the time that they save, by the [`super::table`]. Pure.

use super::table::LatencyTable;

/// The order in which blocks of channels leave a network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RemovalOrder {
    channels: Vec<usize>,
    blocks: Vec<Block>,
}

/// Channels of one group that leave together.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    group: usize,
    channels: Vec<usize>,
}

/// A share of the time that is none: what saves no more leaves by its importance, after all that saves some.
const NOTHING: f64 = 1e-9;

impl RemovalOrder {
    /// Plans the removal of everything down to one block of `multiple` channels in each group; after each step, every
    /// group that was touched has a multiple of `multiple` channels.
    ///
    /// `importance` is that of every channel of every group, `table` what widths cost.
    pub(super) fn plan(importance: &[Vec<f64>], table: &LatencyTable, multiple: usize) -> Self {
        let mut groups: Vec<Shrinking> = importance.iter().map(|values| Shrinking::new(values)).collect();
        let mut blocks = Vec::new();
        while let Some(block) = cheapest(&groups, table, multiple.max(1)) {
            if let Some(group) = groups.get_mut(block.group) {
                group.left.truncate(group.left.len() - block.channels.len());
            }
            blocks.push(block);
        }
        Self { channels: importance.iter().map(Vec::len).collect(), blocks }
    }

    /// Number of blocks that can leave.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The channels of each group that are kept, in increasing order, when the first `count` blocks are gone.
    pub(super) fn kept_after(&self, count: usize) -> Vec<Vec<usize>> {
        let mut stays: Vec<Vec<bool>> = self.channels.iter().map(|&channels| vec![true; channels]).collect();
        for Block { group, channels } in self.blocks.iter().take(count) {
            for &channel in channels {
                if let Some(stays) = stays.get_mut(*group).and_then(|group| group.get_mut(channel)) {
                    *stays = false;
                }
            }
        }
        let kept = |stays: Vec<bool>| {
            (0..).zip(stays).filter_map(|(channel, stays)| stays.then_some(channel)).collect()
        };
        stays.into_iter().map(kept).collect()
    }
}

/// A group that loses channels.
struct Shrinking {
    /// Channels that are left with their importance, the most important first.
    left: Vec<(usize, f64)>,
}

impl Shrinking {
    fn new(importance: &[f64]) -> Self {
        let mut left: Vec<(usize, f64)> = importance.iter().copied().enumerate().collect();
        left.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Self { left }
    }

    /// The width that it may have next.
    fn next_width(&self, multiple: usize) -> Option<usize> {
        let next = self.left.len().saturating_sub(1) / multiple * multiple;
        (next >= multiple).then_some(next)
    }
}

/// The block with the least importance for the time that it saves; `None` if every group is at its least.
fn cheapest(groups: &[Shrinking], table: &LatencyTable, multiple: usize) -> Option<Block> {
    let widths: Vec<usize> = groups.iter().map(|group| group.left.len()).collect();
    let candidates = groups.iter().enumerate().filter_map(|(position, shrinking)| {
        let width = shrinking.next_width(multiple)?;
        let leaving = shrinking.left.get(width..).unwrap_or_default();
        let loss: f64 = leaving.iter().map(|(_, importance)| importance).sum();
        let saved = table.saved(&widths, position, width);
        Some((saved <= NOTHING, loss / saved.max(NOTHING), position, width))
    });
    let (.., group, width) = candidates.min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)))?;
    let mut channels: Vec<usize> =
        groups.get(group)?.left.get(width..)?.iter().map(|&(channel, _)| channel).collect();
    channels.sort_unstable();
    Some(Block { group, channels })
}

#[cfg(test)]
mod tests {
    use dnnshifter_network::channels::{LayerWork, Segment};

    use super::*;
    use crate::structured::{table::Trial, trials::widths};

    fn segment(group: usize, channels: usize) -> Vec<Segment> {
        vec![Segment { group: Some(group), channels, entries: 1 }]
    }

    /// For each group of so many channels, a layer of so many operations that writes it.
    fn work(macs: &[u64], channels: &[usize]) -> Vec<LayerWork> {
        let layer = |(group, (&macs, &channels))| LayerWork { macs, factors: vec![segment(group, channels)] };
        macs.iter().zip(channels).enumerate().map(layer).collect()
    }

    /// What is planned if time is work.
    fn plan(importance: &[Vec<f64>], macs: &[u64], multiple: usize) -> RemovalOrder {
        let channels: Vec<usize> = importance.iter().map(Vec::len).collect();
        RemovalOrder::plan(
            importance,
            &LatencyTable::fit(&channels, &work(macs, &channels), 1, &[]),
            multiple,
        )
    }

    #[test]
    fn the_least_important_channels_leave_first_and_a_floor_stays() {
        let order = plan(&[vec![3., 1., 5., 2., 4.]], &[200], 2);
        assert_eq!(order.len(), 2);
        assert_eq!(order.kept_after(0), [[0, 1, 2, 3, 4]]);
        assert_eq!(order.kept_after(1), [[0, 2, 3, 4]], "the odd channel leaves first");
        assert_eq!(order.kept_after(2), [[2, 4]]);
        assert_eq!(order.kept_after(9), [[2, 4]]);
    }

    #[test]
    fn time_that_is_saved_counts_against_importance() {
        let order = plan(&[vec![1.; 4], vec![2.; 4]], &[20, 20_000], 2);
        assert_eq!(order.kept_after(1), [vec![0, 1, 2, 3], vec![0, 1]]);
        assert_eq!(order.kept_after(2), [vec![0, 1], vec![0, 1]]);
    }

    #[test]
    fn what_was_measured_counts_more_than_operations() {
        let (channels, importance) = ([64, 64], [vec![1.; 64], vec![1.; 64]]);
        let work = work(&[1000, 100], &channels);
        // The second layer has a tenth of the operations and takes four times as long.
        let latency = |widths: &[usize]| 0.2 * widths[0] as f64 / 64.0 + 0.8 * widths[1] as f64 / 64.0;
        let trial = |widths: Vec<usize>| Trial { latency: latency(&widths), widths };
        let trials: Vec<Trial> = widths(&channels, 8, 32).into_iter().map(trial).collect();
        let first = |trials: &[Trial]| {
            let table = LatencyTable::fit(&channels, &work, 1, trials);
            RemovalOrder::plan(&importance, &table, 8).blocks[0].group
        };
        assert_eq!((first(&[]), first(&trials)), (0, 1));
    }

    #[test]
    fn what_saves_nothing_leaves_after_all_that_saves_some_however_little_it_matters() {
        let order = plan(&[vec![1e-20; 4], vec![1e-12; 4]], &[0, 1000], 2);
        let groups: Vec<usize> = order.blocks.iter().map(|block| block.group).collect();
        assert_eq!(groups, [1, 0]);
    }

    #[test]
    fn a_group_no_larger_than_the_multiple_is_left_alone() {
        assert_eq!(plan(&[vec![1.; 8], vec![0.; 3]], &[1, 1], 8).len(), 0);
    }
}
