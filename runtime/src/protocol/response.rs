//! Answers: an inference's outputs, and the description of tensors.

use dnnshifter_portfolio::description::TensorDescription;
use serde::Serialize;

use crate::values::Values;

/// The answer to an inference request, as it goes over the wire.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// The body.
    pub(crate) body: Vec<u8>,
    /// With raw outputs: the length of the JSON that they follow.
    pub(crate) json_length: Option<usize>,
}

/// Why an answer cannot be written as it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderError {
    /// A value is no number of JSON. `null`, which many write instead, is no number to a client either, and hides which it was.
    #[error(
        "the output \"{name}\" has values that are infinite, or no numbers, which JSON cannot write: ask for raw values, by the parameter \"binary_data_output\" of the request, or by gRPC"
    )]
    NotFinite {
        /// The output.
        name: String,
    },
    /// It cannot be written at all.
    #[error("failed to write the answer as JSON")]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Body<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: ResponseParameters<'a>,
    outputs: [Output<'a>; 1],
}

/// The variant once more: `model_version` is for clients that know only the protocol.
#[derive(Serialize)]
struct ResponseParameters<'a> {
    variant: &'a str,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    shape: Vec<u64>,
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<OutputParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Values>,
}

#[derive(Serialize)]
struct OutputParameters {
    binary_data_size: usize,
}

/// A tensor as a model's metadata names it.
#[derive(Serialize)]
pub(crate) struct TensorMetadata {
    /// Its name.
    pub(crate) name: String,
    /// Its type.
    pub(crate) datatype: &'static str,
    /// Its shape, -1 for the batch dimension.
    pub(crate) shape: Vec<i64>,
}

/// What an answer says.
pub(crate) struct Outputs<'a> {
    /// The model's name, which never changes.
    pub(crate) model: &'a str,
    /// The variant that answered.
    pub(crate) variant: &'a str,
    /// The client's name for the request.
    pub(crate) id: Option<&'a str>,
    /// The output tensor.
    pub(crate) tensor: &'a TensorDescription,
    /// How many items.
    pub(crate) items: usize,
    /// Their values.
    pub(crate) values: &'a Values,
}

/// Writes an answer, with the values as raw little-endian bytes if `binary`.
pub(crate) fn render(outputs: &Outputs<'_>, binary: bool) -> Result<Rendered, RenderError> {
    if !binary && !outputs.values.are_finite() {
        return Err(RenderError::NotFinite { name: outputs.tensor.name.clone() });
    }
    let output = Output {
        name: &outputs.tensor.name,
        shape: std::iter::once(outputs.items as u64).chain(outputs.tensor.shape.iter().copied()).collect(),
        datatype: outputs.values.datatype().as_str(),
        parameters: binary.then(|| OutputParameters { binary_data_size: outputs.values.byte_length() }),
        data: (!binary).then_some(outputs.values),
    };
    let mut body = serde_json::to_vec(&Body {
        model_name: outputs.model,
        model_version: outputs.variant,
        id: outputs.id,
        parameters: ResponseParameters { variant: outputs.variant },
        outputs: [output],
    })?;
    let json_length = binary.then_some(body.len());
    if binary {
        outputs.values.append_little_endian(&mut body);
    }
    Ok(Rendered { body, json_length })
}

/// A tensor with its free batch dimension, as metadata writes it.
pub(crate) fn metadata_tensor(tensor: &TensorDescription) -> TensorMetadata {
    let sides = tensor.shape.iter().map(|side| i64::try_from(*side).unwrap_or(i64::MAX));
    TensorMetadata {
        name: tensor.name.clone(),
        datatype: tensor.datatype.as_str(),
        shape: std::iter::once(-1).chain(sides).collect(),
    }
}

#[cfg(test)]
mod tests {
    use dnnshifter_portfolio::description::Datatype;

    use super::*;

    fn rendered(binary: bool) -> Rendered {
        rendered_of(&Values::Fp32(vec![1.5, -2.0]), binary)
    }

    fn rendered_of(values: &Values, binary: bool) -> Rendered {
        let datatype = values.datatype();
        let tensor = TensorDescription { name: "scores".to_owned(), shape: vec![2], datatype };
        let outputs = Outputs { model: "m", variant: "v", id: Some("7"), tensor: &tensor, items: 1, values };
        render(&outputs, binary).unwrap()
    }

    #[test]
    fn an_answer_names_model_variant_and_request() {
        let expected = r#"{"model_name":"m","model_version":"v","id":"7","parameters":{"variant":"v"},"outputs":[{"name":"scores","shape":[1,2],"datatype":"FP32","data":[1.5,-2.0]}]}"#;
        assert_eq!(String::from_utf8(rendered(false).body).unwrap(), expected);
    }

    #[test]
    fn values_of_other_types_are_written_as_they_are() {
        let cases = [
            (
                Values::Int64(vec![i64::MIN, (1 << 53) + 1]),
                r#""INT64","data":[-9223372036854775808,9007199254740993]"#,
            ),
            (Values::Bool(vec![true, false]), r#""BOOL","data":[true,false]"#),
            (Values::of_numbers(Datatype::Fp16, &[0.5, -2.0]), r#""FP16","data":[0.5,-2.0]"#),
            (Values::Bytes(vec![String::new(), "a\"b".to_owned()]), r#""BYTES","data":["","a\"b"]"#),
        ];
        for (values, expected) in cases {
            let text = String::from_utf8(rendered_of(&values, false).body).unwrap();
            assert!(text.contains(expected), "{text}");
            let Rendered { body, json_length } = rendered_of(&values, true);
            assert_eq!(body.len() - json_length.unwrap(), values.byte_length());
        }
    }

    #[test]
    fn what_json_cannot_write_is_refused_and_can_be_had_raw() {
        let cases = [
            Values::Fp32(vec![1.0, f32::NAN]),
            Values::Fp64(vec![f64::INFINITY]),
            Values::of_numbers(Datatype::Fp16, &[f32::NEG_INFINITY]),
            Values::of_numbers(Datatype::Bf16, &[f32::NAN]),
        ];
        for values in cases {
            let datatype = values.datatype();
            let tensor = TensorDescription { name: "scores".to_owned(), shape: vec![2], datatype };
            let outputs =
                Outputs { model: "m", variant: "v", id: None, tensor: &tensor, items: 1, values: &values };
            let said = render(&outputs, false).unwrap_err().to_string();
            assert!(said.contains("\"scores\" has values that are infinite, or no numbers"), "{said}");
            let Rendered { body, json_length } = render(&outputs, true).unwrap();
            assert_eq!(body.len() - json_length.unwrap(), values.byte_length());
        }
    }

    #[test]
    fn raw_values_follow_the_json() {
        let Rendered { body, json_length } = rendered(true);
        let (json, raw) = body.split_at(json_length.unwrap());
        assert!(String::from_utf8_lossy(json).ends_with(r#""parameters":{"binary_data_size":8}}]}"#));
        assert_eq!(raw, [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
    }
}
