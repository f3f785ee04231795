//! Forward: which channels are constant for every image, and what they are. A layer's output is constant if it is dead over
//! its *live* inputs; constants are followed through everything that comes after, in f64.

use std::cell::Cell;

use super::{
    plan::Plan,
    state::State,
    step::{Arrange, Channelwise, Function, Join, Linear, Operation, Pointwise, Step, Walk},
};

/// Multiplications, and numbers, that may be spent on constants that differ from place to place. Beyond it they count as live, which
/// is as exact, and leaves a channel more.
const MOST_WORK: usize = 1 << 24;

/// The state of every slot.
pub(super) struct Constants(Vec<State>);

impl Constants {
    pub(super) fn of(plan: &Plan<'_>) -> Self {
        let mut states = Self(vec![State::Live; plan.classes.len()]);
        let budget = Budget(Cell::new(MOST_WORK));
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

    /// A map is kept only as long as there is room for it.
    fn set(&mut self, slot: usize, state: State, budget: &Budget) {
        let fits = match &state {
            State::Field(values) => budget.spend(values.len()).is_some(),
            State::Live | State::Scalar(_) => true,
        };
        if let Some(known) = self.0.get_mut(slot) {
            *known = if fits { state } else { State::Live };
        }
    }

    fn linear(&mut self, layer: &Linear<'_>, budget: &Budget) {
        for (output, slot) in layer.outs.clone().enumerate() {
            let state = self.output(layer, output, budget);
            self.set(slot, state, budget);
        }
    }

    /// What a layer's output is, given its inputs.
    fn output(&self, layer: &Linear<'_>, output: usize, budget: &Budget) -> State {
        let (ins, _) = layer.group(output / layer.outs_of_a_group().max(1));
        let state_of = |input: usize| self.at(ins.start + input);
        let Some(row) = layer.rows.get(output) else { return State::Live };
        if row.ones().any(|input| state_of(input).is_live()) {
            return State::Live;
        }
        let bias = layer.bias_of(output);
        let constants =
            || row.ones().map(|input| (input, state_of(input))).filter(|(_, state)| !state.is_zero());
        if constants().next().is_none() {
            return State::scalar(bias);
        }
        if !layer.has_border && constants().all(|(_, state)| state.is_scalar()) {
            let sum = constants().map(|(input, state)| {
                let weights: f64 = layer.weights(output, input).sum();
                state.vector(1).map_or(f64::NAN, |value| value.iter().sum::<f64>() * weights)
            });
            return State::scalar(bias + sum.sum::<f64>());
        }
        let Some(walk) = &layer.walk else { return State::Live };
        if budget.spend_on(walk).is_none() {
            return State::Live;
        }
        let mut map = vec![bias; walk.output.iter().product()];
        for (input, state) in constants() {
            let weights: Vec<f64> = layer.weights(output, input).collect();
            if convolve(walk, state, &weights, &mut map, budget).is_none() {
                return State::Live;
            }
        }
        State::field(map)
    }

    fn channelwise(&mut self, node: &Channelwise<'_>, budget: &Budget) {
        for (channel, (from, to)) in node.from.slots.clone().zip(node.to.slots.clone()).enumerate() {
            let state = apply(&node.function, channel, self.at(from), budget);
            self.set(to, state, budget);
        }
    }

    fn join(&mut self, node: &Join<'_>, budget: &Budget) {
        let [left, right] = &node.values;
        let slots = left.slots.clone().zip(right.slots.clone()).zip(node.to.slots.clone());
        // A row or column that is repeated over a map is not followed; one number is.
        let places = node.to.places();
        let is_repeated =
            |state: &State| matches!(state, State::Field(values) if Some(values.len()) != places);
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
        let mut written = std::collections::HashSet::new();
        for each in &node.moves {
            let state = match (self.at(each.from), each.place) {
                (State::Field(values), Some(place)) => {
                    values.get(place).map_or(State::Live, |&value| State::scalar(value))
                }
                (state, _) => state.clone(),
            };
            // Where several channels follow one another along another axis, only what is the same in all is known.
            let is_first = written.insert(each.to);
            let agrees = is_first || (state.is_scalar() && *self.at(each.to) == state);
            self.set(each.to, if agrees { state } else { State::Live }, budget);
        }
    }
}

/// Work that may still be spent.
struct Budget(Cell<usize>);

impl Budget {
    fn spend(&self, work: usize) -> Option<()> {
        self.0.set(self.0.get().checked_sub(work)?);
        Some(())
    }

