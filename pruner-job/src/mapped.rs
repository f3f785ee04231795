//! Large files as memory: a model's weights stay in the system's cache of the file, and are not copied before they are used.
//!
//! This is the only `unsafe` of this crate. A mapping is sound as long as nobody changes the file while it is mapped: numbers would
//! change under the reader, and where the file is cut off the system ends the program. This program itself never does:
//! it writes new files and renames them ([`crate::durable`]), which leaves an old one as it is for as long as it is mapped. That others do
//! so too is what every program relies on that maps its models, ONNX Runtime and safetensors among them.

#![expect(unsafe_code, reason = "a mapped file is memory that the compiler cannot vouch for")]

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use bytes::Bytes;
use memmap2::MmapOptions;

/// The bytes of a file, which must not be changed as long as they are held.
pub(crate) fn map(path: &Path) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        // A pipe can only be read.
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        return Ok(bytes.into());
    }
    // All pages at once, since all of them will be read.
    let mapping = unsafe { MmapOptions::new().populate().map(&file)? };
    Ok(Bytes::from_owner(mapping))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mapped_survives_the_file_that_takes_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        for text in ["first", "second", ""] {
            crate::durable::write(&path, text.as_bytes()).unwrap();
            let mapped = map(&path).unwrap();
            crate::durable::write(&path, b"other").unwrap();
            assert_eq!(mapped, text);
        }
        assert!(map(&folder.path().join("none")).is_err());
    }
}
