//! What exporters write in several ways, brought into one: weights as initialisers of their own, a batch size that is free.
//! The network computes what it did. Rewrites nothing else; [`crate::network`] checks what comes out.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use crate::{
    onnx::{
        GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType,
        tensor_shape_proto::dimension, type_proto,
    },
    tensor::{integers_from_proto, integers_to_proto},
};

/// Name of the batch dimension if it was fixed.
const BATCH: &str = "batch";

/// Bytes that weights which were stored once may take when each use has its own: far more than the biases and batch norms
/// that are equal before training, far less than exhausts a machine.
const MOST_PARTED: usize = 1 << 28;

/// Rewrites `model`.
pub(crate) fn normalized(mut model: ModelProto) -> ModelProto {
    if let Some(graph) = &mut model.graph {
        lift_constants(graph);
        part_shared_weights(graph);
        free_batch(graph);
    }
    model
}

/// Weights that stand in nodes (as Paddle writes all of them) become initialisers: nothing could be trained else.
fn lift_constants(graph: &mut GraphProto) {
    let mut lifted = Vec::new();
    graph.node.retain(|node| match constant(node) {
        Some(tensor) => {
            lifted.push(tensor);
            false
        }
        None => true,
    });
    graph.initializer.append(&mut lifted);
}

fn constant(node: &NodeProto) -> Option<TensorProto> {
    let (name, attribute) = (node.output.first()?, node.attribute.first()?);
    if node.op_type() != "Constant" || !matches!(node.domain(), "" | "ai.onnx") {
        return None;
    }
    let float = |values: &[f32], dims| TensorProto {
        dims,
        data_type: Some(DataType::Float as i32),
        float_data: values.to_vec(),
        ..TensorProto::default()
    };
    let tensor = match attribute.name() {
        "value" => attribute.t.clone()?,
        "value_float" => float(&[attribute.f()], vec![]),
        "value_floats" => float(&attribute.floats, vec![attribute.floats.len() as i64]),
        "value_int" => TensorProto { dims: vec![], ..integers_to_proto(name, &[attribute.i()]) },
        "value_ints" => integers_to_proto(name, &attribute.ints),
        _ => return None,
    };
    Some(TensorProto { name: Some(name.clone()), ..tensor })
}

/// Before training many weights are equal, and exporters store them once, with an Identity for each further use. Each use
/// gets its own again, as long as there is room for it: training moves them apart.
fn part_shared_weights(graph: &mut GraphProto) {
    // Where each weight stands, and its size.
    let mut weights: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (place, tensor) in graph.initializer.iter().enumerate() {
        weights.insert(tensor.name().to_owned(), (place, tensor.encoded_len()));
    }
    let outputs: BTreeSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    let mut room = MOST_PARTED;
    graph.node.retain(|node| {
        let ([input], [output]) = (node.input.as_slice(), node.output.as_slice()) else { return true };
        let Some(&(place, size)) = weights.get(input).filter(|_| node.op_type() == "Identity") else {
            return true;
        };
        let weight = graph.initializer.get(place).filter(|_| size <= room && !outputs.contains(output));
        let Some(own) = weight.cloned() else { return true };
        room -= size;
        graph.initializer.push(TensorProto { name: Some(output.clone()), ..own });
        weights.insert(output.clone(), (place, size));
        false
    });
}

/// A batch size that was fixed when the model was exported: in its input and outputs, and in the shapes of its Reshapes.
fn free_batch(graph: &mut GraphProto) {
    let weights: BTreeSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    let inputs = graph.input.iter_mut().filter(|input| !weights.contains(input.name()));
    inputs.chain(&mut graph.output).for_each(free_first_dimension);
    // What was noted of inner values has the old size.
    graph.value_info.clear();
    let shapes: BTreeSet<String> = graph
        .node
        .iter()
        .filter(|node| node.op_type() == "Reshape")
        .filter_map(|node| node.input.get(1).cloned())
        .collect();
    for tensor in graph.initializer.iter_mut().filter(|tensor| shapes.contains(tensor.name())) {
        let Ok(mut shape) = integers_from_proto(tensor) else { continue };
        if let Some(first) = shape.first_mut().filter(|first| **first > 0) {
            *first = 0;
            *tensor = integers_to_proto(tensor.name(), &shape);
        }
    }
}

