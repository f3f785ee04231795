//! What a network costs: parameters and multiply-accumulate operations for one input.

use std::collections::BTreeSet;

use crate::{
    graph::{Graph, Node},
    network::Network,
    operator::Operator,
    shapes::Shapes,
    tensor::InvalidTensor,
};

/// Parameters and operations of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Values that training changes: weights, biases, scales and shifts; not the running statistics.
    pub parameters: u64,
    /// Multiply-accumulate operations of convolutions and fully connected layers for one input.
    pub macs: u64,
}

impl Cost {
    /// Counts them.
    pub fn of(network: &Network, graph: &Graph, shapes: &Shapes) -> Result<Self, InvalidTensor> {
        let mut cost = Self { parameters: 0, macs: 0 };
        let mut counted = BTreeSet::new();
        for node in graph.nodes() {
            for name in trained_inputs(node).filter(|name| counted.insert(name.to_owned())) {
                cost.parameters += network.float(&name)?.map_or(0, |weight| weight.values().len() as u64);
            }
            cost.macs += macs(node, network, shapes)?;
        }
        Ok(cost)
    }
}

fn trained_inputs(node: &Node) -> impl Iterator<Item = String> + '_ {
    let positions = match node.operator {
        Operator::Conv(_) | Operator::Gemm { .. } | Operator::BatchNorm { .. } => 1..3,
        _ => 0..0,
    };
    positions.filter_map(|position| node.input(position).map(str::to_owned))
}

/// Multiply-accumulate operations of one node for one input.
pub(crate) fn macs(node: &Node, network: &Network, shapes: &Shapes) -> Result<u64, InvalidTensor> {
    if !matches!(node.operator, Operator::Conv(_) | Operator::Gemm { .. }) {
        return Ok(0);
    }
    let weight = node.input(1).map(|name| network.float(name)).transpose()?.flatten();
    let weights = weight.map_or(0, |weight| weight.values().len());
    // Each weight of a convolution is used once for every place of its output; that of a fully connected layer once.
    let places: usize = shapes.of(&node.output).iter().skip(1).product();
    Ok(weights as u64 * places as u64)
}
