//! Which channels of a network go together: those that are added, multiplied or normalised with each other must leave
//! together, from every tensor that has an entry for them. `trace` finds out, node by node.
//!
//! Where channels cannot be told apart (a shuffle, a grouped convolution, the network's ends), all of them stay: no network
//! is refused for that, as long as something else can leave.

use crate::{graph::Graph, network::Network, shapes::Shapes, tensor::InvalidTensor};

mod trace;

/// The channels of a network, and every tensor that must be cut when some of them leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Channels that can leave, in order of execution.
    pub groups: Vec<ChannelGroup>,
    /// The axes of tensors that run over channels.
    pub axes: Vec<ChannelAxis>,
    /// Depthwise convolutions, by the name of their output: they have as many groups as channels.
    pub(crate) depthwise: Vec<(String, Vec<Segment>)>,
    /// What each layer costs.
    pub work: Vec<LayerWork>,
}

/// Channels of one number in several layers, of which each leaves all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelGroup {
    /// Name of the first layer that writes the channels.
    pub name: String,
    /// Number of channels.
    pub channels: usize,
    /// The layers that write the channels; several if their outputs are combined.
    pub writers: Vec<Writer>,
}

/// A convolution or fully connected layer that writes channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Name of its weight.
    pub weight: String,
    /// Name of the scale of the batch norm that follows it, if one does.
    pub scale: Option<String>,
}

/// Consecutive channels of a value, or their entries along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The group they belong to; `None` if they stay.
    pub group: Option<usize>,
    /// Number of channels.
    pub channels: usize,
    /// Consecutive entries for each channel: height times width if channels were flattened, else 1.
    pub entries: usize,
}

/// An axis of a tensor that runs over channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelAxis {
    /// Name of the tensor.
    pub tensor: String,
    /// The axis.
    pub axis: usize,
    /// The channels that it runs over.
    pub segments: Vec<Segment>,
}

/// The multiply-accumulate operations of a layer, and what they fall with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerWork {
    /// Operations for one input with all channels.
    pub macs: u64,
    /// The channels that it writes and reads: the operations are proportional to what is left of each.
    pub factors: Vec<Vec<Segment>>,
}

/// Why no channel can leave a network.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoChannels {
    /// Nothing to remove.
    #[error(
        "the network has no layer whose channels could leave: all of them reach its output, or are shuffled or grouped"
    )]
    Nothing,
    /// A weight that cannot be read.
    #[error(transparent)]
    Tensor(#[from] InvalidTensor),
}

impl Channels {
    /// Finds the channels of `network`. Those that reach its output are in no group.
    pub fn of(network: &Network, graph: &Graph, shapes: &Shapes) -> Result<Self, NoChannels> {
        let channels = trace::channels(network, graph, shapes)?;
        if channels.groups.is_empty() { Err(NoChannels::Nothing) } else { Ok(channels) }
    }
}
