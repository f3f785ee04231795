//! Sizes that a graph computes of its own values, as exporters write them where the batch is open: the sizes of a value,
//! the batch gathered from them, and a list made of it for a `Reshape`.

use crate::{attributes::Attributes, onnx::NodeProto};

use super::super::{
    plan::{Builder, Read},
    source::{Source, input},
    step::Step,
};

/// The size of the batch in a shape: as it is in what is reshaped.
const BATCH: i64 = 0;

/// `Shape` leaves the channels alone if nobody asks for their number.
pub(super) fn shape<'a>(builder: &Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let output = Builder::output(node)?;
    let source = builder.source;
    let is_held = source.is_output(output) || source.is_captured(output);
    let is_plain = node.attribute.is_empty() && !is_held;
    let followed = input(node, 0).and_then(|name| builder.value_along_any(name).ok());
    let is_image = followed.is_none_or(|value| value.axis == 1);
    let is_safe = |axis| if is_image { axis != 1 } else { axis == 0 };
    if is_plain && source.readers(output).all(|reader| gathers(source, reader).is_some_and(is_safe)) {
        return Ok(Step::Nothing);
    }
    Err("it makes a number of the number of channels")
}

/// The axis whose size a `Gather` takes out of a list of sizes.
fn gathers(source: &Source<'_>, node: &NodeProto) -> Option<i64> {
    let is_list = Attributes::of(node).integer("axis", 0) == 0;
    let indices = source.integers(input(node, 1)?)?;
    match indices.as_slice() {
        &[axis] if axis >= 0 && node.op_type() == "Gather" && is_list => Some(axis),
        _ => None,
    }
}

/// A list of sizes: a constant, or constants and the batch side by side.
pub(super) fn list(source: &Source<'_>, name: &str) -> Read<Vec<i64>> {
    if let Some(sizes) = source.integers(name) {
        return Ok(sizes);
    }
    let computed = || "its shape is computed";
    let (_, node) =
        source.writer(name).filter(|(_, node)| node.op_type() == "Concat").ok_or_else(computed)?;
    let mut sizes = Vec::new();
    for part in &node.input {
        match source.list(part) {
            Some(constants) => sizes.extend(constants),
            None if is_batch(source, part) => sizes.push(BATCH),
            None => return Err(computed()),
        }
    }
    Ok(sizes)
}

/// Whether `name` is the size of the batch, as a list of one.
fn is_batch(source: &Source<'_>, name: &str) -> bool {
    let before = |name: &str, operator: &str| {
        source.writer(name).map(|(_, node)| node).filter(|node| node.op_type() == operator)
    };
    let gather = match before(name, "Unsqueeze") {
        Some(unsqueeze) => input(unsqueeze, 0).and_then(|name| before(name, "Gather")),
        None => before(name, "Gather"),
    };
    let Some(gather) = gather else { return false };
    let of_a_shape = input(gather, 0).and_then(|name| before(name, "Shape"));
    gathers(source, gather) == Some(0) && of_a_shape.is_some_and(|shape| shape.attribute.is_empty())
}
