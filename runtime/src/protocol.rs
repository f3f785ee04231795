//! The Open Inference Protocol, version 2: from bytes to a batch, and from an answer to bytes. Pure.
//!
//! Specification: kserve/open-inference-protocol, `specification/protocol/inference_rest.md`; the binary tensor extension is
//! that of Triton (`docs/protocol/extension_binary_data.md`). Networks here have one input and one output.

mod bounded;
mod data;
pub(crate) mod grpc;
#[expect(clippy::pedantic, clippy::allow_attributes, reason = "generated, with exceptions of its own")]
pub(crate) mod inference;
mod request;
mod response;
mod tensor;

use dnnshifter_portfolio::description::Datatype;

use crate::{
    engine::Interface,
    values::{MOST_TEXTS, Number, with_element},
};

pub(crate) use self::{
    bounded::excerpt,
    request::{InferenceRequest, parse},
    response::{Outputs, RenderError, Rendered, TensorMetadata, metadata_tensor, render},
};

/// The header of the binary tensor extension: so many bytes of the body are JSON, raw tensors follow.
pub(crate) const JSON_LENGTH_HEADER: &str = "inference-header-content-length";

/// More items than this are refused: one request must not hold up all others for seconds.
const LARGEST_BATCH: usize = 128;

/// No body is larger, but for one item that is: a full batch of 3x32x32 values in JSON has about 8 MB.
const LARGEST_BODY_BYTES: usize = 16 << 20;

/// No item is larger: half of what all requests together may hold, so that there is room for it beside others.
pub(crate) const LARGEST_ITEM_BYTES: usize = 32 << 20;

/// The longest text of a number that says anything, with its comma: `-1.7976931348623157e308,`.
const LONGEST_NUMBER_BYTES: usize = 24;

/// Room for all of a request but its numbers.
const REST_BYTES: usize = 64 << 10;

/// The largest body that a request to a model with the tensors of `interface` may have: at least one item fits, if it is sent raw. Of
/// texts nobody knows how long they are.
pub(crate) fn largest_body_bytes(interface: &Interface) -> usize {
    if interface.input.datatype == Datatype::Bytes {
        return LARGEST_BODY_BYTES;
    }
    let largest = LARGEST_BODY_BYTES.max(item_bytes(interface).saturating_add(REST_BYTES));
    most_values(interface).saturating_mul(LONGEST_NUMBER_BYTES).saturating_add(REST_BYTES).min(largest)
}

/// The bytes of one item that is sent raw; zero for texts.
pub(crate) fn item_bytes(interface: &Interface) -> usize {
    let bytes = with_element!(interface.input.datatype, T => <T as Number>::BYTES, 0);
    interface.input_length().saturating_mul(bytes)
}

/// The items of the largest batch: fewer where all of them would have more texts than are ever taken.
pub(crate) fn largest_batch(interface: &Interface) -> usize {
    if interface.input.datatype == Datatype::Bytes {
        LARGEST_BATCH.min(MOST_TEXTS / interface.input_length().max(1))
    } else {
        LARGEST_BATCH
    }
}

/// The values of the largest batch.
pub(crate) fn most_values(interface: &Interface) -> usize {
    interface.input_length().saturating_mul(largest_batch(interface))
}

