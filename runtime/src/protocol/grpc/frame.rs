//! How much memory a message will take, seen before it is decoded. A few bytes of it can become hundreds: an empty input is a
//! struct, and a small whole number of one byte is one of eight.

use bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::super::ProtocolError;
use crate::values::MOST_TEXTS;

/// All of a message but its values: names, shapes, parameters.
const LARGEST_FRAME_BYTES: usize = 16 << 10;

/// Refuses an encoded `ModelInferRequest` that would take far more memory than so many values.
pub(crate) fn expect_modest(message: &[u8], most_values: usize) -> Result<(), ProtocolError> {
    let mut tally = Tally::default();
    tally.add(message, Part::Request)?;
    let rest = message.len().saturating_sub(tally.value_bytes);
    if rest > LARGEST_FRAME_BYTES {
        return Err(ProtocolError::Frame { bytes: rest, limit: LARGEST_FRAME_BYTES });
    }
    for (given, most) in [(tally.whole_numbers, most_values), (tally.texts, most_values.min(MOST_TEXTS))] {
        if given > most {
            return Err(ProtocolError::Many { given, most });
        }
    }
    Ok(())
}

/// Refuses a name that the decoder would refuse as well: but that is found by `tonic`, which then says that the server is broken.
fn expect_text(name: &[u8]) -> Result<(), ProtocolError> {
    str::from_utf8(name).map(drop).map_err(|_| ProtocolError::Names)
}

/// Where in a request: values are in `raw_input_contents`, and in the lists of `inputs` . `contents`.
#[derive(Clone, Copy)]
enum Part {
    Request,
    Input,
    Contents,
    Output,
}

/// What a message has of values.
#[derive(Default)]
struct Tally {
    /// Bytes that are values.
    value_bytes: usize,
    /// Values of a length that varies, from one byte.
    whole_numbers: usize,
    /// Each may be empty.
    texts: usize,
}

impl Tally {
    fn add(&mut self, mut message: &[u8], part: Part) -> Result<(), ProtocolError> {
        while message.has_remaining() {
            let before = message.len();
            let (tag, kind) = decode_key(&mut message)?;
            if kind != WireType::LengthDelimited {
                skip_field(kind, tag, &mut message, DecodeContext::default())?;
                continue;
            }
            let length = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
            // A field that is cut off is for the decoder to refuse.
            let Some((field, rest)) = message.split_at_checked(length) else { break };
            message = rest;
            match (part, tag) {
                (Part::Request, 1..=3) | (Part::Input | Part::Output, 1) | (Part::Input, 2) => {
                    expect_text(field)?;
                }
                (Part::Request, 5) => self.add(field, Part::Input)?,
                (Part::Request, 6) => self.add(field, Part::Output)?,
                (Part::Input, 5) => self.add(field, Part::Contents)?,
                (Part::Request, 7) | (Part::Contents, 6 | 7) => self.add_values(field.len(), 0),
                // Their keys and lengths may be more than themselves.
                (Part::Contents, 8) => {
                    self.add_values(before.saturating_sub(message.len()), 0);
                    self.texts = self.texts.saturating_add(1);
                }
                // The last byte of each has its highest bit unset.
                (Part::Contents, 1..=5) => {
                    self.add_values(field.len(), field.iter().filter(|byte| **byte < 0x80).count());
                }
                _ => (),
            }
        }
        Ok(())
    }

    fn add_values(&mut self, bytes: usize, whole_numbers: usize) {
        self.value_bytes = self.value_bytes.saturating_add(bytes);
        self.whole_numbers = self.whole_numbers.saturating_add(whole_numbers);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::{
        super::super::inference::{
            InferTensorContents, ModelInferRequest, model_infer_request::InferInputTensor,
        },
        *,
    };

    const MOST: usize = 1 << 18;

    fn typed(contents: InferTensorContents) -> ModelInferRequest {
        let input = InferInputTensor { contents: Some(contents), ..Default::default() };
        ModelInferRequest { inputs: vec![input], ..Default::default() }
    }

    fn refusal(message: &ModelInferRequest) -> Option<String> {
        expect_modest(&message.encode_to_vec(), MOST).err().map(|error| error.to_string())
    }

    #[test]
    fn only_values_may_be_many() {
        let raw = Bytes::from(vec![0_u8; 1 << 20]);
        let raw = ModelInferRequest { raw_input_contents: vec![raw], ..Default::default() };
        let fractions = typed(InferTensorContents { fp32_contents: vec![0.0; MOST], ..Default::default() });
        let whole = typed(InferTensorContents { int64_contents: vec![i64::MIN; MOST], ..Default::default() });
        for message in [raw, fractions, whole] {
            assert_eq!(refusal(&message), None);
        }
        let inputs =
            ModelInferRequest { inputs: vec![InferInputTensor::default(); 10_000], ..Default::default() };
        let input = InferInputTensor { shape: vec![1; 20_000], ..Default::default() };
        let shape = ModelInferRequest { inputs: vec![input], ..Default::default() };
        for message in [inputs, shape] {
            let said = refusal(&message).unwrap();
            assert!(said.contains("at most 16384"), "{said}");
        }
        assert!(expect_modest(&[0xff; 20], MOST).is_err());
    }

    #[test]
    fn texts_are_counted_before_they_grow() {
        let texts =
            |count| InferTensorContents { bytes_contents: vec![Bytes::new(); count], ..Default::default() };
        assert_eq!(refusal(&typed(texts(MOST_TEXTS))), None);
        let said = refusal(&typed(texts(MOST_TEXTS + 1))).unwrap();
        assert_eq!(said, "the request has 65537 values, but at most 65536 are read: send a smaller batch");
    }

    #[test]
    fn small_whole_numbers_are_counted_before_they_grow() {
        let many = typed(InferTensorContents { uint64_contents: vec![1; MOST + 1], ..Default::default() });
        let said = refusal(&many).unwrap();
        assert_eq!(said, "the request has 262145 values, but at most 262144 are read: send a smaller batch");
    }
}
