//! Optimised networks on the node's disk, so that each is optimised once, and its weights are mapped instead of copied.
//!
//! An entry is a folder, named by the digest of the network's file and by the [`machine`](super::machine): the optimised network, its
//! weights, and a seal with the digests of both. An entry whose seal does not hold is thrown away and made anew. Entries are written
//! beside and renamed, and never changed: a file that is mapped must not shrink. This module knows files; the engine, it does not.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::EngineError;
use crate::stamp::Stamp;

/// The optimised network.
pub(super) const NETWORK_FILE: &str = "network.onnx";
/// Its weights; absent where all of them are small.
pub(super) const WEIGHTS_FILE: &str = "weights.bin";
/// Written last.
const SEAL_FILE: &str = "seal.json";
/// Where an entry is written before it is renamed.
const PARTIAL: &str = ".partial";
/// Twice as many as a portfolio has variants: those of the last revision may still be mapped.
const MOST_ENTRIES: usize = 24;

/// Why there is no optimised network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptimisedError {
    /// A file of the store or the network itself cannot be read or written.
    #[error("failed to keep an optimised network in {path}")]
    Files {
        /// The store's directory.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The engine does not optimise it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The store.
pub(super) struct OptimisedNetworks {
    directory: PathBuf,
    machine: String,
    /// Digests of files that were read whole, which counts until they change.
    digests: Mutex<BTreeMap<PathBuf, (Stamp, String)>>,
}

/// What closes an entry.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    /// The digests (SHA-256, hexadecimal) of its files by their names.
    files: BTreeMap<String, String>,
    /// What it was made from.
    #[serde(default)]
    origin: Option<Origin>,
}

/// A network as it looks without being read. Devices and inodes are left out: those of an image are others after each mount.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

impl OptimisedNetworks {
    /// A store in `directory`, which is made when it is needed, for a `machine`.
    pub(super) fn new(directory: PathBuf, machine: String) -> Self {
        Self { directory, machine, digests: Mutex::default() }
    }

    /// The optimised form of `network`, if it is there, and whole.
    pub(super) fn find(&self, network: &Path) -> Option<PathBuf> {
        let entry = self.entry(network).ok()?;
        self.is_whole(&entry).then(|| entry.join(NETWORK_FILE))
    }

    /// The same, which `optimise` writes to the directory that it is given where it is not there, or is damaged.
    pub(super) fn find_or_make(
        &self,
        network: &Path,
        optimise: impl FnOnce(&Path) -> Result<(), EngineError>,
    ) -> Result<PathBuf, OptimisedError> {
        if let Some(found) = self.find(network) {
            return Ok(found);
        }
        let partial = self.directory.join(PARTIAL);
        let entry = self.entry(network).map_err(|source| self.failed(source))?;
        self.begin(&partial, &entry).map_err(|source| self.failed(source))?;
        optimise(&partial)?;
        self.finish(&partial, &entry, network).map_err(|source| self.failed(source))?;
        Ok(entry.join(NETWORK_FILE))
    }

    /// Whether an optimised form of `network` was made here, as far as can be told in no time: neither file is read, so that it may be
    /// damaged, and the network another one of the same size and time.
    pub(super) fn was_made(&self, network: &Path) -> bool {
        let Some(origin) = Origin::of(network) else { return false };
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries
            .filter(|entry| self.is_ours(&entry.file_name()))
            .filter_map(|entry| read_seal(&entry.path()))
            .any(|seal| seal.origin.as_ref() == Some(&origin))
    }

    /// Throws the optimised form of `network` away: the engine does not take it.
    pub(super) fn discard(&self, network: &Path) -> io::Result<()> {
        remove(&self.entry(network)?)
    }

    fn entry(&self, network: &Path) -> io::Result<PathBuf> {
        Ok(self.directory.join(format!("{}-{}", self.digest(network)?, self.machine)))
    }

    fn begin(&self, partial: &Path, entry: &Path) -> io::Result<()> {
        if entry.exists() {
            tracing::warn!(entry = %entry.display(), "an optimised network is damaged, and made anew");
        }
        for path in [partial, entry] {
            remove(path)?;
        }
        self.make_room()?;
        fs::create_dir_all(partial)
    }

    /// Seals what was written, brings it to the disk, and gives it its name.
    fn finish(&self, partial: &Path, entry: &Path, network: &Path) -> io::Result<()> {
        let mut files = BTreeMap::new();
        for name in [NETWORK_FILE, WEIGHTS_FILE] {
            let path = partial.join(name);
            if path.exists() {
                files.insert(name.to_owned(), digest(&path)?);
                File::open(&path)?.sync_all()?;
            }
        }
        let seal = File::create(partial.join(SEAL_FILE))?;
        serde_json::to_writer(&seal, &Seal { files, origin: Origin::of(network) })?;
        seal.sync_all()?;
        fs::rename(partial, entry)?;
        File::open(&self.directory)?.sync_all()
    }

    fn is_whole(&self, entry: &Path) -> bool {
        let Some(seal) = read_seal(entry) else { return false };
        let holds = |(name, expected): (&String, &String)| {
            [NETWORK_FILE, WEIGHTS_FILE].contains(&name.as_str())
                && self.digest(&entry.join(name)).is_ok_and(|found| found == *expected)
        };
        seal.files.contains_key(NETWORK_FILE) && seal.files.iter().all(holds)
    }

    /// Entries of other machines go, then the oldest ones.
    fn make_room(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if self.is_ours(&entry.file_name()) {
                kept.push((entry.metadata()?.modified().ok(), entry.path()));
            } else {
                remove(&entry.path())?;
            }
        }
        kept.sort();
        let surplus = (kept.len() + 1).saturating_sub(MOST_ENTRIES);
        kept.iter().take(surplus).try_for_each(|(_, path)| remove(path))
    }

    fn is_ours(&self, entry: &OsStr) -> bool {
        entry.to_string_lossy().ends_with(&self.machine)
    }

    /// A file is read whole when it is new or has changed: 59 MB take 35 ms, which a swap to a known variant must not.
    pub(super) fn digest(&self, path: &Path) -> io::Result<String> {
        let stamp = Stamp::of(path)?;
        let mut digests = self.digests.lock();
        if let Some((_, digest)) = digests.get(path).filter(|(known, _)| *known == stamp) {
            return Ok(digest.clone());
        }
        let digest = digest(path)?;
        digests.insert(path.to_owned(), (stamp, digest.clone()));
        Ok(digest)
    }

    fn failed(&self, source: io::Error) -> OptimisedError {
        OptimisedError::Files { path: self.directory.display().to_string(), source }
    }
}

impl Origin {
    fn of(network: &Path) -> Option<Self> {
        let metadata = fs::metadata(network).ok()?;
        let modified = metadata.modified().ok()?;
        Some(Self { path: network.to_owned(), bytes: metadata.len(), modified })
    }
}

fn read_seal(entry: &Path) -> Option<Seal> {
    serde_json::from_slice(&fs::read(entry.join(SEAL_FILE)).ok()?).ok()
}

/// SHA-256 of a file, hexadecimal.
pub(super) fn digest(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(format!("{:x}", hash.finalize()))
}

/// Removes what is there, if anything is.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
