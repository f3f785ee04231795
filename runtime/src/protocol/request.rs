//! An inference request: parsed, and held against the model's tensors.

use serde::Deserialize;

use super::{LARGEST_BATCH, ProtocolError, data::Data};
use crate::engine::Interface;

/// A request that can be computed.
#[derive(Debug, PartialEq)]
pub(crate) struct InferenceRequest {
    /// The client's name for it, to be given back.
    pub(crate) id: Option<String>,
    /// How many items.
    pub(crate) items: usize,
    /// Their values, one item after the other.
    pub(crate) input: Vec<f32>,
    /// Whether the output is wanted as raw bytes.
    pub(crate) binary_output: bool,
}

#[derive(Deserialize)]
struct Body {
    id: Option<String>,
    #[serde(default)]
    parameters: RequestParameters,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<RequestedOutput>,
}

#[derive(Default, Deserialize)]
struct RequestParameters {
    #[serde(default)]
    binary_data_output: bool,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: InputParameters,
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<usize>,
}

#[derive(Deserialize)]
struct RequestedOutput {
    name: String,
    #[serde(default)]
    parameters: OutputParameters,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
}

/// Reads the body of a request to a model with the tensors of `interface`. `json_length` is the header of the binary tensor
/// extension, if the request has it.
pub(crate) fn parse(
    body: &[u8],
    json_length: Option<&str>,
    interface: &Interface,
) -> Result<InferenceRequest, ProtocolError> {
    let (json, raw) = split(body, json_length)?;
    let Body { id, parameters, inputs, outputs } =
        serde_json::from_slice(json).map_err(ProtocolError::Json)?;
    let given = inputs.len();
    let [input]: [Input; 1] = inputs
        .try_into()
        .map_err(|_| ProtocolError::Inputs { given, expected: interface.input.name.clone() })?;
    let items = items(&input, interface)?;
    let output_name = &interface.output.name;
    let unknown = outputs.iter().find(|output| output.name != *output_name);
    if let Some(unknown) = unknown {
        return Err(ProtocolError::Name {
            kind: "output",
            given: unknown.name.clone(),
            expected: output_name.clone(),
        });
    }
    let binary_output = outputs.first().and_then(|output| output.parameters.binary_data);
    Ok(InferenceRequest {
        id,
        items,
        input: values(input, raw, items.saturating_mul(interface.input_length()))?,
        binary_output: binary_output.unwrap_or(parameters.binary_data_output),
    })
}

fn split<'a>(body: &'a [u8], json_length: Option<&str>) -> Result<(&'a [u8], &'a [u8]), ProtocolError> {
    let Some(text) = json_length else { return Ok((body, &[])) };
    let wrong = || ProtocolError::JsonLength { value: text.to_owned(), body_bytes: body.len() };
    text.parse().ok().and_then(|length| body.split_at_checked(length)).ok_or_else(wrong)
}

/// The batch size, once name, datatype and shape are the model's.
fn items(input: &Input, interface: &Interface) -> Result<usize, ProtocolError> {
    let expected = &interface.input;
    if input.name != expected.name {
        let (given, expected) = (input.name.clone(), expected.name.clone());
        return Err(ProtocolError::Name { kind: "input", given, expected });
    }
    if input.datatype != "FP32" {
        return Err(ProtocolError::Datatype { name: input.name.clone(), given: input.datatype.clone() });
    }
    let items = match input.shape.split_first() {
        Some((items, item)) if *item == expected.shape => usize::try_from(*items).ok(),
        _ => None,
    };
    items.filter(|items| (1..=LARGEST_BATCH).contains(items)).ok_or_else(|| ProtocolError::Shape {
        name: input.name.clone(),
        given: input.shape.clone(),
        expected: expected.shape.clone(),
    })
}

fn values(input: Input, raw: &[u8], expected: usize) -> Result<Vec<f32>, ProtocolError> {
    let Input { name, shape, parameters, data, .. } = input;
    let values = match (data, parameters.binary_data_size) {
        (Some(Data(values)), None) => values,
        (None, Some(size)) if size == raw.len() && size % 4 == 0 => little_endian(raw),
        (None, Some(size)) => return Err(ProtocolError::BinarySize { name, size, given: raw.len() }),
        (Some(_), Some(_)) | (None, None) => return Err(ProtocolError::NoData { name }),
    };
    if values.len() == expected {
        Ok(values)
    } else {
        Err(ProtocolError::Length { name, given: values.len(), shape, expected })
    }
}

