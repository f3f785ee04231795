//! Layers with weights: convolutions, transposed convolutions, fully connected layers.

use crate::{attributes::Attributes, onnx::NodeProto};

use super::super::{
    plan::{Builder, Read, Value},
    rows::Rows,
    source::{Weight, input},
    step::{Layout, Linear, Step, Walk},
    window::Window,
};

const NO_CONSTANT: &str = "its weight is no constant of 32-bit floats";
const BAD_WEIGHT: &str = "its weight does not fit its attributes";

pub(super) fn conv<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let weight = weight_of(builder, node)?;
    let ([outs, ins_of_a_group, kernel @ ..], false) = (weight.dims.as_slice(), weight.dims.len() < 3) else {
        return Err(BAD_WEIGHT);
    };
    let (outs, ins_of_a_group, kernel) = (*outs, *ins_of_a_group, kernel.to_vec());
    let groups = groups_of(node)?;
    let ins = ins_of_a_group.checked_mul(groups).filter(|&ins| ins > 0).ok_or(BAD_WEIGHT)?;
    if !outs.is_multiple_of(groups) || outs == 0 {
        return Err(BAD_WEIGHT);
    }
    let from = builder.value_read_by_layer(read_by(node)?, ins, kernel.len() + 2)?;
    let window = Window::of(node, kernel, from.spatial())?;
    let mut dims = vec![from.dims.first().copied().flatten(), Some(outs)];
    dims.extend(window.output(from.spatial()));
    let has_border = window.is_padded();
    let layer = Layer { weight, layout: Layout::OutputFirst, groups, has_border, window: Some(window) };
    layer.finish(builder, node, &from, dims)
}

pub(super) fn conv_transpose<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let weight = weight_of(builder, node)?;
    let ([ins, outs_of_a_group, kernel @ ..], false) = (weight.dims.as_slice(), weight.dims.len() < 3) else {
        return Err(BAD_WEIGHT);
    };
    let (ins, axes, groups) = (*ins, kernel.len(), groups_of(node)?);
    let outs = outs_of_a_group.checked_mul(groups).filter(|&outs| outs > 0).ok_or(BAD_WEIGHT)?;
    if !ins.is_multiple_of(groups) || ins == 0 {
        return Err(BAD_WEIGHT);
    }
    let from = builder.value_read_by_layer(read_by(node)?, ins, axes + 2)?;
    let mut dims = vec![from.dims.first().copied().flatten(), Some(outs)];
    dims.extend(grown(node, kernel, from.spatial()));
    let layer = Layer { weight, layout: Layout::InputFirst, groups, has_border: true, window: None };
    layer.finish(builder, node, &from, dims)
}

/// Sizes of what a transposed convolution makes, where its attributes say them plainly.
fn grown(node: &NodeProto, kernel: &[usize], spatial: &[Option<usize>]) -> Vec<Option<usize>> {
    let attributes = Attributes::of(node);
    let plain = attributes.text("auto_pad").is_none_or(|pad| pad == b"NOTSET")
        && attributes.integers("output_shape").is_none();
    let size = |axis: usize, &kernel: &usize| {
        let entry = |name: &str, at: usize, default| match attributes.integers(name) {
            Some(values) => values.get(at).copied(),
            None => Some(default),
        };
        let input = i64::try_from(spatial.get(axis).copied().flatten()?).ok()?;
        let reach = entry("dilations", axis, 1)?.checked_mul(kernel as i64 - 1)?.checked_add(1)?;
        let steps = entry("strides", axis, 1)?.checked_mul(input - 1)?;
        let pads = entry("pads", axis, 0)?.checked_add(entry("pads", axis + spatial.len(), 0)?)?;
        let size = steps.checked_add(reach)?.checked_add(entry("output_padding", axis, 0)?)?;
        usize::try_from(size.checked_sub(pads)?).ok().filter(|_| plain)
    };
    kernel.iter().enumerate().map(|(axis, kernel)| size(axis, kernel)).collect()
}

