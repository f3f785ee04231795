//! The digest by which an image or artifact is named, as the OCI image specification writes it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A SHA-256 digest in the form of the OCI image specification (descriptor.md, "Digests"): `sha256:` and 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a text is not a digest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a digest: it must be \"sha256:\" and 64 lower-case hex digits")]
pub struct InvalidDigest {
    /// The text that was refused.
    pub text: String,
}

impl Digest {
    /// Parses `sha256:<64 hex digits>`.
    pub fn parse(text: &str) -> Result<Self, InvalidDigest> {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        match text.strip_prefix("sha256:") {
            Some(digits) if digits.len() == 64 && digits.chars().all(hex) => Ok(Self(text.to_owned())),
            _ => Err(InvalidDigest { text: text.to_owned() }),
        }
    }

    /// The digest as text, `sha256:` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first ten hex digits: short enough for a name, long enough not to meet another by chance.
    pub fn short(&self) -> &str {
        self.0.get(7..17).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_sha256_is_a_digest() {
        let whole = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(Digest::parse(&whole).unwrap().short(), "0123456789");
        for text in ["", "sha256:", "sha256:abc", &whole.to_uppercase(), &whole.replace("sha256", "sha512")] {
            assert!(Digest::parse(text).is_err(), "{text}");
        }
    }
}
