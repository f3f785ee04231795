//! What compaction did, for people and programs: sizes before and after, each layer, each wall.

use crate::{
    network::label,
    onnx::{GraphProto, NodeProto, TensorProto},
};

use super::{
    constants::Constants,
    demand::Kept,
    plan::{Plan, Value},
    source::Source,
    step::{Linear, Step},
};

/// What compaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The network as it was.
    pub before: Size,
    /// The network as it is now.
    pub after: Size,
    /// Each layer with weights, in order of execution.
    pub layers: Vec<LayerReport>,
    /// Each node that was left as it is, with all that it reads, in order of execution.
    pub walls: Vec<WallReport>,
}

/// How large a network is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Numbers that it stores as initialisers or in `Constant` nodes, of every type.
    pub parameters: u64,
    /// Multiply-accumulate operations of layers with weights for one input; those over images of unknown size are left out.
    pub macs: u64,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// The node's name; its operator and output if it has none.
    pub node: String,
    /// Its ONNX operator.
    pub operator: String,
    /// Channels that it read.
    pub inputs_before: usize,
    /// Channels that it reads now; 0 if it is gone.
    pub inputs_after: usize,
    /// Channels that it wrote.
    pub outputs_before: usize,
    /// Channels that it writes now; 0 if it is gone.
    pub outputs_after: usize,
    /// Of those that it writes now, those that are the same for every image: they stay for their reader's border, for a sum, or for
    /// a number of channels that divides.
    pub constant_outputs: usize,
}

/// A node that was left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WallReport {
    /// The node's name; its operator and output if it has none.
    pub node: String,
    /// Its ONNX operator.
    pub operator: String,
    /// Why it is not understood.
    pub reason: &'static str,
}

impl Report {
    pub(super) fn of(
        source: &Source<'_>,
        plan: &Plan<'_>,
        constants: &Constants,
        kept: &Kept<'_>,
        written: &GraphProto,
    ) -> Self {
        let mut report =
            Self { before: stored(source.graph), after: stored(written), layers: vec![], walls: vec![] };
        for (node, step) in source.graph.node.iter().zip(&plan.steps) {
            let operator = node.op_type().to_owned();
            match step {
                Step::Linear(layer) => {
                    let places = plan.values.get(layer.output).and_then(Value::places);
                    let entry = layer_report(node, layer, constants, kept);
                    let macs = |ins: usize, outs: usize| {
                        (ins * outs * layer.cell) as u64 * places.unwrap_or(0) as u64
                    };
                    let ins_of_a_group = layer.ins_of_a_group();
                    report.before.macs += macs(ins_of_a_group, entry.outputs_before);
                    let largest = |group| kept.channels(&layer.group(group).0).len();
                    let ins = (0..layer.groups).map(largest).max().unwrap_or(0);
                    report.after.macs += macs(ins, entry.outputs_after);
                    report.layers.push(entry);
                }
                Step::Wall(reason) if reads_any(node, plan) => {
                    report.walls.push(WallReport { node: label(node), operator, reason });
                }
                Step::Wall(_) | Step::Channelwise(_) | Step::Join(_) | Step::Arrange(_) | Step::Nothing => {}
            }
        }
        report
    }
}

/// Whether a node reads any value that is followed, or the graphs inside of it may.
fn reads_any(node: &NodeProto, plan: &Plan<'_>) -> bool {
    let has_graphs =
        node.attribute.iter().any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty());
    has_graphs || node.input.iter().any(|name| plan.values.contains_key(name.as_str()))
}

fn layer_report(node: &NodeProto, layer: &Linear<'_>, constants: &Constants, kept: &Kept<'_>) -> LayerReport {
    let stays = kept.is_required(layer.output) && kept.has_any(&layer.outs);
    let count = |slots| if stays { kept.channels(slots).len() } else { 0 };
    let constant = layer.outs.clone().filter(|&slot| kept.is_kept(slot) && !constants.at(slot).is_live());
    LayerReport {
        node: label(node),
        operator: node.op_type().to_owned(),
        inputs_before: layer.ins.len(),
        inputs_after: count(&layer.ins),
        outputs_before: layer.outs.len(),
        outputs_after: count(&layer.outs),
        constant_outputs: if stays { constant.count() } else { 0 },
    }
}

fn stored(graph: &GraphProto) -> Size {
    let numbers = |tensor: &TensorProto| {
        let sizes = tensor.dims.iter().map(|&size| u64::try_from(size).unwrap_or(0));
        sizes.fold(1_u64, u64::saturating_mul)
    };
    let constants =
        graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
    Size { parameters: graph.initializer.iter().chain(constants).map(numbers).sum(), macs: 0 }
}
