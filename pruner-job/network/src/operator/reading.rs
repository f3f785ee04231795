//! A node that is being read: its attributes, and inputs that must be constants. What is wrong with it is said with a way out.

use super::Unsupported;
use crate::{attributes::Attributes, network::Network, onnx::NodeProto, tensor::FloatTensor};

pub(super) const SIMPLIFY: &str =
    "export the model with constant folding for parameters off, or simplify it with onnxsim";
pub(super) const EXPLICIT: &str = "export the model with explicit, fixed sizes";
pub(super) const INFERENCE: &str = "export the model for inference";

/// A node that is being read.
pub(super) struct Reading<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) attributes: Attributes<'a>,
    pub(super) network: &'a Network,
}

impl<'a> Reading<'a> {
    pub(super) fn of(node: &'a NodeProto, network: &'a Network) -> Self {
        Self { node, attributes: Attributes::of(node), network }
    }

    pub(super) fn input(&self, position: usize) -> Option<&str> {
        self.node.input.get(position).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Whether all inputs but the first are weights or constants.
    pub(super) fn weights_are_constant(&self) -> bool {
        self.node.input.iter().skip(1).all(|name| name.is_empty() || self.network.is_constant(name))
    }

    /// An input that must be an integer constant if it is there.
    pub(super) fn integers(
        &self,
        position: usize,
        computed: &'static str,
    ) -> Result<Option<Vec<i64>>, Unsupported> {
        let Some(name) = self.input(position) else { return Ok(None) };
        match self.network.integers(name)? {
            Some(values) => Ok(Some(values)),
            None => Err(form(computed, SIMPLIFY)),
        }
    }

    /// An input that must be a float constant if it is there.
    pub(super) fn floats(
        &self,
        position: usize,
        computed: &'static str,
    ) -> Result<Option<FloatTensor>, Unsupported> {
        let Some(name) = self.input(position) else { return Ok(None) };
        match self.network.float(name)? {
            Some(tensor) => Ok(Some(tensor)),
            None => Err(form(computed, SIMPLIFY)),
        }
    }

    /// An attribute that became an input in a later operator set.
    pub(super) fn listed(
        &self,
        attribute: &str,
        position: usize,
        computed: &'static str,
    ) -> Result<Option<Vec<i64>>, Unsupported> {
        match self.attributes.integers(attribute) {
            Some(values) => Ok(Some(values.to_vec())),
            None => self.integers(position, computed),
        }
    }
}

pub(super) fn form(form: &'static str, remedy: &'static str) -> Unsupported {
    Unsupported::Form { form, remedy }
}

/// What is to be said of an operator that is not known.
pub(super) fn unknown(operator: String) -> Unsupported {
    let quantised = ["Quantize", "Dequantize", "QLinear", "Integer", "QGemm", "QAttention"];
    match operator.as_str() {
        "If" | "Loop" | "Scan" => Unsupported::ControlFlow { operator },
        name if quantised.iter().any(|part| name.contains(part)) => Unsupported::Quantised { operator },
        _ => Unsupported::Operator { operator },
    }
}

pub(super) fn sizes<const N: usize>(values: [i64; N], least: usize) -> Result<[usize; N], Unsupported> {
    /// Far above any real image or kernel, and far below what could overflow.
    const MOST: usize = 1 << 16;
    let mut sizes = [0; N];
    for (size, value) in sizes.iter_mut().zip(values) {
        let valid = usize::try_from(value).ok().filter(|size| (least..=MOST).contains(size));
        *size = valid.ok_or_else(|| form("a window size, stride or padding out of range", EXPLICIT))?;
    }
    Ok(sizes)
}
