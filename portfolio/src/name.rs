//! The name of a variant, which is also a DNS label, an image tag's part and a folder's name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A variant's name within its portfolio: a DNS label (RFC 1123) of at most 20 characters, such as `macs-42`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VariantName(String);

/// The longest variant name: with a portfolio's name (40) it still fits the 63 characters of a Kubernetes label.
pub const LONGEST_VARIANT_NAME: usize = 20;

/// Why a text is not a variant's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{name}\" is not a variant's name: use 1 to 20 lower-case letters, digits and '-', with a letter or digit at both ends"
)]
pub struct InvalidVariantName {
    /// The text that was refused.
    pub name: String,
}

impl VariantName {
    /// Parses a name.
    pub fn parse(name: &str) -> Result<Self, InvalidVariantName> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = (1..=LONGEST_VARIANT_NAME).contains(&name.len())
            && name.chars().all(inner)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if valid { Ok(Self(name.to_owned())) } else { Err(InvalidVariantName { name: name.to_owned() }) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VariantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for VariantName {
    type Error = InvalidVariantName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<VariantName> for String {
    fn from(name: VariantName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_labels_up_to_twenty_characters_are_names() {
        for name in ["a", "macs-42", "0", "abcdefghijklmnopqrst"] {
            assert_eq!(VariantName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_rule() {
        for name in ["", "-a", "a-", "A", "a.b", "a/b", "abcdefghijklmnopqrstu", "ä"] {
            let refused = VariantName::parse(name).unwrap_err().to_string();
            assert!(refused.contains("use 1 to 20 lower-case letters"), "{refused}");
        }
    }
}
