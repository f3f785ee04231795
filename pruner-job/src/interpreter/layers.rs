//! Each operator on tch, in its fallible form. Shapes were checked before; what still fails is named with its node.

use std::collections::BTreeMap;

use dnnshifter_network::{
    Node, Operator,
    operator::{Convolution, Window},
};
use tch::{TchError, Tensor};

use super::{InterpreterError, Mode, Parameter};

/// A node and what it may read.
pub(super) struct Layer<'a> {
    pub(super) node: &'a Node,
    pub(super) values: &'a BTreeMap<&'a str, Tensor>,
    pub(super) parameters: &'a BTreeMap<String, Parameter>,
}

impl<'a> Layer<'a> {
    /// The output of the node.
    pub(super) fn compute(&self, mode: Mode) -> Result<Tensor, InterpreterError> {
        let x = self.value(0)?;
        let output = match &self.node.operator {
            Operator::Conv(convolution) => return self.convolve(x, convolution),
            Operator::BatchNorm { epsilon } => return self.normalize(x, *epsilon, mode),
            Operator::Relu => x.f_relu(),
            Operator::MaxPool(window) => max_pool(x, window),
            Operator::AveragePool { window, count_padding } => average_pool(x, window, *count_padding),
            Operator::GlobalAveragePool => x.f_adaptive_avg_pool2d([1, 1]),
            Operator::Flatten => x.f_flatten(1, -1),
            Operator::Gemm { transposed } => {
                let weight = self.parameter(1)?;
                let oriented =
                    if *transposed { Ok(weight.shallow_clone()) } else { weight.f_transpose(0, 1) };
                oriented.and_then(|weight| x.f_linear(&weight, self.optional(2)))
            }
            Operator::Add => x.f_add(self.value(1)?),
            Operator::Pad { edges, value } => pad(x, *edges, f64::from(*value)),
            Operator::Identity => Ok(x.shallow_clone()),
        };
        output.map_err(|source| self.failed(source))
    }

    fn convolve(&self, x: &Tensor, convolution: &Convolution) -> Result<Tensor, InterpreterError> {
        let (weight, bias) = (self.parameter(1)?, self.optional(2));
        let Convolution { window, groups } = convolution;
        let dilation = signed(window.dilation);
        let output = thinned(x, window).and_then(|(x, stride)| {
            let (x, padding) = padded(&x, window, 0.0)?;
            x.f_conv2d(weight, bias, stride, padding, dilation, *groups as i64)
        });
        output.map_err(|source| self.failed(source))
    }

    fn normalize(&self, x: &Tensor, epsilon: f64, mode: Mode) -> Result<Tensor, InterpreterError> {
        let (scale, shift) = (Some(self.parameter(1)?), Some(self.parameter(2)?));
        let (mean, variance) = (Some(self.parameter(3)?), Some(self.parameter(4)?));
        let (training, momentum) = match mode {
            Mode::Training { momentum } => (true, momentum),
            Mode::Evaluation => (false, 0.0),
        };
        let output = x.f_batch_norm(scale, shift, mean, variance, training, momentum, epsilon, false);
        output.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: TchError) -> InterpreterError {
        InterpreterError::Node { node: self.node.name.clone(), source }
    }

    fn value(&self, position: usize) -> Result<&'a Tensor, InterpreterError> {
        let found = self.node.input(position).and_then(|name| self.values.get(name));
        found.ok_or_else(|| InterpreterError::Input { node: self.node.name.clone(), position })
    }

    fn parameter(&self, position: usize) -> Result<&'a Tensor, InterpreterError> {
        let found = self.optional(position);
        found.ok_or_else(|| InterpreterError::Input { node: self.node.name.clone(), position })
    }

    fn optional(&self, position: usize) -> Option<&'a Tensor> {
        self.node
            .input(position)
            .and_then(|name| self.parameters.get(name))
            .map(|parameter| &parameter.tensor)
    }
}

fn max_pool(x: &Tensor, window: &Window) -> Result<Tensor, TchError> {
    let (x, padding) = padded(x, window, f64::NEG_INFINITY)?;
    x.f_max_pool2d(signed(window.kernel), signed(window.stride), padding, signed(window.dilation), false)
}

fn average_pool(x: &Tensor, window: &Window, count_padding: bool) -> Result<Tensor, TchError> {
    let [top, left, _, _] = window.padding;
    let padding = signed([top, left]);
    x.f_avg_pool2d(signed(window.kernel), signed(window.stride), padding, false, count_padding, None)
}

/// What a strided kernel of one place reads, and the stride that is left. In libtorch 2.13 the gradient of such a convolution writes
/// beyond its memory where channels are no multiple of 8, on processors with AVX2 but without AVX-512.
fn thinned(x: &Tensor, window: &Window) -> Result<(Tensor, [i64; 2]), TchError> {
    let stride = signed(window.stride);
    if window.kernel != [1; 2] || window.padding != [0; 4] || stride == [1; 2] {
        return Ok((x.shallow_clone(), stride));
    }
    let [down, right] = stride;
    let rows = x.f_slice(2, None::<i64>, None::<i64>, down)?;
    Ok((rows.f_slice(3, None::<i64>, None::<i64>, right)?, [1; 2]))
}

/// Torch pads both sides alike; other padding is added beforehand.
fn padded(x: &Tensor, window: &Window, value: f64) -> Result<(Tensor, [i64; 2]), TchError> {
    let [top, left, bottom, right] = window.padding;
    if top == bottom && left == right {
        Ok((x.shallow_clone(), signed([top, left])))
    } else {
        Ok((pad(x, window.padding, value)?, [0, 0]))
    }
}

fn pad(x: &Tensor, [top, left, bottom, right]: [usize; 4], value: f64) -> Result<Tensor, TchError> {
    let edges = [left, right, top, bottom].map(|edge| edge as i64);
    x.f_pad(edges, "constant", value)
}

fn signed(sizes: [usize; 2]) -> [i64; 2] {
    sizes.map(|size| size as i64)
}
