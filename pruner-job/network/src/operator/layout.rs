//! Operators that only move values about, or take means along axes.

use super::{
    Operator, Unsupported,
    reading::{EXPLICIT, Reading, form, sizes},
};
use crate::onnx::tensor_proto::DataType;

/// The operator set from which on Softmax works along one axis.
const SOFTMAX_OF_ONE_AXIS: i64 = 13;

/// A shape of two axes flattens: `[0, -1]`, `[-1, n]`, or the batch size at export and `n`.
pub(super) fn reshape(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    if read.node.op_type() == "Flatten" {
        return match read.attributes.integer("axis", 1) {
            1 => Ok(Operator::Flatten),
            _ => Err(form("Flatten at an axis other than 1", EXPLICIT)),
        };
    }
    if read.attributes.integer("allowzero", 0) != 0 {
        return Err(form("a Reshape with allowzero", EXPLICIT));
    }
    match read.integers(1, "a Reshape whose shape is computed")? {
        Some(shape) if shape.len() == 2 => Ok(Operator::Flatten),
        Some(shape) if shape.len() > 2 => Ok(Operator::Reshape { shape }),
        Some(_) | None => Err(form("a Reshape to fewer than two dimensions", EXPLICIT)),
    }
}

/// The axes of a Squeeze or Unsqueeze.
pub(super) fn axes(read: &Reading<'_>) -> Result<Vec<i64>, Unsupported> {
    let axes = read.listed("axes", 1, "axes that are computed")?.unwrap_or_default();
    if axes.is_empty() { Err(form("a Squeeze of all axes", EXPLICIT)) } else { Ok(axes) }
}

pub(super) fn mean(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    let axes = read.listed("axes", 1, "ReduceMean over computed axes")?.unwrap_or_default();
    if axes.is_empty() {
        return Err(form("ReduceMean over all axes", EXPLICIT));
    }
    Ok(Operator::Mean { axes, keep: read.attributes.integer("keepdims", 1) != 0 })
}

pub(super) fn transpose(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    let order: Option<Vec<usize>> = read
        .attributes
        .integers("perm")
        .and_then(|axes| axes.iter().map(|&axis| usize::try_from(axis).ok()).collect());
    match order.as_deref() {
        Some([0, order @ ..]) => Ok(Operator::Transpose { order: order.to_vec() }),
        _ => Err(form("a Transpose that moves the batch", EXPLICIT)),
    }
}

pub(super) fn slice(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    const COMPUTED: &str = "a Slice whose limits are computed";
    let of = |position| read.integers(position, COMPUTED);
    let (starts, ends, along, steps) = (of(1)?, of(2)?, of(3)?, of(4)?);
    let one = |values: Option<Vec<i64>>, absent: i64| match values.as_deref() {
        None => Some(absent),
        Some([value]) => Some(*value),
        Some(_) => None,
    };
    match (one(starts, 0), one(ends, i64::MAX), one(along, 0), one(steps, 1)) {
        (Some(start), Some(end), Some(axis), Some(1)) => Ok(Operator::Slice { axis, start, end }),
        _ => Err(form("a Slice of several axes or with steps", EXPLICIT)),
    }
}

pub(super) fn gather(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    const COMPUTED: &str = "a Gather of computed places";
    let rank = read.input(1).and_then(|name| read.network.rank(name));
    match (read.integers(1, COMPUTED)?, rank) {
        (Some(places), Some(1)) => Ok(Operator::Gather { axis: read.attributes.integer("axis", 0), places }),
        _ => Err(form("a Gather of one place or of several axes", EXPLICIT)),
    }
}

/// Each output of a Split, as a part of its input.
pub(super) fn split(read: &Reading<'_>) -> Result<Vec<Operator>, Unsupported> {
    let axis = read.attributes.integer("axis", 0);
    let of = read.node.output.len();
    let Some(sizes) = read.listed("split", 1, "a Split whose sizes are computed")? else {
        return Ok((0..of).map(|index| Operator::Share { axis, index, of }).collect());
    };
    if sizes.len() != of || sizes.iter().any(|&size| !(0..1 << 31).contains(&size)) {
        return Err(form("a Split whose sizes are not those of its outputs", EXPLICIT));
    }
    let mut end = 0;
    Ok(sizes
        .into_iter()
        .map(|size| {
            let start = end;
            end += size;
            Operator::Slice { axis, start, end }
        })
        .collect())
}

pub(super) fn softmax(read: &Reading<'_>) -> Operator {
    let to_the_end = read.network.opset() < SOFTMAX_OF_ONE_AXIS;
    let axis = read.attributes.integer("axis", if to_the_end { 1 } else { -1 });
    Operator::Softmax { axis, to_the_end }
}

pub(super) fn cast(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    if read.attributes.integer("to", 0) == DataType::Float as i64 {
        Ok(Operator::Identity)
    } else {
        Err(form("a Cast to other than float32", "export the model in plain float32"))
    }
}

pub(super) fn pad(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    if read.attributes.text("mode").is_some_and(|mode| mode != b"constant") {
        return Err(form("a Pad that is not constant", EXPLICIT));
    }
    if read.input(3).is_some() {
        return Err(form("a Pad of chosen axes", EXPLICIT));
    }
    let pads = read.integers(1, "a Pad whose edges are computed")?.unwrap_or_default();
    let [0, 0, top, left, 0, 0, bottom, right] = *pads.as_slice() else {
        return Err(form("a Pad of other than height and width", EXPLICIT));
    };
    let value = read.floats(2, "a Pad whose value is computed")?;
    let value = value.and_then(|tensor| tensor.values().first().copied()).unwrap_or(0.0);
    Ok(Operator::Pad { edges: sizes([top, left, bottom, right], 0)?, value })
}
