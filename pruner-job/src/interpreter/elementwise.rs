//! Activations and arithmetic on tch.

use dnnshifter_network::operator::{Activation, Arithmetic};
use tch::{TchError, Tensor};

pub(super) fn activation(x: &Tensor, activation: Activation) -> Result<Tensor, TchError> {
    match activation {
        Activation::Relu => x.f_relu(),
        Activation::LeakyRelu { slope } => x.f_relu()?.f_sub(&x.f_neg()?.f_relu()?.f_mul_scalar(slope)?),
        Activation::Elu => x.f_elu(),
        Activation::Clip { low, high } => x.f_clamp(low, high),
        Activation::Sigmoid => x.f_sigmoid(),
        Activation::HardSigmoid { slope, offset } => hard_sigmoid(x, slope, offset),
        Activation::HardSwish => x.f_hardswish(),
        Activation::Tanh => x.f_tanh(),
        Activation::Gelu { by_tanh } => x.f_gelu(if by_tanh { "tanh" } else { "none" }),
    }
}

fn hard_sigmoid(x: &Tensor, slope: f64, offset: f64) -> Result<Tensor, TchError> {
    x.f_mul_scalar(slope)?.f_add_scalar(offset)?.f_clamp(0.0, 1.0)
}

/// Below zero a slope of its own for each channel, or one for all; broadcast as ONNX does.
pub(super) fn leaky(x: &Tensor, slope: &Tensor) -> Result<Tensor, TchError> {
    x.f_relu()?.f_sub(&x.f_neg()?.f_relu()?.f_mul(slope)?)
}

pub(super) fn binary(left: &Tensor, right: &Tensor, arithmetic: Arithmetic) -> Result<Tensor, TchError> {
    match arithmetic {
        Arithmetic::Add => left.f_add(right),
        Arithmetic::Sub => left.f_sub(right),
        Arithmetic::Mul => left.f_mul(right),
        Arithmetic::Div => left.f_div(right),
    }
}
