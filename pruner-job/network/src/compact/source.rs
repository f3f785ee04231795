//! The graph as it was read: its constants by name, and who reads what. Decides nothing.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    attributes::Attributes,
    network::{
        cells::{Cells, Look},
        weights::KnownWeights,
    },
    onnx::{
        AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto,
        tensor_proto::{DataLocation, DataType},
    },
    tensor::{integers_from_proto, integers_to_proto, little_endian},
};

/// A constant of 32-bit floats, its values still in the bytes that were read.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    pub(super) dims: Vec<usize>,
    raw: Bytes,
    /// Which of its cells are used, where that was found when it was read.
    cells: Option<Arc<Cells>>,
}

impl Weight {
    /// Of a tensor whose numbers are bytes, as [`shared`] leaves them.
    pub(super) fn of(proto: &TensorProto, cells: Option<&Arc<Cells>>) -> Option<Self> {
        let plain = proto.data_type() == DataType::Float as i32
            && proto.data_location() != DataLocation::External
            && proto.segment.is_none();
        let dims: Option<Vec<usize>> = proto.dims.iter().map(|&size| usize::try_from(size).ok()).collect();
        let dims = dims.filter(|_| plain)?;
        let raw = proto.raw_data.clone().unwrap_or_default();
        let size = dims.iter().try_fold(4_usize, |size, &dim| size.checked_mul(dim));
        (size == Some(raw.len())).then(|| Self { dims, raw, cells: cells.cloned() })
    }

    /// All values, in row-major order.
    pub(super) fn values(&self) -> impl Iterator<Item = f32> {
        floats(&self.raw)
    }

    /// The bytes of `length` values from the `index`th group of that many on.
    pub(super) fn cell(&self, index: usize, length: usize) -> &[u8] {
        self.raw.get(4 * index * length..4 * (index + 1) * length).unwrap_or_default()
    }

    /// Which of its cells are used.
    pub(super) fn cells(&self) -> Arc<Cells> {
        self.cells.clone().unwrap_or_else(|| Arc::new(Look::at(self.raw.as_chunks().0, &self.dims).cells))
    }
}

/// The floats that `bytes` holds.
pub(super) fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

/// The graph that is read.
pub(super) struct Source<'a> {
    known: &'a KnownWeights<'a>,
    pub(super) graph: &'a GraphProto,
    pub(super) opset: i64,
    /// One that has several names is there once.
    constants: HashMap<&'a str, Rc<TensorProto>>,
    /// Positions of the nodes that read each value, once for each time.
    readers: HashMap<&'a str, Vec<usize>>,
    writers: HashMap<&'a str, usize>,
    captured: HashSet<&'a str>,
}

impl<'a> Source<'a> {
    pub(super) fn of(known: &'a KnownWeights<'a>, graph: &'a GraphProto, opset: i64) -> Self {
        let mut constants: HashMap<&str, Rc<TensorProto>> =
            graph.initializer.iter().map(|tensor| (tensor.name(), shared(tensor.clone()))).collect();
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut writers = HashMap::new();
        let mut captured = HashSet::new();
        for (position, node) in graph.node.iter().enumerate() {
            writers.extend(node.output.iter().map(|name| (name.as_str(), position)));
            for name in &node.input {
                readers.entry(name.as_str()).or_default().push(position);
            }
            for attribute in &node.attribute {
                capture(attribute, &mut captured);
            }
            if let (Some(constant), Some(output)) = (constant(node, &constants), node.output.first()) {
                constants.insert(output, constant);
            }
        }
        Self { known, graph, opset, constants, readers, writers, captured }
    }

    pub(super) fn is_constant(&self, name: &str) -> bool {
        self.constants.contains_key(name)
    }

    /// The float constant called `name`.
    pub(super) fn weight(&self, name: &str) -> Option<Weight> {
        let constant = self.constants.get(name)?;
        Weight::of(constant, self.known.cells(constant))
    }

