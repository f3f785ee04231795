//! Whether a model's weights are what they say, and numbers. Knows no operator but which have weights that are trained.

use std::collections::BTreeMap;

use super::{InvalidModel, label};
use crate::{
    onnx::{
        ModelProto, TensorProto,
        tensor_proto::{DataLocation, DataType},
    },
    tensor::float_shape,
};

/// Whether every float weight holds as many numbers as it says, and those of layers are finite. Reads all of them.
pub fn check_weights(model: &ModelProto) -> Result<(), InvalidModel> {
    let Some(graph) = &model.graph else { return Err(InvalidModel::NoGraph) };
    let inside = graph.initializer.iter().filter(|tensor| tensor.data_location() != DataLocation::External);
    let mut floats: BTreeMap<&str, &TensorProto> = BTreeMap::new();
    for tensor in inside.filter(|tensor| tensor.data_type() == DataType::Float as i32) {
        float_shape(tensor)?;
        floats.insert(tensor.name(), tensor);
    }
    // A limit of a Clip, or what a Pad adds, may well be infinite.
    let layers = graph.node.iter().filter(|node| LAYERS.contains(&node.op_type()));
    for (node, name) in layers.flat_map(|node| node.input.iter().map(move |name| (node, name))) {
        if let Some((position, value)) = floats.get(name.as_str()).and_then(|tensor| not_finite(tensor)) {
            return Err(InvalidModel::NotFinite { tensor: name.clone(), node: label(node), position, value });
        }
    }
    Ok(())
}

/// Operators whose weights are trained.
const LAYERS: [&str; 6] =
    ["Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "InstanceNormalization"];

/// The first value of a tensor that is not finite.
fn not_finite(tensor: &TensorProto) -> Option<(usize, f32)> {
    let numbers = tensor.raw_data().as_chunks::<4>().0;
    // Without a branch, so that the compiler looks at several of them at a time.
    let is_odd = |number: &[u8; 4]| i32::from_le_bytes(*number) & INFINITE == INFINITE;
    if !numbers.iter().fold(false, |found, number| found | is_odd(number)) {
        return tensor.float_data.iter().copied().enumerate().find(|(_, value)| !value.is_finite());
    }
    let odd = numbers.iter().enumerate().find(|(_, number)| is_odd(number));
    odd.map(|(position, number)| (position, f32::from_le_bytes(*number)))
}

/// The bits of an infinite number: all of its exponent. NaN has them too.
const INFINITE: i32 = f32::INFINITY.to_bits() as i32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FloatTensor, NetworkBuilder, TensorInfo};

    #[test]
    fn weights_that_are_not_what_they_say_are_refused_by_name() {
        let linear = |weights: Vec<f32>| {
            let mut builder =
                NetworkBuilder::new("tiny", TensorInfo { name: "x".to_owned(), shape: vec![2] });
            let weight = FloatTensor::new(vec![1, 2], weights).unwrap();
            let output = builder.linear("linear", "x", &weight, &FloatTensor::filled(1, 0.0));
            builder.finish(&output, &[1]).unwrap().model().clone()
        };
        let said = |model: &ModelProto| check_weights(model).unwrap_err().to_string();
        check_weights(&linear(vec![1.0, -1e38])).unwrap();
        assert!(said(&linear(vec![0.0, f32::NAN])).contains("value 1 of the weight \"linear.weight\""));
        assert!(said(&linear(vec![f32::NEG_INFINITY, 0.0])).contains("is -inf"));
        let mut short = linear(vec![1.0, 2.0]);
        short.graph.as_mut().unwrap().initializer[0].dims = vec![2, 2];
        assert!(said(&short).contains("holds 2 values"));
    }
}