    /// What it takes to move a window over a map, and to hold both maps.
    fn spend_on(&self, walk: &Walk) -> Option<()> {
        self.spend(walk.input.iter().fold(1, |places: usize, &size| places.saturating_mul(size)))?;
        self.spend(walk.window.work(walk.output))
    }
}

/// Adds to `map` what a kernel makes of a constant.
fn convolve(walk: &Walk, state: &State, weights: &[f64], map: &mut [f64], budget: &Budget) -> Option<()> {
    budget.spend_on(walk)?;
    let values = state.vector(walk.input.iter().product())?;
    walk.window.walk(walk.input, walk.output, |to, kernel, from| {
        let value = from.and_then(|from| values.get(from)).copied().unwrap_or(0.0);
        if let (Some(sum), Some(weight)) = (map.get_mut(to), weights.get(kernel)) {
            *sum += weight * value;
        }
    })
}

fn apply(function: &Function, channel: usize, state: &State, budget: &Budget) -> State {
    match function {
        Function::Pointwise(function) => state.map(|value| pointwise(*function, value)),
        Function::Affine(affine) => match affine.get(channel) {
            // Nothing times a number is nothing, whatever the image.
            Some(&(0.0, summand)) => State::scalar(summand),
            Some(&(factor, summand)) => state.map(|value| factor * value + summand),
            None => State::Live,
        },
        Function::Slopes(slopes) => match slopes.get(channel) {
            Some(&slope) => state.map(|value| if value < 0.0 { slope * value } else { value }),
            None => State::Live,
        },
        Function::Uniform => {
            if state.is_scalar() {
                state.clone()
            } else {
                State::Live
            }
        }
        Function::MaxPool(walk) => pooled(state, walk.as_ref(), budget, &|values| {
            values.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max)
        }),
        Function::AveragePool { walk, counts_padding, is_padded } => {
            let is_even = !(*counts_padding && *is_padded);
            if is_even && state.is_scalar() {
                return state.clone();
            }
            averaged(state, walk.as_ref(), *counts_padding, budget)
        }
        Function::Mean => match state {
            State::Field(values) => State::scalar(values.iter().sum::<f64>() / values.len() as f64),
            State::Live | State::Scalar(_) => state.clone(),
        },
        Function::Pad { value, .. } if *state == State::Scalar(*value) => state.clone(),
        Function::Pad { walk, value } => places(state, walk.as_ref(), budget, &|values| {
            values.iter().map(|place| place.unwrap_or(*value)).sum()
        }),
        Function::Opaque => State::Live,
    }
}

fn pooled(state: &State, walk: Option<&Walk>, budget: &Budget, of: &dyn Fn(&[Option<f64>]) -> f64) -> State {
    // Padding is never the largest.
    if state.is_scalar() { state.clone() } else { places(state, walk, budget, of) }
}

fn averaged(state: &State, walk: Option<&Walk>, counts_padding: bool, budget: &Budget) -> State {
    places(state, walk, budget, &|values| {
        let inside = values.iter().flatten();
        let count = if counts_padding { values.len() } else { inside.clone().count() };
        inside.sum::<f64>() / count as f64
    })
}

/// What a function of each window's places, `None` in the padding, makes of a constant.
fn places(state: &State, walk: Option<&Walk>, budget: &Budget, of: &dyn Fn(&[Option<f64>]) -> f64) -> State {
    let map = || {
        let walk = walk?;
        budget.spend_on(walk)?;
        let values = state.vector(walk.input.iter().product())?;
        let mut windows = vec![Vec::new(); walk.output.iter().product()];
        walk.window.walk(walk.input, walk.output, |to, _, from| {
            if let Some(window) = windows.get_mut(to) {
                window.push(from.and_then(|from| values.get(from).copied()));
            }
        })?;
        Some(windows.iter().map(|window| of(window)).collect())
    };
    map().map_or(State::Live, State::field)
}

fn pointwise(function: Pointwise, value: f64) -> f64 {
    match function {
        Pointwise::Identity => value,
        Pointwise::Abs => value.abs(),
        Pointwise::Clip { least, most } => value.max(least).min(most),
        Pointwise::Elu { alpha } => {
            if value < 0.0 {
                alpha * value.exp_m1()
            } else {
                value
            }
        }
        Pointwise::HardSigmoid { alpha, beta } => (alpha * value + beta).clamp(0.0, 1.0),
        Pointwise::HardSwish => value * (value / 6.0 + 0.5).clamp(0.0, 1.0),
        Pointwise::LeakyRelu { alpha } => {
            if value < 0.0 {
                alpha * value
            } else {
                value
            }
        }
        Pointwise::Negative => -value,
        Pointwise::Sigmoid => (1.0 + (-value).exp()).recip(),
        Pointwise::Softplus => value.max(0.0) + (-value.abs()).exp().ln_1p(),
        Pointwise::Tanh => value.tanh(),
    }
}
