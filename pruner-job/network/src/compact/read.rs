//! Reads what a node does with channels, by the ONNX operators' definitions (onnx.ai/onnx/operators). What is not
//! understood is a reason, and makes the node a wall.

mod arrange;
mod channelwise;
mod join;
mod linear;
mod pooling;
mod sizes;

use crate::{attributes::Attributes, onnx::NodeProto};

use super::{
    plan::{Builder, Read},
    step::{Pointwise, Step},
};

/// Reads one node.
pub(super) fn step<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    if !matches!(node.domain(), "" | "ai.onnx") {
        return Err("its operator is not of the ONNX standard");
    }
    if node.output.iter().all(|name| builder.source.is_constant(name)) {
        return Ok(Step::Nothing);
    }
    if let Some(function) = pointwise(builder, node)? {
        return channelwise::pointwise(builder, node, function);
    }
    match node.op_type() {
        "Conv" => linear::conv(builder, node),
        "ConvTranspose" => linear::conv_transpose(builder, node),
        "Gemm" => linear::gemm(builder, node),
        "MatMul" => linear::mat_mul(builder, node),
        "BatchNormalization" => channelwise::batch_norm(builder, node),
        "InstanceNormalization" => channelwise::instance_norm(builder, node),
        "LayerNormalization" => channelwise::mixed(builder, node, "it norms over channels"),
        "LRN" => channelwise::mixed(builder, node, "it norms over neighbouring channels"),
        "PRelu" => channelwise::prelu(builder, node),
        // What they make of a constant is not computed here, but they keep channels apart.
        "Gelu" | "Erf" | "Selu" | "Celu" | "Mish" | "Softsign" | "ThresholdedRelu" => {
            channelwise::opaque(builder, node)
        }
        "Softmax" | "LogSoftmax" => channelwise::softmax(builder, node),
        "MaxPool" => pooling::max_pool(builder, node),
        "AveragePool" => pooling::average_pool(builder, node),
        "GlobalAveragePool" | "GlobalMaxPool" => pooling::global(builder, node),
        "ReduceMean" | "ReduceMax" => pooling::reduce(builder, node),
        "Pad" => pooling::pad(builder, node),
        "Resize" => pooling::resize(builder, node),
        "Add" | "Sub" | "Mul" | "Div" => join::binary(builder, node),
        "Concat" => arrange::concat(builder, node),
        "Split" => arrange::split(builder, node),
        "Slice" => arrange::slice(builder, node),
        "Gather" => arrange::gather(builder, node),
        "Flatten" => arrange::flatten(builder, node),
        "Reshape" => arrange::reshape(builder, node),
        "Squeeze" | "Unsqueeze" => arrange::squeeze(builder, node),
        "Transpose" => arrange::transpose(builder, node),
        "Shape" => sizes::shape(builder, node),
        "If" | "Loop" | "Scan" => Err("it is control flow, whose way depends on the image"),
        "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger"
        | "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear" => Err("it computes with quantised numbers"),
        _ => Err("its operator is not known"),
    }
}

fn pointwise(builder: &Builder<'_>, node: &NodeProto) -> Read<Option<Pointwise>> {
    let attributes = Attributes::of(node);
    let float = |name, default| f64::from(attributes.float(name, default));
    Ok(Some(match node.op_type() {
        "Identity" => Pointwise::Identity,
        "Dropout" if node.input.iter().skip(2).all(String::is_empty) => Pointwise::Identity,
        "Relu" => Pointwise::Clip { least: 0.0, most: f64::INFINITY },
        "Clip" => {
            let limit = |position, default| match super::source::input(node, position) {
                None => Ok(default),
                Some(name) => {
                    let constant = builder.source.weight(name).and_then(|limit| limit.values().next());
                    constant.map(f64::from).ok_or("its limits are computed")
                }
            };
            Pointwise::Clip { least: limit(1, f64::NEG_INFINITY)?, most: limit(2, f64::INFINITY)? }
        }
        "Abs" => Pointwise::Abs,
        "Elu" => Pointwise::Elu { alpha: float("alpha", 1.0) },
        "HardSigmoid" => Pointwise::HardSigmoid { alpha: float("alpha", 0.2), beta: float("beta", 0.5) },
        "HardSwish" => Pointwise::HardSwish,
        "LeakyRelu" => Pointwise::LeakyRelu { alpha: float("alpha", 0.01) },
        "Neg" => Pointwise::Negative,
        "Sigmoid" => Pointwise::Sigmoid,
        "Softplus" => Pointwise::Softplus,
        "Tanh" => Pointwise::Tanh,
        _ => return Ok(None),
    }))
}

/// Which of `count` axes is named; a negative one counts from the end.
fn axis_of(named: i64, count: usize) -> Read<usize> {
    let axis = if named < 0 { named.saturating_add(count as i64) } else { named };
    usize::try_from(axis).ok().filter(|&axis| axis < count).ok_or("it names an axis that does not exist")
}

/// The axes that a node names: an attribute in older operator sets, an input in newer ones.
fn axes_of(builder: &Builder<'_>, node: &NodeProto, count: usize) -> Read<Vec<usize>> {
    let named = match super::source::input(node, 1) {
        Some(name) => builder.source.integers(name).ok_or("its axes are computed")?,
        None => Attributes::of(node).integers("axes").ok_or("it names no axes")?.to_vec(),
    };
    if named.is_empty() {
        // All axes, or none: that depends on the operator and another attribute.
        return Err("it names no axes");
    }
    named.into_iter().map(|axis| axis_of(axis, count)).collect()
}
