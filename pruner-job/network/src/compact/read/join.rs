//! Sums, differences, products: of two values, or of a value and a constant.

use crate::onnx::NodeProto;

use super::{
    super::{
        plan::{Builder, Read, Value},
        source::input,
        step::{Function, Join, Operation, Step},
    },
    channelwise::{PerChannel, finish_reading},
};

pub(super) fn binary<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let (Some(left), Some(right)) = (input(node, 0), input(node, 1)) else { return Err("it reads nothing") };
    match (builder.source.is_constant(left), builder.source.is_constant(right)) {
        (false, false) => join(builder, node, [left, right]),
        (_, true) => with_constant(builder, node, 0),
        (true, false) => with_constant(builder, node, 1),
    }
}

/// The sum, difference, product or quotient of the value at `position` and a constant.
fn with_constant<'a>(builder: &mut Builder<'a>, node: &'a NodeProto, position: usize) -> Read<Step<'a>> {
    let value = builder.value_along_any(input(node, position).ok_or("it reads nothing")?)?;
    let constant = input(node, 1 - position).and_then(|name| builder.source.weight(name));
    let constant = PerChannel::of(&constant.ok_or("its constant is not of 32-bit floats")?, &value)?;
    let affine: fn(f64) -> (f64, f64) = match (node.op_type(), position) {
        ("Add", _) => |constant| (1.0, constant),
        ("Mul", _) => |constant| (constant, 0.0),
        ("Sub", 0) => |constant| (1.0, -constant),
        ("Sub", _) => |constant| (-1.0, constant),
        ("Div", 0) => |constant| (constant.recip(), 0.0),
        _ => return Err("it divides by what an image makes"),
    };
    let function = Function::Affine(constant.values.into_iter().map(affine).collect());
    let vectors = constant.axis.map(|axis| (1 - position, axis)).into_iter().collect();
    finish_reading(builder, node, position, value.dims, function, vectors)
}

fn join<'a>(builder: &mut Builder<'a>, node: &'a NodeProto, inputs: [&'a str; 2]) -> Read<Step<'a>> {
    let operation = match node.op_type() {
        "Add" => Operation::Add,
        "Sub" => Operation::Subtract,
        "Mul" => Operation::Multiply,
        _ => return Err("it divides by what an image makes"),
    };
    let [left, right] = inputs.map(|name| builder.value_along_any(name));
    let (left, right) = (left?, right?);
    if left.dims.len() != right.dims.len() || left.channels() != right.channels() || left.axis != right.axis {
        return Err("it joins values of other numbers of axes or channels");
    }
    let output = Builder::output(node)?;
    let to = builder.track_along(output, joined(&left, &right)?, left.axis)?;
    builder.merge_all(&left, &to);
    builder.merge_all(&right, &to);
    Ok(Step::Join(Join { inputs, values: [left, right], to, operation }))
}

/// Sizes of two values that are joined: one that is 1 is repeated.
fn joined(left: &Value, right: &Value) -> Read<Vec<Option<usize>>> {
    let sizes = left.dims.iter().zip(&right.dims);
    let dims: Option<Vec<Option<usize>>> = sizes
        .map(|(&left, &right)| match (left, right) {
            (Some(1), other) | (other, Some(1)) => Some(other),
            (Some(left), Some(right)) => (left == right).then_some(Some(left)),
            (Some(known), None) | (None, Some(known)) => Some(Some(known)),
            (None, None) => Some(None),
        })
        .collect();
    dims.ok_or("it joins values of other sizes")
}
