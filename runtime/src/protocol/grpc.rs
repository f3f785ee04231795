//! Requests and answers over gRPC, as batches: the counterpart of the JSON of REST. Pure.

use std::time::Duration;

use bytes::{Buf, Bytes};
use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

use super::{
    InferenceRequest, Outputs, ProtocolError,
    inference::{
        InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
        infer_parameter::ParameterChoice, model_infer_request::InferInputTensor,
        model_infer_response::InferOutputTensor,
    },
    request,
    tensor::{Described, expect_output, little_endian},
};
use crate::engine::Interface;

/// All of a message but its values: names, shapes, parameters. Two bytes of it can become hundreds in memory (an empty input is a
/// struct), so it is bounded before it is decoded.
const LARGEST_FRAME_BYTES: usize = 16 << 10;

/// Reads a request to a model with the tensors of `interface`.
pub(crate) fn read(
    message: ModelInferRequest,
    interface: &Interface,
) -> Result<InferenceRequest, ProtocolError> {
    let ModelInferRequest { id, parameters, inputs, outputs, raw_input_contents: raw, .. } = message;
    let given = inputs.len();
    let [input]: [InferInputTensor; 1] = inputs
        .try_into()
        .map_err(|_| ProtocolError::Inputs { given, expected: interface.input.name.clone() })?;
    let InferInputTensor { name, datatype, shape, contents, .. } = input;
    let described = Described { name: &name, datatype: &datatype, shape: &shape };
    let items = described.items(interface)?;
    outputs.iter().try_for_each(|output| expect_output(&output.name, interface))?;
    let input = values(&name, contents, &raw)?;
    described.expect_length(input.len(), items.saturating_mul(interface.input_length()))?;
    let timeout = request::timeout(parameters.get("timeout").and_then(whole_number));
    Ok(InferenceRequest {
        id: Some(id).filter(|id| !id.is_empty()),
        items,
        input,
        raw_output: !raw.is_empty(),
        timeout,
    })
}

fn values(
    name: &str,
    contents: Option<InferTensorContents>,
    raw: &[Bytes],
) -> Result<Vec<f32>, ProtocolError> {
    match (contents, raw) {
        (None, [raw]) if raw.len() % 4 == 0 => Ok(little_endian(raw)),
        (None, [raw]) => Err(ProtocolError::RawSize { name: name.to_owned(), given: raw.len() }),
        (Some(contents), []) => Ok(contents.fp32_contents),
        _ => Err(ProtocolError::Contents { name: name.to_owned() }),
    }
}

fn whole_number(parameter: &InferParameter) -> Option<u64> {
    match parameter.parameter_choice.as_ref()? {
        ParameterChoice::Int64Param(number) => u64::try_from(*number).ok(),
        ParameterChoice::Uint64Param(number) => Some(*number),
        ParameterChoice::BoolParam(_) | ParameterChoice::StringParam(_) | ParameterChoice::DoubleParam(_) => {
            None
        }
    }
}

/// Writes an answer, with raw values if `raw`.
pub(crate) fn write(outputs: &Outputs<'_>, raw: bool) -> ModelInferResponse {
    let sides = outputs.tensor.shape.iter().map(|side| i64::try_from(*side).unwrap_or(i64::MAX));
    let contents = || InferTensorContents { fp32_contents: outputs.values.to_vec(), ..Default::default() };
    let bytes = || outputs.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let variant = ParameterChoice::StringParam(outputs.variant.to_owned());
    let variant = InferParameter { parameter_choice: Some(variant) };
    ModelInferResponse {
        model_name: outputs.model.to_owned(),
        model_version: outputs.variant.to_owned(),
        id: outputs.id.unwrap_or_default().to_owned(),
        parameters: std::iter::once(("variant".to_owned(), variant)).collect(),
        outputs: vec![InferOutputTensor {
            name: outputs.tensor.name.clone(),
            datatype: "FP32".to_owned(),
            shape: std::iter::once(outputs.items as i64).chain(sides).collect(),
            contents: (!raw).then(contents),
            ..Default::default()
        }],
        raw_output_contents: raw.then(|| Bytes::from(bytes())).into_iter().collect(),
    }
}

