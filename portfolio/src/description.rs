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
    /// The type of its values; FP32, which the pruner-job's networks have, is not written.
    #[serde(default, skip_serializing_if = "Datatype::is_default")]
    pub datatype: Datatype,
}

/// The type of a tensor's values, by the names of the Open Inference Protocol (`specification/protocol/inference_rest.md`,
/// "Tensor Data Types").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Datatype {
    /// True or false, one byte each.
    Bool,
    /// Unsigned, 8 bits.
    Uint8,
    /// Unsigned, 16 bits.
    Uint16,
    /// Unsigned, 32 bits.
    Uint32,
    /// Unsigned, 64 bits.
    Uint64,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// IEEE 754 half precision, 16 bits.
    Fp16,
    /// The upper half of an FP32.
    Bf16,
    /// IEEE 754 single precision, 32 bits.
    #[default]
    Fp32,
    /// IEEE 754 double precision, 64 bits.
    Fp64,
    /// Texts in UTF-8, which ONNX Runtime calls strings.
    Bytes,
}

impl Datatype {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// Its name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// An input (a batch of one) and the output that ONNX Runtime gave for it where the variant was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckVector {
    /// Row-major values of the input.
    pub input: CheckValues,
    /// Row-major values of the output.
    pub output: CheckValues,
}

/// Values of a check vector: numbers, or texts where the tensor's are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CheckValues {
    /// Of a tensor of any type but [`Datatype::Bytes`]; truths are 0 and 1.
    Numbers(Vec<f32>),
    /// Of a tensor of [`Datatype::Bytes`].
    Texts(Vec<String>),
}

impl CheckValues {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<f32>> for CheckValues {
    fn from(numbers: Vec<f32>) -> Self {
        Self::Numbers(numbers)
    }
}

impl CheckVector {
    /// How far two engines, or two processors, may differ on one network, relative to the largest output: fused and
    /// reordered sums in f32 differ by about 1e-6; 1e-3 is far from chance, and far from any wrong network.
    pub const TOLERANCE: f32 = 1e-3;

    /// Whether `output` is what the check asks for: numbers nearly, texts exactly.
    pub fn holds(&self, output: &CheckValues) -> bool {
        match (&self.output, output) {
            (CheckValues::Numbers(expected), CheckValues::Numbers(given)) => {
                let scale = expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
                given.len() == expected.len()
                    && given.iter().zip(expected).all(|(a, b)| (a - b).abs() <= Self::TOLERANCE * scale)
            }
            (CheckValues::Texts(expected), CheckValues::Texts(given)) => expected == given,
            (CheckValues::Numbers(_), CheckValues::Texts(_))
            | (CheckValues::Texts(_), CheckValues::Numbers(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_holds_for_rounding_but_not_for_another_network() {
        let check = CheckVector { input: vec![0.5].into(), output: vec![10.0, -2.0].into() };
        let holds = |output: &[f32]| check.holds(&output.to_vec().into());
        assert!(holds(&[10.005, -2.005]));
        assert!(!holds(&[10.0, -1.9]));
        assert!(!holds(&[10.0]));
        assert!(!holds(&[f32::NAN, -2.0]));
    }

    #[test]
    fn a_check_of_texts_holds_for_the_same_texts_only() {
        let check: CheckVector = serde_json::from_str(r#"{"input":["a",""],"output":["b"]}"#).unwrap();
        assert!(check.holds(&CheckValues::Texts(vec!["b".to_owned()])));
        assert!(!check.holds(&CheckValues::Texts(vec!["c".to_owned()])));
        assert!(!check.holds(&vec![1.0].into()));
        assert_eq!(check.input.len(), 2);
        assert!(serde_json::from_str::<CheckVector>(r#"{"input":["a",1],"output":[]}"#).is_err());
    }

    #[test]
    fn a_datatype_is_written_by_its_name_in_the_protocol_unless_it_is_fp32() {
        let tensor = |datatype| TensorDescription { name: "x".to_owned(), shape: vec![2], datatype };
        for datatype in Datatype::ALL {
            let text = serde_json::to_string(&tensor(datatype)).unwrap();
            let field = format!(r#","datatype":"{}""#, datatype.as_str());
            assert_eq!(text.contains(&field), datatype != Datatype::Fp32, "{text}");
            assert_eq!(serde_json::from_str::<TensorDescription>(&text).unwrap(), tensor(datatype));
        }
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
