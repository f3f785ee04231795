//! Follows channels through a network. A value's channels are a row of *spaces* ([`spaces`]); those that meet become one.

use std::collections::BTreeMap;

use super::{ChannelAxis, Channels, LayerWork, Segment, Writer};
use crate::{
    cost::macs,
    graph::{Graph, Node},
    network::Network,
    operator::Operator,
    shapes::{Shapes, rules},
    tensor::InvalidTensor,
};

mod spaces;

use spaces::{Layout, Run, Spaces};

struct Tracer<'a> {
    network: &'a Network,
    graph: &'a Graph,
    shapes: &'a Shapes,
    spaces: Spaces,
    layouts: BTreeMap<&'a str, Layout>,
    axes: Vec<(String, usize, Layout)>,
    depthwise: Vec<(String, Layout)>,
    work: Vec<(u64, Vec<Layout>)>,
}

pub(super) fn channels(network: &Network, graph: &Graph, shapes: &Shapes) -> Result<Channels, InvalidTensor> {
    let (spaces, layouts) = (Spaces::default(), BTreeMap::new());
    let (axes, depthwise, work) = (Vec::new(), Vec::new(), Vec::new());
    let mut tracer = Tracer { network, graph, shapes, spaces, layouts, axes, depthwise, work };
    let input = tracer.kept(shapes.of(&network.input().name));
    tracer.layouts.insert(&network.input().name, input);
    for node in graph.nodes() {
        let layout = tracer.after(node)?;
        tracer.layouts.insert(&node.output, layout);
    }
    let output = tracer.layout(&network.output().name);
    tracer.spaces.fix(&output);
    Ok(tracer.finish())
}

impl<'a> Tracer<'a> {
    /// The channels of a node's output.
    fn after(&mut self, node: &'a Node) -> Result<Layout, InvalidTensor> {
        let input = node.input(0).map(|name| self.layout(name)).unwrap_or_default();
        let rank = node.input(0).map_or(0, |name| self.shapes.of(name).len());
        Ok(match &node.operator {
            Operator::Conv(convolution) if convolution.groups == 1 => self.mixed(node, &input, [0, 1])?,
            Operator::Conv(convolution) => {
                let [inputs, outputs] = [node.input(0).unwrap_or_default(), node.output.as_str()]
                    .map(|value| self.shapes.of(value).first().copied());
                if inputs == Some(convolution.groups) && outputs == inputs {
                    self.channel_by_channel(node, input)?
                } else {
                    self.wall(node)
                }
            }
            Operator::Gemm { transposed: true } => self.mixed(node, &input, [0, 1])?,
            Operator::Gemm { transposed: false } => self.mixed(node, &input, [1, 0])?,
            Operator::MatMul if rank == 1 => self.mixed(node, &input, [1, 0])?,
            Operator::BatchNorm { .. } => self.normed(node, input),
            Operator::PRelu => {
                self.with_constant(node, &input, 1)?;
                input
            }
            Operator::Binary(_) => self.combined(node)?,
            Operator::Activation(_)
            | Operator::Identity
            | Operator::MaxPool { .. }
            | Operator::AveragePool { .. }
            | Operator::GlobalAveragePool
            | Operator::GlobalMaxPool
            | Operator::Pad { .. } => input,
            Operator::Flatten => self.flattened(node, &input),
            Operator::Mean { axes, .. } | Operator::Squeeze { axes } if past_channels(axes, rank) => input,
            Operator::Unsqueeze { axes } if past_channels(axes, rank + axes.len()) => input,
            Operator::Softmax { axis, .. } if past_channels(&[*axis], rank) => input,
            Operator::Slice { axis, .. } | Operator::Share { axis, .. } | Operator::Gather { axis, .. }
                if past_channels(&[*axis], rank) =>
            {
                input
            }
            Operator::Transpose { order } if order.first() == Some(&1) => input,
            Operator::Concat { axis } => self.joined(node, rules::position(*axis, rank) == Some(0)),
            Operator::MatMul
            | Operator::Mean { .. }
            | Operator::Squeeze { .. }
            | Operator::Unsqueeze { .. }
            | Operator::Softmax { .. }
            | Operator::Slice { .. }
            | Operator::Share { .. }
            | Operator::Gather { .. }
            | Operator::Transpose { .. }
            | Operator::Reshape { .. } => self.wall(node),
        })
    }

    /// A layer that mixes channels; `axes` are those of its weight over what it writes and what it reads.
    fn mixed(&mut self, node: &'a Node, input: &Layout, axes: [usize; 2]) -> Result<Layout, InvalidTensor> {
        let [written, read] = axes;
        let (Some(weight), Some(&channels)) = (node.input(1), self.shapes.of(&node.output).first()) else {
            return Ok(self.wall(node));
        };
        let writer = Writer { weight: weight.to_owned(), scale: None };
        let output = vec![self.spaces.row(channels, false, Some((node.name.clone(), writer)))];
        self.cut(weight, read, input);
        self.cut(weight, written, &output);
        if let Some(bias) = node.input(2) {
            self.cut(bias, 0, &output);
        }
        let macs = macs(node, self.network, self.shapes)?;
        self.work.push((macs, vec![input.clone(), output.clone()]));
        Ok(output)
    }

    fn channel_by_channel(&mut self, node: &'a Node, input: Layout) -> Result<Layout, InvalidTensor> {
        for position in 1..3 {
            if let Some(name) = node.input(position) {
                self.cut(name, 0, &input);
            }
        }
        self.depthwise.push((node.output.clone(), input.clone()));
        let macs = macs(node, self.network, self.shapes)?;
        self.work.push((macs, vec![input.clone()]));
        Ok(input)
    }

