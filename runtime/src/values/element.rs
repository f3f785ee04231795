//! What a value of each type can do: be made from what stands in JSON; and, where it is a number, become bytes, and be made from them.

use dnnshifter_portfolio::description::Datatype;
use half::{bf16, f16};

use super::{Values, texts};

/// A value of a tensor.
pub(crate) trait Element: Clone + Default + PartialEq + 'static {
    /// Its type.
    const DATATYPE: Datatype;
    /// A request has at most so many: where they may be much larger than what they are written as.
    const MOST: usize = usize::MAX;

    /// Values of its type.
    fn wrap(values: Vec<Self>) -> Values;
    /// From a fraction, rounded; `None` where that is not a value of this type, or would be infinite.
    fn from_fraction(_number: f64) -> Option<Self> {
        None
    }
    /// From a whole number, if it is a value of this type.
    fn from_signed(_number: i64) -> Option<Self> {
        None
    }
    /// From a whole number, if it is a value of this type.
    fn from_unsigned(_number: u64) -> Option<Self> {
        None
    }
    /// From a truth, if that is a value of this type.
    fn from_truth(_truth: bool) -> Option<Self> {
        None
    }
    /// From a text, if that is a value of this type.
    fn from_text(_text: &str) -> Option<Self> {
        None
    }
}

/// A value that is a number, or a truth: of so many bytes.
pub(crate) trait Number: Element + Copy {
    /// Its size.
    const BYTES: usize = size_of::<Self>();

    /// From [`Self::BYTES`] bytes, the least significant first.
    fn from_little_endian(bytes: &[u8]) -> Self;
    /// As bytes, the least significant first.
    fn append_little_endian(self, bytes: &mut Vec<u8>);
    /// The nearest value.
    fn from_f32(number: f32) -> Self;
    /// The nearest number.
    fn to_f32(self) -> f32;
}

/// What is the same for all types of numbers.
macro_rules! element {
    ($datatype:ident) => {
        const DATATYPE: Datatype = Datatype::$datatype;

        fn wrap(values: Vec<Self>) -> Values {
            Values::$datatype(values)
        }
    };
}

/// Numbers of the standard library and of `half`, which have bytes.
macro_rules! number {
    ($type:ty, $from_f32:expr, $to_f32:expr) => {
        impl Number for $type {
            fn from_little_endian(bytes: &[u8]) -> Self {
                // Who calls gives so many bytes; fewer are none.
                bytes.try_into().map_or(Self::default(), Self::from_le_bytes)
            }

            fn append_little_endian(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn from_f32(number: f32) -> Self {
                $from_f32(number)
            }

            fn to_f32(self) -> f32 {
                $to_f32(self)
            }
        }
    };
}

macro_rules! whole {
    ($type:ty, $datatype:ident, $to_f32:expr) => {
        number!($type, |number: f32| number.round() as $type, $to_f32);

        impl Element for $type {
            element!($datatype);

            fn from_signed(number: i64) -> Option<Self> {
                Self::try_from(number).ok()
            }

            fn from_unsigned(number: u64) -> Option<Self> {
                Self::try_from(number).ok()
            }
        }
    };
}

whole!(u8, Uint8, f32::from);
whole!(u16, Uint16, f32::from);
whole!(u32, Uint32, |number: u32| number as f32);
whole!(u64, Uint64, |number: u64| number as f32);
whole!(i8, Int8, f32::from);
whole!(i16, Int16, f32::from);
whole!(i32, Int32, |number: i32| number as f32);
whole!(i64, Int64, |number: i64| number as f32);

macro_rules! fraction {
    ($type:ty, $datatype:ident, $from_f64:expr, $from_f32:expr, $to_f32:expr) => {
        number!($type, $from_f32, $to_f32);

        impl Element for $type {
            element!($datatype);

            fn from_fraction(number: f64) -> Option<Self> {
                let nearest = $from_f64(number);
                nearest.is_finite().then_some(nearest)
            }

            fn from_signed(number: i64) -> Option<Self> {
                Self::from_fraction(number as f64)
            }

            fn from_unsigned(number: u64) -> Option<Self> {
                Self::from_fraction(number as f64)
            }
        }
    };
}

fraction!(f16, Fp16, f16::from_f64, f16::from_f32, f16::to_f32);
fraction!(bf16, Bf16, bf16::from_f64, bf16::from_f32, bf16::to_f32);
fraction!(f32, Fp32, |number: f64| number as f32, |number: f32| number, |number: f32| number);
fraction!(f64, Fp64, |number: f64| number, f64::from, |number: f64| number as f32);

impl Element for bool {
    element!(Bool);

    fn from_truth(truth: bool) -> Option<Self> {
        Some(truth)
    }
}

impl Number for bool {
    fn from_little_endian(bytes: &[u8]) -> Self {
        bytes.iter().any(|byte| *byte != 0)
    }

    fn append_little_endian(self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self));
    }

    fn from_f32(number: f32) -> Self {
        number != 0.0
    }

    fn to_f32(self) -> f32 {
        f32::from(u8::from(self))
    }
}

impl Element for String {
    const MOST: usize = texts::MOST;

    element!(Bytes);

    fn from_text(text: &str) -> Option<Self> {
        texts::is_text(text.as_bytes()).then(|| text.to_owned())
    }
}
