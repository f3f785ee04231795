//! Spaces of channels, of which each stays or leaves everywhere. Spaces that meet are united (a union-find).

use std::collections::BTreeMap;

use super::super::{ChannelGroup, Writer};

/// Consecutive channels of a value.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) space: usize,
    pub(super) channels: usize,
    pub(super) entries: usize,
}

/// All channels of a value.
pub(super) type Layout = Vec<Run>;

/// All spaces of a network, in order of execution.
#[derive(Default)]
pub(super) struct Spaces(Vec<Space>);

struct Space {
    /// The space that it was united with, or itself.
    parent: usize,
    /// All of its channels stay.
    fixed: bool,
    /// Name of the layer that writes it, and its tensors.
    writer: Option<(String, Writer)>,
}

impl Spaces {
    /// A new space of so many channels.
    pub(super) fn row(&mut self, channels: usize, fixed: bool, writer: Option<(String, Writer)>) -> Run {
        let space = self.0.len();
        self.0.push(Space { parent: space, fixed, writer });
        Run { space, channels, entries: 1 }
    }

    /// All channels stay.
    pub(super) fn fix(&mut self, layout: &Layout) {
        for run in layout {
            let root = self.root(run.space);
            if let Some(space) = self.0.get_mut(root) {
                space.fixed = true;
            }
        }
    }

    /// The channels of two values that meet: one and the same from here on.
    pub(super) fn united(&mut self, first: &Layout, second: &Layout) -> Layout {
        let alike = first.len() == second.len()
            && first.iter().zip(second).all(|(a, b)| (a.channels, a.entries) == (b.channels, b.entries));
        if alike {
            for (a, b) in first.iter().zip(second) {
                self.unite(a.space, b.space);
            }
        } else {
            self.fix(first);
            self.fix(second);
        }
        first.clone()
    }

    /// The older space stays: groups are in order of execution.
    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (older, younger) = (a.min(b), a.max(b));
        let fixed = [a, b].iter().any(|&space| self.0.get(space).is_some_and(|space| space.fixed));
        if let Some(space) = self.0.get_mut(younger) {
            space.parent = older;
        }
        if let Some(space) = self.0.get_mut(older) {
            space.fixed = fixed;
        }
    }

    /// The space that stands for all that were united with it.
    pub(super) fn root(&self, mut space: usize) -> usize {
        while let Some(parent) = self.0.get(space).map(|space| space.parent).filter(|&parent| parent != space)
        {
            space = parent;
        }
        space
    }

    /// A batch norm of this scale follows the layer that writes a space.
    pub(super) fn note_scale(&mut self, space: usize, scale: Option<&str>) {
        if let Some((_, writer)) = self.0.get_mut(space).and_then(|space| space.writer.as_mut()) {
            writer.scale = scale.map(str::to_owned);
        }
    }

    /// The channels that can leave, by the space that stands for them; `rows` says how many there are of each.
    pub(super) fn groups<'a>(&self, rows: impl Iterator<Item = &'a Run>) -> BTreeMap<usize, ChannelGroup> {
        let sizes: BTreeMap<usize, usize> = rows.map(|run| (self.root(run.space), run.channels)).collect();
        let mut groups: BTreeMap<usize, ChannelGroup> = BTreeMap::new();
        for (position, space) in self.0.iter().enumerate() {
            let root = self.root(position);
            let fixed = self.0.get(root).is_none_or(|space| space.fixed);
            if let (Some((name, writer)), false) = (&space.writer, fixed) {
                let channels = sizes.get(&root).copied().unwrap_or(0);
                let group = || ChannelGroup { name: name.clone(), channels, writers: Vec::new() };
                groups.entry(root).or_insert_with(group).writers.push(writer.clone());
            }
        }
        groups
    }
}
