//! What a node does, typed: the operators that are understood, with their attributes read and checked. Anything else is
//! refused with a reason and a way out. Semantics: ONNX operator documentation (onnx.ai/onnx/operators).
//!
//! `layers` reads what has weights or windows, `elementwise` activations and arithmetic, `layout` what only moves
//! values about; `reading` is what they share.

use crate::{network::Network, onnx::NodeProto, tensor::InvalidTensor};

mod elementwise;
mod layers;
mod layout;
mod reading;

use reading::{INFERENCE, Reading, form, unknown};

/// An operator of a convolutional network, over values of shape batch x channels x height x width or batch x features.
#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    /// Convolution; inputs: value, weight (out x in/groups x height x width), bias (may be absent).
    Conv(Convolution),
    /// Batch normalisation; inputs: value, scale, shift, running mean, running variance.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// A function of each value by itself.
    Activation(Activation),
    /// Rectified linear unit with a trained slope below zero; inputs: value, slope.
    PRelu,
    /// Arithmetic of two values, or of a value and a constant, with broadcasting.
    Binary(Arithmetic),
    /// Largest value of each window.
    MaxPool {
        /// The window.
        window: Window,
        /// Whether a last window that reaches beyond the padding counts as well (`ceil_mode`).
        round_up: bool,
    },
    /// Mean of each window.
    AveragePool {
        /// The window.
        window: Window,
        /// Whether padding counts as values.
        count_padding: bool,
    },
    /// Mean of each channel.
    GlobalAveragePool,
    /// Largest value of each channel.
    GlobalMaxPool,
    /// Mean over axes.
    Mean {
        /// The axes, the batch counted; negative ones from the end.
        axes: Vec<i64>,
        /// Whether the axes stay, with size 1.
        keep: bool,
    },
    /// Everything after the batch dimension becomes one axis.
    Flatten,
    /// Other axes over the same values.
    Reshape {
        /// The shape as it is written, the batch first; 0 keeps a size, -1 takes what is left.
        shape: Vec<i64>,
    },
    /// Axes of size 1 disappear.
    Squeeze {
        /// The axes, the batch counted; negative ones from the end.
        axes: Vec<i64>,
    },
    /// Axes of size 1 appear.
    Unsqueeze {
        /// The axes of the result, the batch counted; negative ones from the end.
        axes: Vec<i64>,
    },
    /// Axes in another order; the batch stays first.
    Transpose {
        /// For each axis of the result after the batch, the axis it was, the batch counted.
        order: Vec<usize>,
    },
    /// Values side by side.
    Concat {
        /// The axis, the batch counted; a negative one from the end.
        axis: i64,
    },
    /// A part of an axis.
    Slice {
        /// The axis, the batch counted; a negative one from the end.
        axis: i64,
        /// The first index; negative ones from the end.
        start: i64,
        /// The index after the last; negative ones from the end; one that is too large means the end.
        end: i64,
    },
    /// One of several equal parts of an axis.
    Share {
        /// The axis, the batch counted; a negative one from the end.
        axis: i64,
        /// Which part, from 0.
        index: usize,
        /// How many parts there are.
        of: usize,
    },
    /// Chosen places of an axis.
    Gather {
        /// The axis, the batch counted; a negative one from the end.
        axis: i64,
        /// The places; negative ones from the end.
        places: Vec<i64>,
    },
    /// Fully connected layer; inputs: value, weight, bias (may be absent).
    Gemm {
        /// Whether the weight is out x in (else in x out).
        transposed: bool,
    },
    /// Product of a value's last axis with a weight; inputs: value, weight (in x out).
    MatMul,
    /// Exponentials that sum to 1 along an axis.
    Softmax {
        /// The axis, the batch counted; a negative one from the end.
        axis: i64,
        /// Whether all axes after it belong to it, as before operator set 13.
        to_the_end: bool,
    },
    /// Constant padding of height and width.
    Pad {
        /// Rows and columns added: top, left, bottom, right.
        edges: [usize; 4],
        /// The value that is added.
        value: f32,
    },
    /// The value itself.
    Identity,
}

/// A convolution's attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Kernel and the way it moves.
    pub window: Window,
    /// Number of groups that input and output channels are divided into.
    pub groups: usize,
}

