//! What differs between operator sets: the version of the file format, and numbers that were attributes and became inputs.

use dnnshifter_network::onnx::AttributeProto;

use super::{super::proto::whole_numbers, Sketch, Value};

/// The version of the file format that came with an operator set, by ONNX's own table (onnx/docs/Versioning.md).
pub(super) fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

impl Sketch {
    /// In another operator set.
    pub(crate) fn at(self, opset: i64) -> Self {
        Self { opset, ..self }
    }

    pub(crate) fn opset(&self) -> i64 {
        self.opset
    }

    /// Inputs and attributes of a node that reads `value` and whole numbers called `name`: an input from operator set `since` on, an
    /// attribute before.
    pub(super) fn with_numbers(
        &mut self,
        value: &Value,
        name: &str,
        numbers: &[i64],
        since: i64,
    ) -> (Vec<String>, Vec<AttributeProto>) {
        let mut inputs = vec![value.name.clone()];
        if self.opset < since {
            return (inputs, vec![whole_numbers(name, numbers)]);
        }
        inputs.push(self.store_integers(name, numbers));
        (inputs, vec![])
    }
}
