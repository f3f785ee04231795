//! What of a request is kept no longer than it may be: lists in JSON, and text that is given back in errors.

use std::{fmt, marker::PhantomData};

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// So many characters of a request's own text stand in an error.
const LONGEST_EXCERPT: usize = 120;

/// The beginning of `text`, for errors: who sends a megabyte as a name does not get it back, nor into the log.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(LONGEST_EXCERPT) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A list of at most `N`: a longer one is refused while it is read, before it takes memory.
#[derive(Debug)]
pub(super) struct AtMost<T, const N: usize>(pub(super) Vec<T>);

impl<T, const N: usize> Default for AtMost<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Collect(PhantomData))
    }
}

struct Collect<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Collect<T, N> {
    type Value = AtMost<T, N>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = sequence.next_element()? {
            if list.len() == N {
                return Err(A::Error::custom(format!("a list of more than {N}")));
            }
            list.push(element);
        }
        Ok(AtMost(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_be_as_long_as_it_says_and_no_longer() {
        assert_eq!(serde_json::from_str::<AtMost<u8, 2>>("[1, 2]").unwrap().0, [1, 2]);
        let refused = serde_json::from_str::<AtMost<u8, 2>>("[1, 2, 3]").unwrap_err().to_string();
        assert!(refused.starts_with("a list of more than 2"), "{refused}");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(excerpt("short"), "short");
        assert_eq!(excerpt(&"é".repeat(1 << 20)), format!("{}...", "é".repeat(LONGEST_EXCERPT)));
    }
}