/// A window that moves over height and width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Steps in height and width.
    pub stride: [usize; 2],
    /// Distance between the kernel's elements in height and width.
    pub dilation: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub padding: [usize; 4],
}

/// Functions of each value by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `x` above zero, `slope * x` below.
    LeakyRelu {
        /// The slope below zero.
        slope: f64,
    },
    /// `x` above zero, `exp(x) - 1` below.
    Elu,
    /// `x` between two limits.
    Clip {
        /// The lower limit.
        low: f64,
        /// The upper limit.
        high: f64,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `slope * x + offset` between 0 and 1.
    HardSigmoid {
        /// The slope.
        slope: f64,
        /// What is added.
        offset: f64,
    },
    /// `x` times its hard sigmoid of slope 1/6 and offset 1/2.
    HardSwish,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` times the normal distribution's share below `x`.
    Gelu {
        /// Whether it is approximated by a hyperbolic tangent.
        by_tanh: bool,
    },
}

/// Arithmetic of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
}

/// Why a node is not understood.
#[derive(Debug, thiserror::Error)]
pub enum Unsupported {
    /// An operator that is not known.
    #[error(
        "operator {operator} is not supported; write the model in operators that are (docs/pruning.md lists them)"
    )]
    Operator {
        /// `OpType`, with its domain if it has one.
        operator: String,
    },
    /// A form of a known operator.
    #[error("{form} is not supported; {remedy}")]
    Form {
        /// What is unusual about the node.
        form: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Numbers of fewer bits.
    #[error(
        "operator {operator} computes with quantised numbers; give the model as it was before it was quantised, in float32"
    )]
    Quantised {
        /// `OpType`, with its domain if it has one.
        operator: String,
    },
    /// A way that is chosen while the network runs.
    #[error(
        "operator {operator} is control flow, whose way depends on the values; export the model with one fixed way through it (by tracing instead of scripting)"
    )]
    ControlFlow {
        /// `OpType`.
        operator: String,
    },
    /// A weight or constant that cannot be read.
    #[error(transparent)]
    Tensor(#[from] InvalidTensor),
}

impl Operator {
    /// Reads a node of one output.
    pub(crate) fn parse(node: &NodeProto, network: &Network) -> Result<Self, Unsupported> {
        let read = Reading::of(node, network);
        if !matches!(node.domain(), "" | "ai.onnx") {
            return Err(unknown(format!("{}.{}", node.domain(), node.op_type())));
        }
        let operator = match node.op_type() {
            "Conv" => layers::convolution(&read)?,
            "BatchNormalization" => layers::batch_norm(&read)?,
            "Gemm" => layers::gemm(&read)?,
            "MatMul" => layers::matrix_product(&read)?,
            "MaxPool" => layers::max_pool(&read)?,
            "AveragePool" => layers::average_pool(&read)?,
            "GlobalAveragePool" => Self::GlobalAveragePool,
            "GlobalMaxPool" => Self::GlobalMaxPool,
            "ReduceMean" => layout::mean(&read)?,
            "Flatten" | "Reshape" => layout::reshape(&read)?,
            "Squeeze" => Self::Squeeze { axes: layout::axes(&read)? },
            "Unsqueeze" => Self::Unsqueeze { axes: layout::axes(&read)? },
            "Transpose" => layout::transpose(&read)?,
            "Concat" => Self::Concat { axis: read.attributes.integer("axis", 1) },
            "Slice" => layout::slice(&read)?,
            "Gather" => layout::gather(&read)?,
            "Softmax" => layout::softmax(&read),
            "Pad" => layout::pad(&read)?,
            "Identity" | "Dropout" => Self::Identity,
            "Cast" => layout::cast(&read)?,
            "PRelu" => elementwise::trained_slope(&read)?,
            "Add" | "Sub" | "Mul" | "Div" => elementwise::binary(&read)?,
            _ => Self::Activation(elementwise::activation(&read)?),
        };
        if node.output.iter().skip(1).any(|output| !output.is_empty()) {
            return Err(form("a second output", INFERENCE));
        }
        Ok(operator)
    }

    /// Reads a node of several outputs, each as an operator of its own.
    pub(crate) fn parse_split(node: &NodeProto, network: &Network) -> Result<Vec<Self>, Unsupported> {
        layout::split(&Reading::of(node, network))
    }
}
