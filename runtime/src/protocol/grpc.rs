//! Requests and answers over gRPC, as batches: the counterpart of the JSON of REST. Pure.

mod contents;
mod frame;

use std::time::Duration;

use bytes::Bytes;

pub(crate) use self::frame::expect_modest;
use super::{
    InferenceRequest, Outputs, ProtocolError,
    inference::{
        InferParameter, ModelInferRequest, ModelInferResponse, infer_parameter::ParameterChoice,
        model_infer_request::InferInputTensor, model_infer_response::InferOutputTensor,
    },
    request,
    tensor::{Described, expect_output},
};
use crate::engine::Interface;

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
    outputs.iter().try_for_each(|output| {
        expect_output(&output.name, |parameter| output.parameters.contains_key(parameter), interface)
    })?;
    let input = contents::values(&described, interface.input.datatype, contents, &raw)?;
    described.expect_length(input.len(), items.saturating_mul(interface.input_length()))?;
    let timeout = parameters.get("timeout").map(microseconds).transpose()?;
    Ok(InferenceRequest {
        id: Some(id).filter(|id| !id.is_empty()),
        items,
        input,
        raw_output: !raw.is_empty(),
        timeout: request::timeout(timeout),
    })
}

/// The time that a parameter names, which is a whole number over REST as well.
fn microseconds(parameter: &InferParameter) -> Result<u64, ProtocolError> {
    match &parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(number)) => {
            u64::try_from(*number).map_err(|_| ProtocolError::Timeout)
        }
        Some(ParameterChoice::Uint64Param(number)) => Ok(*number),
        Some(
            ParameterChoice::BoolParam(_) | ParameterChoice::StringParam(_) | ParameterChoice::DoubleParam(_),
        )
        | None => Err(ProtocolError::Timeout),
    }
}

