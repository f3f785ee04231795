//! What a network's weights are mapped from, and whether that is in memory.

use std::{
    fs::{self, File},
    io::{self, IoSliceMut},
    path::{Path, PathBuf},
};

use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::optimised::WEIGHTS_FILE;

/// One byte of so many is looked at: the kernel reads files, and forgets them, in runs of pages.
const STRIDE_BYTES: usize = 64 << 10;

/// The file that a network's weights are mapped from; the default is none.
#[derive(Default)]
pub(super) struct Mapped {
    weights: PathBuf,
    pub(super) weights_bytes: u64,
}

impl Mapped {
    /// By an optimised network's file. Without weights beside it, it counts as none.
    pub(super) fn beside(network: &Path) -> Self {
        let weights = network.with_file_name(WEIGHTS_FILE);
        match fs::metadata(&weights) {
            Ok(metadata) => Self { weights, weights_bytes: metadata.len() },
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
    fn the_weights_beside_a_network_are_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let (network, weights) = (directory.path().join("network.onnx"), directory.path().join(WEIGHTS_FILE));
        let none = Mapped::beside(&network);
        assert!(none.weights_bytes == 0 && !none.is_in_memory());
        fs::write(&weights, vec![1; 3 * STRIDE_BYTES + 1]).unwrap();
        let mapped = Mapped::beside(&network);
        assert_eq!(mapped.weights_bytes, 3 * STRIDE_BYTES as u64 + 1);
        // A file system that cannot say is taken to need its disk.
        assert!(mapped.look().is_ok());
        fs::remove_file(&weights).unwrap();
        assert!(!mapped.is_in_memory());
    }
}
