//! A network computed node by node: all of it at once for most, step by step for those who look at what flows between layers.

use std::collections::BTreeMap;

use dnnshifter_network::Node;
use tch::Tensor;

use super::{InterpreterError, Mode, ScheduledNode, TrainableNetwork, channels_last, layers::Layer};

/// A network on its way through its nodes.
pub(crate) struct Walk<'a> {
    network: &'a TrainableNetwork,
    ahead: &'a [ScheduledNode],
    values: BTreeMap<&'a str, Tensor>,
}

impl<'a> Walk<'a> {
    /// Before the first node, with a batch of inputs.
    pub(crate) fn start(network: &'a TrainableNetwork, input: &Tensor) -> Result<Self, InterpreterError> {
        let input = channels_last(input).map_err(InterpreterError::Weights)?;
        let values = BTreeMap::from([(network.source.input().name.as_str(), input)]);
        Ok(Self { network, ahead: &network.nodes, values })
    }

    /// The node that comes next.
    pub(crate) fn next(&self) -> Option<&'a Node> {
        self.ahead.first().map(|scheduled| &scheduled.node)
    }

    /// Computes the next node.
    pub(crate) fn step(&mut self, mode: Mode) -> Result<(), InterpreterError> {
        let Some((ScheduledNode { node, shape, last_reads }, ahead)) = self.ahead.split_first() else {
            return Ok(());
        };
        let layer = Layer { node, shape, values: &self.values, parameters: &self.network.parameters };
        let output = layer.compute(mode)?;
        self.values.insert(&node.output, output);
        for value in last_reads {
            self.values.remove(value.as_str());
        }
        self.ahead = ahead;
        Ok(())
    }

    /// What a node has written, if somebody ahead reads it.
    pub(crate) fn value(&self, name: &str) -> Option<&Tensor> {
        self.values.get(name)
    }

    /// Computes until `name` is written; `see` gets each node with what it wrote.
    pub(super) fn until(
        mut self,
        name: &str,
        mode: Mode,
        mut see: impl FnMut(&Node, &Tensor),
    ) -> Result<Tensor, InterpreterError> {
        while let Some(node) = self.next() {
            self.step(mode)?;
            if let Some(written) = self.value(&node.output) {
                see(node, written);
            }
            if node.output == name {
                break;
            }
        }
        let value = self.values.remove(name);
        value.ok_or_else(|| InterpreterError::Input { node: name.to_owned(), position: 0 })
    }
}
