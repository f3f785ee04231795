//! What a network costs: parameters, multiply-accumulate operations and room for one input.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    graph::{Graph, Node},
    network::Network,
    operator::{Arithmetic, Operator},
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
    /// The most numbers that values take at the same time, for one input, as if each value had a place of its own from the node that
    /// writes it to the last that reads it. An engine may need less, where a node writes into what it reads.
    pub live_values: u64,
}

impl Cost {
    /// Counts them.
    pub fn of(network: &Network, graph: &Graph, shapes: &Shapes) -> Result<Self, InvalidTensor> {
        let mut cost = Self { parameters: 0, macs: 0, live_values: live_values(network, graph, shapes) };
        let mut counted = BTreeSet::new();
        for node in graph.nodes() {
            for name in trained_inputs(node).filter(|name| counted.insert((*name).to_owned())) {
                cost.parameters += network.float_shape(name)?.map_or(0, |shape| trained_values(node, &shape));
            }
            cost.macs += macs(node, network, shapes)?;
        }
        Ok(cost)
    }
}

fn live_values(network: &Network, graph: &Graph, shapes: &Shapes) -> u64 {
    let mut last_reads: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, node) in graph.nodes().iter().enumerate() {
        last_reads.extend(node.inputs.iter().map(|name| (name.as_str(), position)));
    }
    last_reads.insert(&network.output().name, graph.nodes().len());
    let size = |value: &str| shapes.of(value).iter().product::<usize>() as u64;
    let mut live = BTreeMap::from([(network.input().name.as_str(), size(&network.input().name))]);
    let mut most = 0;
    for (position, node) in graph.nodes().iter().enumerate() {
        live.insert(&node.output, size(&node.output));
        most = most.max(live.values().sum());
        live.retain(|value, _| last_reads.get(value).is_some_and(|&last| last > position));
    }
    most
}

/// The inputs of a node that training may change.
fn trained_inputs(node: &Node) -> impl Iterator<Item = &str> {
    let positions = match node.operator {
        Operator::Conv(_) | Operator::Gemm { .. } | Operator::BatchNorm { .. } => 1..3,
        Operator::MatMul | Operator::PRelu => 1..2,
        Operator::Binary(Arithmetic::Add | Arithmetic::Mul) => 0..2,
        _ => 0..0,
    };
    positions.filter_map(|position| node.input(position))
}

/// A number that a value is added to or multiplied with belongs to a formula; only a row of them is trained.
fn trained_values(node: &Node, shape: &[usize]) -> u64 {
    let count = shape.iter().product::<usize>() as u64;
    match node.operator {
        Operator::Binary(_) if count == 1 => 0,
        _ => count,
    }
}

/// Multiply-accumulate operations of one node for one input.
pub(crate) fn macs(node: &Node, network: &Network, shapes: &Shapes) -> Result<u64, InvalidTensor> {
    let shape = shapes.of(&node.output);
    // Each weight of a convolution is used once for every place of its output; that of a fully connected layer once, of a
    // product once for each row.
    let places: usize = match node.operator {
        Operator::Conv(_) => shape.iter().skip(1).product(),
        Operator::Gemm { .. } => 1,
        Operator::MatMul => shape.iter().rev().skip(1).product(),
        _ => return Ok(0),
    };
    let weight = node.input(1).map(|name| network.float_shape(name)).transpose()?.flatten();
    let weights: usize = weight.map_or(0, |shape| shape.iter().product());
    Ok(weights as u64 * places as u64)
}
