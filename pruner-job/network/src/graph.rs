//! The nodes of a network, typed, in order of execution. All that is not understood is named at once, before any work starts.

use std::fmt;

use crate::{
    network::{Network, label},
    onnx::NodeProto,
    operator::{Operator, Unsupported},
};

/// The typed nodes of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name; its operator and output if its exporter gave it none.
    pub name: String,
    /// What it does.
    pub operator: Operator,
    /// Names of its inputs; an empty one is absent.
    pub inputs: Vec<String>,
    /// Name of its output.
    pub output: String,
}

impl Node {
    /// The name of an input; `None` if it is absent.
    pub fn input(&self, position: usize) -> Option<&str> {
        self.inputs.get(position).map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// All nodes of a network that are not understood.
#[derive(Debug, thiserror::Error)]
pub struct UnsupportedNodes {
    /// Name of each node, and why.
    pub nodes: Vec<(String, Unsupported)>,
}

impl fmt::Display for UnsupportedNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More would hide the first ones; the rest is usually the same again.
        const SHOWN: usize = 5;
        write!(f, "the model has {} nodes that are not supported: ", self.nodes.len())?;
        for (position, (name, reason)) in self.nodes.iter().take(SHOWN).enumerate() {
            write!(f, "{}node \"{name}\": {reason}", if position == 0 { "" } else { "; " })?;
        }
        if self.nodes.len() > SHOWN { f.write_str("; ...") } else { Ok(()) }
    }
}

impl Graph {
    /// Reads the nodes of `network`.
    pub fn of(network: &Network) -> Result<Self, UnsupportedNodes> {
        let mut nodes = Vec::new();
        let mut refused = Vec::new();
        for proto in network.nodes() {
            match typed(proto, network) {
                Ok(typed) => nodes.extend(typed),
                Err(reason) => refused.push((label(proto), reason)),
            }
        }
        if refused.is_empty() { Ok(Self { nodes }) } else { Err(UnsupportedNodes { nodes: refused }) }
    }

    /// The nodes in order of execution.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes that read `value`.
    pub fn readers<'a>(&'a self, value: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(move |node| node.inputs.iter().any(|input| input == value))
    }
}

/// One node for each output: the parts of a Split are taken one by one.
fn typed(proto: &NodeProto, network: &Network) -> Result<Vec<Node>, Unsupported> {
    let node = |operator, output: &String| Node {
        name: label(proto),
        operator,
        inputs: proto.input.clone(),
        output: output.clone(),
    };
    if proto.op_type() == "Split" && proto.domain().is_empty() {
        let parts = Operator::parse_split(proto, network)?;
        return Ok(parts.into_iter().zip(&proto.output).map(|(part, output)| node(part, output)).collect());
    }
    let operator = Operator::parse(proto, network)?;
    Ok(proto.output.iter().take(1).map(|output| node(operator.clone(), output)).collect())
}