pub(super) fn gemm<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let attributes = Attributes::of(node);
    let is_one = |name| attributes.float(name, 1.0).to_bits() == 1.0_f32.to_bits();
    if !(is_one("alpha") && is_one("beta") && attributes.integer("transA", 0) == 0) {
        return Err("it has alpha, beta or transA");
    }
    let is_transposed = attributes.integer("transB", 0) != 0;
    let layout = if is_transposed { Layout::OutputFirst } else { Layout::InputFirst };
    let weight = weight_of(builder, node)?;
    let [first, second] = *weight.dims.as_slice() else { return Err(BAD_WEIGHT) };
    let (ins, outs) = match layout {
        Layout::OutputFirst => (second, first),
        Layout::InputFirst => (first, second),
    };
    let name = read_by(node)?;
    // It reads two axes, whatever a product before it may have left open.
    let from = match builder.value_along_any(name) {
        Ok(value) if value.axis > 1 => builder.value_read_along_last(name, ins)?,
        Ok(_) | Err(_) => builder.value_read_by_layer(name, ins, 2)?,
    };
    let dims = vec![from.dims.first().copied().flatten(), Some(outs)];
    let layer = Layer { weight, layout, groups: 1, has_border: false, window: None };
    layer.finish_along(builder, node, &from, dims, 1)
}

/// A product of a value's last axis, of any number of axes, with a weight.
pub(super) fn mat_mul<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    let weight = weight_of(builder, node)?;
    let [ins, outs] = *weight.dims.as_slice() else { return Err(BAD_WEIGHT) };
    let from = builder.value_read_along_last(read_by(node)?, ins)?;
    let mut dims = from.dims.clone();
    if let Some(size) = dims.get_mut(from.axis) {
        *size = Some(outs);
    }
    // Of more than two axes it has no bias to take a constant, so that there is as little room for one as at a border.
    let has_border = from.axis > 1;
    let layer = Layer { weight, layout: Layout::InputFirst, groups: 1, has_border, window: None };
    layer.finish_along(builder, node, &from, dims, from.axis)
}

/// A layer whose weight was read.
struct Layer {
    weight: Weight,
    layout: Layout,
    groups: usize,
    has_border: bool,
    window: Option<Window>,
}

impl Layer {
    fn finish<'a>(
        self,
        builder: &mut Builder<'a>,
        node: &'a NodeProto,
        from: &Value,
        dims: Vec<Option<usize>>,
    ) -> Read<Step<'a>> {
        self.finish_along(builder, node, from, dims, 1)
    }

    /// As [`Self::finish`], for a value of `dims` whose channels are along `axis`.
    fn finish_along<'a>(
        self,
        builder: &mut Builder<'a>,
        node: &'a NodeProto,
        from: &Value,
        dims: Vec<Option<usize>>,
        axis: usize,
    ) -> Read<Step<'a>> {
        let Self { weight, layout, groups, has_border, window } = self;
        let output = Builder::output(node)?;
        let outs = dims.get(axis).copied().flatten().ok_or(BAD_WEIGHT)?;
        let bias = bias_of(builder, node, outs)?;
        let to = builder.track_along(output, dims, axis)?;
        let walk = window.zip(from.size()).zip(to.size());
        let walk = walk.map(|((window, input), output)| Walk { window, input, output });
        let cell = weight.dims.iter().skip(2).product::<usize>();
        let rows = Rows::of(&weight, layout, from.channels() / groups);
        let layer = Linear {
            input: read_by(node)?,
            output,
            ins: from.slots.clone(),
            outs: to.slots.clone(),
            groups,
            weight,
            layout,
            cell,
            bias,
            rows,
            has_border,
            walk,
        };
        if layer.is_depthwise() {
            builder.merge_all(from, &to);
        }
        Ok(Step::Linear(layer))
    }
}

fn read_by(node: &NodeProto) -> Read<&str> {
    input(node, 0).ok_or("it reads nothing")
}

fn weight_of(builder: &Builder<'_>, node: &NodeProto) -> Read<Weight> {
    input(node, 1).and_then(|name| builder.source.weight(name)).ok_or(NO_CONSTANT)
}

fn groups_of(node: &NodeProto) -> Read<usize> {
    let groups = usize::try_from(Attributes::of(node).integer("group", 1)).ok();
    groups.filter(|&groups| groups > 0).ok_or(BAD_WEIGHT)
}

fn bias_of(builder: &Builder<'_>, node: &NodeProto, outs: usize) -> Read<Option<Vec<f32>>> {
    let Some(name) = input(node, 2) else { return Ok(None) };
    let bias = builder.source.weight(name).ok_or("its bias is no constant of 32-bit floats")?;
    let values: Vec<f32> = bias.values().collect();
    match (bias.dims.as_slice(), values.as_slice()) {
        ([.., last], _) if *last == outs && values.len() == outs => Ok(Some(values)),
        (_, &[value]) => Ok(Some(vec![value; outs])),
        _ => Err("its bias has another size than its outputs"),
    }
}
