//! Writes the graph without what is gone. A node of which nothing is gone stays as it was, and shares its weights' bytes.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    onnx::{
        AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto,
        attribute_proto::AttributeType,
        tensor_shape_proto::{Dimension, dimension},
        type_proto,
    },
    tensor::{FloatTensor, integers_to_proto, select},
};

use super::{
    constants::Constants,
    demand::{Kept, Level},
    plan::{Plan, Value},
    source::{Source, input},
    step::{Channelwise, Join, Operation, Step},
};

mod arrange;
mod cut;
mod layer;

pub(super) use cut::{Cut, PIECE};

/// The input of a batch norm that is its mean.
const NORM_MEAN: usize = 3;

/// The graph that is left.
pub(super) struct Written {
    pub(super) graph: GraphProto,
    /// The numbers of weights that are smaller, by name; the graph's tensors have none.
    pub(super) cuts: HashMap<String, Cut>,
}

/// The graph of `source` with only what is `kept`.
pub(super) fn rewrite(
    source: &Source<'_>,
    plan: &Plan<'_>,
    constants: &Constants,
    kept: &Kept<'_>,
) -> Written {
    let mut writer = Writer {
        source,
        plan,
        constants,
        kept,
        left_to_norms: HashMap::new(),
        tensors: HashMap::new(),
        cuts: HashMap::new(),
        aliases: HashMap::new(),
    };
    let mut nodes = Vec::new();
    for (node, step) in source.graph.node.iter().zip(&plan.steps) {
        let is_needed = node.output.iter().any(|name| kept.is_required(name));
        if is_needed || matches!(step, Step::Nothing) {
            nodes.push(writer.node(node, step));
        }
    }
    let nodes = needed(source, nodes);
    let read: HashSet<&str> =
        nodes.iter().flat_map(|node| &node.input).map(String::as_str).chain(held(source)).collect();
    let Writer { mut tensors, cuts, .. } = writer;
    let mut initializer: Vec<TensorProto> = source
        .graph
        .initializer
        .iter()
        .filter(|tensor| read.contains(tensor.name()))
        .map(|tensor| tensors.remove(tensor.name()).unwrap_or_else(|| tensor.clone()))
        .collect();
    let mut added: Vec<TensorProto> =
        tensors.into_values().filter(|tensor| read.contains(tensor.name())).collect();
    added.sort_by(|left, right| left.name().cmp(right.name()));
    initializer.extend(added);
    let is_weight =
        |input: &&ValueInfoProto| source.is_constant(input.name()) && !read.contains(input.name());
    let graph = GraphProto {
        input: source.graph.input.iter().filter(|input| !is_weight(input)).cloned().collect(),
        value_info: described(source, plan, kept, &nodes),
        initializer,
        node: nodes,
        name: source.graph.name.clone(),
        sparse_initializer: source.graph.sparse_initializer.clone(),
        doc_string: source.graph.doc_string.clone(),
        output: source.graph.output.clone(),
        quantization_annotation: source.graph.quantization_annotation.clone(),
        metadata_props: source.graph.metadata_props.clone(),
    };
    Written { graph, cuts }
}

/// Names that must exist, whatever nodes read.
fn held<'a>(source: &Source<'a>) -> impl Iterator<Item = &'a str> {
    source.graph.output.iter().map(ValueInfoProto::name).chain(source.captured())
}

