//! Activations and arithmetic: what is done to each value by itself, or to two of the same place.

use super::{
    Activation, Arithmetic, Operator, Unsupported,
    reading::{Reading, SIMPLIFY, form, unknown},
};

pub(super) fn activation(read: &Reading<'_>) -> Result<Activation, Unsupported> {
    let number = |name, default| f64::from(read.attributes.float(name, default));
    Ok(match read.node.op_type() {
        "Relu" => Activation::Relu,
        "LeakyRelu" => Activation::LeakyRelu { slope: number("alpha", 0.01) },
        "Elu" if read.attributes.float("alpha", 1.0).to_bits() == 1.0_f32.to_bits() => Activation::Elu,
        "Elu" => return Err(form("Elu with alpha other than 1", "take another activation")),
        "Clip" => clip(read)?,
        "Sigmoid" => Activation::Sigmoid,
        "HardSigmoid" => Activation::HardSigmoid { slope: number("alpha", 0.2), offset: number("beta", 0.5) },
        "HardSwish" => Activation::HardSwish,
        "Tanh" => Activation::Tanh,
        "Gelu" => Activation::Gelu { by_tanh: read.attributes.text("approximate") == Some(b"tanh") },
        other => return Err(unknown(other.to_owned())),
    })
}

/// Limits that are absent are infinite.
fn clip(read: &Reading<'_>) -> Result<Activation, Unsupported> {
    let limit = |position, absent: f64| {
        let tensor = read.floats(position, "Clip whose limits are computed")?;
        let value = tensor.and_then(|tensor| tensor.values().first().copied());
        Ok::<_, Unsupported>(value.map_or(absent, f64::from))
    };
    Ok(Activation::Clip { low: limit(1, f64::NEG_INFINITY)?, high: limit(2, f64::INFINITY)? })
}

pub(super) fn trained_slope(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    if read.weights_are_constant() {
        Ok(Operator::PRelu)
    } else {
        Err(form("PRelu whose slope is computed", SIMPLIFY))
    }
}

pub(super) fn binary(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    if read.node.input.iter().all(|name| read.network.is_constant(name)) {
        return Err(form("arithmetic of constants alone", SIMPLIFY));
    }
    let arithmetic = match read.node.op_type() {
        "Add" => Arithmetic::Add,
        "Sub" => Arithmetic::Sub,
        "Mul" => Arithmetic::Mul,
        _ => Arithmetic::Div,
    };
    Ok(Operator::Binary(arithmetic))
}
