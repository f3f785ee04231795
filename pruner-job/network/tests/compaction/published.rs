//! What the published method leaves of a network, counted in its favour: what ours is compared with.
//!
//! Its code (github.com/blessonvar/DNNShifter) removes every filter whose weights are all zero, and with it the slices of what reads it.
//! It looks once, folds no constant, and asks nowhere whether anybody reads what is left. Channels that are coupled, by a sum or by groups,
//! leave only if all of their filters are zero. That code names the layers of two networks by hand; here its rule is applied to every
//! layer of every network. Where all filters of a layer are zero the code fails, or keeps all of them: here one stays.

use std::collections::{HashMap, HashSet};

use dnnshifter_network::onnx::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use petgraph::unionfind::UnionFind;

use crate::mask::parameters;

/// Float parameters that are left of `model`.
pub(crate) fn parameters_left(model: &ModelProto) -> usize {
    let tracer = Tracer::of(model.graph.as_ref().unwrap());
    let gone = tracer.gone();
    let count = |channels: &[usize]| channels.iter().filter(|channel| !gone.contains(channel)).count();
    let removed = |tensor: &Tensor| tensor.numbers(<[usize]>::len) - tensor.numbers(count);
    parameters(model) - tracer.tensors.iter().map(removed).sum::<usize>()
}

/// The network that the method makes a smaller one of: `model`, but for what filters without weights add and emit, which it drops.
pub(crate) fn computed(model: &ModelProto) -> ModelProto {
    let mut silent = model.clone();
    let tracer = Tracer::of(model.graph.as_ref().unwrap());
    let gone = tracer.gone();
    let summands: HashMap<&str, &[usize]> =
        tracer.summands.iter().map(|(name, channels)| (*name, channels.as_slice())).collect();
    for tensor in &mut silent.graph.as_mut().unwrap().initializer {
        let Some(channels) = summands.get(tensor.name()) else { continue };
        let numbers = tensor.raw_data().as_chunks::<4>().0.iter().zip(*channels);
        let silenced =
            numbers.flat_map(|(number, channel)| if gone.contains(channel) { [0; 4] } else { *number });
        tensor.raw_data = Some(silenced.collect::<Vec<u8>>().into());
    }
    silent
}

/// Follows every channel of every value by its number.
struct Tracer<'a> {
    graph: &'a GraphProto,
    /// The channels of each value, in their order.
    values: HashMap<&'a str, Vec<usize>>,
    channels: usize,
    /// Channels that leave together or not at all.
    coupled: Vec<(usize, usize)>,
    /// For each layer that mixes channels, those that it makes, and whether the filter of each is zero.
    layers: Vec<Vec<(usize, bool)>>,
    tensors: Vec<Tensor>,
    /// Vectors without which a channel of zeros stays one, by name: biases, and the scales and shifts of batch norms.
    summands: Vec<(&'a str, Vec<usize>)>,
}

/// A tensor, or the part of one group, that has an axis or two over channels.
struct Tensor {
    axes: Vec<Vec<usize>>,
    /// Numbers for each channel, or each pair of them.
    cell: usize,
}

impl Tensor {
    fn numbers(&self, count: impl Fn(&[usize]) -> usize) -> usize {
        self.cell * self.axes.iter().map(|channels| count(channels)).product::<usize>()
    }
}