/// The nodes whose outputs are read on the way to an output.
fn needed(source: &Source<'_>, nodes: Vec<NodeProto>) -> Vec<NodeProto> {
    let mut read: HashSet<String> = held(source).map(str::to_owned).collect();
    let mut kept: Vec<NodeProto> = Vec::new();
    for node in nodes.into_iter().rev() {
        if node.output.iter().any(|name| read.contains(name)) {
            read.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    kept
}

/// What exporters note of inner values, with the numbers of channels that they have now.
fn described(
    source: &Source<'_>,
    plan: &Plan<'_>,
    kept: &Kept<'_>,
    nodes: &[NodeProto],
) -> Vec<ValueInfoProto> {
    let written: HashSet<&str> = nodes.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    let noted = source.graph.value_info.iter().filter(|value| written.contains(value.name()));
    let mut noted: Vec<ValueInfoProto> = noted.cloned().collect();
    for value in &mut noted {
        let followed = plan.values.get(value.name());
        let channels = followed.map(|value| (kept.channels(&value.slots).len(), value.axis));
        let kind = value.r#type.as_mut().and_then(|kind| kind.value.as_mut());
        if let (Some((channels, axis)), Some(type_proto::Value::TensorType(tensor))) = (channels, kind)
            && let Some(dims) = tensor.shape.as_mut().map(|shape| &mut shape.dim)
            // Channels that are not axis 1 are the last, however many there are.
            && let Some(size) = if axis == 1 { dims.get_mut(1) } else { dims.last_mut() }
        {
            *size = Dimension { value: Some(dimension::Value::DimValue(channels as i64)), ..size.clone() };
        }
    }
    noted
}

/// Writes one node after another.
struct Writer<'s, 'a> {
    source: &'s Source<'a>,
    plan: &'s Plan<'a>,
    constants: &'s Constants,
    kept: &'s Kept<'a>,
    /// What each output of a layer lacks, by the layer's output: the batch norm that reads it adds that.
    left_to_norms: HashMap<String, Vec<f64>>,
    /// Constants that are new or changed, by name.
    tensors: HashMap<String, TensorProto>,
    /// The numbers of those that are parts of what was read.
    cuts: HashMap<String, Cut>,
    /// Values that are others by now.
    aliases: HashMap<String, String>,
}

impl Writer<'_, '_> {
    fn node(&mut self, old: &NodeProto, step: &Step<'_>) -> NodeProto {
        let mut node = old.clone();
        match step {
            Step::Linear(layer) => self.layer(&mut node, layer),
            Step::Channelwise(step) => self.channelwise(&mut node, step),
            Step::Join(join) => self.join(&mut node, join),
            Step::Arrange(arrange) => self.arrange(&mut node, arrange),
            Step::Nothing | Step::Wall(_) => {}
        }
        for name in &mut node.input {
            if let Some(alias) = self.aliases.get(name) {
                name.clone_from(alias);
            }
        }
        node
    }

    fn count(&self, value: &Value) -> usize {
        self.kept.channels(&value.slots).len()
    }

    fn is_cut(&self, value: &Value) -> bool {
        self.count(value) < value.channels()
    }

    fn channelwise(&mut self, node: &mut NodeProto, step: &Channelwise<'_>) {
        let lacking = input(node, 0).and_then(|name| self.left_to_norms.remove(name));
        if !self.is_cut(&step.from) && lacking.is_none() {
            return;
        }
        let channels = self.kept.channels(&step.from.slots);
        for &(position, axis) in &step.vectors {
            let Some(vector) = input(node, position).and_then(|name| self.source.tensor(name)) else {
                continue;
            };
            let left = select(vector, &BTreeMap::from([(axis, channels.clone())]));
            let left = left.and_then(|vector| match (position, &lacking) {
                (NORM_MEAN, Some(lacking)) => {
                    Ok(FloatTensor::from_proto(&vector)?.less(lacking).to_proto(""))
                }
                _ => Ok(vector),
            });
            if let Ok(vector) = left {
                self.replace(node, position, vector);
            }
        }
        if let Some(position) = step.sizes {
            self.resize(node, position, channels.len());
        }
    }

    /// Whether a batch norm alone reads `output`, so that what is added to it may be taken off the mean instead, which takes no bias.
    fn is_normed(&self, output: &str) -> bool {
        let norm = self.source.readers(output).next().filter(|norm| norm.op_type() == "BatchNormalization");
        let step = norm.and_then(|norm| self.plan.steps.get(self.source.writer(norm.output.first()?)?.0));
        // One that is understood reads it as what is normed: all else is constant.
        self.source.is_read_once(output) && matches!(step, Some(Step::Channelwise(_)))
    }

    /// Writes another number of channels into a constant list of sizes.
    fn resize(&mut self, node: &mut NodeProto, position: usize, channels: usize) {
        if let Some(mut sizes) = input(node, position).and_then(|name| self.source.integers(name)) {
            if let Some(size) = sizes.get_mut(1) {
                *size = channels as i64;
            }
            self.replace(node, position, integers_to_proto("", &sizes));
        }
    }

    fn join(&mut self, node: &mut NodeProto, join: &Join<'_>) {
        let Some(side) = self.kept.constant_side(join, self.constants) else { return };
        let (Some(value), Some(other)) = (join.values.get(side), join.inputs.get(1 - side)) else { return };
        let constant = |slot: usize| match self.kept.level(slot) {
            Level::Gone => None,
            Level::Shape => Some(0.0),
            Level::Content => self.constants.at(slot).number().map(|value| value as f32),
        };
        let values: Vec<f32> = value.slots.clone().filter_map(constant).collect();
        let neutral = match (join.operation, side) {
            (Operation::Add, _) | (Operation::Subtract, 1) => Some(0.0),
            (Operation::Multiply, _) => Some(1.0),
            (Operation::Subtract, _) => None,
        };
        // Only a sum with nothing, or a product with one, is the other side itself.
        if values.iter().all(|&value| Some(value) == neutral) {
            self.rename(node, other);
            return;
        }
        let mut dims = vec![1; value.dims.len()];
        if let Some(size) = dims.get_mut(value.axis) {
            *size = values.len();
        }
        if let Ok(tensor) = FloatTensor::new(dims, values) {
            self.replace(node, side, tensor.to_proto(""));
        }
    }

    /// The output of `node` is `other` itself.
    fn rename(&mut self, node: &mut NodeProto, other: &str) {
        let other = self.aliases.get(other).map_or(other, String::as_str).to_owned();
        let outputs: Vec<String> = node.output.iter().filter(|name| !name.is_empty()).cloned().collect();
        for output in outputs {
            if !self.source.is_output(&output) && !self.source.is_captured(&output) {
                self.aliases.insert(output, other.clone());
            }
        }
        "Identity".clone_into(node.op_type.get_or_insert_default());
        node.attribute.clear();
        node.input = vec![other];
    }

    /// Gives the node another constant at `position`, and returns its name; one that others read as well keeps the old.
    fn replace(&mut self, node: &mut NodeProto, position: usize, mut tensor: TensorProto) -> String {
        let old = input(node, position).unwrap_or_default();
        let is_own =
            self.source.is_initializer(old) && self.source.is_read_once(old) && !self.source.is_input(old);
        let name = if is_own { old.to_owned() } else { self.fresh(node, position) };
        if node.input.len() <= position {
            node.input.resize(position + 1, String::new());
        }
        if let Some(input) = node.input.get_mut(position) {
            input.clone_from(&name);
        }
        tensor.name = Some(name.clone());
        self.tensors.insert(name.clone(), tensor);
        name
    }

    fn fresh(&self, node: &NodeProto, position: usize) -> String {
        let output = node.output.first().map_or("", String::as_str);
        let is_taken = |name: &String| self.tensors.contains_key(name) || self.source.has(name);
        let names = (0..).map(|number| format!("{output}.compact.{position}.{number}"));
        names.into_iter().find(|name| !is_taken(name)).unwrap_or_default()
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

fn integers(name: &str, values: Vec<i64>) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values,
        ..AttributeProto::default()
    }
}
