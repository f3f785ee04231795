//! Fractions as the Kubernetes API writes them: decimal text between "0" and "1", exact to a millionth.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fraction from 0 to 1, exact to a millionth, written as decimal text: `"0.915"`. Used for accuracies and quantiles.
///
/// Kubernetes' API conventions forbid floats; text keeps what the user wrote, and equal fractions are equal bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fraction {
    millionths: u32,
}

const ONE: u32 = 1_000_000;

/// Why a text is not a fraction.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not a fraction: write a decimal from \"0\" to \"1\" with at most six digits, such as \"0.915\""
)]
pub struct InvalidFraction {
    /// The text that was refused.
    pub text: String,
}

impl Fraction {
    /// Parses decimal text such as `0`, `0.915` or `1`.
    pub fn parse(text: &str) -> Result<Self, InvalidFraction> {
        let refused = || InvalidFraction { text: text.to_owned() };
        let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
        let digits_are_valid = digits.len() <= 6 && digits.chars().all(|c| c.is_ascii_digit());
        if !matches!(whole, "0" | "1") || !digits_are_valid || text.ends_with('.') {
            return Err(refused());
        }
        let millionths: u32 = format!("{whole}{digits:0<6}").parse().map_err(|_| refused())?;
        if millionths > ONE { Err(refused()) } else { Ok(Self { millionths }) }
    }

    /// The fraction nearest to `value`; what lies outside of 0 to 1, or is no number, is brought to the nearest end (NaN to 0).
    pub fn nearest(value: f64) -> Self {
        Self { millionths: (value.clamp(0.0, 1.0) * f64::from(ONE)).round() as u32 }
    }

    /// `part / whole`, or 0 if `whole` is 0.
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 { Self::default() } else { Self::nearest(part as f64 / whole as f64) }
    }

    /// The fraction as a float.
    pub fn as_f64(self) -> f64 {
        f64::from(self.millionths) / f64::from(ONE)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.millionths / ONE;
        match self.millionths % ONE {
            0 => write!(f, "{whole}"),
            rest => write!(f, "{whole}.{}", format!("{rest:06}").trim_end_matches('0')),
        }
    }
}

impl TryFrom<String> for Fraction {
    type Error = InvalidFraction;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Fraction> for String {
    fn from(fraction: Fraction) -> Self {
        fraction.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_is_read_and_written_in_its_shortest_form() {
        for (text, written) in
            [("0", "0"), ("1", "1"), ("0.9150", "0.915"), ("1.000000", "1"), ("0.000001", "0.000001")]
        {
            assert_eq!(Fraction::parse(text).unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_no_decimal_from_zero_to_one_is_refused() {
        for text in ["", ".5", "0.", "2", "1.000001", "-0.1", "0.1234567", "1e-3", "0,5", "NaN", " 0.5"] {
            assert!(Fraction::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn floats_are_brought_to_the_nearest_fraction() {
        assert_eq!(Fraction::nearest(f64::NAN), Fraction::parse("0").unwrap());
        assert_eq!(Fraction::nearest(-3.0), Fraction::parse("0").unwrap());
        assert_eq!(Fraction::nearest(1.5), Fraction::parse("1").unwrap());
        assert_eq!(Fraction::of(2, 3).to_string(), "0.666667");
        assert_eq!(Fraction::of(1, 0).to_string(), "0");
    }
}
