//! The values of a tensor in a message: raw, or in the list that the protocol has for their type. Small whole numbers come in lists
//! of 32 bits; half-precision numbers have no list (`open_inference_grpc.proto`, `InferTensorContents`).

use bytes::Bytes;
use dnnshifter_portfolio::description::Datatype;

use super::super::{ProtocolError, inference::InferTensorContents, tensor::Described};
use crate::values::{Element, Values, is_text};

/// The values of an input of this type.
pub(super) fn values(
    input: &Described<'_>,
    datatype: Datatype,
    contents: Option<InferTensorContents>,
    raw: &[Bytes],
) -> Result<Values, ProtocolError> {
    match (contents, raw) {
        (None, [raw]) => input.little_endian(datatype, raw),
        (Some(contents), []) => typed(input.name, datatype, contents),
        _ => Err(ProtocolError::Contents { name: input.name.to_owned() }),
    }
}

fn typed(name: &str, datatype: Datatype, contents: InferTensorContents) -> Result<Values, ProtocolError> {
    let InferTensorContents {
        bool_contents: truths,
        int_contents: signed,
        int64_contents,
        uint_contents: unsigned,
        uint64_contents,
        fp32_contents,
        fp64_contents,
        bytes_contents,
    } = contents;
    match datatype {
        Datatype::Bool => Ok(Values::Bool(truths)),
        Datatype::Int8 => narrow::<_, i8>(name, &signed),
        Datatype::Int16 => narrow::<_, i16>(name, &signed),
        Datatype::Int32 => Ok(Values::Int32(signed)),
        Datatype::Int64 => Ok(Values::Int64(int64_contents)),
        Datatype::Uint8 => narrow::<_, u8>(name, &unsigned),
        Datatype::Uint16 => narrow::<_, u16>(name, &unsigned),
        Datatype::Uint32 => Ok(Values::Uint32(unsigned)),
        Datatype::Uint64 => Ok(Values::Uint64(uint64_contents)),
        Datatype::Fp32 => Ok(Values::Fp32(fp32_contents)),
        Datatype::Fp64 => Ok(Values::Fp64(fp64_contents)),
        Datatype::Bytes => texts(name, &bytes_contents),
        Datatype::Fp16 | Datatype::Bf16 => {
            Err(ProtocolError::RawOnly { name: name.to_owned(), datatype: datatype.as_str() })
        }
    }
}

fn texts(name: &str, texts: &[Bytes]) -> Result<Values, ProtocolError> {
    let text = |bytes: &Bytes| {
        let text = str::from_utf8(bytes).ok().filter(|text| is_text(text.as_bytes()));
        text.map(ToOwned::to_owned).ok_or_else(|| ProtocolError::Text { name: name.to_owned() })
    };
    texts.iter().map(text).collect::<Result<Vec<_>, _>>().map(Values::Bytes)
}

fn narrow<Wide, Narrow>(name: &str, values: &[Wide]) -> Result<Values, ProtocolError>
where
    Wide: Copy + Into<i64>,
    Narrow: Element,
{
    let narrow = |value: &Wide| {
        let given = (*value).into();
        Narrow::from_signed(given).ok_or_else(|| ProtocolError::Value {
            name: name.to_owned(),
            given,
            datatype: Narrow::DATATYPE.as_str(),
        })
    };
    values.iter().map(narrow).collect::<Result<Vec<_>, _>>().map(Narrow::wrap)
}

/// Values in the list for their type, if there is one.
pub(super) fn of(values: &Values) -> Option<InferTensorContents> {
    let mut contents = InferTensorContents::default();
    match values {
        Values::Bool(values) => contents.bool_contents.clone_from(values),
        Values::Int8(values) => contents.int_contents = widened(values),
        Values::Int16(values) => contents.int_contents = widened(values),
        Values::Int32(values) => contents.int_contents.clone_from(values),
        Values::Int64(values) => contents.int64_contents.clone_from(values),
        Values::Uint8(values) => contents.uint_contents = widened(values),
        Values::Uint16(values) => contents.uint_contents = widened(values),
        Values::Uint32(values) => contents.uint_contents.clone_from(values),
        Values::Uint64(values) => contents.uint64_contents.clone_from(values),
        Values::Fp32(values) => contents.fp32_contents.clone_from(values),
        Values::Fp64(values) => contents.fp64_contents.clone_from(values),
        Values::Bytes(texts) => {
            contents.bytes_contents = texts.iter().map(|text| Bytes::from(text.clone())).collect();
        }
        Values::Fp16(_) | Values::Bf16(_) => return None,
    }
    Some(contents)
}

fn widened<Narrow: Copy + Into<Wide>, Wide>(values: &[Narrow]) -> Vec<Wide> {
    values.iter().map(|value| (*value).into()).collect()
}
