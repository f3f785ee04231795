//! What a node does, typed: the operators that are understood, with their attributes read and checked. Anything else is
//! refused with a reason and a way out. Semantics: ONNX operator documentation (onnx.ai/onnx/operators).

use crate::{attributes::Attributes, network::Network, onnx::NodeProto, tensor::InvalidTensor};

/// An operator of a convolutional network, over values of shape batch x channels x height x width.
#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    /// Convolution; inputs: value, weight (out x in/groups x height x width), bias (may be absent).
    Conv(Convolution),
    /// Batch normalisation; inputs: value, scale, shift, running mean, running variance.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// Rectified linear unit.
    Relu,
    /// Largest value of each window.
    MaxPool(Window),
    /// Mean of each window.
    AveragePool {
        /// The window.
        window: Window,
        /// Whether padding counts as values.
        count_padding: bool,
    },
    /// Mean of each channel.
    GlobalAveragePool,
    /// Everything after the batch dimension becomes one axis.
    Flatten,
    /// Fully connected layer; inputs: value, weight, bias (may be absent).
    Gemm {
        /// Whether the weight is out x in (else in x out).
        transposed: bool,
    },
    /// Sum of two values of the same shape.
    Add,
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

/// Why a node is not understood.
#[derive(Debug, thiserror::Error)]
pub enum Unsupported {
    /// An operator that is not known.
    #[error("operator {operator} is not supported")]
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
    /// A weight or constant that cannot be read.
    #[error(transparent)]
    Tensor(#[from] InvalidTensor),
}

const SIMPLIFY: &str =
    "export the model with constant folding for parameters off, or simplify it with onnxsim";
const EXPLICIT: &str = "export the model with explicit, fixed sizes";

impl Operator {
    /// Reads a node.
    pub(crate) fn parse(node: &NodeProto, network: &Network) -> Result<Self, Unsupported> {
        let attributes = Attributes::of(node);
        if !matches!(node.domain(), "" | "ai.onnx") {
            return Err(Unsupported::Operator { operator: format!("{}.{}", node.domain(), node.op_type()) });
        }
        let operator = match node.op_type() {
            "Conv" => convolution(node, &attributes, network)?,
            "BatchNormalization" => batch_norm(node, &attributes, network)?,
            "Relu" => Self::Relu,
            "MaxPool" => Self::MaxPool(pool_window(&attributes)?),
            "AveragePool" => average_pool(&attributes)?,
            "GlobalAveragePool" => Self::GlobalAveragePool,
            "Flatten" if attributes.integer("axis", 1) == 1 => Self::Flatten,
            "Flatten" => return Err(form("Flatten at an axis other than 1", EXPLICIT)),
            "Reshape" => reshape(node, network)?,
            "Gemm" => gemm(node, &attributes, network)?,
            "Add" => Self::Add,
            "Pad" => pad(node, &attributes, network)?,
            "Identity" | "Dropout" => Self::Identity,
            other => return Err(Unsupported::Operator { operator: other.to_owned() }),
        };
        if node.output.iter().skip(1).any(|output| !output.is_empty()) {
            return Err(form("a second output", "export the model for inference"));
        }
        Ok(operator)
    }
}

fn form(form: &'static str, remedy: &'static str) -> Unsupported {
    Unsupported::Form { form, remedy }
}

fn input(node: &NodeProto, position: usize) -> Option<&str> {
    node.input.get(position).map(String::as_str).filter(|name| !name.is_empty())
}

fn weights_are_constant(node: &NodeProto, network: &Network) -> bool {
    node.input.iter().skip(1).all(|name| name.is_empty() || network.is_constant(name))
}

fn convolution(
    node: &NodeProto,
    attributes: &Attributes<'_>,
    network: &Network,
) -> Result<Operator, Unsupported> {
    if !weights_are_constant(node, network) {
        return Err(form("a convolution whose weight is computed", SIMPLIFY));
    }
    let weight = input(node, 1).map(|name| network.float(name)).transpose()?.flatten();
    let [_, _, height, width] = *weight.as_ref().map_or(&[][..], |weight| weight.shape()) else {
        return Err(form("a convolution that is not two-dimensional", EXPLICIT));
    };
    let window = window(attributes, [height, width])?;
    let groups = usize::try_from(attributes.integer("group", 1)).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or_else(|| form("a group count below 1", EXPLICIT))?;
    Ok(Operator::Conv(Convolution { window, groups }))
}

fn batch_norm(
    node: &NodeProto,
    attributes: &Attributes<'_>,
    network: &Network,
) -> Result<Operator, Unsupported> {
    if attributes.integer("training_mode", 0) != 0 {
        return Err(form("BatchNormalization in training mode", "export the model in evaluation mode"));
    }
    if node.input.len() != 5 || !weights_are_constant(node, network) {
        return Err(form("BatchNormalization whose parameters are computed", SIMPLIFY));
    }
    Ok(Operator::BatchNorm { epsilon: f64::from(attributes.float("epsilon", 1e-5)) })
}

fn gemm(node: &NodeProto, attributes: &Attributes<'_>, network: &Network) -> Result<Operator, Unsupported> {
    let plain = attributes.float("alpha", 1.0).to_bits() == 1.0_f32.to_bits()
        && attributes.float("beta", 1.0).to_bits() == 1.0_f32.to_bits()
        && attributes.integer("transA", 0) == 0;
    if !plain {
        return Err(form("Gemm with alpha, beta or transA", SIMPLIFY));
    }
    if !weights_are_constant(node, network) {
        return Err(form("Gemm whose weight is computed", SIMPLIFY));
    }
    Ok(Operator::Gemm { transposed: attributes.integer("transB", 0) != 0 })
}

/// Only the reshape that flattens: `[0, -1]`, `[-1, n]`, or the batch size at export and `n`.
fn reshape(node: &NodeProto, network: &Network) -> Result<Operator, Unsupported> {
    let shape = input(node, 1).map(|name| network.integers(name)).transpose()?.flatten();
    match shape.as_deref() {
        Some([_, _]) => Ok(Operator::Flatten),
        Some(_) => Err(form("a Reshape to other than two dimensions", EXPLICIT)),
        None => Err(form("a Reshape whose shape is computed", SIMPLIFY)),
    }
}

fn pad(node: &NodeProto, attributes: &Attributes<'_>, network: &Network) -> Result<Operator, Unsupported> {
    if attributes.text("mode").is_some_and(|mode| mode != b"constant") {
        return Err(form("a Pad that is not constant", EXPLICIT));
    }
    if input(node, 3).is_some() {
        return Err(form("a Pad of chosen axes", EXPLICIT));
    }
    let pads = input(node, 1).map(|name| network.integers(name)).transpose()?.flatten().unwrap_or_default();
    let [0, 0, top, left, 0, 0, bottom, right] = *pads.as_slice() else {
        return Err(form("a Pad of other than height and width", EXPLICIT));
    };
    let value = input(node, 2).map(|name| network.float(name)).transpose()?.flatten();
    let value = value.and_then(|tensor| tensor.values().first().copied()).unwrap_or(0.0);
    Ok(Operator::Pad { edges: sizes([top, left, bottom, right], 0)?, value })
}

fn average_pool(attributes: &Attributes<'_>) -> Result<Operator, Unsupported> {
    let window = pool_window(attributes)?;
    let [top, left, bottom, right] = window.padding;
    if top != bottom || left != right || window.dilation != [1; 2] {
        return Err(form(
            "an AveragePool with uneven padding or dilation",
            "use a Pad node and plain windows",
        ));
    }
    let count_padding = attributes.integer("count_include_pad", 0) != 0;
    Ok(Operator::AveragePool { window, count_padding })
}

fn pool_window(attributes: &Attributes<'_>) -> Result<Window, Unsupported> {
    let kernel = attributes.integers("kernel_shape").unwrap_or_default();
    let Ok(kernel) = <[i64; 2]>::try_from(kernel) else {
        return Err(form("pooling that is not two-dimensional", EXPLICIT));
    };
    if attributes.integer("ceil_mode", 0) != 0 {
        return Err(form("pooling with ceil_mode", "export the model with ceil_mode=False"));
    }
    window(attributes, sizes(kernel, 1)?)
}

fn window(attributes: &Attributes<'_>, kernel: [usize; 2]) -> Result<Window, Unsupported> {
    if !matches!(attributes.text("auto_pad"), None | Some(b"NOTSET" | b"VALID")) {
        return Err(form("automatic padding (auto_pad)", "export the model with explicit pads"));
    }
    let pair = |name, default, least| match attributes.integers(name) {
        None => Ok(default),
        Some(values) => match <[i64; 2]>::try_from(values) {
            Ok(values) => sizes(values, least),
            Err(_) => Err(form("a window that is not two-dimensional", EXPLICIT)),
        },
    };
    let padding = match attributes.integers("pads") {
        None => [0; 4],
        Some(pads) => match <[i64; 4]>::try_from(pads) {
            Ok(pads) => sizes(pads, 0)?,
            Err(_) => return Err(form("padding that is not two-dimensional", EXPLICIT)),
        },
    };
    Ok(Window {
        kernel,
        stride: pair("strides", [1; 2], 1)?,
        dilation: pair("dilations", [1; 2], 1)?,
        padding,
    })
}

fn sizes<const N: usize>(values: [i64; N], least: usize) -> Result<[usize; N], Unsupported> {
    /// Far above any real image or kernel, and far below what could overflow.
    const MOST: usize = 1 << 16;
    let mut sizes = [0; N];
    for (size, value) in sizes.iter_mut().zip(values) {
        let valid = usize::try_from(value).ok().filter(|size| (least..=MOST).contains(size));
        *size = valid.ok_or_else(|| form("a window size, stride or padding out of range", EXPLICIT))?;
    }
    Ok(sizes)
}