impl<'a> Tracer<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        let (values, coupled, layers) = (HashMap::new(), vec![], vec![]);
        let (tensors, summands) = (vec![], vec![]);
        let mut tracer = Self { graph, values, channels: 0, coupled, layers, tensors, summands };
        for node in &graph.node {
            tracer.node(node);
        }
        tracer
    }

    /// The channels that leave.
    fn gone(&self) -> HashSet<usize> {
        let mut classes = UnionFind::new(self.channels);
        for &(left, right) in &self.coupled {
            classes.union(left, right);
        }
        let class = |channel: &usize| classes.find(*channel);
        let ends = self.graph.output.iter().map(ValueInfoProto::name).chain(["input"]);
        let ends = ends.flat_map(|name| &self.values[name]);
        let used = self.layers.iter().flatten().filter(|(_, is_zero)| !is_zero).map(|(channel, _)| channel);
        let mut stay: HashSet<usize> = ends.chain(used).map(class).collect();
        for layer in &self.layers {
            if !layer.iter().any(|(channel, _)| stay.contains(&class(channel))) {
                stay.insert(class(&layer[0].0));
            }
        }
        (0..self.channels).filter(|channel| !stay.contains(&class(channel))).collect()
    }

    fn node(&mut self, node: &'a NodeProto) {
        let from = node.input[0].as_str();
        if from == "input" && !self.values.contains_key(from) {
            let channels = self.fresh(crate::zoo::IMAGE[0]);
            self.values.insert(from, channels);
        }
        let channels = self.values[from].clone();
        let to = match node.op_type() {
            "Conv" | "Gemm" => self.layer(node, channels),
            "ConvTranspose" => self.transposed(node, &channels),
            "Add" | "Sub" | "Mul" => self.joined(&channels, &node.input[1]),
            "Concat" if integer(node, "axis") == 1 => {
                node.input.iter().flat_map(|name| self.values[name.as_str()].clone()).collect()
            }
            "Concat" => node.input[1..].iter().fold(channels, |channels, name| self.joined(&channels, name)),
            "Split" if integer(node, "axis") == 1 => {
                let (first, second) = channels.split_at(self.integers(&node.input[1])[0]);
                self.values.insert(&node.output[1], second.to_vec());
                first.to_vec()
            }
            "Slice" => channels[self.integers(&node.input[1])[0]..self.integers(&node.input[2])[0]].to_vec(),
            // Channels that are laid out as cards are dealt by the transposition that follows.
            "Reshape" if self.integers(&node.input[1]).len() == 5 => {
                dealt(&channels, self.integers(&node.input[1])[1])
            }
            "BatchNormalization" => {
                self.tensors.push(Tensor { axes: vec![channels.clone()], cell: 4 });
                let vectors = node.input[1..3].iter().map(|name| (name.as_str(), channels.clone()));
                self.summands.extend(vectors);
                channels
            }
            "Relu" | "LeakyRelu" | "Clip" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "Softmax"
            | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "Flatten" | "Reshape" | "Transpose"
            | "Resize" | "Pad" => channels,
            other => panic!("{other} is not followed"),
        };
        self.values.insert(&node.output[0], to);
    }

    fn fresh(&mut self, count: usize) -> Vec<usize> {
        self.channels += count;
        (self.channels - count..self.channels).collect()
    }

    fn joined(&mut self, left: &[usize], right: &str) -> Vec<usize> {
        self.coupled.extend(left.iter().copied().zip(self.values[right].iter().copied()));
        left.to_vec()
    }

    /// A convolution or fully connected layer. What reads a map that was flattened has the same channel many times.
    fn layer(&mut self, node: &'a NodeProto, channels: Vec<usize>) -> Vec<usize> {
        let weight = self.tensor(&node.input[1]);
        let sizes: Vec<usize> = weight.dims.iter().map(|&size| size as usize).collect();
        let (outs, groups) = (sizes[0], integer(node, "group").max(1));
        if groups == channels.len() && groups == outs {
            let cell = sizes[2..].iter().product();
            self.tensors.push(Tensor { axes: vec![channels.clone()], cell });
            self.bias(node, &channels);
            return channels;
        }
        let places = sizes[1] * groups / channels.len();
        let made = self.fresh(outs);
        let filters = weight.raw_data().chunks(weight.raw_data().len() / outs).map(is_zero);
        self.layers.push(made.iter().copied().zip(filters).collect());
        self.mix(&channels, &made, groups, places * sizes[2..].iter().product::<usize>());
        self.bias(node, &made);
        made
    }

    fn transposed(&mut self, node: &'a NodeProto, channels: &[usize]) -> Vec<usize> {
        let weight = self.tensor(&node.input[1]);
        let [_, outs, height, width] = weight.dims[..] else { panic!("two axes") };
        let (outs, cell, groups) = (outs as usize, (height * width) as usize, integer(node, "group"));
        assert_eq!(groups, 1, "none of the architectures has groups here");
        let made = self.fresh(outs);
        let cells: Vec<bool> = weight.raw_data().chunks(4 * cell).map(is_zero).collect();
        let is_dead = |out: usize| cells.iter().skip(out).step_by(outs).all(|&is_zero| is_zero);
        self.layers.push(made.iter().copied().zip((0..outs).map(is_dead)).collect());
        self.mix(channels, &made, groups, cell);
        self.bias(node, &made);
        made
    }

    /// A weight between channels. Groups must stay of one size: the channels of one place in every group are coupled.
    fn mix(&mut self, from: &[usize], to: &[usize], groups: usize, cell: usize) {
        let (ins, outs) = (from.len() / groups, to.len() / groups);
        for (from, to) in from.chunks(ins).zip(to.chunks(outs)) {
            self.tensors.push(Tensor { axes: vec![to.to_vec(), from.to_vec()], cell });
        }
        for (channels, size) in [(from, ins), (to, outs)] {
            let pairs = channels.iter().zip(channels.iter().skip(size));
            self.coupled.extend(pairs.map(|(&left, &right)| (left, right)));
        }
    }

    fn bias(&mut self, node: &'a NodeProto, channels: &[usize]) {
        if let Some(name) = node.input.get(2) {
            self.tensors.push(Tensor { axes: vec![channels.to_vec()], cell: 1 });
            self.summands.push((name, channels.to_vec()));
        }
    }

    fn tensor(&self, name: &str) -> &'a TensorProto {
        self.graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap()
    }

    fn integers(&self, name: &str) -> Vec<usize> {
        let numbers = self.tensor(name).raw_data().as_chunks::<8>().0;
        numbers.iter().map(|number| i64::from_le_bytes(*number) as usize).collect()
    }
}

/// Cards of `groups` rows, column by column.
fn dealt(channels: &[usize], groups: usize) -> Vec<usize> {
    let width = channels.len() / groups;
    (0..channels.len()).map(|card| channels[card % groups * width + card / groups]).collect()
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.as_chunks::<4>().0.iter().all(|number| f32::from_le_bytes(*number) == 0.0)
}

fn integer(node: &NodeProto, name: &str) -> usize {
    node.attribute.iter().find(|attribute| attribute.name() == name).map_or(0, |found| found.i() as usize)
}
