//! What a variant's folder says of itself: the file `variant.json` beside `model.onnx`. Written by the pruner-job, read by
//! the runtime, which refuses a variant whose check does not hold on its node.

use serde::{Deserialize, Serialize};

use crate::{fraction::Fraction, name::VariantName};

/// The version of the description's format that this crate reads and writes.
pub const DESCRIPTION_VERSION: &str = "dnnshifter.io/variant/v1";

/// The folder of an image that holds a variant.
pub const MODEL_FOLDER: &str = "model";
/// The network's file within the variant's folder.
pub const MODEL_FILE: &str = "model.onnx";
/// The description's file within the variant's folder.
pub const DESCRIPTION_FILE: &str = "variant.json";

/// A variant: its measured properties, its tensors, and one input with the output that it must give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VariantDescription {
    /// The format's version, [`DESCRIPTION_VERSION`].
    pub version: String,
    /// The variant's name, unique within its portfolio.
    pub name: VariantName,
    /// The revision of the portfolio that it belongs to.
    pub revision: String,
    /// Accuracy on the test set.
    pub accuracy: Fraction,
    /// Parameters of the network.
    pub parameters: u64,
    /// Size of the ONNX file in bytes.
    pub bytes: u64,
    /// Multiply-accumulate operations for one input.
    pub macs: u64,
    /// The network's input.
    pub input: TensorDescription,
    /// The network's output.
    pub output: TensorDescription,
    /// One input and its output, to check the variant with on each node.
    pub check: CheckVector,
}

/// A tensor of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TensorDescription {
    /// Its name in the ONNX graph.
    pub name: String,
    /// Its shape without the batch dimension, which comes first and is free.
    pub shape: Vec<u64>,
}

/// An input (a batch of one) and the output that ONNX Runtime gave for it where the variant was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckVector {
    /// Row-major values of the input.
    pub input: Vec<f32>,
    /// Row-major values of the output.
    pub output: Vec<f32>,
}

impl CheckVector {
    /// How far two engines, or two processors, may differ on one network, relative to the largest output: fused and
    /// reordered sums in f32 differ by about 1e-6; 1e-3 is far from chance, and far from any wrong network.
    pub const TOLERANCE: f32 = 1e-3;

    /// Whether `output` is what the check asks for.
    pub fn holds(&self, output: &[f32]) -> bool {
        let scale = self.output.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
        output.len() == self.output.len()
            && output.iter().zip(&self.output).all(|(a, b)| (a - b).abs() <= Self::TOLERANCE * scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_holds_for_rounding_but_not_for_another_network() {
        let check = CheckVector { input: vec![0.5], output: vec![10.0, -2.0] };
        assert!(check.holds(&[10.005, -2.005]));
        assert!(!check.holds(&[10.0, -1.9]));
        assert!(!check.holds(&[10.0]));
        assert!(!check.holds(&[f32::NAN, -2.0]));
    }

    #[test]
    fn a_description_survives_a_round_trip() {
        let text = r#"{"version":"dnnshifter.io/variant/v1","name":"macs-42","revision":"7d793037a0","accuracy":"0.9","parameters":10,
            "bytes":40,"macs":20,"input":{"name":"input","shape":[1,28,28]},"output":{"name":"output","shape":[10]},
            "check":{"input":[0.5],"output":[1.0]}}"#;
        let description: VariantDescription = serde_json::from_str(text).unwrap();
        assert_eq!(
            serde_json::to_value(&description).unwrap(),
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        );
    }
}
