//! A checked ONNX model: one float input, one output, nodes in order. Its weights can be read and replaced; all else is
//! kept as it was read. What the nodes *mean* is for [`crate::graph`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::{
    import,
    onnx::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto},
    tensor::{FloatTensor, InvalidTensor, float_shape, integers_from_proto, integers_to_proto, select},
};

pub(crate) mod cells;
mod described;
#[cfg(test)]
mod lossless;
pub mod weights;

use described::{MOST_VALUES, described};

/// The oldest operator set that is understood: from 11 on, padding is an input and negative axes are allowed.
pub const OLDEST_OPSET: i64 = 11;
/// The newest operator set that was checked against the operators that are known here: that of onnx 1.23.
pub const NEWEST_OPSET: i64 = 28;
/// The newest operator set of networks that are trained or described: ONNX Runtime 1.31, which runs them, opens no newer one.
pub const NEWEST_RUNNABLE_OPSET: i64 = 26;

/// A checked ONNX model.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    model: ModelProto,
    input: TensorInfo,
    output: TensorInfo,
}

/// The network's input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the graph.
    pub name: String,
    /// Its shape without the batch dimension, which comes first.
    pub shape: Vec<usize>,
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidModel {
    /// Not ONNX at all, or cut short.
    #[error(
        "failed to decode the ONNX model: it is no ONNX file, or it was cut short; copy it again, or export the model again"
    )]
    Decode(#[source] prost::DecodeError),
    /// A model without a graph.
    #[error(
        "the ONNX model has no graph: the file is empty, or was not written to its end; export the model again"
    )]
    NoGraph,
    /// An operator set that is not understood.
    #[error(
        "the ONNX model uses operator set {found}, but {OLDEST_OPSET} to {newest} are understood; export it with opset_version=17"
    )]
    Opset {
        /// The version found; 0 if none is stated.
        found: i64,
        /// The newest that is understood for this use.
        newest: i64,
    },
    /// Not one input and one output.
    #[error(
        "the ONNX model has {inputs} inputs and {outputs} outputs, but a classifier has one of each; export it with the image as its only input and the classes as its only output"
    )]
    Ends {
        /// Number of inputs that are not weights.
        inputs: usize,
        /// Number of outputs.
        outputs: usize,
    },
    /// An input or output without a usable shape.
    #[error(
        "\"{name}\" needs a tensor type with a batch dimension first and fixed sizes after it, of at most {MOST_VALUES} values together; export the model with a fixed image size"
    )]
    Shape {
        /// Name of the input or output.
        name: String,
    },
    /// An input or output of other numbers.
    #[error(
        "\"{name}\" holds {found}, but float32 is needed; export the model in plain float32, neither in half precision nor quantised"
    )]
    ElementType {
        /// Name of the input or output.
        name: String,
        /// Its ONNX element type.
        found: String,
    },
    /// A node that reads what nobody wrote before it.
    #[error(
        "node \"{node}\" reads \"{value}\", which no node before it writes; export the model again, and check it with onnx.checker"
    )]
    Undefined {
        /// The node.
        node: String,
        /// The value.
        value: String,
    },
    /// A value written twice.
    #[error(
        "node \"{node}\" writes \"{value}\", which is already written elsewhere; export the model again, and check it with onnx.checker"
    )]
    Rewritten {
        /// The node.
        node: String,
        /// The value.
        value: String,
    },
    /// A weight that is no number, or has no end.
    #[error(
        "value {position} of the weight \"{tensor}\", which node \"{node}\" reads, is {value}: its training has diverged; take weights from before that"
    )]
    NotFinite {
        /// The weight.
        tensor: String,
        /// The node that reads it.
        node: String,
        /// Where in the weight it is, counted from 0.
        position: usize,
        /// What stands there.
        value: f32,
    },
    /// A tensor that cannot be read.
    #[error(transparent)]
    Tensor(#[from] InvalidTensor),
}

impl Network {
    /// Reads and checks an ONNX file's bytes.
    pub fn read(bytes: Bytes) -> Result<Self, InvalidModel> {
        Self::from_model(ModelProto::decode(bytes).map_err(InvalidModel::Decode)?)
    }

    /// Reads, checks and brings into one form what exporters write in several: weights become initialisers of their own, and a
    /// batch size that was fixed at export is free.
    pub fn import(bytes: Bytes) -> Result<Self, InvalidModel> {
        Self::import_model(ModelProto::decode(bytes).map_err(InvalidModel::Decode)?)
    }

    /// As [`Self::import`], of a model that was decoded already.
    pub fn import_model(model: ModelProto) -> Result<Self, InvalidModel> {
        Self::from_model(import::normalized(model))
    }

