//! Whether a model's weights are what they say, and numbers. Knows no operator but those of which infinity may be asked.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    InvalidModel,
    cells::{Cells, Look},
    label,
};
use crate::{
    onnx::{
        ModelProto, NodeProto, TensorProto,
        tensor_proto::{DataLocation, DataType},
    },
    tensor::{InvalidTensor, float_shape},
};

/// A model, and what is known of its weights.
#[derive(Debug)]
pub struct KnownWeights<'a> {
    model: &'a ModelProto,
    /// By the address of their numbers, which is no other's as long as the model is borrowed; with their shape, since two may share them.
    cells: HashMap<usize, (Vec<i64>, Arc<Cells>)>,
}

impl<'a> KnownWeights<'a> {
    /// Of a model that nobody has looked at: weights are when they are needed.
    pub fn unread(model: &'a ModelProto) -> Self {
        Self { model, cells: HashMap::new() }
    }

    /// Looks at all float weights of the model's own graph, as initialisers and in `Constant` nodes, but not at those in files beside it: each
    /// holds as many numbers as it says, and those that a node of this graph reads are finite, unless it is one that limits, fills in or
    /// masks.
    pub fn checked(model: &'a ModelProto) -> Result<Self, InvalidModel> {
        let graph = model.graph.as_ref().ok_or(InvalidModel::NoGraph)?;
        let mut known = Self::unread(model);
        // By the names under which nodes read them.
        let mut odd: BTreeMap<&str, NotFinite> = BTreeMap::new();
        for tensor in graph.initializer.iter().filter(|tensor| is_float(tensor)) {
            let found = known.look(tensor)?;
            odd.extend(found.map(|found| (tensor.name(), found)));
        }
        for node in &graph.node {
            let found = match tensor_in(node) {
                Some(tensor) => known.look(tensor).map_err(|error| called(written(node), error))?,
                None => in_lists(node),
            };
            let read = node.input.iter().find_map(|name| Some((name, *odd.get(name.as_str())?)));
            match (node.op_type(), read) {
                ("Constant", _) => odd.extend(found.and_then(|found| Some((written(node)?, found)))),
                // Exporters write a weight that is stored once and used twice so.
                ("Identity", Some((_, found))) => odd.extend(written(node).map(|name| (name, found))),
                (operator, Some((name, NotFinite { position, value }))) if !may_read(operator, value) => {
                    return Err(InvalidModel::NotFinite {
                        tensor: name.clone(),
                        node: label(node),
                        position,
                        value,
                    });
                }
                _ => {}
            }
        }
        Ok(known)
    }

    /// The model.
    pub fn model(&self) -> &'a ModelProto {
        self.model
    }

    /// Which cells of one of its weights are used; `None` where it was not looked at, or its numbers do not lie in one piece.
    pub(crate) fn cells(&self, weight: &TensorProto) -> Option<&Arc<Cells>> {
        let (dims, cells) = self.cells.get(&address(weight))?;
        (*dims == weight.dims).then_some(cells)
    }

    /// The first value of a tensor that is not finite.
    fn look(&mut self, tensor: &TensorProto) -> Result<Option<NotFinite>, InvalidTensor> {
        let shape = float_shape(tensor)?;
        let numbers = tensor.raw_data().as_chunks().0;
        if numbers.is_empty() {
            return Ok(not_finite(tensor.float_data.iter().copied()));
        }
        let Look { is_finite, cells } = Look::at(numbers, &shape);
        self.cells.insert(address(tensor), (tensor.dims.clone(), Arc::new(cells)));
        let values = || numbers.iter().map(|number| f32::from_le_bytes(*number));
        Ok(if is_finite { None } else { not_finite(values()) })
    }
}

fn address(tensor: &TensorProto) -> usize {
    tensor.raw_data().as_ptr().addr()
}

/// Operators whose constants are limits, or what is filled in: these may well be infinite.
const LIMITED: [&str; 5] = ["Clip", "Pad", "Min", "Max", "Where"];

/// Operators that mask: what minus infinity is added to, as in attention, counts as nothing.
const MASKING: [&str; 2] = ["Add", "Sub"];

fn may_read(operator: &str, value: f32) -> bool {
    LIMITED.contains(&operator) || MASKING.contains(&operator) && !value.is_nan()
}

/// A value that is not finite.
#[derive(Clone, Copy)]
struct NotFinite {
    position: usize,
    value: f32,
}

fn written(node: &NodeProto) -> Option<&str> {
    node.output.first().map(String::as_str)
}

fn is_float(tensor: &TensorProto) -> bool {
    tensor.data_type() == DataType::Float as i32 && tensor.data_location() != DataLocation::External
}

/// The float tensor that a `Constant` node holds.
fn tensor_in(node: &NodeProto) -> Option<&TensorProto> {
    if node.op_type() != "Constant" {
        return None;
    }
    let value = node.attribute.iter().find(|attribute| attribute.name() == "value")?;
    value.t.as_ref().filter(|tensor| is_float(tensor))
}

