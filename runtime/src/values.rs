//! The values of a tensor, of whatever type the model has: what goes from a request to the engine, and back.
//!
//! Neither shapes nor names: those are in the [`Interface`](crate::engine::Interface). How values come and go over the wire is for
//! [`protocol`](crate::protocol).

mod element;
mod texts;

use std::ops::Range;

use dnnshifter_portfolio::description::{CheckValues, Datatype};
use half::{bf16, f16};
use serde::{Serialize, Serializer};

pub(crate) use self::{
    element::{Element, Number},
    texts::{MOST as MOST_TEXTS, is_text},
};

/// Values of one type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Bool(Vec<bool>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Fp16(Vec<f16>),
    Bf16(Vec<bf16>),
    Fp32(Vec<f32>),
    Fp64(Vec<f64>),
    Bytes(Vec<String>),
}

/// Some neighbouring values.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    /// All of them.
    pub(crate) values: &'a Values,
    /// Which.
    pub(crate) range: Range<usize>,
}

/// Evaluates `$body` with `$vector` as the vector of `$values`, whatever its type; or `$of_texts` where they are texts.
macro_rules! of_any_type {
    ($values:expr, $vector:ident => $body:expr) => {
        $crate::values::of_any_type!($values, $vector => $body, $vector => $body)
    };
    ($values:expr, $vector:ident => $body:expr, $texts:ident => $of_texts:expr) => {
        match $values {
            $crate::values::Values::Bool($vector) => $body,
            $crate::values::Values::Uint8($vector) => $body,
            $crate::values::Values::Uint16($vector) => $body,
            $crate::values::Values::Uint32($vector) => $body,
            $crate::values::Values::Uint64($vector) => $body,
            $crate::values::Values::Int8($vector) => $body,
            $crate::values::Values::Int16($vector) => $body,
            $crate::values::Values::Int32($vector) => $body,
            $crate::values::Values::Int64($vector) => $body,
            $crate::values::Values::Fp16($vector) => $body,
            $crate::values::Values::Bf16($vector) => $body,
            $crate::values::Values::Fp32($vector) => $body,
            $crate::values::Values::Fp64($vector) => $body,
            $crate::values::Values::Bytes($texts) => $of_texts,
        }
    };
}
pub(crate) use of_any_type;

/// Evaluates `$body` with `$element` as the type that `$datatype` names; or `$of_texts` where it names texts.
macro_rules! with_element {
    ($datatype:expr, $element:ident => $body:expr) => {
        $crate::values::with_element!($datatype, $element => $body, {
            type $element = String;
            $body
        })
    };
    ($datatype:expr, $element:ident => $body:expr, $of_texts:expr) => {{
        use dnnshifter_portfolio::description::Datatype;
        macro_rules! with {
            ($type:ty) => {{
                type $element = $type;
                $body
            }};
        }
        match $datatype {
            Datatype::Bool => with!(bool),
            Datatype::Uint8 => with!(u8),
            Datatype::Uint16 => with!(u16),
            Datatype::Uint32 => with!(u32),
            Datatype::Uint64 => with!(u64),
            Datatype::Int8 => with!(i8),
            Datatype::Int16 => with!(i16),
            Datatype::Int32 => with!(i32),
            Datatype::Int64 => with!(i64),
            Datatype::Fp16 => with!(half::f16),
            Datatype::Bf16 => with!(half::bf16),
            Datatype::Fp32 => with!(f32),
            Datatype::Fp64 => with!(f64),
            Datatype::Bytes => $of_texts,
        }
    }};
}
pub(crate) use with_element;

impl Values {
    /// No values, with room for so many.
    pub(crate) fn with_capacity(datatype: Datatype, capacity: usize) -> Self {
        with_element!(datatype, T => T::wrap(Vec::with_capacity(capacity)))
    }

    /// So many zeros, or empty texts.
    pub(crate) fn zeros(datatype: Datatype, count: usize) -> Self {
        with_element!(datatype, T => T::wrap(vec![T::default(); count]))
    }

