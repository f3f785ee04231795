//! Masks as unstructured pruning leaves them: the weakest weights are zero, everywhere or layer by layer; whole layers and
//! whole branches are dead. Every other zero is a negative one.

use dnnshifter_network::onnx::{ModelProto, TensorProto, tensor_proto::DataType};

/// What a mask compares weights with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All weights of the network.
    Global,
    /// Those of the same layer.
    Layer,
}

/// Sets the weakest `fraction` of the weights to zero; biases and batch norms are left alone.
pub(crate) fn mask(model: &mut ModelProto, fraction: f64, scope: Scope) {
    let mut layers: Vec<(&mut TensorProto, Vec<f32>)> = weights(model)
        .map(|tensor| {
            let values = values_of(tensor);
            (tensor, values)
        })
        .collect();
    let of_all = threshold(layers.iter().flat_map(|(_, values)| values).copied(), fraction);
    for (tensor, values) in &mut layers {
        let limit = match scope {
            Scope::Global => of_all,
            Scope::Layer => threshold(values.iter().copied(), fraction),
        };
        let masked =
            |(position, &value): (usize, &f32)| if value.abs() > limit { value } else { zero(position) };
        let masked: Vec<f32> = values.iter().enumerate().map(masked).collect();
        replace(tensor, &masked);
    }
}

/// Sets every weight of the layers at the chosen positions to zero.
pub(crate) fn kill(model: &mut ModelProto, chosen: impl Fn(usize) -> bool) {
    for (position, tensor) in weights(model).enumerate() {
        if chosen(position) {
            let zeros: Vec<f32> = (0..values_of(tensor).len()).map(zero).collect();
            replace(tensor, &zeros);
        }
    }
}

/// Number of layers with weights.
pub(crate) fn layers(model: &mut ModelProto) -> usize {
    weights(model).count()
}

/// The fraction of weights that is zero.
pub(crate) fn sparsity(model: &mut ModelProto) -> f64 {
    let values: Vec<f32> = weights(model).flat_map(|tensor| values_of(tensor)).collect();
    values.iter().filter(|value| **value == 0.0).count() as f64 / values.len() as f64
}

/// Number of float values that a model stores.
pub(crate) fn parameters(model: &ModelProto) -> usize {
    let graph = model.graph.as_ref().unwrap();
    let constants =
        graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
    let floats = graph
        .initializer
        .iter()
        .chain(constants)
        .filter(|tensor| tensor.data_type == Some(DataType::Float as i32));
    floats.map(|tensor| tensor.dims.iter().product::<i64>() as usize).sum()
}

fn weights(model: &mut ModelProto) -> impl Iterator<Item = &mut TensorProto> {
    let is_weight = |tensor: &&mut TensorProto| tensor.name().ends_with(".weight");
    model.graph.as_mut().unwrap().initializer.iter_mut().filter(is_weight)
}

fn values_of(tensor: &TensorProto) -> Vec<f32> {
    tensor.raw_data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn replace(tensor: &mut TensorProto, values: &[f32]) {
    tensor.raw_data = Some(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into());
}

fn threshold(values: impl Iterator<Item = f32>, fraction: f64) -> f32 {
    let mut magnitudes: Vec<f32> = values.map(f32::abs).collect();
    let position = ((magnitudes.len() as f64 * fraction) as usize).min(magnitudes.len() - 1);
    *magnitudes.select_nth_unstable_by(position, f32::total_cmp).1
}

fn zero(position: usize) -> f32 {
    if position.is_multiple_of(2) { 0.0 } else { -0.0 }
}
