//! Runs ONNX networks on tch with autograd: any network whose operators are known can be trained, not two hand-written
//! ones. Batch norm has its two modes; trained weights go back into the same ONNX model.
//!
//! Only the fallible forms of tch are used: a panic in C++ would say nothing to a user. [`layers`] maps each operator,
//! [`elementwise`] those that work on each value by itself; [`walk`]
//! goes through the nodes.

use std::collections::BTreeMap;

use dnnshifter_network::{
    FloatTensor, Graph, Network, Node, Operator, Shapes, graph::UnsupportedNodes, operator::Arithmetic,
    shapes::InvalidShape, tensor::InvalidTensor,
};
use tch::{Kind, TchError, Tensor};

mod elementwise;
mod layers;
mod walk;

pub(crate) use layers::pad;
pub(crate) use walk::Walk;

/// A network whose weights are tensors that training can change.
pub(crate) struct TrainableNetwork {
    source: Network,
    nodes: Vec<ScheduledNode>,
    parameters: BTreeMap<String, Parameter>,
}

/// A node, the shape of what it writes (without batch), and the values that nobody reads after it.
struct ScheduledNode {
    node: Node,
    shape: Vec<i64>,
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
    /// A constant of a formula: not trained.
    Fixed,
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
    Shape(#[from] InvalidShape),
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
        let shapes = Shapes::infer(source, &graph)?;
        let mut parameters = BTreeMap::new();
        for node in graph.nodes() {
            for (name, role) in roles(node) {
                if let Some(tensor) = source.float(name)? {
                    let role = if tensor.values().len() == 1 { role.of_one_number(node) } else { role };
                    let tensor = to_tch(&tensor, role).map_err(InterpreterError::Weights)?;
                    parameters.insert(name.to_owned(), Parameter { tensor, role });
                }
            }
        }
        let nodes = schedule(&graph, &shapes, &source.output().name);
        Ok(Self { source: source.clone(), nodes, parameters })
    }

    /// The output for a batch of inputs.
    pub(crate) fn forward(&self, input: &Tensor, mode: Mode) -> Result<Tensor, InterpreterError> {
        Walk::start(self, input)?.until(&self.source.output().name, mode, |_, _| ())
    }

    /// The output before a Softmax that ends the network, if one does: what losses and importance are computed from.
    pub(crate) fn logits(&self, input: &Tensor, mode: Mode) -> Result<Tensor, InterpreterError> {
        self.observed_logits(input, mode, |_, _| ())
    }

    /// As [`Self::logits`]; `see` gets each node with what it wrote.
    pub(crate) fn observed_logits(
        &self,
        input: &Tensor,
        mode: Mode,
        see: impl FnMut(&Node, &Tensor),
    ) -> Result<Tensor, InterpreterError> {
        let last = self.nodes.last().map(|scheduled| &scheduled.node);
        let softmax = last.filter(|node| matches!(node.operator, Operator::Softmax { .. }));
        let logits = softmax.and_then(|node| node.input(0)).unwrap_or(&self.source.output().name);
        Walk::start(self, input)?.until(logits, mode, see)
    }

    /// The number of values that the largest layer writes for one input.
    pub(crate) fn most_values(&self) -> usize {
        let sizes = self.nodes.iter().map(|node| node.shape.iter().product::<i64>() as usize);
        sizes.max().unwrap_or(0)
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

impl Role {
    /// Whether training changes the tensor.
    pub(crate) fn is_trained(self) -> bool {
        match self {
            Self::Weight | Self::Offset => true,
            Self::Statistic | Self::Fixed => false,
        }
    }

    /// A single number that a value is combined with is part of a formula, such as the 3 of a hard swish.
    fn of_one_number(self, node: &Node) -> Self {
        if matches!(node.operator, Operator::Binary(_)) { Self::Fixed } else { self }
    }
}

/// The float tensors that a node reads besides its values.
fn roles(node: &Node) -> impl Iterator<Item = (&str, Role)> {
    let (first, roles): (usize, &[Role]) = match node.operator {
        Operator::Conv(_) | Operator::Gemm { .. } => (1, &[Role::Weight, Role::Offset]),
        Operator::MatMul => (1, &[Role::Weight]),
        Operator::PRelu => (1, &[Role::Offset]),
        Operator::BatchNorm { .. } => (1, &[Role::Offset, Role::Offset, Role::Statistic, Role::Statistic]),
        Operator::Binary(Arithmetic::Add | Arithmetic::Mul) => (0, &[Role::Offset, Role::Offset]),
        // What is subtracted or divided by is how inputs are normalised.
        Operator::Binary(Arithmetic::Sub | Arithmetic::Div) => (0, &[Role::Fixed, Role::Fixed]),
        _ => (0, &[]),
    };
    (first..).zip(roles).filter_map(|(position, &role)| node.input(position).map(|name| (name, role)))
}

/// Finds the last reader of each value, so that evaluation does not keep them all.
fn schedule(graph: &Graph, shapes: &Shapes, output: &str) -> Vec<ScheduledNode> {
    let mut last_reader = BTreeMap::new();
    for (position, node) in graph.nodes().iter().enumerate() {
        last_reader.extend(node.inputs.iter().map(|input| (input.as_str(), position)));
    }
    let softmax = graph.nodes().last().filter(|node| matches!(node.operator, Operator::Softmax { .. }));
    let logits = softmax.and_then(|node| node.input(0));
    let is_kept = |value: &str| value == output || Some(value) == logits;
    let read_last_by = |position| {
        let reads =
            last_reader.iter().filter(move |&(&value, &reader)| reader == position && !is_kept(value));
        reads.map(|(&value, _)| value.to_owned()).collect()
    };
    let scheduled = |(position, node): (usize, &Node)| ScheduledNode {
        node: node.clone(),
        shape: shapes.of(&node.output).iter().map(|&size| size as i64).collect(),
        last_reads: read_last_by(position),
    };
    graph.nodes().iter().enumerate().map(scheduled).collect()
}

fn to_tch(tensor: &FloatTensor, role: Role) -> Result<Tensor, TchError> {
    let shape: Vec<i64> = tensor.shape().iter().map(|&size| size as i64).collect();
    let values = channels_last(&Tensor::f_from_slice(tensor.values())?.f_reshape(&shape)?)?;
    values.f_set_requires_grad(role.is_trained())
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
pub(crate) mod tests;
