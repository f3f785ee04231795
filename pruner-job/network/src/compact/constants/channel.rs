//! What a node that keeps channels apart makes of a constant, by the ONNX operators' definitions.

use super::{
    super::{
        state::State,
        step::{Function, Pointwise},
    },
    windows::Windows,
};

/// What `function` makes of a constant of channel `channel`.
pub(super) fn apply(function: &Function, channel: usize, state: &State, windows: &Windows<'_>) -> State {
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
        // Of zeros alone the mean is zero, whatever the rounding; of other constants the rest of it is made large.
        Function::Normed(shifts) => match shifts.get(channel) {
            Some(&shift) if state.is_zero() => State::scalar(shift),
            Some(_) | None => State::Live,
        },
        Function::Uniform => {
            if state.is_scalar() {
                state.clone()
            } else {
                State::Live
            }
        }
        // Padding is never the largest.
        Function::MaxPool(_) if state.is_scalar() => state.clone(),
        Function::MaxPool(_) => places(state, windows, |values| {
            values.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max)
        }),
        Function::AveragePool { counts_padding, is_padded, .. }
            if state.is_scalar() && !(*counts_padding && *is_padded) =>
        {
            state.clone()
        }
        Function::AveragePool { counts_padding, .. } => places(state, windows, |values| {
            let inside = values.iter().flatten();
            let count = if *counts_padding { values.len() } else { inside.clone().count() };
            inside.sum::<f64>() / count as f64
        }),
        Function::Mean => match state {
            State::Field(map) => State::scalar(map.mean()),
            State::Live | State::Scalar(_) => state.clone(),
        },
        Function::Pad { value, .. } if *state == State::Scalar(*value) => state.clone(),
        Function::Pad { value, .. } => {
            places(state, windows, |values| values.iter().map(|place| place.unwrap_or(*value)).sum())
        }
        Function::Opaque => State::Live,
    }
}

/// What a function of each window's places, `None` in the padding, makes of a constant.
fn places(state: &State, windows: &Windows<'_>, of: impl Fn(&[Option<f64>]) -> f64) -> State {
    let map = || {
        let taps = windows.taps()?;
        let values = state.on(&taps.input)?;
        let value = |place: usize| values.get(place).copied();
        let mut window = Vec::new();
        let map = taps.windows().map(|places| {
            window.clear();
            window.extend(places.map(|place| place.and_then(value)));
            of(&window)
        });
        Some(State::field(taps.output.clone(), map.collect()))
    };
    map().unwrap_or(State::Live)
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
