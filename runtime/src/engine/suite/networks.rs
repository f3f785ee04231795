//! Networks as small as can be, written as ONNX (`onnx.proto3`): what every engine can be given.

use std::path::PathBuf;

use dnnshifter_portfolio::description::{Datatype, TensorDescription};
use prost::Message;

use crate::engine::Interface;

/// Values of an item of [`identity`] and [`doubled`].
pub(crate) const SIDE: usize = 3;
/// Values of an item of [`shifted`]: so many that their weights lie in a file of their own, once optimised.
pub(crate) const WEIGHTS: usize = 512;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(int64, tag = "1")]
    version: i64,
    #[prost(message, optional, tag = "7")]
    pub(super) graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opsets: Vec<Opset>,
}

#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(super) nodes: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) weights: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(super) inputs: Vec<Outlet>,
    #[prost(message, repeated, tag = "12")]
    pub(super) outputs: Vec<Outlet>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    outputs: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) operator: String,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
}

/// A whole number.
#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    value: i64,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dimensions: Vec<i64>,
    #[prost(int32, tag = "2")]
    datatype: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Outlet {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Message)]
struct Kind {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorKind>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorKind {
    #[prost(int32, tag = "1")]
    datatype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dimensions: Vec<Dimension>,
}

/// A size, or a name for any.
#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, tag = "1")]
    size: i64,
    #[prost(string, tag = "2")]
    name: String,
}

/// A network, with its tensors.
pub(crate) struct Fixture {
    /// Of the file.
    pub(crate) bytes: Vec<u8>,
    /// Of one item.
    pub(crate) interface: Interface,
}

impl Fixture {
    /// Written to a directory that lasts as long as what is returned.
    pub(crate) fn written(&self) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.onnx");
        std::fs::write(&path, &self.bytes).unwrap();
        (directory, path)
    }

    /// The same, but of exactly so many items.
    pub(crate) fn of_exactly(self, items: i64) -> Self {
        let mut model = Model::decode(self.bytes.as_slice()).unwrap();
        let graph = model.graph.as_mut().unwrap();
        for outlet in graph.inputs.iter_mut().chain(&mut graph.outputs) {
            let shape = outlet.kind.as_mut().and_then(|kind| kind.tensor.as_mut()?.shape.as_mut()).unwrap();
            shape.dimensions[0] = Dimension { size: items, name: String::new() };
        }
        Self { bytes: model.encode_to_vec(), ..self }
    }
}

/// Its output is its input, of three values.
pub(crate) fn identity(datatype: Datatype) -> Fixture {
    fixture(("Identity", &["x"]), datatype, (SIDE, SIDE), Vec::new())
}

/// Its output is its input of three numbers, twice.
pub(crate) fn doubled() -> Fixture {
    fixture(("Concat", &["x", "x"]), Datatype::Fp32, (SIDE, 2 * SIDE), Vec::new())
}

/// Its output is its input, and to each value is added half its place.
pub(crate) fn shifted() -> Fixture {
    let bytes = (0..WEIGHTS).flat_map(|place| shift(place).to_le_bytes()).collect();
    let datatype = element_type(Datatype::Fp32);
    let weights = Tensor { dimensions: vec![WEIGHTS as i64], datatype, name: "w".to_owned(), bytes };
    fixture(("Add", &["x", "w"]), Datatype::Fp32, (WEIGHTS, WEIGHTS), vec![weights])
}

/// What [`shifted`] adds to the value in this place.
pub(crate) fn shift(place: usize) -> f32 {
    place as f32 / 2.0
}

fn fixture(
    (operator, inputs): (&str, &[&str]),
    datatype: Datatype,
    (given, computed): (usize, usize),
    weights: Vec<Tensor>,
) -> Fixture {
    let attributes = match operator {
        // Along the items' values; 2 stands for a whole number.
        "Concat" => vec![Attribute { name: "axis".to_owned(), value: 1, kind: 2 }],
        _ => Vec::new(),
    };
    let node = Node {
        inputs: inputs.iter().copied().map(ToOwned::to_owned).collect(),
        outputs: vec!["y".to_owned()],
        operator: operator.to_owned(),
        attributes,
    };
    let graph = Graph {
        nodes: vec![node],
        name: "graph".to_owned(),
        weights,
        inputs: vec![Outlet::of("x", datatype, given)],
        outputs: vec![Outlet::of("y", datatype, computed)],
    };
    let model = Model { version: 8, graph: Some(graph), opsets: vec![Opset { version: 13 }] };
    let described = |name: &str, side: usize| TensorDescription {
        name: name.to_owned(),
        shape: vec![side as u64],
        datatype,
    };
    let interface = Interface { input: described("x", given), output: described("y", computed) };
    Fixture { bytes: model.encode_to_vec(), interface }
}

impl Outlet {
    /// Any number of items.
    fn of(name: &str, datatype: Datatype, side: usize) -> Self {
        let dimensions = vec![
            Dimension { size: 0, name: "n".to_owned() },
            Dimension { size: side as i64, name: String::new() },
        ];
        let tensor = TensorKind { datatype: element_type(datatype), shape: Some(Shape { dimensions }) };
        Self { name: name.to_owned(), kind: Some(Kind { tensor: Some(tensor) }) }
    }

    pub(super) fn is(&self, described: &TensorDescription) -> bool {
        let tensor = self.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
        self.name == described.name
            && tensor.is_some_and(|tensor| tensor.datatype == element_type(described.datatype))
    }
}

/// What ONNX calls a type (`TensorProto.DataType`).
fn element_type(datatype: Datatype) -> i32 {
    match datatype {
        Datatype::Fp32 => 1,
        Datatype::Uint8 => 2,
        Datatype::Int8 => 3,
        Datatype::Uint16 => 4,
        Datatype::Int16 => 5,
        Datatype::Int32 => 6,
        Datatype::Int64 => 7,
        Datatype::Bytes => 8,
        Datatype::Bool => 9,
        Datatype::Fp16 => 10,
        Datatype::Fp64 => 11,
        Datatype::Uint32 => 12,
        Datatype::Uint64 => 13,
        Datatype::Bf16 => 16,
    }
}
