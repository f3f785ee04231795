//! What a network is mapped from: whether the files are still the same, and whether they are in memory.

use std::{
    fs::{self, File},
    io::{self, IoSliceMut},
    path::{Path, PathBuf},
};

use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::optimised::WEIGHTS_FILE;
use crate::stamp::Stamp;

/// One byte of so many is looked at: the kernel reads files, and forgets them, in runs of pages.
const STRIDE_BYTES: usize = 64 << 10;

/// The files that a network is mapped from; the default is none.
#[derive(Default)]
pub(super) struct Mapped {
    /// Of each.
    pub(super) stamps: Vec<Stamp>,
    weights: PathBuf,
    pub(super) weights_bytes: u64,
}

impl Mapped {
    /// By an optimised network's file. Without weights beside it, or without a stamp of each, it counts as none.
    pub(super) fn beside(network: &Path) -> Self {
        let weights = network.with_file_name(WEIGHTS_FILE);
        let stamps: io::Result<Vec<_>> = [network, weights.as_path()].into_iter().map(Stamp::of).collect();
        let looked = stamps.and_then(|stamps| Ok((stamps, fs::metadata(&weights)?.len())));
        match looked {
            Ok((stamps, weights_bytes)) => Self { stamps, weights, weights_bytes },
            Err(_) => Self::default(),
        }
    }

    /// Whether all weights are in the page cache, as far as one look in each stride says. Nothing is read from the disk. Where the
    /// file system does not say, they are not.
    pub(super) fn is_in_memory(&self) -> bool {
        self.weights_bytes > 0 && self.look().unwrap_or(false)
    }

    fn look(&self) -> io::Result<bool> {
        let file = File::open(&self.weights)?;
        for offset in (0..self.weights_bytes).step_by(STRIDE_BYTES) {
            let mut byte = [0];
            match preadv2(&file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT) {
                Ok(_) => (),
                Err(Errno::AGAIN | Errno::OPNOTSUPP) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_beside_a_network_are_seen_to_change() {
        let directory = tempfile::tempdir().unwrap();
        let (network, weights) = (directory.path().join("network.onnx"), directory.path().join(WEIGHTS_FILE));
        fs::write(&network, "n").unwrap();
        assert!(Mapped::beside(&network).stamps.is_empty());
        fs::write(&weights, vec![1; 3 * STRIDE_BYTES + 1]).unwrap();
        let before = Mapped::beside(&network);
        assert_eq!((before.stamps.len(), before.weights_bytes), (2, 3 * STRIDE_BYTES as u64 + 1));
        // A file system that cannot say is taken to need its disk.
        assert!(before.look().is_ok());
        fs::write(&weights, "1").unwrap();
        assert_ne!(Mapped::beside(&network).stamps, before.stamps);
        fs::remove_file(&weights).unwrap();
        assert!(!before.is_in_memory());
    }
}