/// The error with the name under which nodes read the tensor: in a `Constant` node it has none of its own.
fn called(name: Option<&str>, error: InvalidTensor) -> InvalidTensor {
    let Some(name) = name.map(str::to_owned) else { return error };
    match error {
        InvalidTensor::ElementType { found, wanted, .. } => {
            InvalidTensor::ElementType { name, found, wanted }
        }
        InvalidTensor::External { .. } => InvalidTensor::External { name },
        InvalidTensor::Length { shape, found, .. } => InvalidTensor::Length { name, shape, found },
        error @ InvalidTensor::Index { .. } => error,
    }
}

/// The first of the values that a `Constant` node lists which is not finite.
fn in_lists(node: &NodeProto) -> Option<NotFinite> {
    node.attribute.iter().find_map(|attribute| match attribute.name() {
        "value_float" => not_finite([attribute.f()]),
        "value_floats" => not_finite(attribute.floats.iter().copied()),
        _ => None,
    })
}

fn not_finite(values: impl IntoIterator<Item = f32>) -> Option<NotFinite> {
    let found = values.into_iter().enumerate().find(|(_, value)| !value.is_finite());
    found.map(|(position, value)| NotFinite { position, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FloatTensor, NetworkBuilder, TensorInfo, onnx::AttributeProto};

    fn linear(weights: Vec<f32>) -> ModelProto {
        let mut builder = NetworkBuilder::new("tiny", TensorInfo { name: "x".to_owned(), shape: vec![2] });
        let weight = FloatTensor::new(vec![1, 2], weights).unwrap();
        let output = builder.linear("linear", "x", &weight, &FloatTensor::filled(1, 0.0));
        builder.finish(&output, &[1]).unwrap().model().clone()
    }

    /// The linear network behind a node that reads the input and a constant, which stands in a node of its own.
    fn behind(operator: &str, constant: AttributeProto) -> ModelProto {
        let mut model = linear(vec![1.0, 2.0]);
        let node = |operator: &str, inputs: &[&str], output: &str, attribute| NodeProto {
            op_type: Some(operator.to_owned()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        };
        let nodes = [
            node("Constant", &[], "once", vec![constant]),
            node("Identity", &["once"], "constant", vec![]),
            node(operator, &["x", "constant"], "y", vec![]),
        ];
        let graph = model.graph.as_mut().unwrap();
        graph.node[0].input[0] = "y".to_owned();
        graph.node.splice(0..0, nodes);
        model
    }

    fn said(model: &ModelProto) -> String {
        KnownWeights::checked(model).unwrap_err().to_string()
    }

    #[test]
    fn weights_that_are_not_what_they_say_are_refused_by_name() {
        KnownWeights::checked(&linear(vec![1.0, -1e38])).unwrap();
        assert!(said(&linear(vec![0.0, f32::NAN])).contains("value 1 of the weight \"linear.weight\""));
        assert!(said(&linear(vec![f32::NEG_INFINITY, 0.0])).contains("is -inf"));
        let mut short = linear(vec![1.0, 2.0]);
        short.graph.as_mut().unwrap().initializer[0].dims = vec![2, 2];
        assert!(said(&short).contains("holds 2 values"));
    }

    #[test]
    fn weights_that_share_their_numbers_are_known_by_their_shape() {
        let mut model = linear(vec![1.0, 2.0]);
        let weights = &mut model.graph.as_mut().unwrap().initializer;
        let mut other = weights[0].clone();
        (other.name, other.dims) = (Some("other".to_owned()), vec![2, 1]);
        weights.push(other);
        let known = KnownWeights::checked(&model).unwrap();
        let weights = &model.graph.as_ref().unwrap().initializer;
        assert_eq!(weights[0].raw_data().as_ptr(), weights.last().unwrap().raw_data().as_ptr());
        assert!(known.cells(&weights[0]).is_none() && known.cells(weights.last().unwrap()).is_some());
        assert!(KnownWeights::unread(&model).cells(weights.last().unwrap()).is_none());
    }

    #[test]
    fn constants_in_nodes_count_as_weights_unless_they_are_limits() {
        let named = |name: &str| AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
        let tensor = |value: f32| FloatTensor::new(vec![2], vec![0.0, value]).unwrap().to_proto("value");
        let kinds = |value: f32| {
            [
                AttributeProto { t: Some(tensor(value)), ..named("value") },
                AttributeProto { floats: vec![0.0, value], ..named("value_floats") },
                AttributeProto { f: Some(value), ..named("value_float") },
            ]
        };
        for constant in kinds(f32::NAN) {
            // A bias behind a product, and the slope of an activation.
            for operator in ["Add", "PRelu"] {
                let said = said(&behind(operator, constant.clone()));
                assert!(said.contains(&format!("node \"{operator} -> y\"")), "{said}");
            }
        }
        for constant in kinds(f32::INFINITY) {
            for operator in LIMITED.into_iter().chain(MASKING) {
                KnownWeights::checked(&behind(operator, constant.clone())).unwrap();
            }
        }
        for constant in kinds(1.0) {
            KnownWeights::checked(&behind("Add", constant)).unwrap();
        }
        let mut short = tensor(1.0);
        short.dims = vec![3];
        let said = said(&behind("Add", AttributeProto { t: Some(short), ..named("value") }));
        assert!(said.contains("\"once\" says that it has shape [3], but holds 2 values"), "{said}");
    }
}
