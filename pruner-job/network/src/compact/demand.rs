//! Backward: which channels must stay, and why. Demands only grow, until no node has any left, so the order in which they
//! are found does not matter.

use std::{collections::HashSet, ops::Range};

use fixedbitset::FixedBitSet;

use crate::onnx::ValueInfoProto;

use super::{
    carriers::Carriers,
    constants::Constants,
    plan::{Plan, Value},
    source::Source,
    step::{Join, Linear, Movement, Step},
};

/// How much of a channel is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nothing: it goes.
    Gone,
    /// It must be there, whatever finite numbers it holds: for a number of channels that divides, or one at all.
    Shape,
    /// What it holds is read.
    Content,
}

/// The inputs of a layer, or of one of its groups, that have a weight in an output that is needed.
pub(super) struct Inputs {
    /// Those that are not constant.
    live: Vec<usize>,
    /// Constants that go, whose weights must be folded into those of carriers; `None` if there are none, or if the bias can take
    /// them all, since they are the same everywhere, the border included.
    pub(super) folded: Option<Vec<usize>>,
}

/// What stays.
pub(super) struct Kept<'a> {
    /// By class.
    levels: Vec<Level>,
    classes: &'a [usize],
    required: HashSet<&'a str>,
    grew: bool,
}

impl<'a> Kept<'a> {
    /// What must stay of `plan` so that its outputs are the same; layers keep a multiple of `round_to` channels if they have them.
    pub(super) fn of(
        source: &Source<'a>,
        plan: &'a Plan<'a>,
        constants: &Constants,
        round_to: usize,
    ) -> Self {
        let levels = vec![Level::Gone; plan.classes.len()];
        let mut kept = Self { levels, classes: &plan.classes, required: HashSet::new(), grew: false };
        for &slot in &plan.pinned {
            kept.raise(slot, Level::Content);
        }
        let captured = source.graph.node.iter().flat_map(|node| &node.output);
        let captured = captured.filter(|name| source.is_captured(name)).map(String::as_str);
        for name in source.graph.output.iter().map(ValueInfoProto::name).chain(captured) {
            kept.require(name);
            kept.raise_all(plan.slots(name), Level::Content);
        }
        loop {
            kept.settle(source, plan, constants);
            kept.round(plan, round_to);
            if !kept.grew {
                return kept;
            }
        }
    }

    /// How much of the channel is kept.
    pub(super) fn level(&self, slot: usize) -> Level {
        let level = self.classes.get(slot).and_then(|&class| self.levels.get(class));
        level.copied().unwrap_or(Level::Content)
    }

    pub(super) fn is_kept(&self, slot: usize) -> bool {
        self.level(slot) > Level::Gone
    }

    /// Whether nothing of these channels goes or is arbitrary.
    pub(super) fn is_whole(&self, slots: &Range<usize>) -> bool {
        slots.clone().all(|slot| self.level(slot) == Level::Content)
    }

    /// The channels, counted within `slots`, that stay.
    pub(super) fn channels(&self, slots: &Range<usize>) -> Vec<usize> {
        slots.clone().filter(|&slot| self.is_kept(slot)).map(|slot| slot - slots.start).collect()
    }

    pub(super) fn has_any(&self, slots: &Range<usize>) -> bool {
        slots.clone().any(|slot| self.is_kept(slot))
    }

    /// Whether a value is read on the way to an output.
    pub(super) fn is_required(&self, name: &str) -> bool {
        self.required.contains(name)
    }

    fn require(&mut self, name: &'a str) {
        self.grew |= self.required.insert(name);
    }

    fn raise(&mut self, slot: usize, level: Level) {
        let class = self.classes.get(slot).and_then(|&class| self.levels.get_mut(class));
        if let Some(known) = class.filter(|known| **known < level) {
            *known = level;
            self.grew = true;
        }
    }

    fn raise_all(&mut self, slots: Option<Range<usize>>, level: Level) {
        for slot in slots.into_iter().flatten() {
            self.raise(slot, level);
        }
    }

    fn settle(&mut self, source: &Source<'a>, plan: &'a Plan<'a>, constants: &Constants) {
        loop {
            self.grew = false;
            for (node, step) in source.graph.node.iter().zip(&plan.steps).rev() {
                if !node.output.iter().any(|name| self.is_required(name)) {
                    continue;
                }
                match step {
                    Step::Linear(layer) => self.layer(layer, constants),
                    Step::Channelwise(step) => self.require(step.input),
                    Step::Join(join) => self.join(join, constants),
                    Step::Arrange(arrange) => match &arrange.movement {
                        Movement::Concat { inputs } => self.concat(inputs),
                        Movement::Select { input, .. } => self.require(input),
                        Movement::Stack
                        | Movement::Part
                        | Movement::Split { .. }
                        | Movement::Reshape { .. } => {
                            node.input.iter().for_each(|name| self.require(name));
                        }
                    },
                    Step::Nothing => node.input.iter().for_each(|name| self.size(name, plan)),
                    Step::Wall(_) => {
                        for name in &node.input {
                            self.require(name);
                            self.raise_all(plan.slots(name), Level::Content);
                        }
                    }
                }
            }
            if !self.grew {
                return;
            }
        }
    }

    /// The size of a value is read, which must be there for that.
    fn size(&mut self, name: &'a str, plan: &Plan<'_>) {
        self.require(name);
        if let Some(slots) = plan.slots(name).filter(|slots| !self.has_any(slots)) {
            self.raise(slots.start, Level::Shape);
        }
    }