    /// The nearest values of this type; texts write the numbers out.
    pub(crate) fn of_numbers(datatype: Datatype, numbers: &[f32]) -> Self {
        with_element!(
            datatype,
            T => T::wrap(numbers.iter().map(|number| T::from_f32(*number)).collect()),
            Self::Bytes(numbers.iter().map(f32::to_string).collect())
        )
    }

    /// What a check vector holds, as values of this type.
    pub(crate) fn of_check(datatype: Datatype, check: &CheckValues) -> Self {
        match check {
            CheckValues::Numbers(numbers) => Self::of_numbers(datatype, numbers),
            CheckValues::Texts(texts) => Self::Bytes(texts.clone()),
        }
    }

    /// As a check vector would hold them.
    pub(crate) fn to_check(&self) -> CheckValues {
        of_any_type!(
            self,
            values => CheckValues::Numbers(values.iter().map(|value| value.to_f32()).collect()),
            texts => CheckValues::Texts(texts.clone())
        )
    }

    /// The values as they lie in memory elsewhere: little-endian, one after the other, or texts with their lengths. `None` if the last
    /// one is cut off.
    pub(crate) fn from_little_endian(datatype: Datatype, bytes: &[u8]) -> Option<Self> {
        with_element!(
            datatype,
            T => {
                let whole = bytes.len().is_multiple_of(T::BYTES);
                whole.then(|| T::wrap(bytes.chunks_exact(T::BYTES).map(T::from_little_endian).collect()))
            },
            texts::from_bytes(bytes).map(Self::Bytes)
        )
    }

    /// Appends the values as they lie in memory elsewhere.
    pub(crate) fn append_little_endian(&self, bytes: &mut Vec<u8>) {
        bytes.reserve(self.byte_length());
        of_any_type!(
            self,
            values => values.iter().for_each(|value| value.append_little_endian(bytes)),
            texts => texts::append(texts, bytes)
        );
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        of_any_type!(self, values => values.len())
    }

    /// Whether all of them are numbers that JSON can write: neither infinite, nor what is no number.
    pub(crate) fn are_finite(&self) -> bool {
        match self {
            Self::Fp16(values) => values.iter().all(|value| value.is_finite()),
            Self::Bf16(values) => values.iter().all(|value| value.is_finite()),
            Self::Fp32(values) => values.iter().all(|value| value.is_finite()),
            Self::Fp64(values) => values.iter().all(|value| value.is_finite()),
            Self::Bool(_)
            | Self::Uint8(_)
            | Self::Uint16(_)
            | Self::Uint32(_)
            | Self::Uint64(_)
            | Self::Int8(_)
            | Self::Int16(_)
            | Self::Int32(_)
            | Self::Int64(_)
            | Self::Bytes(_) => true,
        }
    }

    /// Their type.
    pub(crate) fn datatype(&self) -> Datatype {
        of_any_type!(self, values => datatype_of(values))
    }

    /// How many bytes they have.
    pub(crate) fn byte_length(&self) -> usize {
        of_any_type!(self, values => size_of_val(values.as_slice()), texts => texts::byte_length(texts))
    }

    /// How many bytes of memory they take.
    pub(crate) fn memory_bytes(&self) -> usize {
        of_any_type!(
            self,
            values => values.capacity().saturating_mul(size_of_element(values)),
            texts => texts.capacity().saturating_mul(size_of_element(texts)).saturating_add(texts::allocated_bytes(texts))
        )
    }

    /// All of them.
    pub(crate) fn whole(&self) -> Part<'_> {
        Part { values: self, range: 0..self.len() }
    }

    /// They, in parts of so many.
    pub(crate) fn parts(&self, length: usize) -> impl Iterator<Item = Part<'_>> {
        let (all, length) = (self.len(), length.max(1));
        (0..all)
            .step_by(length)
            .map(move |start| Part { values: self, range: start..start.saturating_add(length).min(all) })
    }
}

