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
    let mut cut = Cut { network, tensors: BTreeMap::new() };
    for (group, kept) in groups.iter().zip(kept) {
        if kept.is_empty() {
            return Err(InvalidSlice::Empty { group: group.name.clone() });
        }
        for name in &group.written {
            cut.select(name, 0, kept)?;
        }
        let reader = &group.reader;
        let entries = reader.entries_per_channel;
        let columns: Vec<usize> =
            kept.iter().flat_map(|channel| channel * entries..(channel + 1) * entries).collect();
        cut.select(&reader.weight, reader.axis, &columns)?;
    }
    Ok(flattening_any_size(network.clone().with_floats(&cut.tensors).without_inner_shapes()))
}

/// Tensors that lose entries; one may lose some on each of two axes.
struct Cut<'a> {
    network: &'a Network,
    tensors: BTreeMap<String, FloatTensor>,
}

impl Cut<'_> {
    fn select(&mut self, name: &str, axis: usize, indices: &[usize]) -> Result<(), InvalidTensor> {
        let whole = match self.tensors.remove(name) {
            Some(tensor) => Some(tensor),
            None => self.network.float(name)?,
        };
        if let Some(tensor) = whole {
            self.tensors.insert(name.to_owned(), tensor.select(axis, indices)?);
        }
        Ok(())
    }
}

/// A `Reshape` that flattens must not name the old number of features.
fn flattening_any_size(network: Network) -> Network {
    let reshapes = network.nodes().iter().filter(|node| node.op_type() == "Reshape");
    let shapes: Vec<String> = reshapes.filter_map(|node| node.input.get(1).cloned()).collect();
    shapes.iter().fold(network, |network, name| network.with_integers(name, &[0, -1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Graph, NetworkBuilder, Shapes, TensorInfo, channels::channel_groups, operator::Window};

    /// Two convolutions, the second of which is flattened into a fully connected layer.
    fn network() -> Network {
        let mut builder =
            NetworkBuilder::new("test", TensorInfo { name: "x".to_owned(), shape: vec![1, 2, 2] });
        let window = Window { kernel: [1; 2], stride: [1; 2], dilation: [1; 2], padding: [0; 4] };
        let counted = |shape: &[usize]| {
            let count = shape.iter().product::<usize>();
            FloatTensor::new(shape.to_vec(), (0..count).map(|i| i as f32).collect()).unwrap()
        };
        let value = builder.conv("first", "x", &counted(&[3, 1, 1, 1]), &window);
        let value = builder.conv("second", &value, &counted(&[2, 3, 1, 1]), &window);
        let value = builder.flatten("flatten", &value);
        let value = builder.linear("last", &value, &counted(&[2, 8]), &FloatTensor::filled(2, 0.0));
        builder.finish(&value, &[2]).unwrap()
    }

    fn groups(network: &Network) -> Vec<ChannelGroup> {
        let graph = Graph::of(network).unwrap();
        channel_groups(network, &graph, &Shapes::infer(network, &graph).unwrap()).unwrap()
    }

    #[test]
    fn rows_leave_the_writer_and_columns_the_reader() {
        let network = network();
        let sliced = keep_channels(&network, &groups(&network), &[vec![0, 2], vec![1]]).unwrap();
        let values = |name| sliced.float(name).unwrap().unwrap().values().to_vec();
        assert_eq!(values("first.weight"), [0., 2.]);
        assert_eq!(values("second.weight"), [3., 5.]);
        assert_eq!(values("last.weight"), [4., 5., 6., 7., 12., 13., 14., 15.]);
        assert_eq!(groups(&sliced).iter().map(|group| group.channels).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn what_would_leave_nothing_is_refused() {
        let network = network();
        let groups = groups(&network);
        assert!(matches!(
            keep_channels(&network, &groups, &[vec![0], vec![]]),
            Err(InvalidSlice::Empty { .. })
        ));
        assert!(matches!(keep_channels(&network, &groups, &[vec![0]]), Err(InvalidSlice::Count { .. })));
        assert!(matches!(
            keep_channels(&network, &groups, &[vec![3], vec![0]]),
            Err(InvalidSlice::Tensor(_))
        ));
    }
}
