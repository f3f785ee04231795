//! What a node does with the channels of what it reads. [`super::read`] makes these; [`super::constants`],
//! [`super::demand`] and [`super::rewrite`] are their readers.

use std::ops::Range;

use super::{
    plan::Value,
    rows::Rows,
    source::{Weight, floats},
    window::Window,
};

/// What one node does.
pub(super) enum Step<'a> {
    /// Each output channel is a weighted sum of input channels.
    Linear(Linear<'a>),
    /// Each output channel depends on the same channel of the input alone.
    Channelwise(Channelwise<'a>),
    /// Each output channel depends on the same channel of two inputs.
    Join(Join<'a>),
    /// Output channels are input channels, moved about.
    Arrange(Arrange<'a>),
    /// It makes a constant, reads no more than a size, or is part of a later step.
    Nothing,
    /// Not understood: all that it reads and writes stays.
    Wall(&'static str),
}

/// Where a layer's weight keeps the cell of an output and an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Outputs first: `Conv`, `Gemm` with `transB`.
    OutputFirst,
    /// Inputs first: `ConvTranspose`, `Gemm`, `MatMul`.
    InputFirst,
}

/// A convolution, transposed convolution or fully connected layer.
pub(super) struct Linear<'a> {
    pub(super) input: &'a str,
    pub(super) output: &'a str,
    pub(super) ins: Range<usize>,
    pub(super) outs: Range<usize>,
    pub(super) groups: usize,
    pub(super) weight: Weight,
    pub(super) layout: Layout,
    /// Numbers of each cell: height times width of the kernel.
    pub(super) cell: usize,
    /// One number an output.
    pub(super) bias: Option<Vec<f32>>,
    /// For each output, which inputs of its group have a weight that is not zero.
    pub(super) rows: Rows,
    /// Whether equal inputs everywhere may make outputs that differ from place to place.
    pub(super) has_border: bool,
    /// The window, if it moves over an image of known size, with the sizes of input and output.
    pub(super) walk: Option<Walk>,
}

/// A window over an image of known size.
pub(super) struct Walk {
    pub(super) window: Window,
    pub(super) input: [usize; 2],
    pub(super) output: [usize; 2],
}

impl Linear<'_> {
    pub(super) fn outs_of_a_group(&self) -> usize {
        self.outs.len() / self.groups
    }

    pub(super) fn ins_of_a_group(&self) -> usize {
        self.ins.len() / self.groups
    }

    /// The slots that `group` reads, and those that it writes.
    pub(super) fn group(&self, group: usize) -> (Range<usize>, Range<usize>) {
        let part = |slots: &Range<usize>, size: usize| {
            let start = slots.start + group * size;
            start..start + size
        };
        (part(&self.ins, self.ins_of_a_group()), part(&self.outs, self.outs_of_a_group()))
    }

    /// Whether each channel is filtered by itself, so that it exists before and after or not at all.
    pub(super) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.ins.len() == self.groups && self.outs.len() == self.groups
    }

    /// The bytes of the weights between output channel `output` and input `input` of its group.
    pub(super) fn bytes(&self, output: usize, input: usize) -> &[u8] {
        let index = match self.layout {
            Layout::OutputFirst => output * self.ins_of_a_group() + input,
            Layout::InputFirst => {
                let outs = self.outs_of_a_group();
                (output / outs * self.ins_of_a_group() + input) * outs + output % outs
            }
        };
        self.weight.cell(index, self.cell)
    }

    /// The weights between output channel `output` and input `input` of its group.
    pub(super) fn weights(&self, output: usize, input: usize) -> impl Iterator<Item = f64> {
        floats(self.bytes(output, input)).map(f64::from)
    }

    pub(super) fn bias_of(&self, output: usize) -> f64 {
        self.bias.as_ref().and_then(|bias| bias.get(output)).map_or(0.0, |&bias| f64::from(bias))
    }
}

/// A node that keeps channels apart.
pub(super) struct Channelwise<'a> {
    pub(super) input: &'a str,
    pub(super) from: Value,
    pub(super) to: Value,
    pub(super) function: Function,
    /// The constants that have an entry for each channel: position among the node's inputs, and the axis.
    pub(super) vectors: Vec<(usize, usize)>,
    /// The position among the node's inputs of a list of sizes, the second of which is the number of channels.
    pub(super) sizes: Option<usize>,
}

/// What happens to a channel.
pub(super) enum Function {
    /// A function of each number by itself.
    Pointwise(Pointwise),
    /// A factor and a summand of each channel: `BatchNormalization`, and sums and products with constants.
    Affine(Vec<(f64, f64)>),
    /// `PRelu`: the slope of each channel for negative numbers.
    Slopes(Vec<f64>),
    /// Normed by its own mean and variance: the shift of each channel.
    Normed(Vec<f64>),
    /// Keeps a constant that is the same everywhere; of others nothing is known.
    Uniform,
    /// Largest of each window.
    MaxPool(Option<Walk>),
    /// Mean of each window, padding left out or counted.
    AveragePool { walk: Option<Walk>, counts_padding: bool, is_padded: bool },
    /// Mean of all places.
    Mean,
    /// Constant places around: the window of 1 whose padding they are.
    Pad { walk: Option<Walk>, value: f64 },
    /// Nothing is known of what it makes of constants.
    Opaque,
}

impl Function {
    /// The window that it moves, if it is known.
    pub(super) fn walk(&self) -> Option<&Walk> {
        match self {
            Self::MaxPool(walk) | Self::AveragePool { walk, .. } | Self::Pad { walk, .. } => walk.as_ref(),
            Self::Pointwise(_)
            | Self::Affine(_)
            | Self::Slopes(_)
            | Self::Normed(_)
            | Self::Uniform
            | Self::Mean
            | Self::Opaque => None,
        }
    }
}

/// A function of one number, by the ONNX operators' definitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pointwise {
    Identity,
    Abs,
    Clip { least: f64, most: f64 },
    Elu { alpha: f64 },
    HardSigmoid { alpha: f64, beta: f64 },
    HardSwish,
    LeakyRelu { alpha: f64 },
    Negative,
    Sigmoid,
    Softplus,
    Tanh,
}

/// A sum, difference or product of two values.
pub(super) struct Join<'a> {
    pub(super) inputs: [&'a str; 2],
    pub(super) values: [Value; 2],
    pub(super) to: Value,
    pub(super) operation: Operation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
}

impl Operation {
    pub(super) fn of(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
        }
    }
}

/// A node that moves channels.
pub(super) struct Arrange<'a> {
    pub(super) movement: Movement<'a>,
    pub(super) moves: Vec<Move>,
}

/// An output slot, the input slot that it is, and its place in the input's map if it was flattened.
pub(super) struct Move {
    pub(super) to: usize,
    pub(super) from: usize,
    pub(super) place: Option<usize>,
}

/// How channels move, as far as rewriting must know.
pub(super) enum Movement<'a> {
    /// Inputs side by side along the channels.
    Concat { inputs: Vec<(&'a str, Value)> },
    /// One after another along another axis.
    Stack,
    /// Parts of another axis.
    Part,
    /// The channels of the input, dealt out to the outputs.
    Split { outputs: Vec<(&'a str, Value)> },
    /// Some channels of the input, in any order.
    Select { input: &'a str, from: Value, chosen: Vec<usize> },
    /// Same channels, other axes. With `literal`, the second entry of the shape is that many times the number of channels.
    Reshape { from: Value, literal: Option<usize> },
}