fn free_first_dimension(value: &mut ValueInfoProto) {
    let kind = value.r#type.as_mut().and_then(|kind| kind.value.as_mut());
    let Some(type_proto::Value::TensorType(tensor)) = kind else { return };
    let first = tensor.shape.as_mut().and_then(|shape| shape.dim.first_mut());
    if let Some(first) =
        first.filter(|first| matches!(first.value, Some(dimension::Value::DimValue(_)) | None))
    {
        first.value = Some(dimension::Value::DimParam(BATCH.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Graph, Network, NetworkBuilder, Operator, TensorInfo, onnx::AttributeProto, tensor::FloatTensor,
    };

    fn linear() -> ModelProto {
        let mut builder =
            NetworkBuilder::new("test", TensorInfo { name: "x".to_owned(), shape: vec![2, 1, 1] });
        let value = builder.flatten("flatten", "x");
        let weight = FloatTensor::new(vec![2, 2], vec![1., 2., 3., 4.]).unwrap();
        let value = builder.linear("linear", &value, &weight, &FloatTensor::filled(2, 0.5));
        builder.finish(&value, &[2]).unwrap().model().clone()
    }

    fn imported(model: &ModelProto) -> Network {
        Network::import(model.encode_to_vec().into()).unwrap()
    }

    #[test]
    fn weights_in_nodes_can_be_trained() {
        let mut model = linear();
        let graph = model.graph.as_mut().unwrap();
        let weights = std::mem::take(&mut graph.initializer);
        for weight in weights {
            let output = vec![weight.name().to_owned()];
            let value = AttributeProto {
                name: Some("value".to_owned()),
                t: Some(weight),
                ..AttributeProto::default()
            };
            let op_type = Some("Constant".to_owned());
            graph
                .node
                .insert(0, NodeProto { op_type, output, attribute: vec![value], ..NodeProto::default() });
        }
        let network = imported(&model);
        assert_eq!(Graph::of(&network).unwrap().nodes().len(), 2);
        assert_eq!(network.float("linear.weight").unwrap().unwrap().values(), [1., 2., 3., 4.]);
    }

    #[test]
    fn weights_that_were_stored_once_are_parted() {
        let mut model = linear();
        let graph = model.graph.as_mut().unwrap();
        graph.node[1].input[2] = "other".to_owned();
        let identity = NodeProto {
            op_type: Some("Identity".to_owned()),
            input: vec!["linear.bias".to_owned()],
            output: vec!["other".to_owned()],
            ..NodeProto::default()
        };
        graph.node.insert(0, identity);
        let network = imported(&model);
        assert_eq!(network.float("other").unwrap().unwrap().values(), [0.5, 0.5]);
        assert_eq!(Graph::of(&network).unwrap().nodes().len(), 2);
    }

    #[test]
    fn a_batch_that_was_fixed_at_export_is_free() {
        let mut model = linear();
        let graph = model.graph.as_mut().unwrap();
        graph.node[0].op_type = Some("Reshape".to_owned());
        graph.node[0].input.push("shape".to_owned());
        graph.initializer.push(integers_to_proto("shape", &[1, 2]));
        let network = imported(&model);
        assert_eq!(network.integers("shape").unwrap().unwrap(), [0, 2]);
        assert!(matches!(Graph::of(&network).unwrap().nodes()[0].operator, Operator::Flatten));
        let fixed = |network: &Network| format!("{:?}", network.model().graph.as_ref().unwrap().input);
        assert!(fixed(&network).contains("batch"), "{}", fixed(&network));
    }
}
