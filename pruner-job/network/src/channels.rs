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
    for node in graph.nodes() {
        check_sequential(node, network, graph)?;
    }
    let groups: Vec<_> =
        graph.nodes().iter().filter_map(|node| group_of(node, network, graph, shapes)).collect();
    if groups.is_empty() { Err(Entangled::Nothing) } else { Ok(groups) }
}

fn check_sequential(node: &Node, network: &Network, graph: &Graph) -> Result<(), Entangled> {
    let name = || node.name.clone();
    match &node.operator {
        Operator::Add => return Err(Entangled::Join { node: name() }),
        Operator::Conv(convolution) if convolution.groups != 1 => {
            return Err(Entangled::Grouped { node: name(), groups: convolution.groups });
        }
        _ => {}
    }
    let readers = graph.readers(&node.output).count() + usize::from(network.output().name == node.output);
    if readers > 1 {
        return Err(Entangled::Branch { node: name(), readers });
    }
    let weights = node.inputs.iter().skip(1).filter(|input| !input.is_empty());
    match weights
        .into_iter()
        .find(|weight| network.float(weight).is_ok() && graph.readers(weight).count() > 1)
    {
        Some(tensor) => Err(Entangled::Shared { tensor: tensor.clone() }),
        None => Ok(()),
    }
}

fn group_of(convolution: &Node, network: &Network, graph: &Graph, shapes: &Shapes) -> Option<ChannelGroup> {
    if !matches!(convolution.operator, Operator::Conv(_)) {
        return None;
    }
    let mut written: Vec<String> = parameters(convolution).collect();
    let (mut batch_norm, mut entries_per_channel) = (None, 1);
    let mut value = convolution.output.as_str();
    loop {
        let node = graph.readers(value).next()?;
        match node.operator {
            Operator::Conv(_) | Operator::Gemm { .. } => {
                let operations = |node| crate::cost::macs(node, network, shapes).ok();
                let reader = Reader {
                    weight: node.input(1)?.to_owned(),
                    axis: input_axis(node),
                    entries_per_channel,
                    macs: operations(node)?,
                };
                let channels = shapes.of(&convolution.output).first().copied()?;
                let (name, macs) = (convolution.name.clone(), operations(convolution)?);
                return Some(ChannelGroup { name, channels, written, batch_norm, macs, reader });
            }
            Operator::BatchNorm { .. } => {
                written.extend(parameters(node));
                batch_norm = Some(ScaleAndShift {
                    scale: node.input(1)?.to_owned(),
                    shift: node.input(2)?.to_owned(),
                });
            }
            Operator::Flatten => entries_per_channel = shapes.of(value).iter().skip(1).product(),
            Operator::Relu
            | Operator::MaxPool(_)
            | Operator::AveragePool { .. }
            | Operator::GlobalAveragePool
            | Operator::Pad { .. }
            | Operator::Identity => {}
            Operator::Add => return None,
        }
        value = &node.output;
    }
}

fn parameters(node: &Node) -> impl Iterator<Item = String> + '_ {
    node.inputs.iter().skip(1).filter(|name| !name.is_empty()).cloned()
}

/// The axis of a weight that runs over the input's channels or features.
fn input_axis(node: &Node) -> usize {
    match node.operator {
        Operator::Gemm { transposed: false } => 0,
        _ => 1,
    }
}
