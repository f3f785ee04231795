//! Short names for content: what has the same name in the cache is the same.

use sha2::{Digest, Sha256};

/// The first 64 bits of a digest in hexadecimal: enough to tell the few things of one cache apart.
pub(crate) fn name_of(hash: Sha256) -> String {
    let digest: [u8; 32] = hash.finalize().into();
    let first = digest.first_chunk().copied().map(u64::from_be_bytes).unwrap_or_default();
    format!("{first:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_beginning_of_the_digest() {
        assert_eq!(name_of(Sha256::new_with_prefix("abc")), "ba7816bf8f01cfea");
    }
}
