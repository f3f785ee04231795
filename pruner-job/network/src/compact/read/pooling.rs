//! Nodes that change each channel by itself, over its places: pooling, means, padding, resizing.

use crate::{attributes::Attributes, onnx::NodeProto};

use super::{
    super::{
        plan::{Builder, Read, Value},
        source::input,
        step::{Function, Step, Walk},
        window::Window,
    },
    axes_of,
    channelwise::{finish, value_of},
};

pub(super) fn max_pool<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let (_, walk, dims) = pool(builder, node)?;
    finish(builder, node, dims, Function::MaxPool(walk), vec![])
}

pub(super) fn average_pool<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let counts_padding = Attributes::of(node).integer("count_include_pad", 0) != 0;
    let (window, walk, dims) = pool(builder, node)?;
    // Rounded up, a window may reach beyond the padding, which counts in yet another way.
    let walk = walk.filter(|_| !window.rounds_up);
    let is_padded = window.is_padded() || window.rounds_up;
    finish(builder, node, dims, Function::AveragePool { walk, counts_padding, is_padded }, vec![])
}

type Pool = (Window, Option<Walk>, Vec<Option<usize>>);

fn pool(builder: &Builder<'_>, node: &NodeProto) -> Read<Pool> {
    let from = value_of(builder, node)?;
    let kernel = Attributes::of(node).integers("kernel_shape").ok_or("it has no kernel_shape")?;
    let kernel: Option<Vec<usize>> = kernel.iter().map(|&size| usize::try_from(size).ok()).collect();
    let window = Window::of(node, kernel.ok_or("its kernel_shape is negative")?, from.spatial())?;
    let spatial = window.output(from.spatial());
    let walk = walk(&window, &from, &spatial);
    Ok((window, walk, with_spatial(&from, spatial)))
}

fn walk(window: &Window, from: &Value, spatial: &[Option<usize>]) -> Option<Walk> {
    let [Some(height), Some(width)] = *spatial else { return None };
    Some(Walk { window: window.clone(), input: from.size()?, output: [height, width] })
}

fn with_spatial(from: &Value, spatial: Vec<Option<usize>>) -> Vec<Option<usize>> {
    from.dims.iter().take(2).copied().chain(spatial).collect()
}

pub(super) fn global<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_of(builder, node)?;
    let dims = with_spatial(&from, vec![Some(1); from.spatial().len()]);
    let function = if node.op_type() == "GlobalMaxPool" { Function::Uniform } else { Function::Mean };
    finish(builder, node, dims, function, vec![])
}

pub(super) fn reduce<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_of(builder, node)?;
    let axes = axes_of(builder, node, from.dims.len())?;
    if axes.iter().any(|&axis| axis < 2) {
        return Err("it reduces over channels");
    }
    let keeps = Attributes::of(node).integer("keepdims", 1) != 0;
    let dims = from.dims.iter().enumerate();
    let dims = dims.filter_map(|(axis, &size)| match (axes.contains(&axis), keeps) {
        (false, _) => Some(size),
        (true, true) => Some(Some(1)),
        (true, false) => None,
    });
    let is_whole = axes.len() == from.spatial().len();
    let is_mean = node.op_type() == "ReduceMean" && is_whole;
    finish(builder, node, dims.collect(), if is_mean { Function::Mean } else { Function::Uniform }, vec![])
}

pub(super) fn pad<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_of(builder, node)?;
    if input(node, 3).is_some() {
        return Err("it pads chosen axes");
    }
    let pads =
        input(node, 1).and_then(|name| builder.source.integers(name)).ok_or("its pads are computed")?;
    let axes = from.dims.len();
    if pads.len() != 2 * axes || pads.iter().any(|pad| !(0..1 << 16).contains(pad)) {
        return Err("its pads are negative, too large, or of another number of axes");
    }
    let (before, after) = pads.split_at(axes);
    if before.iter().take(2).chain(after.iter().take(2)).any(|&pad| pad != 0) {
        return Err("it pads channels");
    }
    let edges = || before.iter().zip(after).skip(2);
    let spatial: Vec<Option<usize>> = from
        .spatial()
        .iter()
        .zip(edges())
        .map(|(size, (before, after))| size.map(|size| size + (before + after) as usize))
        .collect();
    let is_constant = Attributes::of(node).text("mode").is_none_or(|mode| mode == b"constant");
    let function = if edges().all(|(before, after)| before + after == 0) || !is_constant {
        Function::Uniform
    } else {
        let value = match input(node, 2) {
            None => 0.0,
            Some(name) => builder
                .source
                .weight(name)
                .and_then(|value| value.values().next())
                .ok_or("its value is computed")?,
        };
        let window =
            Window::padding(edges().map(|(&before, &after)| (before as usize, after as usize)).collect());
        Function::Pad { walk: walk(&window, &from, &spatial), value: f64::from(value) }
    };
    finish(builder, node, with_spatial(&from, spatial), function, vec![])
}

pub(super) fn resize<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let from = value_of(builder, node)?;
    let attributes = Attributes::of(node);
    if attributes.text("coordinate_transformation_mode") == Some(b"tf_crop_and_resize") {
        return Err("it crops while it resizes");
    }
    if attributes.integers("axes").is_some() {
        return Err("it resizes chosen axes");
    }
    if attributes.text("keep_aspect_ratio_policy").is_some_and(|policy| policy != b"stretch") {
        return Err("its sizes depend on those of the image");
    }
    let count = from.dims.len();
    if let Some(name) = input(node, 3) {
        let sizes = builder.source.integers(name).ok_or("its sizes are computed")?;
        if sizes.len() != count || sizes.get(1) != Some(&(from.channels() as i64)) {
            return Err("it resizes channels");
        }
        let spatial = sizes.iter().skip(2).map(|&size| usize::try_from(size).ok()).collect();
        let mut step = finish(builder, node, with_spatial(&from, spatial), Function::Uniform, vec![])?;
        if let Step::Channelwise(channelwise) = &mut step {
            channelwise.sizes = Some(3);
        }
        return Ok(step);
    }
    let scales =
        input(node, 2).and_then(|name| builder.source.weight(name)).ok_or("its scales are computed")?;
    let scales: Vec<f32> = scales.values().collect();
    let is_one = |scale: &f32| scale.to_bits() == 1.0_f32.to_bits();
    if scales.len() != count || !scales.iter().take(2).all(is_one) {
        return Err("it resizes channels");
    }
    let resized = |(size, &scale): (&Option<usize>, &f32)| {
        size.map(|size| (size as f32 * scale).floor() as usize).filter(|&size| size > 0)
    };
    let spatial = from.spatial().iter().zip(scales.iter().skip(2)).map(resized).collect();
    finish(builder, node, with_spatial(&from, spatial), Function::Uniform, vec![])
}