    /// Checks a model.
    pub fn from_model(model: ModelProto) -> Result<Self, InvalidModel> {
        let graph = model.graph.as_ref().ok_or(InvalidModel::NoGraph)?;
        opset(&model, NEWEST_RUNNABLE_OPSET)?;
        let weights: BTreeSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
        let inputs: Vec<_> = graph.input.iter().filter(|input| !weights.contains(input.name())).collect();
        let ([input], [output]) = (inputs.as_slice(), graph.output.as_slice()) else {
            return Err(InvalidModel::Ends { inputs: inputs.len(), outputs: graph.output.len() });
        };
        let (input, output) = (described(input)?, described(output)?);
        check_order(graph)?;
        Ok(Self { model, input, output })
    }

    /// The model as an ONNX file's bytes.
    pub fn write(&self) -> Vec<u8> {
        self.model.encode_to_vec()
    }

    /// The whole model, as it was read.
    pub fn model(&self) -> &ModelProto {
        &self.model
    }

    /// The network's input.
    pub fn input(&self) -> &TensorInfo {
        &self.input
    }

    /// The network's output.
    pub fn output(&self) -> &TensorInfo {
        &self.output
    }

    /// The nodes in order of execution.
    pub fn nodes(&self) -> &[NodeProto] {
        self.model.graph.as_ref().map_or(&[], |graph| graph.node.as_slice())
    }

    /// The float weight called `name`; `None` if there is none of that name.
    pub fn float(&self, name: &str) -> Result<Option<FloatTensor>, InvalidTensor> {
        self.initializer(name).map(FloatTensor::from_proto).transpose()
    }

    /// The integer constant called `name`; `None` if there is none of that name.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<i64>>, InvalidTensor> {
        self.initializer(name).map(integers_from_proto).transpose()
    }

    /// The shape of the float weight called `name`, without reading its values; `None` if there is none of that name.
    pub fn float_shape(&self, name: &str) -> Result<Option<Vec<usize>>, InvalidTensor> {
        self.initializer(name).map(float_shape).transpose()
    }

    /// The number of axes of the weight or constant called `name`; `None` if there is none of that name.
    pub(crate) fn rank(&self, name: &str) -> Option<usize> {
        self.initializer(name).map(|tensor| tensor.dims.len())
    }

    /// The version of ONNX's own operator set.
    pub fn opset(&self) -> i64 {
        // It was checked when the model was read.
        opset(&self.model, NEWEST_RUNNABLE_OPSET).unwrap_or(OLDEST_OPSET)
    }

    /// Whether `name` is a weight or constant of the model.
    pub fn is_constant(&self, name: &str) -> bool {
        self.initializer(name).is_some()
    }

    /// The network with some of its float weights replaced. Names that it does not have are ignored.
    #[must_use]
    pub fn with_floats(mut self, tensors: &BTreeMap<String, FloatTensor>) -> Self {
        for proto in self.model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
            if let Some(tensor) = tensors.get(proto.name()) {
                *proto = tensor.to_proto(proto.name());
            }
        }
        self
    }

    /// The network with only some entries of some axes of its float weights. Names that it does not have are ignored.
    pub(crate) fn with_entries(
        mut self,
        kept: &BTreeMap<&str, BTreeMap<usize, Vec<usize>>>,
    ) -> Result<Self, InvalidTensor> {
        for proto in self.model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
            if let Some(axes) = kept.get(proto.name()) {
                *proto = select(proto, axes)?;
            }
        }
        Ok(self)
    }

    /// The network with an integer constant replaced. A name that it does not have is ignored.
    #[must_use]
    pub(crate) fn with_integers(mut self, name: &str, values: &[i64]) -> Self {
        for proto in self.model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
            if proto.name() == name {
                *proto = integers_to_proto(name, values);
            }
        }
        self
    }

    /// The network in which the convolutions that write these values have so many groups.
    #[must_use]
    pub(crate) fn with_group_counts(mut self, counts: &BTreeMap<&str, usize>) -> Self {
        for node in self.model.graph.iter_mut().flat_map(|graph| &mut graph.node) {
            let count = node.output.first().and_then(|output| counts.get(output.as_str()));
            let attribute = node.attribute.iter_mut().find(|attribute| attribute.name() == "group");
            if let (Some(&count), Some(attribute)) = (count, attribute) {
                attribute.i = Some(count as i64);
            }
        }
        self
    }

    /// The network without the shapes that its exporter noted for inner values: a smaller network has others.
    #[must_use]
    pub(crate) fn without_inner_shapes(mut self) -> Self {
        if let Some(graph) = &mut self.model.graph {
            graph.value_info.clear();
        }
        self
    }

    fn initializer(&self, name: &str) -> Option<&TensorProto> {
        self.model.graph.as_ref()?.initializer.iter().find(|tensor| tensor.name() == name)
    }
}

