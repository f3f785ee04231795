//! Texts (BYTES) as bytes: each after its length in four bytes, the least significant first (Triton's
//! `docs/protocol/extension_binary_data.md`, "Raw Binary Request").
//!
//! ONNX Runtime takes texts that end with a zero, so none may be within; and `ort` gives and takes UTF-8 only.

/// A request has at most so many: an empty one is written in three bytes, and takes 24.
pub(crate) const MOST: usize = 1 << 16;

const LENGTH_BYTES: usize = size_of::<u32>();

/// What an allocation takes beside its bytes, at most: its size, and the rest to a multiple of 16, where 32 is the least (glibc's
/// `malloc.c`, "Alignment" and "Minimum allocated size").
const ALLOCATION_BYTES: usize = 32;

/// Whether the engine takes these bytes as a text.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && str::from_utf8(bytes).is_ok()
}

/// Takes bytes apart; `None` where they are no whole texts, or too many.
pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (text, rest) = rest.split_at_checked(length)?;
        if texts.len() == MOST || text.contains(&0) {
            return None;
        }
        texts.push(str::from_utf8(text).ok()?.to_owned());
        bytes = rest;
    }
    Some(texts)
}

/// Appends texts. None of them has four gigabytes: what is longer would be cut.
pub(super) fn append(texts: &[String], bytes: &mut Vec<u8>) {
    for text in texts {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(text.as_bytes().get(..length as usize).unwrap_or_default());
    }
}

/// How many bytes [`append`] appends.
pub(super) fn byte_length(texts: &[String]) -> usize {
    texts.iter().map(|text| LENGTH_BYTES + text.len()).sum()
}

/// How much memory the texts take beside what points to them. An empty one takes none.
pub(super) fn allocated_bytes(texts: &[String]) -> usize {
    let allocated = texts.iter().map(String::capacity).filter(|capacity| *capacity > 0);
    allocated.map(|capacity| ALLOCATION_BYTES + capacity).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_their_bytes() {
        let texts = ["", "a", "zwölf", "\u{1F980}"].map(ToOwned::to_owned);
        let mut bytes = Vec::new();
        append(&texts, &mut bytes);
        assert_eq!(bytes.len(), byte_length(&texts));
        assert_eq!(from_bytes(&bytes).unwrap(), texts);
        assert_eq!(from_bytes(&[]), Some(Vec::new()));
    }

    #[test]
    fn bytes_that_are_no_texts_are_refused() {
        let cut: [&[u8]; 5] =
            [&[1], &[1, 0, 0, 0], &[2, 0, 0, 0, b'a'], &[1, 0, 0, 0, 0], &[1, 0, 0, 0, 0xff]];
        for bytes in cut {
            assert_eq!(from_bytes(bytes), None, "{bytes:?}");
        }
        assert_eq!(from_bytes(&[0xff; 4]), None);
        assert!(from_bytes(&vec![0; 4 * MOST]).is_some());
        assert!(from_bytes(&vec![0; 4 * (MOST + 1)]).is_none());
    }
}
