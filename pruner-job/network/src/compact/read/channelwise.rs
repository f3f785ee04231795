//! Nodes that change each channel by itself, number by number.

use crate::{attributes::Attributes, onnx::NodeProto};

use super::{
    super::{
        plan::{Builder, Read, Value},
        source::{Weight, input},
        step::{Channelwise, Function, Pointwise, Step},
    },
    axis_of,
};

pub(super) fn pointwise<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    function: Pointwise,
) -> Read<Step<'a>> {
    let dims = value_along_any(builder, node)?.dims;
    finish(builder, node, dims, Function::Pointwise(function), vec![])
}

pub(super) fn opaque<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let dims = value_along_any(builder, node)?.dims;
    finish(builder, node, dims, Function::Opaque, vec![])
}

/// Each channel of each image by its own mean and variance.
pub(super) fn instance_norm<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_of(builder, node)?;
    let (_, shifts) = (vector(builder, node, 1, &from)?, vector(builder, node, 2, &from)?);
    finish(builder, node, from.dims, Function::Normed(shifts), vec![(1, 0), (2, 0)])
}

pub(super) fn softmax<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let axes = value_of(builder, node)?.dims.len();
    // Up to operator set 12 all axes from the named one on are taken together.
    let default = if builder.source.opset < 13 { 1 } else { -1 };
    if axis_of(Attributes::of(node).integer("axis", default), axes)? < 2 {
        return mixed(builder, node, "it is taken over channels");
    }
    opaque(builder, node)
}

/// A node that mixes channels is a wall for the `reason`; what it makes has the sizes of what it reads, and is followed from there on.
pub(super) fn mixed<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    reason: &'static str,
) -> Read<Step<'a>> {
    let Value { dims, axis, .. } = value_along_any(builder, node)?;
    let to = builder.track_along(Builder::output(node)?, dims, axis)?;
    builder.pin(&to);
    Err(reason)
}

pub(super) fn batch_norm<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let attributes = Attributes::of(node);
    if attributes.integer("training_mode", 0) != 0 {
        return Err("it norms by the batch");
    }
    let from = value_of(builder, node)?;
    let vector = |position| vector(builder, node, position, &from);
    let (scales, shifts, means, variances) = (vector(1)?, vector(2)?, vector(3)?, vector(4)?);
    let epsilon = f64::from(attributes.float("epsilon", 1e-5));
    let factors = scales.iter().zip(variances).map(|(scale, variance)| scale / (variance + epsilon).sqrt());
    let summands = shifts.iter().zip(means);
    let affine =
        factors.zip(summands).map(|(factor, (shift, mean))| (factor, shift - mean * factor)).collect();
    let vectors = (1..5).map(|position| (position, 0)).collect();
    finish(builder, node, from.dims, Function::Affine(affine), vectors)
}

pub(super) fn prelu<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_of(builder, node)?;
    let slopes = input(node, 1).and_then(|name| builder.source.weight(name));
    let slopes = PerChannel::of(&slopes.ok_or("its slope is no constant of 32-bit floats")?, &from)?;
    let vectors = slopes.axis.map(|axis| (1, axis)).into_iter().collect();
    finish(builder, node, from.dims, Function::Slopes(slopes.values), vectors)
}

/// The constant at `position`, which has one number for each channel of `value`.
fn vector(builder: &Builder<'_>, node: &NodeProto, position: usize, value: &Value) -> Read<Vec<f64>> {
    let weight = input(node, position).and_then(|name| builder.source.weight(name));
    let values: Option<Vec<f64>> = weight.map(|weight| weight.values().map(f64::from).collect());
    values
        .filter(|values| values.len() == value.channels())
        .ok_or("its parameters are no constants of its size")
}

/// A constant that has one number for each channel, or one for all.
pub(super) struct PerChannel {
    /// One a channel.
    pub(super) values: Vec<f64>,
    /// The axis of the constant that runs over the channels, if there is one.
    pub(super) axis: Option<usize>,
}

impl PerChannel {
    pub(super) fn of(weight: &Weight, value: &Value) -> Read<Self> {
        let channels = value.channels();
        let varies = || "its constant differs from place to place";
        let missing = value.dims.len().checked_sub(weight.dims.len()).ok_or_else(varies)?;
        let axis = value.axis.checked_sub(missing).filter(|&axis| weight.dims.get(axis) == Some(&channels));
        let others = weight.dims.iter().enumerate().filter(|(at, _)| Some(*at) != axis);
        if !others.into_iter().all(|(_, &size)| size == 1) {
            return Err(varies());
        }
        let mut values: Vec<f64> = weight.values().map(f64::from).collect();
        if let (None, &[value]) = (axis, values.as_slice()) {
            values = vec![value; channels];
        }
        Ok(Self { values, axis: axis.filter(|_| channels > 1) })
    }
}

/// The value that a node reads first, whose channels are axis 1.
pub(super) fn value_of(builder: &Builder<'_>, node: &NodeProto) -> Read<Value> {
    builder.value(input(node, 0).ok_or("it reads nothing")?)
}

/// The value that a node reads first, whatever the axis of its channels.
pub(super) fn value_along_any(builder: &Builder<'_>, node: &NodeProto) -> Read<Value> {
    builder.value_along_any(input(node, 0).ok_or("it reads nothing")?)
}

/// The step of a node that reads its first input, and makes a value of `dims`.
pub(super) fn finish<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    dims: Vec<Option<usize>>,
    function: Function,
    vectors: Vec<(usize, usize)>,
) -> Read<Step<'a>> {
    finish_reading(builder, node, 0, dims, function, vectors)
}

/// As [`finish`], for a node that reads its value at `position`.
pub(super) fn finish_reading<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    position: usize,
    dims: Vec<Option<usize>>,
    function: Function,
    vectors: Vec<(usize, usize)>,
) -> Read<Step<'a>> {
    let axis = builder.value_along_any(input(node, position).ok_or("it reads nothing")?)?.axis;
    finish_along(builder, node, Made { position, dims, axis }, function, vectors)
}

/// What a node makes of the value at a position of its inputs: its sizes, and the axis of its channels.
pub(super) struct Made {
    pub(super) position: usize,
    pub(super) dims: Vec<Option<usize>>,
    pub(super) axis: usize,
}

/// As [`finish`], for any value.
pub(super) fn finish_along<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    made: Made,
    function: Function,
    vectors: Vec<(usize, usize)>,
) -> Read<Step<'a>> {
    let name = input(node, made.position).ok_or("it reads nothing")?;
    let (from, output) = (builder.value_along_any(name)?, Builder::output(node)?);
    let to = builder.track_along(output, made.dims, made.axis)?;
    builder.merge_all(&from, &to);
    Ok(Step::Channelwise(Channelwise { input: name, from, to, function, vectors, sizes: None }))
}