/// How a person finds a node: by its name, or by its operator and first output if its exporter gave it none.
pub fn label(node: &NodeProto) -> String {
    match (node.name(), node.output.first()) {
        ("", Some(output)) => format!("{} -> {output}", node.op_type()),
        ("", None) => node.op_type().to_owned(),
        (name, _) => name.to_owned(),
    }
}

/// The version of the standard's operator set that a model uses, at most `newest`.
pub(crate) fn opset(model: &ModelProto, newest: i64) -> Result<i64, InvalidModel> {
    let opset = model.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx"));
    let found = opset.map_or(0, OperatorSetIdProto::version);
    if (OLDEST_OPSET..=newest).contains(&found) {
        Ok(found)
    } else {
        Err(InvalidModel::Opset { found, newest })
    }
}

/// Whether every value is written once, before it is read.
pub(crate) fn check_order(graph: &GraphProto) -> Result<(), InvalidModel> {
    let sparse = graph.sparse_initializer.iter().filter_map(|tensor| tensor.values.as_ref());
    let weights = graph.initializer.iter().chain(sparse).map(TensorProto::name);
    let mut known: BTreeSet<&str> = weights.chain(graph.input.iter().map(ValueInfoProto::name)).collect();
    for node in &graph.node {
        if let Some(value) = node.input.iter().find(|name| !name.is_empty() && !known.contains(name.as_str()))
        {
            return Err(InvalidModel::Undefined { node: label(node), value: value.clone() });
        }
        for value in node.output.iter().filter(|name| !name.is_empty()) {
            if !known.insert(value) {
                return Err(InvalidModel::Rewritten { node: label(node), value: value.clone() });
            }
        }
    }
    match graph.output.iter().find(|output| !known.contains(output.name())) {
        Some(output) => Err(InvalidModel::Undefined {
            node: "(output of the graph)".to_owned(),
            value: output.name().to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        NetworkBuilder,
        onnx::{OperatorSetIdProto, TypeProto},
    };

    fn relu() -> ModelProto {
        let mut builder =
            NetworkBuilder::new("tiny", TensorInfo { name: "input".to_owned(), shape: vec![1, 2, 2] });
        let input = builder.input();
        let output = builder.relu("relu", &input);
        builder.finish(&output, &[1, 2, 2]).unwrap().model().clone()
    }

    fn refusal(change: impl FnOnce(&mut ModelProto)) -> String {
        let mut model = relu();
        change(&mut model);
        Network::from_model(model).unwrap_err().to_string()
    }

    #[test]
    fn what_is_read_is_written_again() {
        let bytes = relu().encode_to_vec();
        let network = Network::read(bytes.clone().into()).unwrap();
        assert_eq!(network.write(), bytes);
        assert_eq!(network.input(), &TensorInfo { name: "input".to_owned(), shape: vec![1, 2, 2] });
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        let bytes = relu().encode_to_vec();
        for cut in 0..bytes.len() {
            assert!(Network::read(bytes[..cut].to_vec().into()).is_err(), "{cut}");
        }
        assert!(Network::read(Bytes::from_static(b"<html>no such page</html>")).is_err());
    }

    #[test]
    fn models_that_cannot_be_used_are_refused_with_the_reason() {
        assert!(refusal(|model| model.graph = None).contains("no graph"));
        let old = OperatorSetIdProto { version: Some(9), ..OperatorSetIdProto::default() };
        assert!(refusal(|model| model.opset_import = vec![old]).contains("operator set 9"));
        let graph = |change: fn(&mut GraphProto)| refusal(|model| change(model.graph.as_mut().unwrap()));
        assert!(
            graph(|graph| graph.output.clear())
                .contains("1 inputs and 0 outputs, but a classifier has one of each; export it")
        );
        assert!(
            graph(|graph| graph.input[0].r#type = Some(TypeProto::default())).contains("\"input\" needs")
        );
        assert!(
            graph(|graph| graph.node[0].input[0] = "x".to_owned())
                .contains("reads \"x\", which no node before it writes; export")
        );
        assert!(graph(|graph| graph.node.push(graph.node[0].clone())).contains("already written"));
        assert!(graph(|graph| graph.node.clear()).contains("\"relu.output\""));
    }
}