    /// The constant called `name`.
    pub(super) fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.constants.get(name).map(Rc::as_ref)
    }

    /// The integer constant called `name`.
    pub(super) fn integers(&self, name: &str) -> Option<Vec<i64>> {
        integers_from_proto(self.constants.get(name)?).ok()
    }

    /// The integer constant called `name`, if it is a list.
    pub(super) fn list(&self, name: &str) -> Option<Vec<i64>> {
        self.integers(name).filter(|_| self.constants.get(name).is_some_and(|tensor| tensor.dims.len() == 1))
    }

    /// The nodes that read `name`, once for each time.
    pub(super) fn readers(&self, name: &str) -> impl Iterator<Item = &'a NodeProto> {
        let positions = self.readers.get(name).into_iter().flatten();
        positions.filter_map(|&position| self.graph.node.get(position))
    }

    /// The position and node that write `name`.
    pub(super) fn writer(&self, name: &str) -> Option<(usize, &'a NodeProto)> {
        let position = *self.writers.get(name)?;
        self.graph.node.get(position).map(|node| (position, node))
    }

    /// Whether one node alone reads `name`, and nothing else.
    pub(super) fn is_read_once(&self, name: &str) -> bool {
        self.readers(name).count() == 1 && !self.is_captured(name) && !self.is_output(name)
    }

    /// Whether a graph inside of a node, such as a branch of `If`, may read `name`.
    pub(super) fn is_captured(&self, name: &str) -> bool {
        self.captured.contains(name)
    }

    /// Names that graphs inside of nodes may read.
    pub(super) fn captured(&self) -> impl Iterator<Item = &'a str> {
        self.captured.iter().copied()
    }

    pub(super) fn is_initializer(&self, name: &str) -> bool {
        self.is_constant(name) && !self.writers.contains_key(name)
    }

    /// Whether anything is called `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.is_constant(name) || self.writers.contains_key(name) || self.is_input(name)
    }

    pub(super) fn is_output(&self, name: &str) -> bool {
        self.graph.output.iter().any(|output| output.name() == name)
    }

    pub(super) fn is_input(&self, name: &str) -> bool {
        self.graph.input.iter().any(|input| input.name() == name)
    }
}

/// A node's input; `None` if it is absent.
pub(super) fn input(node: &NodeProto, position: usize) -> Option<&str> {
    node.input.get(position).map(String::as_str).filter(|name| !name.is_empty())
}

fn constant(node: &NodeProto, known: &HashMap<&str, Rc<TensorProto>>) -> Option<Rc<TensorProto>> {
    match node.op_type() {
        "Identity" => known.get(input(node, 0)?).cloned(),
        "Constant" => written(node).map(shared),
        _ => None,
    }
}

/// What a `Constant` node writes.
fn written(node: &NodeProto) -> Option<TensorProto> {
    let [attribute] = node.attribute.as_slice() else { return None };
    match attribute.name() {
        "value" => attribute.t.clone(),
        "value_float" => Some(float_scalar(attribute.f())),
        "value_int" => Some(TensorProto { dims: vec![], ..integers_to_proto("", &[attribute.i()]) }),
        "value_ints" => Some(integers_to_proto("", Attributes::of(node).integers("value_ints")?)),
        _ => None,
    }
}

/// The tensor to be shared, a list of floats as bytes: however many nodes read it, it is in memory once.
fn shared(mut tensor: TensorProto) -> Rc<TensorProto> {
    if tensor.data_type() == DataType::Float as i32 && tensor.raw_data.is_none() {
        let listed = std::mem::take(&mut tensor.float_data);
        tensor.raw_data = Some(little_endian(&listed).into());
    }
    Rc::new(tensor)
}

fn float_scalar(value: f32) -> TensorProto {
    TensorProto {
        data_type: Some(DataType::Float as i32),
        raw_data: Some(Bytes::copy_from_slice(&value.to_le_bytes())),
        ..TensorProto::default()
    }
}

/// Names that are read within the graphs of an attribute: those that its own nodes write are among them, which does no harm.
fn capture<'a>(attribute: &'a AttributeProto, names: &mut HashSet<&'a str>) {
    for graph in attribute.g.iter().chain(&attribute.graphs) {
        names.extend(graph.output.iter().map(ValueInfoProto::name));
        for node in &graph.node {
            names.extend(node.input.iter().map(String::as_str));
            for attribute in &node.attribute {
                capture(attribute, names);
            }
        }
    }
}
