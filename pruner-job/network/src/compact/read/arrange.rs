//! Nodes that move channels about, or see them as other axes.

use crate::{attributes::Attributes, onnx::NodeProto};

use super::{
    super::{
        plan::{Builder, Read, Value},
        source::input,
        step::{Arrange, Function, Move, Movement, Step},
    },
    axes_of, axis_of,
    channelwise::{Made, finish, finish_along, value_along_any, value_of},
};

mod reshape;

pub(super) use reshape::{flatten, reshape};

pub(super) fn concat<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let names = || node.input.iter().map(String::as_str);
    let values: Vec<Value> = names().map(|name| builder.value(name)).collect::<Read<_>>()?;
    let first = values.first().ok_or("it reads nothing")?;
    let axes = first.dims.len();
    if values.iter().any(|value| value.dims.len() != axes) {
        return Err("it joins values of other numbers of axes");
    }
    let along = axis_of(Attributes::of(node).integer("axis", 0), axes)?;
    let output = Builder::output(node)?;
    let mut dims = first.dims.clone();
    if let Some(size) = dims.get_mut(along) {
        *size = values.iter().map(|value| value.dims.get(along).copied().flatten()).sum();
    }
    if along == 0 || (along > 1 && values.iter().any(|value| value.channels() != first.channels())) {
        return Err("it joins batches, or values of other numbers of channels");
    }
    let to = builder.track(output, dims)?;
    let is_stack = along > 1;
    let targets = values.iter().flat_map(|value| value.slots.clone().enumerate()).enumerate();
    let moves = targets
        .map(|(position, (channel, from))| {
            let to = to.slots.start + if is_stack { channel } else { position };
            Move { to, from, place: None }
        })
        .collect();
    let inputs = names().zip(values.iter().cloned()).collect();
    let movement = if is_stack { Movement::Stack } else { Movement::Concat { inputs } };
    Ok(moved(builder, movement, moves))
}

pub(super) fn split<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_of(builder, node)?;
    let attributes = Attributes::of(node);
    let along = axis_of(attributes.integer("axis", 0), from.dims.len())?;
    if along == 0 {
        return Err("it splits the batch");
    }
    let size = from.dims.get(along).copied().flatten().ok_or("it splits an axis whose size is not known")?;
    let parts = node.output.len();
    let sizes = match (input(node, 1), attributes.integers("split")) {
        (Some(name), _) => builder.source.integers(name).ok_or("its sizes are computed")?,
        (None, Some(sizes)) => sizes.to_vec(),
        (None, None) if size.is_multiple_of(parts.max(1)) => {
            vec![(size / parts.max(1)) as i64; parts]
        }
        (None, None) => return Err("it splits an axis unevenly, without sizes"),
    };
    let sizes: Option<Vec<usize>> = sizes.iter().map(|&size| usize::try_from(size).ok()).collect();
    let sizes = sizes.filter(|sizes| sizes.len() == parts && sizes.iter().sum::<usize>() == size);
    let (mut moves, mut outputs, mut start) = (Vec::new(), Vec::new(), from.slots.start);
    for (name, size) in node.output.iter().zip(sizes.ok_or("its sizes are not those of what it reads")?) {
        let mut dims = from.dims.clone();
        if let Some(part) = dims.get_mut(along) {
            *part = Some(size);
        }
        let part = builder.track(name, dims)?;
        moves.extend(part.slots.clone().zip(start..).map(|(to, from)| Move { to, from, place: None }));
        // Parts of the channels are one after another; parts of another axis have all of them.
        start += if along == 1 { size } else { 0 };
        outputs.push((name.as_str(), part));
    }
    let movement = if along == 1 { Movement::Split { outputs } } else { Movement::Part };
    Ok(moved(builder, movement, moves))
}

pub(super) fn slice<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_of(builder, node)?;
    let list = |position, default: Vec<i64>| match input(node, position) {
        Some(name) => builder.source.integers(name).ok_or("its range is computed"),
        None => Ok(default),
    };
    let (starts, ends) = (list(1, vec![])?, list(2, vec![])?);
    let along = list(3, (0..starts.len() as i64).collect())?;
    let strides = list(4, vec![1; starts.len()])?;
    if [ends.len(), along.len(), strides.len()] != [starts.len(); 3] {
        return Err("its ranges are of different numbers");
    }
    let (mut dims, mut chosen) = (from.dims.clone(), None);
    for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&along).zip(&strides) {
        match axis_of(axis, from.dims.len())? {
            0 => return Err("it slices the batch"),
            1 if chosen.is_none() => chosen = Some(range(start, end, step, from.channels())?),
            axis => {
                if let Some(size) = dims.get_mut(axis) {
                    *size = None;
                }
            }
        }
    }
    match chosen {
        None => finish(builder, node, dims, Function::Uniform, vec![]),
        Some(chosen) if starts.len() == 1 => select(builder, node, &from, chosen),
        Some(_) => Err("it slices channels and other axes at once"),
    }
}