    fn concat(&mut self, inputs: &[(&'a str, Value)]) {
        for (name, value) in inputs {
            if self.has_any(&value.slots) {
                self.require(name);
            }
        }
    }

    fn join(&mut self, join: &Join<'a>, constants: &Constants) {
        let replaced = self.constant_side(join, constants);
        for (side, name) in join.inputs.into_iter().enumerate() {
            if replaced != Some(side) {
                self.require(name);
            }
        }
    }

    /// The side of a sum or product that is the same number for each whole channel, and does not decide the size of the result: a
    /// constant can stand for it, and what makes it is not needed.
    pub(super) fn constant_side(&self, join: &Join<'_>, constants: &Constants) -> Option<usize> {
        let is_constant = |side: usize| {
            let value = join.values.get(side)?;
            let mut read = value.slots.clone().filter(|&slot| self.level(slot) == Level::Content);
            Some(read.all(|slot| constants.at(slot).is_scalar()))
        };
        let decides_no_size = |side: usize| {
            let (value, other) = (join.values.get(side)?, join.values.get(1 - side)?);
            let sizes = value.dims.iter().zip(&other.dims).enumerate();
            // The first axis is the batch, which every image has.
            Some(sizes.skip(1).all(|(_, (own, other))| *own == Some(1) || (own.is_some() && own == other)))
        };
        // In a difference, the side that is taken away first: what is left may then be the other side itself.
        [1, 0]
            .into_iter()
            .find(|&side| is_constant(side) == Some(true) && decides_no_size(side) == Some(true))
    }

    fn layer(&mut self, layer: &Linear<'a>, constants: &Constants) {
        if !self.has_any(&layer.outs) && layer.groups == 1 {
            return;
        }
        self.require(layer.input);
        if layer.is_depthwise() {
            return;
        }
        for group in 0..layer.groups {
            let (ins, outs) = layer.group(group);
            self.inputs(layer, group, constants);
            let (reads, writes) = (self.has_any(&ins), self.has_any(&outs));
            if writes && !reads {
                self.raise(ins.start, Level::Shape);
            }
            if reads && !writes {
                self.raise(outs.start, Level::Shape);
            }
        }
        if layer.groups > 1 {
            self.equalise(layer);
        }
    }

    /// Demands what the needed outputs of a group read.
    fn inputs(&mut self, layer: &Linear<'a>, group: usize, constants: &Constants) {
        let Inputs { live, folded } = self.read_by(layer, group, constants);
        for slot in live {
            self.raise(slot, Level::Content);
        }
        if let Some(folded) = folded {
            let mut carriers = Carriers::of(self, layer.group(group).0, constants);
            for slot in carriers.missing(&folded, constants) {
                self.raise(slot, Level::Content);
            }
        }
    }

    /// What a group reads for the outputs that are needed and not the same everywhere.
    pub(super) fn read_by(&self, layer: &Linear<'_>, group: usize, constants: &Constants) -> Inputs {
        let (ins, outs) = layer.group(group);
        let mut read = FixedBitSet::with_capacity(layer.ins_of_a_group());
        let needed = |slot: &usize| self.level(*slot) == Level::Content && !constants.at(*slot).is_scalar();
        for slot in outs.filter(needed) {
            layer.rows.add_to(slot - layer.outs.start, &mut read);
        }
        let slots = read.ones().map(|input| ins.start + input).filter(|&slot| !constants.at(slot).is_zero());
        let (live, constant): (Vec<usize>, Vec<usize>) =
            slots.partition(|&slot| constants.at(slot).is_live());
        let fits_bias = !layer.has_border && constant.iter().all(|&slot| constants.at(slot).is_scalar());
        let gone: Vec<usize> =
            constant.into_iter().filter(|&slot| self.level(slot) < Level::Content).collect();
        Inputs { live, folded: Some(gone).filter(|gone| !fits_bias && !gone.is_empty()) }
    }

    /// Every group that stays has as many inputs, and as many outputs, as the largest.
    fn equalise(&mut self, layer: &Linear<'_>) {
        let groups: Vec<_> = (0..layer.groups).map(|group| layer.group(group)).collect();
        let count = |kept: &Self, slots: &Range<usize>| kept.channels(slots).len();
        let most_ins = groups.iter().map(|(ins, _)| count(self, ins)).max().unwrap_or(0);
        let most_outs = groups.iter().map(|(_, outs)| count(self, outs)).max().unwrap_or(0);
        for (ins, outs) in groups {
            if self.has_any(&ins) || self.has_any(&outs) {
                self.fill(&ins, most_ins);
                self.fill(&outs, most_outs);
            }
        }
    }

    /// Keeps at least `count` of the channels.
    fn fill(&mut self, slots: &Range<usize>, count: usize) {
        let missing = count.saturating_sub(self.channels(slots).len());
        let gone: Vec<usize> = slots.clone().filter(|&slot| !self.is_kept(slot)).take(missing).collect();
        for slot in gone {
            self.raise(slot, Level::Shape);
        }
    }

    fn round(&mut self, plan: &Plan<'_>, round_to: usize) {
        for step in &plan.steps {
            if let Step::Linear(layer) = step
                && layer.groups == 1
                && self.has_any(&layer.outs)
            {
                let count = self.channels(&layer.outs).len();
                self.fill(&layer.outs, count.next_multiple_of(round_to.max(1)).min(layer.outs.len()));
            }
        }
    }
}
