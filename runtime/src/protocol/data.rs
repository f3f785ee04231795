//! Tensor data in JSON: row-major numbers, truths or texts, nested as the shape is, or flat, or anything between.

use std::{fmt, marker::PhantomData};

use dnnshifter_portfolio::description::Datatype;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, Expected, SeqAccess, Unexpected, Visitor,
};

use crate::values::Element;

/// The values of a tensor of the type `T`, in the order in which they stand.
#[derive(Debug)]
pub(super) struct Data<T>(pub(super) Vec<T>);

impl<'de, T: Element> Deserialize<'de> for Data<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Vec::new();
        deserializer.deserialize_seq(Append { values: &mut values })?;
        Ok(Self(values))
    }
}

/// Appends a value, or all values of a list, however deep (`serde_json` ends at 128 levels).
struct Append<'a, T> {
    values: &'a mut Vec<T>,
}

impl<T: Element> Append<'_, T> {
    fn push<E: Error>(self, value: Option<T>, given: Unexpected<'_>) -> Result<(), E> {
        let value = value.ok_or_else(|| E::invalid_value(given, &Wanted(PhantomData::<T>)))?;
        if self.values.len() == T::MOST {
            return Err(E::custom(format_args!("more than {} values", T::MOST)));
        }
        self.values.push(value);
        Ok(())
    }
}

impl<'de, T: Element> DeserializeSeed<'de> for Append<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Element> Visitor<'de> for Append<'_, T> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Wanted(PhantomData::<T>).fmt(formatter)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.push(T::from_fraction(value), Unexpected::Float(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.push(T::from_unsigned(value), Unexpected::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.push(T::from_signed(value), Unexpected::Signed(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.push(T::from_truth(value), Unexpected::Bool(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        // Not the text itself: it may be as long as the whole body, and would be quoted at several times its length.
        if T::DATATYPE != Datatype::Bytes {
            return Err(E::invalid_type(Unexpected::Other("text"), &self));
        }
        self.push(T::from_text(value), Unexpected::Other("text with a zero within"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(Append { values: self.values })?.is_some() {}
        Ok(())
    }
}

/// What is expected, in words.
struct Wanted<T>(PhantomData<T>);

impl<T: Element> Expected for Wanted<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a value of {}, or a list of them", T::DATATYPE.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Element>(text: &str) -> Result<Vec<T>, String> {
        serde_json::from_str::<Data<T>>(text).map(|data| data.0).map_err(|error| error.to_string())
    }

    #[test]
    fn nested_and_flat_data_are_the_same() {
        for text in ["[1, 2.5, -3, 4e1]", "[[1, 2.5], [-3, 40]]", "[[[1], [2.5]], [[-3], [40.0]]]"] {
            assert_eq!(read::<f32>(text).unwrap(), [1.0, 2.5, -3.0, 40.0]);
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["[1, \"2\"]", "[null]", "[true]", "[{}]", "7", "[1e999]", "[NaN]"] {
            assert!(read::<f32>(text).is_err(), "{text}");
        }
        assert!(read::<f32>(&format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000))).is_err());
    }

    #[test]
    fn whole_numbers_are_exact_and_within_their_range() {
        assert_eq!(
            read::<i64>("[9007199254740993, -9223372036854775808]").unwrap(),
            [(1 << 53) + 1, i64::MIN]
        );
        assert_eq!(read::<u64>("[18446744073709551615]").unwrap(), [u64::MAX]);
        assert_eq!(read::<i8>("[[-128], [127]]").unwrap(), [-128, 127]);
        let said = read::<i8>("[128]").unwrap_err();
        assert!(said.starts_with("invalid value: integer `128`, expected a value of INT8"), "{said}");
        for refused in
            [read::<u8>("[-1]").is_err(), read::<i32>("[1.0]").is_err(), read::<u16>("[true]").is_err()]
        {
            assert!(refused);
        }
    }

    #[test]
    fn texts_are_texts_without_zeros_and_not_too_many() {
        assert_eq!(read::<String>(r#"[["a", ""], ["zw\u00f6lf"]]"#).unwrap(), ["a", "", "zwölf"]);
        for refused in ["[1]", "[true]", r#"["\u0000"]"#, r#"["\ud800"]"#, "[null]"] {
            assert!(read::<String>(refused).is_err(), "{refused}");
        }
        let many = |count| format!("[{}]", vec!["\"\""; count].join(","));
        assert_eq!(read::<String>(&many(String::MOST)).unwrap().len(), String::MOST);
        assert!(read::<String>(&many(String::MOST + 1)).unwrap_err().starts_with("more than 65536 values"));
    }

    #[test]
    fn a_text_that_is_refused_is_not_quoted() {
        let long = "\u{7f}".repeat(1 << 20);
        for (said, expected) in [
            (
                read::<f32>(&format!("[\"{long}\"]")).unwrap_err(),
                "invalid type: text, expected a value of FP32",
            ),
            (
                read::<String>(&format!("[\"{long}\\u0000\"]")).unwrap_err(),
                "invalid value: text with a zero within, expected a value of BYTES",
            ),
        ] {
            assert!(said.starts_with(expected) && said.len() < 200, "{} bytes", said.len());
        }
    }

    #[test]
    fn truths_are_truths_and_halves_are_rounded() {
        assert_eq!(read::<bool>("[true, [false]]").unwrap(), [true, false]);
        assert!(read::<bool>("[1]").is_err());
        assert_eq!(read::<half::bf16>("[1.001]").unwrap(), [half::bf16::from_f32(1.0)]);
        assert_eq!(read::<f64>("[0.1, 1e300]").unwrap(), [0.1, 1e300]);
        for refused in [read::<f32>("[1e300]").is_err(), read::<half::f16>("[70000]").is_err()] {
            assert!(refused, "what is too large would be infinite");
        }
    }
}
