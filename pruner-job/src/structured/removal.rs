//! In which order channels go: always the block that costs the least loss for the work that it saves. Pure.

use std::collections::BTreeSet;

use dnnshifter_network::channels::{LayerWork, Segment};

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
    /// `importance` is that of every channel of every group, `work` what the layers cost.
    pub(super) fn plan(importance: &[Vec<f64>], work: &[LayerWork], multiple: usize) -> Self {
        let mut groups: Vec<Shrinking> = importance.iter().map(|values| Shrinking::new(values)).collect();
        let mut blocks = Vec::new();
        while let Some(block) = cheapest(&groups, work, multiple.max(1)) {
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
    /// Channels that are left with their importance, the most important first.
    left: Vec<(usize, f64)>,
}

impl Shrinking {
    fn new(importance: &[f64]) -> Self {
        let mut left: Vec<(usize, f64)> = importance.iter().copied().enumerate().collect();
        left.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Self { channels: importance.len(), left }
    }
}

/// The block with the least importance for each multiply-accumulate that it saves; `None` if every group is at its least.
fn cheapest(groups: &[Shrinking], work: &[LayerWork], multiple: usize) -> Option<Block> {
    let share = |group: &Shrinking, left: usize| left as f64 / group.channels.max(1) as f64;
    let shares: Vec<f64> = groups.iter().map(|group| share(group, group.left.len())).collect();
    let candidates = groups.iter().enumerate().filter_map(|(position, group)| {
        let kept = group.left.len().saturating_sub(1) / multiple * multiple;
        let leaving = group.left.get(kept..).filter(|leaving| kept >= multiple && !leaving.is_empty())?;
        let mut after = shares.clone();
        *after.get_mut(position)? = share(group, kept);
        let touched = work.iter().filter(|layer| touches(layer, position));
        let saved: f64 = touched.map(|layer| macs(layer, &shares) - macs(layer, &after)).sum();
        let loss: f64 = leaving.iter().map(|(_, importance)| importance).sum();
        let mut channels: Vec<usize> = leaving.iter().map(|&(channel, _)| channel).collect();
        channels.sort_unstable();
        Some((loss / saved.max(1.0), Block { group: position, channels }))
    });
    candidates.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, block)| block)
}

fn touches(layer: &LayerWork, group: usize) -> bool {
    layer.factors.iter().flatten().any(|segment| segment.group == Some(group))
}

/// What is left of a layer's operations when `shares` of the groups' channels are left.
fn macs(layer: &LayerWork, shares: &[f64]) -> f64 {
    let left = |segments: &Vec<Segment>| {
        let size = |segment: &Segment| (segment.channels * segment.entries) as f64;
        let share =
            |segment: &Segment| segment.group.and_then(|group| shares.get(group)).copied().unwrap_or(1.0);
        let all: f64 = segments.iter().map(size).sum();
        segments.iter().map(|segment| size(segment) * share(segment)).sum::<f64>() / all.max(1.0)
    };
    layer.factors.iter().map(left).product::<f64>() * layer.macs as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(group: usize) -> Vec<Segment> {
        vec![Segment { group: Some(group), channels: 8, entries: 1 }]
    }

    /// For each group a layer of so many operations that writes it.
    fn work(macs: &[u64]) -> Vec<LayerWork> {
        macs.iter()
            .enumerate()
            .map(|(group, &macs)| LayerWork { macs, factors: vec![segment(group)] })
            .collect()
    }

    #[test]
    fn the_least_important_channels_leave_first_and_a_floor_stays() {
        let order = RemovalOrder::plan(&[vec![3., 1., 5., 2., 4.]], &work(&[200]), 2);
        assert_eq!(order.len(), 2);
        assert_eq!(order.kept_after(0), [[0, 1, 2, 3, 4]]);
        assert_eq!(order.kept_after(1), [[0, 2, 3, 4]], "the odd channel leaves first");
        assert_eq!(order.kept_after(2), [[2, 4]]);
        assert_eq!(order.kept_after(9), [[2, 4]]);
    }

    #[test]
    fn work_that_is_saved_counts_against_importance() {
        let order = RemovalOrder::plan(&[vec![1.; 4], vec![2.; 4]], &work(&[20, 20_000]), 2);
        assert_eq!(order.kept_after(1), [vec![0, 1, 2, 3], vec![0, 1]]);
        assert_eq!(order.kept_after(2), [vec![0, 1], vec![0, 1]]);
    }

    #[test]
    fn a_layer_between_two_groups_falls_with_both() {
        let layer = LayerWork { macs: 1000, factors: vec![segment(0), segment(1)] };
        assert!((macs(&layer, &[0.5, 0.5]) - 250.0).abs() < 1e-9);
        assert!(touches(&layer, 1) && !touches(&layer, 2));
    }

    #[test]
    fn a_group_no_larger_than_the_multiple_is_left_alone() {
        let order = RemovalOrder::plan(&[vec![1.; 8], vec![0.; 3]], &work(&[1, 1]), 8);
        assert_eq!(order.len(), 0);
    }
}
