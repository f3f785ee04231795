//! Which channels of a sequential network go together: those that a convolution writes, with all that belongs to them
//! until the next layer that mixes channels reads them. Networks with branches are refused by name.

use crate::{
    graph::{Graph, Node},
    network::Network,
    operator::Operator,
    shapes::Shapes,
};

/// The channels that one convolution writes, and every tensor that has an entry for each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelGroup {
    /// Name of the convolution.
    pub name: String,
    /// Number of channels.
    pub channels: usize,
    /// Tensors with one entry of axis 0 for each channel: the convolution's weight and bias, batch norm's parameters.
    pub written: Vec<String>,
    /// Names of the batch norm's scale and shift, if there is one.
    pub batch_norm: Option<ScaleAndShift>,
    /// Multiply-accumulate operations of the convolution for one input; they fall with each channel that is not written.
    pub macs: u64,
    /// The layer that reads the channels.
    pub reader: Reader,
}

/// The trained parameters of a batch norm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleAndShift {
    /// Name of the scale.
    pub scale: String,
    /// Name of the shift.
    pub shift: String,
}

/// The weight that reads a group's channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Name of the weight.
    pub weight: String,
    /// The weight's axis that runs over the channels.
    pub axis: usize,
    /// Consecutive entries of that axis for each channel: height times width if the channels were flattened, else 1.
    pub entries_per_channel: usize,
    /// Multiply-accumulate operations of the layer for one input; they fall with each channel that is not read.
    pub macs: u64,
}

/// Why a network's channels cannot be told apart.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Entangled {
    /// Two paths meet.
    #[error(
        "node \"{node}\" joins two branches, so their channels cannot be removed one by one; structured pruning takes sequential networks, such as `dnnshifter-pruner-job model vgg16` writes"
    )]
    Join {
        /// The node.
        node: String,
    },
    /// A value is read more than once.
    #[error(
        "the output of node \"{node}\" is read by {readers} nodes; structured pruning takes sequential networks, such as `dnnshifter-pruner-job model vgg16` writes"
    )]
    Branch {
        /// The node.
        node: String,
        /// How many read it.
        readers: usize,
    },
    /// A grouped convolution.
    #[error(
        "node \"{node}\" is a convolution in {groups} groups; structured pruning takes ungrouped convolutions"
    )]
    Grouped {
        /// The node.
        node: String,
        /// Its groups.
        groups: usize,
    },
    /// A weight that serves two layers.
    #[error(
        "tensor \"{tensor}\" is used by more than one layer, so its channels cannot be removed for one alone"
    )]
    Shared {
        /// The tensor.
        tensor: String,
    },
    /// Nothing to remove.
    #[error("the network has no convolution whose channels could be removed")]
    Nothing,
}

/// The channel groups of a sequential network in order of execution. The last layer's outputs are the network's and are
/// in no group.
pub fn channel_groups(
    network: &Network,
    graph: &Graph,
    shapes: &Shapes,
) -> Result<Vec<ChannelGroup>, Entangled> {
    let sequence = Sequence { network, graph, shapes };
    for node in graph.nodes() {
        sequence.check(node)?;
    }
    let groups: Vec<_> = graph.nodes().iter().filter_map(|node| sequence.group_of(node)).collect();
    if groups.is_empty() { Err(Entangled::Nothing) } else { Ok(groups) }
}

/// A network in which each node reads what the one before it wrote.
struct Sequence<'a> {
    network: &'a Network,
    graph: &'a Graph,
    shapes: &'a Shapes,
}

impl Sequence<'_> {
    fn check(&self, node: &Node) -> Result<(), Entangled> {
        let name = || node.name.clone();
        match &node.operator {
            Operator::Add => return Err(Entangled::Join { node: name() }),
            Operator::Conv(convolution) if convolution.groups != 1 => {
                return Err(Entangled::Grouped { node: name(), groups: convolution.groups });
            }
            _ => {}
        }
        let is_output = self.network.output().name == node.output;
        let readers = self.graph.readers(&node.output).count() + usize::from(is_output);
        if readers > 1 {
            return Err(Entangled::Branch { node: name(), readers });
        }
        let is_weight = |name: &str| self.network.float(name).is_ok_and(|tensor| tensor.is_some());
        match parameters(node).find(|name| is_weight(name) && self.graph.readers(name).count() > 1) {
            Some(tensor) => Err(Entangled::Shared { tensor }),
            None => Ok(()),
        }
    }

    /// The group that `convolution` writes; `None` if it is none, or if its channels reach the network's output.
    fn group_of(&self, convolution: &Node) -> Option<ChannelGroup> {
        if !matches!(convolution.operator, Operator::Conv(_)) {
            return None;
        }
        let mut written: Vec<String> = parameters(convolution).collect();
        let (mut batch_norm, mut entries_per_channel) = (None, 1);
        let mut value = convolution.output.as_str();
        loop {
            let node = self.graph.readers(value).next()?;
            match node.operator {
                Operator::Conv(_) | Operator::Gemm { .. } => {
                    let reader = self.reader(node, entries_per_channel)?;
                    let channels = self.shapes.of(&convolution.output).first().copied()?;
                    let (name, macs) = (convolution.name.clone(), self.macs(convolution)?);
                    return Some(ChannelGroup { name, channels, written, batch_norm, macs, reader });
                }
                Operator::BatchNorm { .. } if entries_per_channel == 1 => {
                    written.extend(parameters(node));
                    let [scale, shift] = [1, 2].map(|position| node.input(position).map(str::to_owned));
                    batch_norm = Some(ScaleAndShift { scale: scale?, shift: shift? });
                }
                Operator::Flatten => {
                    entries_per_channel *= self.shapes.of(value).iter().skip(1).product::<usize>();
                }
                Operator::Relu
                | Operator::MaxPool(_)
                | Operator::AveragePool { .. }
                | Operator::GlobalAveragePool
                | Operator::Pad { .. }
                | Operator::Identity => {}
                // After flattening, a batch norm has an entry for each feature, not for each channel.
                Operator::Add | Operator::BatchNorm { .. } => return None,
            }
            value = &node.output;
        }
    }

    fn reader(&self, node: &Node, entries_per_channel: usize) -> Option<Reader> {
        let axis = match node.operator {
            Operator::Gemm { transposed: false } => 0,
            _ => 1,
        };
        let (weight, macs) = (node.input(1)?.to_owned(), self.macs(node)?);
        Some(Reader { weight, axis, entries_per_channel, macs })
    }

    fn macs(&self, node: &Node) -> Option<u64> {
        crate::cost::macs(node, self.network, self.shapes).ok()
    }
}

fn parameters(node: &Node) -> impl Iterator<Item = String> + '_ {
    node.inputs.iter().skip(1).filter(|name| !name.is_empty()).cloned()
}
