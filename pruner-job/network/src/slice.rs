//! A network without some of its channels: a smaller dense network that computes what the larger one computes when the
//! missing channels are zero.

use std::collections::BTreeMap;

use crate::{
    channels::{ChannelAxis, Channels, Segment},
    network::Network,
    tensor::InvalidTensor,
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
    channels: &Channels,
    kept: &[Vec<usize>],
) -> Result<Network, InvalidSlice> {
    let groups = &channels.groups;
    if groups.len() != kept.len() {
        return Err(InvalidSlice::Count { lists: kept.len(), groups: groups.len() });
    }
    if let Some((group, _)) = groups.iter().zip(kept).find(|(_, kept)| kept.is_empty()) {
        return Err(InvalidSlice::Empty { group: group.name.clone() });
    }
    let mut cuts: BTreeMap<&str, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
    for ChannelAxis { tensor, axis, segments } in &channels.axes {
        let entries = segments.iter().map(|segment| segment.channels * segment.entries).sum();
        let left = indices(segments, kept);
        // What loses nothing is not copied.
        if !left.iter().copied().eq(0..entries) {
            cuts.entry(tensor).or_default().insert(*axis, left);
        }
    }
    let group_counts: BTreeMap<&str, usize> = channels
        .depthwise
        .iter()
        .map(|(node, segments)| (node.as_str(), indices(segments, kept).len()))
        .collect();
    let smaller = network.clone().with_entries(&cuts)?.with_group_counts(&group_counts);
    Ok(flattening_any_size(smaller.without_inner_shapes()))
}

/// The entries of a tensor's axis that [`keep_channels`] keeps; `None` if the axis does not run over channels.
pub fn kept_entries(
    channels: &Channels,
    kept: &[Vec<usize>],
    tensor: &str,
    axis: usize,
) -> Option<Vec<usize>> {
    let found = channels.axes.iter().find(|found| found.tensor == tensor && found.axis == axis);
    found.map(|found| indices(&found.segments, kept))
}

/// The entries of an axis that are kept.
fn indices(segments: &[Segment], kept: &[Vec<usize>]) -> Vec<usize> {
    let mut indices = Vec::new();
    let mut start = 0;
    for &Segment { group, channels, entries } in segments {
        match group.and_then(|group| kept.get(group)) {
            Some(kept) => {
                let entries_of =
                    |&channel: &usize| start + channel * entries..start + (channel + 1) * entries;
                indices.extend(kept.iter().flat_map(entries_of));
            }
            None => indices.extend(start..start + channels * entries),
        }
        start += channels * entries;
    }
    indices
}

/// A `Reshape` that flattens must not name the old number of features.
fn flattening_any_size(network: Network) -> Network {
    let reshapes = network.nodes().iter().filter(|node| node.op_type() == "Reshape");
    let flattens =
        |name: &String| network.integers(name).is_ok_and(|shape| shape.is_some_and(|shape| shape.len() == 2));
    let shapes: Vec<String> =
        reshapes.filter_map(|node| node.input.get(1).cloned()).filter(flattens).collect();
    shapes.iter().fold(network, |network, name| network.with_integers(name, &[0, -1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FloatTensor, Graph, NetworkBuilder, Shapes, TensorInfo, operator::Window};

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

    fn channels(network: &Network) -> Channels {
        let graph = Graph::of(network).unwrap();
        Channels::of(network, &graph, &Shapes::infer(network, &graph).unwrap()).unwrap()
    }

    #[test]
    fn rows_leave_the_writer_and_columns_the_reader() {
        let network = network();
        let sliced = keep_channels(&network, &channels(&network), &[vec![0, 2], vec![1]]).unwrap();
        let values = |name| sliced.float(name).unwrap().unwrap().values().to_vec();
        assert_eq!(values("first.weight"), [0., 2.]);
        assert_eq!(values("second.weight"), [3., 5.]);
        let entries = kept_entries(&channels(&network), &[vec![0, 2], vec![1]], "last.weight", 1);
        assert_eq!(entries.unwrap(), [4, 5, 6, 7]);
        assert_eq!(values("last.weight"), [4., 5., 6., 7., 12., 13., 14., 15.]);
        let left: Vec<usize> = channels(&sliced).groups.iter().map(|group| group.channels).collect();
        assert_eq!(left, [2, 1]);
    }

    #[test]
    fn what_would_leave_nothing_is_refused() {
        let network = network();
        let channels = channels(&network);
        let keep = |kept: &[Vec<usize>]| keep_channels(&network, &channels, kept);
        assert!(matches!(keep(&[vec![0], vec![]]), Err(InvalidSlice::Empty { .. })));
        assert!(matches!(keep(&[vec![0]]), Err(InvalidSlice::Count { .. })));
        assert!(matches!(keep(&[vec![3], vec![0]]), Err(InvalidSlice::Tensor(_))));
    }
}