    fn normed(&mut self, node: &'a Node, input: Layout) -> Layout {
        for position in 1..5 {
            if let Some(name) = node.input(position) {
                self.cut(name, 0, &input);
            }
        }
        let follows = |name: &&str| self.graph.readers(name).count() == 1;
        let written_by = node.input(0).filter(follows).and_then(|name| self.writer_of(name));
        if let Some(space) = written_by {
            self.spaces.note_scale(space, node.input(1));
        }
        input
    }

    /// The space of a value that a layer has just written.
    fn writer_of(&self, value: &str) -> Option<usize> {
        let node = self.graph.nodes().iter().find(|node| node.output == value)?;
        let writes = match &node.operator {
            Operator::Conv(convolution) => convolution.groups == 1,
            Operator::Gemm { .. } | Operator::MatMul => true,
            _ => false,
        };
        match self.layouts.get(value)?.as_slice() {
            [run] if writes => Some(run.space),
            _ => None,
        }
    }

    /// Cuts a constant that is combined with a value, if it has an entry for each channel.
    fn with_constant(
        &mut self,
        node: &'a Node,
        value: &Layout,
        position: usize,
    ) -> Result<(), InvalidTensor> {
        let Some(name) = node.input(position) else { return Ok(()) };
        let shape = self.network.float_shape(name)?.unwrap_or_default();
        let rank = self.shapes.of(&node.output).len();
        let aligned = rules::aligned(rank, &shape).unwrap_or_default();
        if aligned.first().is_some_and(|&size| size > 1) {
            self.cut(name, shape.len().saturating_sub(rank), value);
        }
        Ok(())
    }

    fn combined(&mut self, node: &'a Node) -> Result<Layout, InvalidTensor> {
        let [left, right] = [0, 1].map(|position| node.input(position).unwrap_or_default());
        let channels = |tracer: &Self, value: &str| tracer.shapes.of(value).first().copied().unwrap_or(0);
        let written = channels(self, &node.output);
        for (value, constant, position) in [(left, right, 1), (right, left, 0)] {
            if !self.network.is_constant(constant) {
                continue;
            }
            let layout = self.layout(value);
            if channels(self, value) != written {
                return Ok(self.wall(node));
            }
            self.with_constant(node, &layout, position)?;
            return Ok(layout);
        }
        let (first, second) = (self.layout(left), self.layout(right));
        match (channels(self, left) == written, channels(self, right) == written) {
            (true, true) => Ok(self.spaces.united(&first, &second)),
            // One channel that is combined with each of the other's.
            (true, false) => {
                self.spaces.fix(&second);
                Ok(first)
            }
            (false, _) => {
                self.spaces.fix(&first);
                Ok(second)
            }
        }
    }

    fn flattened(&self, node: &Node, input: &Layout) -> Layout {
        let shape = node.input(0).map(|name| self.shapes.of(name)).unwrap_or_default();
        let places: usize = shape.iter().skip(1).product();
        input.iter().map(|run| Run { entries: run.entries * places, ..*run }).collect()
    }

    fn joined(&mut self, node: &'a Node, along_channels: bool) -> Layout {
        let layouts: Vec<Layout> = node.inputs.iter().map(|name| self.layout(name)).collect();
        if node.inputs.iter().any(|name| self.network.is_constant(name)) {
            return self.wall(node);
        }
        if along_channels {
            return layouts.concat();
        }
        let mut layouts = layouts.into_iter();
        let first = layouts.next().unwrap_or_default();
        layouts.fold(first, |first, next| self.spaces.united(&first, &next))
    }

    /// What cannot be followed: all that is read stays, and so does all that is written.
    fn wall(&mut self, node: &'a Node) -> Layout {
        for name in &node.inputs {
            let layout = self.layout(name);
            self.spaces.fix(&layout);
        }
        self.kept(self.shapes.of(&node.output))
    }

    fn kept(&mut self, shape: &[usize]) -> Layout {
        vec![self.spaces.row(shape.first().copied().unwrap_or(0), true, None)]
    }

    fn layout(&self, value: &str) -> Layout {
        self.layouts.get(value).cloned().unwrap_or_default()
    }

    /// A tensor that several nodes read cannot lose what one of them does without.
    fn cut(&mut self, tensor: &str, axis: usize, layout: &Layout) {
        if self.graph.readers(tensor).count() > 1 {
            self.spaces.fix(layout);
        }
        self.axes.push((tensor.to_owned(), axis, layout.clone()));
    }

    fn finish(self) -> Channels {
        let rows = self.axes.iter().flat_map(|(_, _, layout)| layout);
        let groups = self.spaces.groups(rows);
        let numbers: BTreeMap<usize, usize> = groups.keys().copied().zip(0..).collect();
        let segments = |layout: &Layout| -> Vec<Segment> {
            let segment = |run: &Run| Segment {
                group: numbers.get(&self.spaces.root(run.space)).copied(),
                channels: run.channels,
                entries: run.entries,
            };
            layout.iter().map(segment).collect()
        };
        let axis = |(tensor, axis, layout): &(String, usize, Layout)| ChannelAxis {
            tensor: tensor.clone(),
            axis: *axis,
            segments: segments(layout),
        };
        Channels {
            axes: self.axes.iter().map(axis).collect(),
            depthwise: self.depthwise.iter().map(|(node, layout)| (node.clone(), segments(layout))).collect(),
            work: self
                .work
                .iter()
                .map(|(macs, layouts)| LayerWork {
                    macs: *macs,
                    factors: layouts.iter().map(segments).collect(),
                })
                .collect(),
            groups: groups.into_values().collect(),
        }
    }
}

/// Whether none of the axes is the batch or the channels.
fn past_channels(axes: &[i64], rank: usize) -> bool {
    axes.iter().all(|&axis| rules::position(axis, rank).is_some_and(|position| position > 0))
}