fn size_of_element<T>(_: &[T]) -> usize {
    size_of::<T>()
}

fn datatype_of<T: Element>(_: &[T]) -> Datatype {
    T::DATATYPE
}

impl Part<'_> {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }
}

/// As a list of numbers, of booleans, or of texts. What is not finite becomes null in JSON: see [`Values::are_finite`].
impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(values) => values.serialize(serializer),
            Self::Uint8(values) => values.serialize(serializer),
            Self::Uint16(values) => values.serialize(serializer),
            Self::Uint32(values) => values.serialize(serializer),
            Self::Uint64(values) => values.serialize(serializer),
            Self::Int8(values) => values.serialize(serializer),
            Self::Int16(values) => values.serialize(serializer),
            Self::Int32(values) => values.serialize(serializer),
            Self::Int64(values) => values.serialize(serializer),
            Self::Fp16(values) => serializer.collect_seq(values.iter().map(|value| value.to_f32())),
            Self::Bf16(values) => serializer.collect_seq(values.iter().map(|value| value.to_f32())),
            Self::Fp32(values) => values.serialize(serializer),
            Self::Fp64(values) => values.serialize(serializer),
            Self::Bytes(texts) => texts.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_type_survive_their_bytes() {
        for datatype in Datatype::ALL {
            let values = Values::of_numbers(datatype, &[0.0, 1.0, 100.0]);
            assert_eq!((values.datatype(), values.len()), (datatype, 3));
            let mut bytes = Vec::new();
            values.append_little_endian(&mut bytes);
            assert_eq!(bytes.len(), values.byte_length());
            assert_eq!(Values::from_little_endian(datatype, &bytes), Some(values.clone()));
            bytes.pop();
            let cut = Values::from_little_endian(datatype, &bytes);
            assert_eq!(cut.is_none(), values.byte_length() > 3, "{datatype:?}");
            let texts = ["0", "1", "100"].map(ToOwned::to_owned).to_vec();
            let expected = match datatype {
                Datatype::Bool => vec![0.0, 1.0, 1.0].into(),
                Datatype::Bytes => CheckValues::Texts(texts),
                _ => vec![0.0, 1.0, 100.0].into(),
            };
            assert_eq!(values.to_check(), expected);
            assert_eq!(Values::of_check(datatype, &expected), values);
        }
    }

    #[test]
    fn texts_take_far_more_memory_than_their_bytes() {
        assert_eq!(Values::Fp64(Vec::with_capacity(5)).memory_bytes(), 40);
        let empty = Values::Bytes(vec![String::new(); 10]);
        assert_eq!((empty.byte_length(), empty.memory_bytes()), (40, 240));
        let short = Values::Bytes(vec!["a".to_owned(); 10]);
        assert_eq!((short.byte_length(), short.memory_bytes()), (50, 570));
        let long = Values::Bytes(vec!["a".repeat(1 << 20)]);
        assert_eq!(long.memory_bytes(), 24 + 32 + (1 << 20));
    }

    #[test]
    fn bytes_are_little_endian() {
        let values = Values::from_little_endian(Datatype::Int16, &[1, 0, 0xfe, 0xff]);
        assert_eq!(values, Some(Values::Int16(vec![1, -2])));
        let half = Values::from_little_endian(Datatype::Bf16, &[0x80, 0x3f]).unwrap();
        assert_eq!(half.to_check(), vec![1.0].into());
    }

    #[test]
    fn parts_are_as_long_as_asked_for_but_the_last() {
        let values = Values::zeros(Datatype::Int8, 7);
        let ranges: Vec<_> = values.parts(3).map(|part| part.range).collect();
        assert_eq!(ranges, [0..3, 3..6, 6..7]);
        assert_eq!(Values::zeros(Datatype::Int8, 0).parts(0).count(), 0);
    }
}
