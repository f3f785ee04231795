//! In which order channels go: always the block that costs the least loss for the work that it saves. Pure.

use std::collections::BTreeSet;

use dnnshifter_network::ChannelGroup;

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

impl RemovalOrder {
    /// Plans the removal of everything down to one block of `multiple` channels in each group; after each step, every
    /// group that was touched has a multiple of `multiple` channels.
    ///
    /// The groups are those of a sequential network in order, so that each reads what the one before it writes.
    pub(super) fn plan(groups: &[ChannelGroup], importance: &[Vec<f64>], multiple: usize) -> Self {
        let mut shrinking: Vec<Shrinking> =
            groups.iter().zip(importance).map(|(group, values)| Shrinking::new(group, values)).collect();
        let mut blocks = Vec::new();
        while let Some(block) = cheapest(&shrinking, multiple.max(1)) {
            if let Some(group) = shrinking.get_mut(block.group) {
                group.left.truncate(group.left.len() - block.channels.len());
            }
            blocks.push(block);
        }
        Self { channels: groups.iter().map(|group| group.channels).collect(), blocks }
    }

    /// Number of blocks that can leave.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The channels of each group that are kept, in increasing order, when the first `count` blocks are gone.
    pub(super) fn kept_after(&self, count: usize) -> Vec<Vec<usize>> {
        let mut kept: Vec<BTreeSet<usize>> =
            self.channels.iter().map(|&channels| (0..channels).collect()).collect();
        for block in self.blocks.iter().take(count) {
            if let Some(kept) = kept.get_mut(block.group) {
                block.channels.iter().for_each(|channel| {
                    kept.remove(channel);
                });
            }
        }
        kept.into_iter().map(|kept| kept.into_iter().collect()).collect()
    }
}

/// A group that loses channels.
struct Shrinking {
    channels: usize,
    writer_macs: f64,
    reader_macs: f64,
    /// Channels that are left with their importance, the most important first.
    left: Vec<(usize, f64)>,
}

impl Shrinking {
    fn new(group: &ChannelGroup, importance: &[f64]) -> Self {
        let mut left: Vec<(usize, f64)> = importance.iter().copied().enumerate().collect();
        left.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let (writer_macs, reader_macs) = (group.macs as f64, group.reader.macs as f64);
        Self { channels: group.channels, writer_macs, reader_macs, left }
    }

    /// Share of the group's channels that is left.
    fn share(&self) -> f64 {
        self.left.len() as f64 / self.channels.max(1) as f64
    }
}

/// The block with the least importance for each multiply-accumulate that it saves; `None` if every group is at its least.
fn cheapest(groups: &[Shrinking], multiple: usize) -> Option<Block> {
    let candidates = groups.iter().enumerate().filter_map(|(position, group)| {
        let kept = group.left.len().saturating_sub(1) / multiple * multiple;
        let leaving = group.left.get(kept..).filter(|leaving| kept >= multiple && !leaving.is_empty())?;
        let before =
            position.checked_sub(1).and_then(|before| groups.get(before)).map_or(1.0, Shrinking::share);
        let after = groups.get(position + 1).map_or(1.0, Shrinking::share);
        let saved_share = leaving.len() as f64 / group.channels.max(1) as f64;
        let saved = saved_share * (group.writer_macs * before + group.reader_macs * after);
        let loss: f64 = leaving.iter().map(|(_, importance)| importance).sum();
        let mut channels: Vec<usize> = leaving.iter().map(|&(channel, _)| channel).collect();
        channels.sort_unstable();
        Some((loss / saved.max(1.0), Block { group: position, channels }))
    });
    candidates.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, block)| block)
}

#[cfg(test)]
mod tests {
    use dnnshifter_network::channels::Reader;

    use super::*;

    fn group(channels: usize, macs: u64, reader_macs: u64) -> ChannelGroup {
        let reader = Reader { weight: String::new(), axis: 1, entries_per_channel: 1, macs: reader_macs };
        ChannelGroup { name: String::new(), channels, written: vec![], batch_norm: None, macs, reader }
    }

    #[test]
    fn the_least_important_channels_leave_first_and_a_floor_stays() {
        let order = RemovalOrder::plan(&[group(5, 100, 100)], &[vec![3., 1., 5., 2., 4.]], 2);
        assert_eq!(order.len(), 2);
        assert_eq!(order.kept_after(0), [[0, 1, 2, 3, 4]]);
        assert_eq!(order.kept_after(1), [[0, 2, 3, 4]], "the odd channel leaves first");
        assert_eq!(order.kept_after(2), [[2, 4]]);
        assert_eq!(order.kept_after(9), [[2, 4]]);
    }

    #[test]
    fn work_that_is_saved_counts_against_importance() {
        let groups = [group(4, 10, 10), group(4, 10_000, 10_000)];
        let order = RemovalOrder::plan(&groups, &[vec![1.; 4], vec![2.; 4]], 2);
        assert_eq!(order.kept_after(1), [vec![0, 1, 2, 3], vec![0, 1]]);
        assert_eq!(order.kept_after(2), [vec![0, 1], vec![0, 1]]);
    }

    #[test]
    fn a_group_no_larger_than_the_multiple_is_left_alone() {
        let order = RemovalOrder::plan(&[group(8, 1, 1), group(3, 1, 1)], &[vec![1.; 8], vec![0.; 3]], 8);
        assert_eq!(order.len(), 0);
    }
}
