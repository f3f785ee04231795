//! An inference request in JSON: parsed, and held against the model's tensors.

use std::time::Duration;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    ProtocolError,
    bounded::{AtMost, excerpt},
    data::Data,
    tensor::{CLASSIFICATION, Described, expect_output},
};
use crate::{
    engine::Interface,
    values::{Element, Values, with_element},
};

/// Lists of inputs, outputs, or sides of a shape are never longer than this: networks have one input, of a few dimensions.
const MOST: usize = 16;

/// A request that can be computed.
#[derive(Debug, PartialEq)]
pub(crate) struct InferenceRequest {
    /// The client's name for it, to be given back.
    pub(crate) id: Option<String>,
    /// How many items.
    pub(crate) items: usize,
    /// Their values, one item after the other.
    pub(crate) input: Values,
    /// Whether the output is wanted as raw bytes.
    pub(crate) raw_output: bool,
    /// The client has no use for an answer that comes later than this after its request.
    pub(crate) timeout: Option<Duration>,
}

/// A request to a model whose input is of the type `T`. What may be absent may be null, as some clients write it.
#[derive(Deserialize)]
#[serde(bound = "T: Element")]
struct Body<T> {
    id: Option<String>,
    parameters: Option<RequestParameters>,
    inputs: AtMost<Input<T>, MOST>,
    outputs: Option<AtMost<RequestedOutput, MOST>>,
}

#[derive(Default, Deserialize)]
struct RequestParameters {
    binary_data_output: Option<bool>,
    /// Microseconds, as Triton has it (`docs/protocol/extension_schedule_policy.md`).
    timeout: Option<u64>,
}

#[derive(Deserialize)]
#[serde(bound = "T: Element")]
struct Input<T> {
    name: String,
    shape: AtMost<i64, MOST>,
    datatype: String,
    parameters: Option<InputParameters>,
    data: Option<Data<T>>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<usize>,
}

#[derive(Deserialize)]
struct RequestedOutput {
    name: String,
    parameters: Option<OutputParameters>,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<IgnoredAny>,
    shared_memory_region: Option<IgnoredAny>,
}

/// Reads the body of a request to a model with the tensors of `interface`. `json_length` is the header of the binary tensor
/// extension, if the request has it.
pub(crate) fn parse(
    body: &[u8],
    json_length: Option<&str>,
    interface: &Interface,
) -> Result<InferenceRequest, ProtocolError> {
    let (json, raw) = split(body, json_length)?;
    with_element!(interface.input.datatype, T => parse_with::<T>(json, raw, interface))
}

fn parse_with<T: Element>(
    json: &[u8],
    raw: &[u8],
    interface: &Interface,
) -> Result<InferenceRequest, ProtocolError> {
    let Body { id, parameters, inputs: AtMost(inputs), outputs } =
        serde_json::from_slice::<Body<T>>(json).map_err(ProtocolError::Json)?;
    let (parameters, AtMost(outputs)) = (parameters.unwrap_or_default(), outputs.unwrap_or_default());
    let given = inputs.len();
    let [input]: [Input<T>; 1] = inputs
        .try_into()
        .map_err(|_| ProtocolError::Inputs { given, expected: interface.input.name.clone() })?;
    let Input { name, shape: AtMost(shape), datatype, parameters: of_input, data } = input;
    let described = Described { name: &name, datatype: &datatype, shape: &shape };
    let items = described.items(interface)?;
    outputs.iter().try_for_each(|output| output.expect(interface))?;
    let input = values(&described, data, &of_input.unwrap_or_default(), raw)?;
    described.expect_length(input.len(), items.saturating_mul(interface.input_length()))?;
    let raw_output = outputs.first().and_then(|output| output.parameters.as_ref()?.binary_data);
    Ok(InferenceRequest {
        id,
        items,
        input,
        raw_output: raw_output.or(parameters.binary_data_output).unwrap_or_default(),
        timeout: timeout(parameters.timeout),
    })
}

impl RequestedOutput {
    /// Refuses one that the model does not have, or that is wanted in a form which it does not come in.
    fn expect(&self, interface: &Interface) -> Result<(), ProtocolError> {
        let parameters = self.parameters.as_ref();
        let has = |name: &str| match name {
            CLASSIFICATION => parameters.is_some_and(|it| it.classification.is_some()),
            _ => parameters.is_some_and(|it| it.shared_memory_region.is_some()),
        };
        expect_output(&self.name, has, interface)
    }
}

/// As Triton has it, zero is none.
pub(super) fn timeout(microseconds: Option<u64>) -> Option<Duration> {
    microseconds.filter(|microseconds| *microseconds > 0).map(Duration::from_micros)
}

fn split<'a>(body: &'a [u8], json_length: Option<&str>) -> Result<(&'a [u8], &'a [u8]), ProtocolError> {
    let Some(text) = json_length else { return Ok((body, &[])) };
    let wrong = || ProtocolError::JsonLength { value: excerpt(text), body_bytes: body.len() };
    text.parse().ok().and_then(|length| body.split_at_checked(length)).ok_or_else(wrong)
}

