//! The one layer that a variant's image adds to the runtime's: a plain tar, the same bytes for the same variant. Weights
//! do not compress, and an uncompressed layer needs no second digest. Knows no registry.

use std::{fmt::Write, io};

use bytes::Bytes;
use dnnshifter_portfolio::{
    Digest,
    description::{DESCRIPTION_FILE, MODEL_FILE, MODEL_FOLDER},
};
use sha2::Digest as _;
use tar::{Builder, EntryType, Header};

/// A layer with `/model/model.onnx` and `/model/variant.json`: an image volume with `subPath: model` shows just these two.
#[derive(Clone, Debug)]
pub(crate) struct ModelLayer {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

impl ModelLayer {
    /// Packs the two files.
    pub(crate) fn pack(model: &[u8], description: &[u8]) -> io::Result<Self> {
        let mut archive = Builder::new(Vec::with_capacity(model.len() + description.len() + 4096));
        let folder = format!("{MODEL_FOLDER}/");
        archive.append(&header(EntryType::Directory, 0o755, &folder, 0)?, io::empty())?;
        for (name, content) in [(MODEL_FILE, model), (DESCRIPTION_FILE, description)] {
            let header = header(EntryType::Regular, 0o644, &format!("{folder}{name}"), content.len())?;
            archive.append(&header, content)?;
        }
        let bytes = Bytes::from(archive.into_inner()?);
        let digest = digest_of(&bytes)?;
        Ok(Self { bytes, digest })
    }
}

/// The digest of some bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> io::Result<Digest> {
    let mut text = "sha256:".to_owned();
    for byte in sha2::Sha256::digest(bytes) {
        write!(text, "{byte:02x}").map_err(io::Error::other)?;
    }
    Digest::parse(&text).map_err(io::Error::other)
}

/// No owner, no time: the same content gives the same bytes on every machine.
fn header(kind: EntryType, mode: u32, path: &str, size: usize) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header.set_cksum();
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_layer_holds_the_two_files_below_its_folder() {
        let layer = ModelLayer::pack(b"onnx", b"{}").unwrap();
        let mut archive = tar::Archive::new(&layer.bytes[..]);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((entry.path().unwrap().display().to_string(), text));
        }
        let wanted = [("model/", ""), ("model/model.onnx", "onnx"), ("model/variant.json", "{}")];
        assert_eq!(found, wanted.map(|(path, text)| (path.to_owned(), text.to_owned())));
    }

    #[test]
    fn the_same_variant_gives_the_same_digest() {
        let digest = ModelLayer::pack(b"onnx", b"{}").unwrap().digest;
        assert_eq!(digest, ModelLayer::pack(b"onnx", b"{}").unwrap().digest);
        assert_ne!(digest, ModelLayer::pack(b"onnx2", b"{}").unwrap().digest);
    }
}