fn little_endian(raw: &[u8]) -> Vec<f32> {
    raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use dnnshifter_portfolio::description::TensorDescription;

    use super::*;

    fn interface() -> Interface {
        let tensor =
            |name: &str, shape: &[u64]| TensorDescription { name: name.to_owned(), shape: shape.to_vec() };
        Interface { input: tensor("image", &[2, 2]), output: tensor("scores", &[3]) }
    }

    fn read(json: &str) -> Result<InferenceRequest, ProtocolError> {
        parse(json.as_bytes(), None, &interface())
    }

    fn binary(json: &str, raw: &[u8]) -> Result<InferenceRequest, ProtocolError> {
        parse(&[json.as_bytes(), raw].concat(), Some(&json.len().to_string()), &interface())
    }

    #[test]
    fn a_batch_in_json_is_read() {
        let request = read(
            r#"{"id":"7","inputs":[{"name":"image","shape":[2,2,2],"datatype":"FP32","data":[[[1,2],[3,4]],[[5,6],[7,8]]]}]}"#,
        );
        let expected = InferenceRequest {
            id: Some("7".to_owned()),
            items: 2,
            input: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
            binary_output: false,
        };
        assert_eq!(request.unwrap(), expected);
    }

    #[test]
    fn a_raw_tensor_is_read() {
        let raw: Vec<u8> = [1.0_f32, -2.0, 0.5, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let json = r#"{"inputs":[{"name":"image","shape":[1,2,2],"datatype":"FP32","parameters":{"binary_data_size":16}}],
            "outputs":[{"name":"scores","parameters":{"binary_data":true}}]}"#;
        let request = binary(json, &raw).unwrap();
        assert_eq!((request.input, request.binary_output), (vec![1.0, -2.0, 0.5, 4.0], true));
    }

    #[test]
    fn raw_outputs_can_be_asked_for_in_two_ways() {
        let read = |rest: &str| {
            let json = format!(
                r#"{{"inputs":[{{"name":"image","shape":[1,2,2],"datatype":"FP32","data":[1,2,3,4]}}]{rest}}}"#
            );
            read(&json).unwrap().binary_output
        };
        assert!(read(r#","parameters":{"binary_data_output":true,"other":[1]}"#));
        assert!(!read(
            r#","parameters":{"binary_data_output":true},"outputs":[{"name":"scores","parameters":{"binary_data":false}}]"#
        ));
        assert!(!read(""));
    }

    #[test]
    fn bad_requests_say_what_is_wrong_and_how_to_mend_it() {
        let input = |part: &str| format!(r#"{{"inputs":[{{{part}}}]}}"#);
        let cases = [
            (String::new(), "not the JSON of an inference request: EOF"),
            ("[]".to_owned(), "not the JSON"),
            ("{\"inputs\":3}".to_owned(), "invalid type: integer `3`, expected a sequence"),
            ("{}".to_owned(), "missing field `inputs`"),
            (r#"{"inputs":[]}"#.to_owned(), "has 0 inputs, but the model has exactly one: \"image\""),
            (
                input(r#""name":"x","shape":[1,2,2],"datatype":"FP32","data":[]"#),
                "no input \"x\": use \"image\"",
            ),
            (
                input(r#""name":"image","shape":[1,2,2],"datatype":"INT8","data":[]"#),
                "datatype \"INT8\": send FP32",
            ),
            (
                input(r#""name":"image","shape":[2,2],"datatype":"FP32","data":[]"#),
                "send [n, 2, 2], with n from 1 to 128",
            ),
            (input(r#""name":"image","shape":[0,2,2],"datatype":"FP32","data":[]"#), "send [n, 2, 2]"),
            (input(r#""name":"image","shape":[129,2,2],"datatype":"FP32","data":[]"#), "send [n, 2, 2]"),
            (
                input(r#""name":"image","shape":[18446744073709551615,2,2],"datatype":"FP32","data":[]"#),
                "send [n, 2, 2]",
            ),
            (
                input(r#""name":"image","shape":[-1,2,2],"datatype":"FP32","data":[]"#),
                "invalid value: integer `-1`",
            ),
            (input(r#""name":"image","shape":[],"datatype":"FP32","data":[]"#), "send [n, 2, 2]"),
            (
                input(r#""name":"image","shape":[1,2,2],"datatype":"FP32","data":[1,2,3]"#),
                "3 values, but its shape [1, 2, 2] asks for 4",
            ),
            (
                input(r#""name":"image","shape":[1,2,2],"datatype":"FP32","data":[1,"a"]"#),
                "invalid type: string \"a\", expected a number",
            ),
            (input(r#""name":"image","shape":[1,2,2],"datatype":"FP32""#), "must have either \"data\" or"),
        ];
        for (json, expected) in cases {
            let said = read(&json).unwrap_err().to_string();
            assert!(said.contains(expected), "{json}: {said}");
        }
    }

    #[test]
    fn raw_tensors_of_the_wrong_size_are_refused() {
        let json = |size: &str| {
            format!(
                r#"{{"inputs":[{{"name":"image","shape":[1,2,2],"datatype":"FP32","parameters":{{"binary_data_size":{size}}}}}]}}"#
            )
        };
        let said = |json: &str, raw: &[u8]| binary(json, raw).unwrap_err().to_string();
        assert!(said(&json("16"), &[0; 12]).contains("binary_data_size 16, but 12 bytes follow"));
        assert!(said(&json("12"), &[0; 12]).contains("3 values, but its shape [1, 2, 2] asks for 4"));
        assert!(said(&json("18446744073709551615"), &[]).contains("0 bytes follow"));
        for length in ["-1", "x", "", "99999"] {
            let refused = parse(b"{}", Some(length), &interface()).unwrap_err().to_string();
            assert!(refused.contains("must be the length of the JSON part in bytes, at most 2"), "{refused}");
        }
    }

    #[test]
    fn an_unknown_output_is_refused() {
        let json = r#"{"inputs":[{"name":"image","shape":[1,2,2],"datatype":"FP32","data":[1,2,3,4]}],"outputs":[{"name":"x"}]}"#;
        assert!(read(json).unwrap_err().to_string().contains("no output \"x\": use \"scores\""));
    }
}
