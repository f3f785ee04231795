//! Each operator on tch, in its fallible form. Shapes were checked before; what still fails is named with its node.

use std::collections::BTreeMap;

use dnnshifter_network::{
    Node, Operator,
    operator::{Convolution, Window},
    shapes,
};
use tch::{TchError, Tensor};

use super::{InterpreterError, Mode, Parameter, elementwise};

/// A node and what it may read.
pub(super) struct Layer<'a> {
    pub(super) node: &'a Node,
    /// The shape of its output without batch.
    pub(super) shape: &'a [i64],
    pub(super) values: &'a BTreeMap<&'a str, Tensor>,
    pub(super) parameters: &'a BTreeMap<String, Parameter>,
}

impl<'a> Layer<'a> {
    /// The output of the node.
    pub(super) fn compute(&self, mode: Mode) -> Result<Tensor, InterpreterError> {
        let x = self.operand(0)?;
        let output = match &self.node.operator {
            Operator::Conv(convolution) => return self.convolve(x, convolution),
            Operator::BatchNorm { epsilon } => return self.normalize(x, *epsilon, mode),
            Operator::Activation(activation) => elementwise::activation(x, *activation),
            Operator::PRelu => elementwise::leaky(x, self.parameter(1)?),
            Operator::Binary(arithmetic) => elementwise::binary(x, self.operand(1)?, *arithmetic),
            Operator::MaxPool { window, round_up } => max_pool(x, window, *round_up),
            Operator::AveragePool { window, count_padding } => average_pool(x, window, *count_padding),
            Operator::GlobalAveragePool => x.f_adaptive_avg_pool2d([1, 1]),
            Operator::GlobalMaxPool => x.f_amax([2, 3], true),
            Operator::Mean { axes, keep } => x.f_mean_dim(axes.as_slice(), *keep, None),
            Operator::Flatten
            | Operator::Reshape { .. }
            | Operator::Squeeze { .. }
            | Operator::Unsqueeze { .. } => self.reshape(x),
            Operator::Transpose { order } => {
                let order: Vec<i64> =
                    std::iter::once(0).chain(order.iter().map(|&axis| axis as i64)).collect();
                x.f_permute(order)
            }
            Operator::Concat { axis } => {
                let values: Result<Vec<_>, _> =
                    (0..self.node.inputs.len()).map(|position| self.operand(position)).collect();
                Tensor::f_cat(&values?, *axis)
            }
            Operator::Slice { .. } | Operator::Share { .. } => self.part(x),
            Operator::Gather { axis, places } => gather(x, *axis, places),
            Operator::Gemm { transposed } => {
                let weight = self.parameter(1)?;
                let oriented =
                    if *transposed { Ok(weight.shallow_clone()) } else { weight.f_transpose(0, 1) };
                oriented.and_then(|weight| x.f_linear(&weight, self.optional(2)))
            }
            Operator::MatMul => x.f_matmul(self.parameter(1)?),
            Operator::Softmax { axis, to_the_end: _ } => x.f_softmax(*axis, None),
            Operator::Pad { edges, value } => pad(x, *edges, f64::from(*value)),
            Operator::Identity => Ok(x.shallow_clone()),
        };
        output.map_err(|source| self.failed(source))
    }

    /// The same values in the shape that was found for the output.
    fn reshape(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let batch = x.size().first().copied().unwrap_or(0);
        let shape: Vec<i64> = std::iter::once(batch).chain(self.shape.iter().copied()).collect();
        x.f_reshape(shape)
    }

    fn part(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let sizes: Vec<usize> = x.size().iter().skip(1).map(|&size| size as usize).collect();
        let (axis, start, end) = shapes::range(&sizes, &self.node.operator).unwrap_or((0, 0, 0));
        x.f_narrow(axis as i64 + 1, start as i64, end.saturating_sub(start) as i64)
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

    /// A value, or a constant in the place of one.
    fn operand(&self, position: usize) -> Result<&'a Tensor, InterpreterError> {
        let found = self.node.input(position).and_then(|name| self.values.get(name));
        let found = found.or_else(|| self.optional(position));
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

fn gather(x: &Tensor, axis: i64, places: &[i64]) -> Result<Tensor, TchError> {
    let size =
        x.size().get(usize::try_from(axis.rem_euclid(x.dim() as i64)).unwrap_or(0)).copied().unwrap_or(1);
    let places: Vec<i64> = places.iter().map(|place| place.rem_euclid(size.max(1))).collect();
    x.f_index_select(axis, &Tensor::f_from_slice(&places)?)
}

fn max_pool(x: &Tensor, window: &Window, round_up: bool) -> Result<Tensor, TchError> {
    let (x, padding) = padded(x, window, f64::NEG_INFINITY)?;
    x.f_max_pool2d(signed(window.kernel), signed(window.stride), padding, signed(window.dilation), round_up)
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

/// The image with edges of `value`: top, left, bottom, right.
pub(crate) fn pad(x: &Tensor, padding: [usize; 4], value: f64) -> Result<Tensor, TchError> {
    if padding == [0; 4] {
        return Ok(x.shallow_clone());
    }
    let [top, left, bottom, right] = padding;
    let edges = [left, right, top, bottom].map(|edge| edge as i64);
    x.f_pad(edges, "constant", value)
}

fn signed(sizes: [usize; 2]) -> [i64; 2] {
    sizes.map(|size| size as i64)
}
