//! Tensor data in JSON: row-major numbers, nested as the shape is, or flat, or anything between.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// The numbers of a tensor, in the order in which they stand.
#[derive(Debug, Default)]
pub(super) struct Data(pub(super) Vec<f32>);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Vec::new();
        deserializer.deserialize_seq(Append { values: &mut values })?;
        Ok(Self(values))
    }
}

/// Appends a number, or all numbers of a list, however deep (`serde_json` ends at 128 levels).
struct Append<'a> {
    values: &'a mut Vec<f32>,
}

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Append<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number or a list of numbers")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.values.push(value as f32);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(Append { values: self.values })?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<f32>, serde_json::Error> {
        serde_json::from_str::<Data>(text).map(|data| data.0)
    }

    #[test]
    fn nested_and_flat_data_are_the_same() {
        for text in ["[1, 2.5, -3, 4e1]", "[[1, 2.5], [-3, 40]]", "[[[1], [2.5]], [[-3], [40.0]]]"] {
            assert_eq!(read(text).unwrap(), [1.0, 2.5, -3.0, 40.0]);
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["[1, \"2\"]", "[null]", "[true]", "[{}]", "7", "[1e999]", "[NaN]"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000))).is_err());
    }
}