/// The time that the header `grpc-timeout` gives (gRPC over HTTP/2, "Requests"): up to eight digits and a unit.
pub(crate) fn deadline(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// Refuses an encoded [`ModelInferRequest`] that would take far more memory than its values.
pub(crate) fn expect_modest(message: &[u8]) -> Result<(), ProtocolError> {
    let values = value_bytes(message, Part::Request).map_err(ProtocolError::Message)?;
    let rest = message.len().saturating_sub(values);
    if rest > LARGEST_FRAME_BYTES {
        return Err(ProtocolError::Frame { bytes: rest, limit: LARGEST_FRAME_BYTES });
    }
    Ok(())
}

/// Where in a request: values are in `raw_input_contents`, and in `inputs` . `contents` . `fp32_contents`.
#[derive(Clone, Copy)]
enum Part {
    Request,
    Input,
    Contents,
}

/// Bytes of `message` that are values.
fn value_bytes(mut message: &[u8], part: Part) -> Result<usize, DecodeError> {
    let mut bytes = 0_usize;
    while message.has_remaining() {
        let (tag, kind) = decode_key(&mut message)?;
        if kind != WireType::LengthDelimited {
            skip_field(kind, tag, &mut message, DecodeContext::default())?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
        // A field that is cut off is for the decoder to refuse.
        let Some((field, rest)) = message.split_at_checked(length) else { break };
        message = rest;
        bytes = bytes.saturating_add(match (part, tag) {
            (Part::Request, 7) | (Part::Contents, 6) => field.len(),
            (Part::Request, 5) => value_bytes(field, Part::Input)?,
            (Part::Input, 5) => value_bytes(field, Part::Contents)?,
            _ => 0,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use dnnshifter_portfolio::description::TensorDescription;
    use prost::Message;

    use super::*;

    fn interface() -> Interface {
        let tensor =
            |name: &str, shape: &[u64]| TensorDescription { name: name.to_owned(), shape: shape.to_vec() };
        Interface { input: tensor("image", &[2, 2]), output: tensor("scores", &[3]) }
    }

    fn message(shape: &[i64], contents: Option<&[f32]>, raw: &[&[u8]]) -> ModelInferRequest {
        let contents = contents
            .map(|values| InferTensorContents { fp32_contents: values.to_vec(), ..Default::default() });
        let input = InferInputTensor {
            name: "image".to_owned(),
            datatype: "FP32".to_owned(),
            shape: shape.to_vec(),
            contents,
            ..Default::default()
        };
        let raw_input_contents = raw.iter().map(|raw| Bytes::copy_from_slice(raw)).collect();
        ModelInferRequest { inputs: vec![input], raw_input_contents, ..Default::default() }
    }

    #[test]
    fn values_come_typed_or_raw_and_the_answer_is_to_be_alike() {
        let typed = read(message(&[1, 2, 2], Some(&[1.0, 2.0, 3.0, 4.0]), &[]), &interface()).unwrap();
        assert_eq!((typed.input, typed.raw_output), (vec![1.0, 2.0, 3.0, 4.0], false));
        let raw = read(message(&[2, 2, 2], None, &[&[0; 32]]), &interface()).unwrap();
        assert_eq!((raw.items, raw.input, raw.raw_output), (2, vec![0.0; 8], true));
    }

    #[test]
    fn bad_messages_say_what_is_wrong() {
        let cases = [
            (message(&[1, 2, 2], None, &[]), "either contents or raw_input_contents"),
            (message(&[1, 2, 2], Some(&[1.0]), &[&[0; 16]]), "either contents or raw_input_contents"),
            (message(&[1, 2, 2], None, &[&[0; 16], &[0; 16]]), "either contents or raw_input_contents"),
            (message(&[1, 2, 2], None, &[&[0; 15]]), "15 raw bytes"),
            (message(&[1, 2, 2], None, &[&[0; 12]]), "3 values, but its shape [1, 2, 2] asks for 4"),
            (message(&[-1, 2, 2], None, &[&[0; 12]]), "send [n, 2, 2]"),
            (message(&[i64::MAX, 2, 2], None, &[]), "send [n, 2, 2]"),
            (ModelInferRequest::default(), "has 0 inputs"),
        ];
        for (message, expected) in cases {
            let said = read(message, &interface()).unwrap_err().to_string();
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }

    #[test]
    fn a_timeout_is_a_parameter_or_a_header() {
        let mut message = message(&[1, 2, 2], None, &[&[0; 16]]);
        let microseconds = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(2500)) };
        message.parameters.insert("timeout".to_owned(), microseconds);
        assert_eq!(read(message, &interface()).unwrap().timeout, Some(Duration::from_micros(2500)));
        let cases = [
            ("20m", Some(20_000)),
            ("3S", Some(3_000_000)),
            ("123456789u", None),
            ("u", None),
            ("", None),
            ("1é", None),
        ];
        for (text, microseconds) in cases {
            assert_eq!(deadline(text), microseconds.map(Duration::from_micros), "{text}");
        }
    }

    #[test]
    fn only_values_may_be_many() {
        let large = vec![0_u8; 1 << 20];
        let raw = message(&[1, 2, 2], None, &[&large]);
        let typed = message(&[1, 2, 2], Some(&vec![0.0; 1 << 18]), &[]);
        for message in [raw, typed] {
            assert!(expect_modest(&message.encode_to_vec()).is_ok());
        }
        let inputs =
            ModelInferRequest { inputs: vec![InferInputTensor::default(); 10_000], ..Default::default() };
        let shape = message(&vec![1; 20_000], None, &[]);
        for message in [inputs, shape] {
            let said = expect_modest(&message.encode_to_vec()).unwrap_err().to_string();
            assert!(said.contains("at most 16384"), "{said}");
        }
        assert!(expect_modest(&[0xff; 20]).is_err());
    }
}