fn values<T: Element>(
    input: &Described<'_>,
    data: Option<Data<T>>,
    parameters: &InputParameters,
    raw: &[u8],
) -> Result<Values, ProtocolError> {
    let name = || input.name.to_owned();
    match (data, parameters.binary_data_size) {
        (Some(Data(values)), None) => Ok(T::wrap(values)),
        (None, Some(size)) if size == raw.len() => input.little_endian(T::DATATYPE, raw),
        (None, Some(size)) => Err(ProtocolError::BinarySize { name: name(), size, given: raw.len() }),
        (Some(_), Some(_)) | (None, None) => Err(ProtocolError::NoData { name: name() }),
    }
}

#[cfg(test)]
mod tests {
    use dnnshifter_portfolio::description::Datatype;

    use super::*;
    use crate::fuzzing::interface as interface_of;

    fn interface() -> Interface {
        interface_of(Datatype::Fp32)
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
            input: Values::Fp32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
            raw_output: false,
            timeout: None,
        };
        assert_eq!(request.unwrap(), expected);
    }

    #[test]
    fn a_raw_tensor_is_read() {
        let raw: Vec<u8> = [1.0_f32, -2.0, 0.5, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let json = r#"{"inputs":[{"name":"image","shape":[1,2,2],"datatype":"FP32","parameters":{"binary_data_size":16}}],
            "outputs":[{"name":"scores","parameters":{"binary_data":true}}]}"#;
        let request = binary(json, &raw).unwrap();
        assert_eq!((request.input, request.raw_output), (Values::Fp32(vec![1.0, -2.0, 0.5, 4.0]), true));
    }

    #[test]
    fn raw_outputs_can_be_asked_for_in_two_ways() {
        let read = |rest: &str| {
            let json = format!(
                r#"{{"inputs":[{{"name":"image","shape":[1,2,2],"datatype":"FP32","data":[1,2,3,4]}}]{rest}}}"#
            );
            read(&json).unwrap().raw_output
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
                "invalid value: integer `18446744073709551615`, expected i64",
            ),
            (
                input(r#""name":"image","shape":[-1,2,2],"datatype":"FP32","data":[]"#),
                "the shape [-1, 2, 2]: send",
            ),
            (
                input(r#""name":"image","shape":[9223372036854775807,2,2],"datatype":"FP32","data":[]"#),
                "send [n, 2, 2]",
            ),
            (input(r#""name":"image","shape":[],"datatype":"FP32","data":[]"#), "send [n, 2, 2]"),
            (
                input(r#""name":"image","shape":[1,2,2],"datatype":"FP32","data":[1,2,3]"#),
                "3 values, but its shape [1, 2, 2] asks for 4",
            ),
            (
                input(r#""name":"image","shape":[1,2,2],"datatype":"FP32","data":[1,"a"]"#),
                "invalid type: text, expected a value of FP32",
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
        assert!(said(&json("15"), &[0; 15]).contains("15 raw bytes, which are no whole values of FP32"));
        assert!(said(&json("18446744073709551615"), &[]).contains("0 bytes follow"));
        for length in ["-1", "x", "", "99999"] {
            let refused = parse(b"{}", Some(length), &interface()).unwrap_err().to_string();
            assert!(refused.contains("must be the length of the JSON part in bytes, at most 2"), "{refused}");
        }
    }

    #[test]
    fn values_of_every_type_come_in_json_and_raw() {
        for datatype in Datatype::ALL {
            let (interface, name) = (interface_of(datatype), datatype.as_str());
            let expected = Values::of_numbers(datatype, &[0.0, 1.0, 1.0, 0.0]);
            let data = match datatype {
                Datatype::Bool => "[false,true,true,false]",
                Datatype::Bytes => r#"["0","1","1","0"]"#,
                _ => "[0,1,1,0]",
            };
            let json = format!(
                r#"{{"inputs":[{{"name":"image","shape":[1,2,2],"datatype":"{name}","data":{data}}}]}}"#
            );
            assert_eq!(parse(json.as_bytes(), None, &interface).unwrap().input, expected);
            let (mut raw, size) = (Vec::new(), expected.byte_length());
            expected.append_little_endian(&mut raw);
            let json = format!(
                r#"{{"inputs":[{{"name":"image","shape":[1,2,2],"datatype":"{name}","parameters":{{"binary_data_size":{size}}}}}]}}"#
            );
            let body = [json.as_bytes(), &raw].concat();
            assert_eq!(parse(&body, Some(&json.len().to_string()), &interface).unwrap().input, expected);
            let other = json.replace(name, "TEXT");
            let said = parse(other.as_bytes(), None, &interface).unwrap_err().to_string();
            assert!(said.contains(&format!("datatype \"TEXT\": send {name}")), "{said}");
        }
    }

    #[test]
    fn a_batch_of_items_of_many_texts_is_told_how_large_it_may_be() {
        let mut interface = interface_of(Datatype::Bytes);
        interface.input.shape = vec![1000];
        let json = r#"{"inputs":[{"name":"image","shape":[66,1000],"datatype":"BYTES","data":[]}]}"#;
        let said = parse(json.as_bytes(), None, &interface).unwrap_err().to_string();
        assert!(said.ends_with("has the shape [66, 1000]: send [n, 1000], with n from 1 to 65"), "{said}");
        let json = json.replace("66", "65");
        let said = parse(json.as_bytes(), None, &interface).unwrap_err().to_string();
        assert!(said.contains("has 0 values, but its shape [65, 1000] asks for 65000"), "{said}");
    }

    #[test]
    fn an_output_that_is_unknown_or_wanted_in_another_form_is_refused() {
        for (output, expected) in [
            (r#"{"name":"x"}"#, "no output \"x\": use \"scores\""),
            (
                r#"{"name":"scores","parameters":{"classification":1}}"#,
                "\"scores\" with the parameter \"classification\"",
            ),
            (
                r#"{"name":"scores","parameters":{"shared_memory_region":"r","shared_memory_byte_size":12}}"#,
                "\"scores\" with the parameter \"shared_memory_region\"",
            ),
        ] {
            let json = format!(
                r#"{{"inputs":[{{"name":"image","shape":[1,2,2],"datatype":"FP32","data":[1,2,3,4]}}],"outputs":[{output}]}}"#
            );
            let said = read(&json).unwrap_err().to_string();
            assert!(said.contains(expected), "{output}: {said}");
        }
    }

    #[test]
    fn what_may_be_absent_may_be_null() {
        let json = r#"{"id":null,"parameters":null,"outputs":null,
            "inputs":[{"name":"image","shape":[1,2,2],"datatype":"FP32","parameters":null,"data":[1,2,3,4]}]}"#;
        let (nothing, absent) = (read(json).unwrap(), json.replace("null", "{}").replace(r#""id":{},"#, ""));
        assert_eq!(read(&absent.replace(r#""outputs":{}"#, r#""outputs":[]"#)).unwrap(), nothing);
        let json = r#"{"parameters":{"binary_data_output":null,"timeout":null},"outputs":[{"name":"scores","parameters":null}],
            "inputs":[{"name":"image","shape":[1,2,2],"datatype":"FP32","parameters":{"binary_data_size":null},"data":[1,2,3,4]}]}"#;
        assert_eq!(read(json).unwrap(), nothing);
        let json = json
            .replace(r#""parameters":null"#, r#""parameters":{"binary_data":null,"classification":null}"#);
        assert_eq!(read(&json).unwrap(), nothing);
    }

    #[test]
    fn a_timeout_is_in_microseconds_and_zero_is_none() {
        let timeout = |text: &str| {
            let json = format!(
                r#"{{"inputs":[{{"name":"image","shape":[1,2,2],"datatype":"FP32","data":[1,2,3,4]}}],"parameters":{{"timeout":{text}}}}}"#
            );
            read(&json).map(|request| request.timeout)
        };
        assert_eq!(timeout("2500").unwrap(), Some(Duration::from_micros(2500)));
        assert_eq!(timeout("0").unwrap(), None);
        for text in ["-1", "2.5", "true", "\"2500\""] {
            let said = timeout(text).unwrap_err().to_string();
            assert!(said.contains("expected u64"), "{text}: {said}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_not_given_back() {
        let long = "x".repeat(1 << 20);
        let input = |name: &str, shape: &str, datatype: &str, data: &str| {
            format!(
                r#"{{"inputs":[{{"name":"{name}","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}"#
            )
        };
        let many = |item: &str| vec![item; 100_000].join(",");
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let cases = [
            (input(&long, "[1,2,2]", "FP32", "[]"), "no input \"xxx"),
            (input("image", "[1,2,2]", &long, "[]"), "the datatype \"xxx"),
            (input("image", "[1,2,2]", "FP32", &format!("[\"{long}\"]")), "invalid type: text, expected"),
            (input("image", &format!("[{}]", many("1")), "FP32", "[]"), "a list of more than 16"),
            (input("image", "[1,2,2]", "FP32", &deep), "recursion limit exceeded"),
            (
                format!(r#"{{"inputs":[{}]}}"#, many(r#"{"name":"","shape":[],"datatype":""}"#)),
                "a list of more than 16",
            ),
            (format!(r#"{{"deep":{deep},"inputs":[]}}"#), "has 0 inputs"),
        ];
        for (json, expected) in cases {
            let said = read(&json).unwrap_err().to_string();
            assert!(said.contains(expected) && said.len() < 400, "{expected}: {said}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let said = parse(b"{\"id\":\"\xff\"}", None, &interface()).unwrap_err().to_string();
        assert!(said.contains("not the JSON of an inference request"), "{said}");
    }
}
