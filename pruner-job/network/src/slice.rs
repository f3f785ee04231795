//! A network without some of its channels: a smaller dense network that computes what the larger one computes when the
//! missing channels are zero.

use std::collections::BTreeMap;

use crate::{
    channels::ChannelGroup,
    network::Network,
    tensor::{FloatTensor, InvalidTensor},
};

/// Why channels cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSlice {
    /// No channel would be left.
    #[error("all channels of \"{group}\" would be removed; at least one must be kept")]
    Empty {
        /// The group.
        group: String,
    },
    /// Another number of lists than groups.
    #[error("{lists} lists of kept channels were given for {groups} groups")]
    Count {
        /// Number of lists.
        lists: usize,
        /// Number of groups.
        groups: usize,
    },
    /// A tensor that cannot be read or cut.
    #[error(transparent)]
    Tensor(#[from] InvalidTensor),
}

/// Keeps only the channels `kept` of each group, given as increasing indices.
pub fn keep_channels(
    network: &Network,
    groups: &[ChannelGroup],
    kept: &[Vec<usize>],
) -> Result<Network, InvalidSlice> {
    if groups.len() != kept.len() {
        return Err(InvalidSlice::Count { lists: kept.len(), groups: groups.len() });
    }
    let mut tensors = BTreeMap::new();
    for (group, kept) in groups.iter().zip(kept) {
        if kept.is_empty() {
            return Err(InvalidSlice::Empty { group: group.name.clone() });
        }
        for name in &group.written {
            select(&mut tensors, network, name, 0, kept)?;
        }
        let reader = &group.reader;
        let entries = reader.entries_per_channel;
        let columns: Vec<usize> =
            kept.iter().flat_map(|channel| channel * entries..(channel + 1) * entries).collect();
        select(&mut tensors, network, &reader.weight, reader.axis, &columns)?;
    }
    Ok(flattening_any_size(network.clone().with_floats(&tensors).without_inner_shapes()))
}

fn select(
    tensors: &mut BTreeMap<String, FloatTensor>,
    network: &Network,
    name: &str,
    axis: usize,
    indices: &[usize],
) -> Result<(), InvalidTensor> {
    let whole = match tensors.remove(name) {
        Some(tensor) => Some(tensor),
        None => network.float(name)?,
    };
    if let Some(tensor) = whole {
        tensors.insert(name.to_owned(), tensor.select(axis, indices)?);
    }
    Ok(())
}

/// A `Reshape` that flattens must not name the old number of features.
fn flattening_any_size(network: Network) -> Network {
    let reshapes = network.nodes().iter().filter(|node| node.op_type() == "Reshape");
    let shapes: Vec<String> = reshapes.filter_map(|node| node.input.get(1).cloned()).collect();
    shapes.iter().fold(network, |network, name| network.with_integers(name, &[0, -1]))
}
