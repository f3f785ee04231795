//! Whether a file is still the one that was looked at, without reading it.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, time::SystemTime};

/// Changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
    /// Which nobody can set: a file that was changed and given its old time is seen to be changed.
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file that is there now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let modified = metadata.modified().ok();
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), bytes: metadata.len(), modified, changed })
    }
}