/// Writes an answer, with raw values if `raw`, or if the message has no contents for their type.
pub(crate) fn write(outputs: &Outputs<'_>, raw: bool) -> ModelInferResponse {
    let sides = outputs.tensor.shape.iter().map(|side| i64::try_from(*side).unwrap_or(i64::MAX));
    let contents = if raw { None } else { contents::of(outputs.values) };
    let bytes = || {
        let mut bytes = Vec::new();
        outputs.values.append_little_endian(&mut bytes);
        Bytes::from(bytes)
    };
    let variant = ParameterChoice::StringParam(outputs.variant.to_owned());
    let variant = InferParameter { parameter_choice: Some(variant) };
    ModelInferResponse {
        model_name: outputs.model.to_owned(),
        model_version: outputs.variant.to_owned(),
        id: outputs.id.unwrap_or_default().to_owned(),
        parameters: std::iter::once(("variant".to_owned(), variant)).collect(),
        raw_output_contents: if contents.is_none() { vec![bytes()] } else { Vec::new() },
        outputs: vec![InferOutputTensor {
            name: outputs.tensor.name.clone(),
            datatype: outputs.values.datatype().as_str().to_owned(),
            shape: std::iter::once(outputs.items as i64).chain(sides).collect(),
            contents,
            ..Default::default()
        }],
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

#[cfg(test)]
mod tests {
    use dnnshifter_portfolio::description::Datatype;

    use super::{
        super::inference::{InferTensorContents, model_infer_request::InferRequestedOutputTensor},
        *,
    };
    use crate::{fuzzing::interface as interface_of, values::Values};

    fn interface() -> Interface {
        interface_of(Datatype::Fp32)
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
        assert_eq!((typed.input, typed.raw_output), (Values::Fp32(vec![1.0, 2.0, 3.0, 4.0]), false));
        let raw = read(message(&[2, 2, 2], None, &[&[0; 32]]), &interface()).unwrap();
        assert_eq!((raw.items, raw.input, raw.raw_output), (2, Values::Fp32(vec![0.0; 8]), true));
    }

    #[test]
    fn bad_messages_say_what_is_wrong() {
        let cases = [
            (message(&[1, 2, 2], None, &[]), "either contents or raw_input_contents"),
            (message(&[1, 2, 2], Some(&[1.0]), &[&[0; 16]]), "either contents or raw_input_contents"),
            (message(&[1, 2, 2], None, &[&[0; 16], &[0; 16]]), "either contents or raw_input_contents"),
            (message(&[1, 2, 2], None, &[&[0; 15]]), "15 raw bytes, which are no whole values of FP32"),
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
        let mut timeout = |choice| {
            let microseconds = InferParameter { parameter_choice: Some(choice) };
            message.parameters.insert("timeout".to_owned(), microseconds);
            read(message.clone(), &interface()).map(|request| request.timeout)
        };
        for whole in [ParameterChoice::Int64Param(2500), ParameterChoice::Uint64Param(2500)] {
            assert_eq!(timeout(whole).unwrap(), Some(Duration::from_micros(2500)));
        }
        assert_eq!(timeout(ParameterChoice::Int64Param(0)).unwrap(), None);
        for wrong in [
            ParameterChoice::Int64Param(-1),
            ParameterChoice::DoubleParam(2.5),
            ParameterChoice::BoolParam(true),
            ParameterChoice::StringParam("2500".to_owned()),
        ] {
            let said = timeout(wrong).unwrap_err().to_string();
            assert!(said.starts_with("the parameter \"timeout\" is no whole number"), "{said}");
        }
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
    fn an_output_in_another_form_is_refused() {
        for parameter in ["classification", "shared_memory_region"] {
            let mut message = message(&[1, 2, 2], None, &[&[0; 16]]);
            let one = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
            message.outputs = vec![InferRequestedOutputTensor {
                name: "scores".to_owned(),
                parameters: std::iter::once((parameter.to_owned(), one)).collect(),
            }];
            let said = read(message, &interface()).unwrap_err().to_string();
            assert!(said.contains(&format!("with the parameter \"{parameter}\"")), "{said}");
        }
    }

    #[test]
    fn values_of_every_type_go_both_ways_in_the_form_of_the_request() {
        for datatype in Datatype::ALL {
            let (interface, values) =
                (interface_of(datatype), Values::of_numbers(datatype, &[0.0, 1.0, 1.0, 0.0]));
            let mut raw = Vec::new();
            values.append_little_endian(&mut raw);
            let typed = contents::of(&values);
            // There are no contents for halves.
            assert_eq!(typed.is_none(), [Datatype::Fp16, Datatype::Bf16].contains(&datatype));
            for contents in [None].into_iter().chain(typed.map(Some)) {
                let is_raw = contents.is_none();
                let raws = [&raw[..]];
                let mut message = message(&[1, 2, 2], None, if is_raw { &raws } else { &[] });
                message.inputs[0].datatype = datatype.as_str().to_owned();
                message.inputs[0].contents = contents;
                let request = read(message, &interface).unwrap();
                assert_eq!((&request.input, request.raw_output), (&values, is_raw));
                let answer = write(&outputs(&interface, &values), request.raw_output);
                assert_eq!(answer.outputs[0].datatype, datatype.as_str());
                assert_eq!(answer.outputs[0].contents, if is_raw { None } else { contents::of(&values) });
                assert_eq!(
                    answer.raw_output_contents.concat(),
                    if is_raw { raw.clone() } else { Vec::new() }
                );
            }
        }
    }

    fn outputs<'a>(interface: &'a Interface, values: &'a Values) -> Outputs<'a> {
        Outputs { model: "m", variant: "v", id: None, tensor: &interface.output, items: 1, values }
    }

    #[test]
    fn values_that_are_none_of_the_type_are_refused() {
        let typed = |datatype: Datatype, contents: InferTensorContents| {
            let mut message = message(&[1, 2, 2], None, &[]);
            message.inputs[0].datatype = datatype.as_str().to_owned();
            message.inputs[0].contents = Some(contents);
            read(message, &interface_of(datatype)).unwrap_err().to_string()
        };
        let numbers = InferTensorContents { int_contents: vec![0, 128], ..Default::default() };
        assert!(typed(Datatype::Int8, numbers.clone()).contains("the value 128, which is none of INT8"));
        assert!(typed(Datatype::Int64, numbers.clone()).contains("0 values"));
        assert!(typed(Datatype::Fp16, numbers).contains("FP16, which gRPC has no contents for"));
        for text in [&b"\xff"[..], b"\0"] {
            let texts = InferTensorContents {
                bytes_contents: vec![Bytes::copy_from_slice(text)],
                ..Default::default()
            };
            assert!(typed(Datatype::Bytes, texts).ends_with("a zero within: send UTF-8 without zeros"));
        }
    }
}
