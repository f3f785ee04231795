//! Forward: which channels are constant for every image, and what they are. A layer's output is constant if it is dead over
//! its *live* inputs; constants are followed through everything that comes after, in f64.

use std::{collections::HashSet, ops::Range, rc::Rc};

use super::{
    map::Grid,
    plan::Plan,
    state::State,
    step::{Arrange, Channelwise, Join, Linear, Movement, Operation, Step},
};

mod channel;
mod windows;

use channel::apply;
use windows::{Budget, Windows};

/// The state of every slot.
pub(super) struct Constants(Vec<State>);

impl Constants {
    pub(super) fn of(plan: &Plan<'_>) -> Self {
        let mut states = Self(vec![State::Live; plan.classes.len()]);
        let budget = Budget::default();
        for step in &plan.steps {
            match step {
                Step::Linear(layer) => states.linear(layer, &budget),
                Step::Channelwise(node) => states.channelwise(node, &budget),
                Step::Join(node) => states.join(node, &budget),
                Step::Arrange(node) => states.arrange(node, &budget),
                Step::Nothing | Step::Wall(_) => {}
            }
        }
        states
    }

    /// The state of `slot`.
    pub(super) fn at(&self, slot: usize) -> &State {
        self.0.get(slot).unwrap_or(&State::Live)
    }

    fn all(&self, slots: &Range<usize>) -> impl Iterator<Item = &State> {
        self.0.get(slots.clone()).into_iter().flatten()
    }

    /// A map is kept only as long as there is room for it.
    fn set(&mut self, slot: usize, state: State, budget: &Budget) {
        let fits = match &state {
            State::Field(map) => budget.spend(map.values.len()).is_some(),
            State::Live | State::Scalar(_) => true,
        };
        if let Some(known) = self.0.get_mut(slot) {
            *known = if fits { state } else { State::Live };
        }
    }

    fn linear(&mut self, layer: &Linear<'_>, budget: &Budget) {
        let windows = Windows::of(layer.walk.as_ref(), self.all(&layer.ins), budget);
        for (output, slot) in layer.outs.clone().enumerate() {
            let state = self.output(layer, output, &windows);
            self.set(slot, state, budget);
        }
    }

    /// What a layer's output is, given its inputs.
    fn output(&self, layer: &Linear<'_>, output: usize, windows: &Windows<'_>) -> State {
        let (ins, _) = layer.group(output / layer.outs_of_a_group().max(1));
        let state_of = |input: usize| self.at(ins.start + input);
        if layer.rows.row(output).any(|input| state_of(input).is_live()) {
            return State::Live;
        }
        let bias = layer.bias_of(output);
        let constants = || {
            layer.rows.row(output).map(|input| (input, state_of(input))).filter(|(_, state)| !state.is_zero())
        };
        if constants().next().is_none() {
            return State::scalar(bias);
        }
        if !layer.has_border && constants().all(|(_, state)| state.is_scalar()) {
            let sum = constants().map(|(input, state)| {
                let weights: f64 = layer.weights(output, input).sum();
                state.number().map_or(f64::NAN, |value| value * weights)
            });
            return State::scalar(bias + sum.sum::<f64>());
        }
        let mut map: Option<(Rc<Grid>, Vec<f64>)> = None;
        for (input, state) in constants() {
            let Some(taps) = windows.taps() else { return State::Live };
            let Some(values) = state.on(&taps.input) else { return State::Live };
            let weights: Vec<f64> = layer.weights(output, input).collect();
            let (_, map) = map.get_or_insert_with(|| (taps.output.clone(), vec![bias; taps.output.len()]));
            taps.add(&values, &weights, map);
        }
        map.map_or(State::Live, |(grid, values)| State::field(grid, values))
    }

    fn channelwise(&mut self, node: &Channelwise<'_>, budget: &Budget) {
        let windows = Windows::of(node.function.walk(), self.all(&node.from.slots), budget);
        for (channel, (from, to)) in node.from.slots.clone().zip(node.to.slots.clone()).enumerate() {
            let state = apply(&node.function, channel, self.at(from), &windows);
            self.set(to, state, budget);
        }
    }

    fn join(&mut self, node: &Join<'_>, budget: &Budget) {
        let [left, right] = &node.values;
        let slots = left.slots.clone().zip(right.slots.clone()).zip(node.to.slots.clone());
        // A row or column that is repeated over a map is not followed; one number is.
        let places = node.to.places();
        let is_repeated = |state: &State| matches!(state, State::Field(map) if Some(map.places()) != places);
        for ((left, right), to) in slots {
            let (left, right) = (self.at(left), self.at(right));
            let is_nothing = node.operation == Operation::Multiply && (left.is_zero() || right.is_zero());
            let state = match (left, right) {
                _ if is_nothing => State::Scalar(0.0),
                _ if is_repeated(left) || is_repeated(right) => State::Live,
                _ => left.join(right, |left, right| node.operation.of(left, right)),
            };
            self.set(to, state, budget);
        }
    }

    fn arrange(&mut self, node: &Arrange<'_>, budget: &Budget) {
        let mut written = HashSet::new();
        let is_part = matches!(node.movement, Movement::Part);
        for each in &node.moves {
            let state = match (self.at(each.from), each.place) {
                (State::Field(_), None) if is_part => State::Live,
                (State::Field(map), Some(place)) => map.at(place).map_or(State::Live, State::scalar),
                (state, _) => state.clone(),
            };
            // Where several channels follow one another along another axis, only what is the same in all is known.
            let is_first = written.insert(each.to);
            let agrees = is_first || (state.is_scalar() && *self.at(each.to) == state);
            self.set(each.to, if agrees { state } else { State::Live }, budget);
        }
    }
}