/// The channels of a slice; ends out of range are clamped, and ones below zero count from the last channel.
fn range(start: i64, end: i64, step: i64, channels: usize) -> Read<Vec<usize>> {
    let count = channels as i64;
    let place = |at: i64| if at < 0 { at.saturating_add(count) } else { at }.clamp(0, count);
    match step {
        1.. => Ok((place(start)..place(end)).step_by(step as usize).map(|at| at as usize).collect()),
        _ => Err("it slices backwards"),
    }
}

pub(super) fn gather<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_of(builder, node)?;
    if axis_of(Attributes::of(node).integer("axis", 0), from.dims.len())? != 1 {
        return Err("it gathers along another axis than the channels");
    }
    let indices = input(node, 1)
        .and_then(|name| builder.source.list(name))
        .ok_or("its indices are no constant list")?;
    let chosen = indices.into_iter().map(|index| axis_of(index, from.channels())).collect::<Read<_>>()?;
    select(builder, node, &from, chosen)
}

/// A node that reads `from` at its first input and makes the `chosen` of its channels.
fn select<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    from: &Value,
    chosen: Vec<usize>,
) -> Read<Step<'a>> {
    let name = input(node, 0).ok_or("it reads nothing")?;
    let mut dims = from.dims.clone();
    if let Some(channels) = dims.get_mut(1) {
        *channels = Some(chosen.len());
    }
    selected(builder, name, from, Builder::output(node)?, dims, chosen)
}

/// `output`, of `dims`, made of the `chosen` channels of `from`, which is called `name`.
fn selected<'a>(
    builder: &mut Builder<'a>,
    name: &'a str,
    from: &Value,
    output: &'a str,
    dims: Vec<Option<usize>>,
    chosen: Vec<usize>,
) -> Read<Step<'a>> {
    let to = builder.track(output, dims)?;
    let sources = chosen.iter().map(|channel| from.slots.start + channel);
    let moves = to.slots.clone().zip(sources).map(|(to, from)| Move { to, from, place: None }).collect();
    Ok(moved(builder, Movement::Select { input: name, from: from.clone(), chosen }, moves))
}

pub(super) fn squeeze<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_of(builder, node)?;
    let is_squeeze = node.op_type() == "Squeeze";
    let count = match (is_squeeze, input(node, 1), Attributes::of(node).integers("axes")) {
        (true, _, _) => from.dims.len(),
        (false, Some(name), _) => {
            from.dims.len() + builder.source.integers(name).map_or(0, |axes| axes.len())
        }
        (false, None, axes) => from.dims.len() + axes.map_or(0, <[i64]>::len),
    };
    let axes = axes_of(builder, node, count)?;
    if axes.iter().any(|&axis| axis < 2) {
        return Err("it moves the axis of the channels");
    }
    let mut old = from.dims.iter().copied();
    let dims = if is_squeeze {
        old.enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, size)| size).collect()
    } else {
        (0..count).map(|axis| if axes.contains(&axis) { Some(1) } else { old.next().flatten() }).collect()
    };
    same_channels(builder, node, &from, dims, None)
}

pub(super) fn transpose<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_along_any(builder, node)?;
    let order = Attributes::of(node).integers("perm").ok_or("it turns all axes about")?;
    let order: Vec<usize> = order.iter().map(|&axis| axis_of(axis, from.dims.len())).collect::<Read<_>>()?;
    if order.len() != from.dims.len() {
        return Err("it turns another number of axes");
    }
    let dims = order.iter().map(|&axis| from.dims.get(axis).copied().flatten()).collect();
    match order.iter().position(|&axis| axis == from.axis) {
        Some(axis) if order.starts_with(&[0]) && (axis == 1 || axis + 1 == order.len()) => {
            finish_along(builder, node, Made { position: 0, dims, axis }, Function::Uniform, vec![])
        }
        _ => Err("it moves the axis of the channels"),
    }
}

/// A node that sees the same channels with other axes after them.
fn same_channels<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    from: &Value,
    dims: Vec<Option<usize>>,
    literal: Option<usize>,
) -> Read<Step<'a>> {
    let output = Builder::output(node)?;
    let to = builder.track(output, dims)?;
    let moves = to.slots.zip(from.slots.clone()).map(|(to, from)| Move { to, from, place: None }).collect();
    Ok(moved(builder, Movement::Reshape { from: from.clone(), literal }, moves))
}

fn moved<'a>(builder: &mut Builder<'a>, movement: Movement<'a>, moves: Vec<Move>) -> Step<'a> {
    for each in &moves {
        builder.merge(each.to, each.from);
    }
    Step::Arrange(Arrange { movement, moves })
}