/// Why a request cannot be answered, in words that help to mend it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// The length in the header is no length, or longer than the body.
    #[error(
        "the header {JSON_LENGTH_HEADER} is \"{value}\", but must be the length of the JSON part in bytes, at most {body_bytes}"
    )]
    JsonLength {
        /// The header.
        value: String,
        /// The length of the body.
        body_bytes: usize,
    },
    /// The JSON cannot be read.
    #[error("the request is not the JSON of an inference request: {}", excerpt(&.0.to_string()))]
    Json(#[source] serde_json::Error),
    /// There is not exactly one input.
    #[error("the request has {given} inputs, but the model has exactly one: \"{expected}\"")]
    Inputs {
        /// How many.
        given: usize,
        /// The model's input.
        expected: String,
    },
    /// The input, or a requested output, is not one of the model.
    #[error("the model has no {kind} \"{given}\": use \"{expected}\"")]
    Name {
        /// Input or output.
        kind: &'static str,
        /// The name in the request.
        given: String,
        /// The model's.
        expected: String,
    },
    /// The output is wanted in a form that it does not come in.
    #[error(
        "the request asks for the output \"{name}\" with the parameter \"{parameter}\", which this server does not have: leave it out"
    )]
    Form {
        /// The output.
        name: String,
        /// The parameter.
        parameter: &'static str,
    },
    /// The timeout is none. Over REST the JSON is wrong then.
    #[error("the parameter \"timeout\" is no whole number of microseconds from 0: send it as int64_param")]
    Timeout,
    /// The input is of another type than the model's.
    #[error("the input \"{name}\" has the datatype \"{given}\": send {expected}")]
    Datatype {
        /// The input.
        name: String,
        /// Its datatype.
        given: String,
        /// The model's.
        expected: &'static str,
    },
    /// The shape is not a batch of what the model takes.
    #[error(
        "the input \"{name}\" has the shape {given:?}: send [n, {}], with n from 1 to {most}",
        sides(expected)
    )]
    Shape {
        /// The input.
        name: String,
        /// The shape in the request.
        given: Vec<i64>,
        /// The shape of one item.
        expected: Vec<u64>,
        /// The largest batch.
        most: usize,
    },
    /// The data has another number of values than the shape says.
    #[error("the input \"{name}\" has {given} values, but its shape {shape:?} asks for {expected}")]
    Length {
        /// The input.
        name: String,
        /// Values that came.
        given: usize,
        /// The shape in the request.
        shape: Vec<i64>,
        /// Values that should have come.
        expected: usize,
    },
    /// There is no data, or both kinds of it.
    #[error(
        "the input \"{name}\" must have either \"data\" or the parameter \"binary_data_size\", and not both"
    )]
    NoData {
        /// The input.
        name: String,
    },
    /// There are no values, or both kinds of them, or more than one tensor of them.
    #[error("the input \"{name}\" must have either contents or raw_input_contents, one tensor, and not both")]
    Contents {
        /// The input.
        name: String,
    },
    /// The raw tensor is not of whole values.
    #[error("the input \"{name}\" has {given} raw bytes, which are no whole values of {datatype}")]
    RawSize {
        /// The input.
        name: String,
        /// Bytes that came.
        given: usize,
        /// Its type.
        datatype: &'static str,
    },
    /// A raw tensor is not of texts.
    #[error(
        "the input \"{name}\" has raw bytes that are no texts: send at most {MOST_TEXTS}, each as its length in four bytes, the least significant first, and then UTF-8 without zeros"
    )]
    RawTexts {
        /// The input.
        name: String,
    },
    /// A text is none that the engine takes.
    #[error(
        "the input \"{name}\" has a text that is not UTF-8, or has a zero within: send UTF-8 without zeros"
    )]
    Text {
        /// The input.
        name: String,
    },
    /// A value is none of the model's type.
    #[error("the input \"{name}\" has the value {given}, which is none of {datatype}")]
    Value {
        /// The input.
        name: String,
        /// The value.
        given: i64,
        /// Its type.
        datatype: &'static str,
    },
    /// There is no field for values of this type.
    #[error("the input \"{name}\" is of {datatype}, which gRPC has no contents for: send raw_input_contents")]
    RawOnly {
        /// The input.
        name: String,
        /// Its type.
        datatype: &'static str,
    },
    /// The message cannot be read.
    #[error("the request is not a ModelInferRequest: {0}")]
    Message(#[from] prost::DecodeError),
    /// A name in the message is no text.
    #[error(
        "the request has a name that is not UTF-8: of the model, its version, the request, a tensor or a datatype"
    )]
    Names,
    /// The message is large beside its values.
    #[error("the request has {bytes} bytes beside its values, but at most {limit} are read")]
    Frame {
        /// Bytes that are no values.
        bytes: usize,
        /// How many may be.
        limit: usize,
    },
    /// The message has more values than are ever taken.
    #[error("the request has {given} values, but at most {most} are read: send a smaller batch")]
    Many {
        /// Values that came.
        given: usize,
        /// How many may come.
        most: usize,
    },
    /// The raw tensor has another length than its parameter says.
    #[error(
        "the input \"{name}\" has the parameter binary_data_size {size}, but {given} bytes follow the JSON"
    )]
    BinarySize {
        /// The input.
        name: String,
        /// The parameter.
        size: usize,
        /// Bytes that follow.
        given: usize,
    },
}

fn sides(shape: &[u64]) -> String {
    shape.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing;

    fn interface(datatype: Datatype, shape: &[u64]) -> Interface {
        let mut interface = fuzzing::interface(datatype);
        interface.input.shape = shape.to_vec();
        interface
    }

    #[test]
    fn a_body_may_have_a_full_batch_in_json_or_at_least_one_item_raw() {
        let cases = [
            (interface(Datatype::Fp32, &[2, 2]), 4 * 128 * 24 + REST_BYTES),
            (interface(Datatype::Fp32, &[3, 224, 224]), LARGEST_BODY_BYTES),
            (interface(Datatype::Fp32, &[3, 1280, 1280]), 3 * 1280 * 1280 * 4 + REST_BYTES),
            (interface(Datatype::Uint8, &[3, 1280, 1280]), LARGEST_BODY_BYTES),
            (interface(Datatype::Bytes, &[3, 1280, 1280]), LARGEST_BODY_BYTES),
        ];
        for (interface, expected) in cases {
            assert_eq!(largest_body_bytes(&interface), expected, "{interface:?}");
        }
    }
}
