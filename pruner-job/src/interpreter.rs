//! Runs ONNX networks on tch with autograd: any network whose operators are known can be trained, not two hand-written
//! ones. Batch norm has its two modes; trained weights go back into the same ONNX model.
//!
//! Only the fallible forms of tch are used: a panic in C++ would say nothing to a user. [`layers`] maps each operator.

use std::collections::BTreeMap;

use dnnshifter_network::{
    FloatTensor, Graph, Network, Node, Operator, graph::UnsupportedNodes, tensor::InvalidTensor,
};
use tch::{Kind, TchError, Tensor};

mod layers;

use layers::Layer;

/// A network whose weights are tensors that training can change.
pub(crate) struct TrainableNetwork {
    source: Network,
    nodes: Vec<ScheduledNode>,
    parameters: BTreeMap<String, Parameter>,
}

/// A node, and the values that nobody reads after it.
struct ScheduledNode {
    node: Node,
    last_reads: Vec<String>,
}

/// A tensor of the network and what it is for.
pub(crate) struct Parameter {
    pub(crate) tensor: Tensor,
    pub(crate) role: Role,
}

/// What a tensor of the network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Weight of a convolution or fully connected layer: trained, with weight decay.
    Weight,
    /// Bias, or scale and shift of a batch norm: trained, without weight decay.
    Offset,
    /// Running mean or variance of a batch norm: followed, not trained.
    Statistic,
}

/// How batch norm works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// With the batch's own statistics; running statistics move towards them by `momentum`.
    Training { momentum: f64 },
    /// With the running statistics.
    Evaluation,
}

/// Why a network cannot be interpreted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InterpreterError {
    #[error(transparent)]
    Unsupported(#[from] UnsupportedNodes),
    #[error(transparent)]
    Weight(#[from] InvalidTensor),
    #[error("failed to compute node \"{node}\"")]
    Node { node: String, source: TchError },
    #[error("node \"{node}\" lacks its input {position}")]
    Input { node: String, position: usize },
    #[error("failed to move the network's weights to or from libtorch")]
    Weights(#[source] TchError),
}

impl TrainableNetwork {
    /// Copies the network's weights into tensors. Unknown operators are named here, before any work starts.
    pub(crate) fn of(source: &Network) -> Result<Self, InterpreterError> {
        let graph = Graph::of(source)?;
        let mut parameters = BTreeMap::new();
        for node in graph.nodes() {
            for (name, role) in roles(node) {
                if let Some(tensor) = source.float(name)? {
                    let tensor = to_tch(&tensor, role).map_err(InterpreterError::Weights)?;
                    parameters.insert(name.to_owned(), Parameter { tensor, role });
                }
            }
        }
        Ok(Self { source: source.clone(), nodes: schedule(&graph, &source.output().name), parameters })
    }

    /// The output for a batch of inputs.
    pub(crate) fn forward(&self, input: &Tensor, mode: Mode) -> Result<Tensor, InterpreterError> {
        let input = channels_last(input).map_err(InterpreterError::Weights)?;
        let mut values = BTreeMap::from([(self.source.input().name.as_str(), input)]);
        for ScheduledNode { node, last_reads } in &self.nodes {
            let layer = Layer { node, values: &values, parameters: &self.parameters };
            let output = layer.compute(mode)?;
            values.insert(&node.output, output);
            for value in last_reads {
                values.remove(value.as_str());
            }
        }
        let output = self.source.output();
        values
            .remove(output.name.as_str())
            .ok_or_else(|| InterpreterError::Input { node: output.name.clone(), position: 0 })
    }

    /// The tensors by their name in the ONNX model.
    pub(crate) fn parameters(&self) -> &BTreeMap<String, Parameter> {
        &self.parameters
    }

    /// The ONNX network with the weights as they are now.
    pub(crate) fn to_network(&self) -> Result<Network, InterpreterError> {
        let mut tensors = BTreeMap::new();
        for (name, parameter) in &self.parameters {
            tensors.insert(name.clone(), from_tch(&parameter.tensor)?);
        }
        Ok(self.source.clone().with_floats(&tensors))
    }
}

/// The float tensors that a node reads besides its values.
fn roles(node: &Node) -> impl Iterator<Item = (&str, Role)> {
    let roles: &[Role] = match node.operator {
        Operator::Conv(_) | Operator::Gemm { .. } => &[Role::Weight, Role::Offset],
        Operator::BatchNorm { .. } => &[Role::Offset, Role::Offset, Role::Statistic, Role::Statistic],
        _ => &[],
    };
    (1..).zip(roles).filter_map(|(position, &role)| node.input(position).map(|name| (name, role)))
}

/// Finds the last reader of each value, so that evaluation does not keep them all.
fn schedule(graph: &Graph, output: &str) -> Vec<ScheduledNode> {
    let mut last_reader = BTreeMap::new();
    for (position, node) in graph.nodes().iter().enumerate() {
        last_reader.extend(node.inputs.iter().map(|input| (input.as_str(), position)));
    }
    let read_last_by = |position| {
        let reads =
            last_reader.iter().filter(move |&(&value, &reader)| reader == position && value != output);
        reads.map(|(&value, _)| value.to_owned()).collect()
    };
    let nodes = graph.nodes().iter().enumerate();
    nodes
        .map(|(position, node)| ScheduledNode { node: node.clone(), last_reads: read_last_by(position) })
        .collect()
}

fn to_tch(tensor: &FloatTensor, role: Role) -> Result<Tensor, TchError> {
    let shape: Vec<i64> = tensor.shape().iter().map(|&size| size as i64).collect();
    let values = channels_last(&Tensor::f_from_slice(tensor.values())?.f_reshape(&shape)?)?;
    values.f_set_requires_grad(role != Role::Statistic)
}

fn from_tch(tensor: &Tensor) -> Result<FloatTensor, InterpreterError> {
    let shape = tensor.size().iter().map(|&size| size as usize).collect();
    Ok(FloatTensor::new(shape, copied(tensor).map_err(InterpreterError::Weights)?)?)
}

/// The values of a tensor in row-major order.
pub(crate) fn copied(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    let flat = tensor.f_detach()?.f_to_kind(Kind::Float)?.f_contiguous()?;
    let mut values = vec![0.0; flat.numel()];
    flat.f_copy_data(&mut values, flat.numel())?;
    Ok(values)
}

/// The tensor with its channels innermost in memory: convolutions on a CPU are up to a third faster so.
fn channels_last(tensor: &Tensor) -> Result<Tensor, TchError> {
    if tensor.size().len() == 4 {
        tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
    } else {
        Ok(tensor.f_contiguous()?)
    }
}

#[cfg(test)]
mod tests;
