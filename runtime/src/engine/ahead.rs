//! Networks that are optimised ahead of being opened: when, and what becomes of those that fail.
//!
//! The files are the business of [`optimised`](super::optimised), the work that of another process (`optimise`).

use std::{
    collections::BTreeSet,
    env, io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use super::{
    EngineError, machine, optimise,
    optimised::{OptimisedError, OptimisedNetworks},
};
use crate::chain::chain;

/// Folder of the optimised networks within the store.
const FOLDER: &str = "optimised";

/// Optimises a network into a directory.
type Optimiser = dyn Fn(&Path, &Path) -> Result<(), EngineError> + Send + Sync;

/// The optimised networks of a store, and how one is made.
pub(super) struct Ahead {
    networks: OptimisedNetworks,
    optimise: Box<Optimiser>,
    /// What this process has made: made again it would be the same.
    made: Mutex<BTreeSet<PathBuf>>,
}

impl Ahead {
    /// In a folder of `store`, for this build of the engine; made by another process of this program.
    pub(super) fn kept_in(store: &Path, engine_build: &str) -> Self {
        Self::made_by(store, engine_build, in_another_process)
    }

    /// The same, made in another way.
    pub(super) fn made_by(
        store: &Path,
        engine_build: &str,
        optimise: impl Fn(&Path, &Path) -> Result<(), EngineError> + Send + Sync + 'static,
    ) -> Self {
        let networks = OptimisedNetworks::new(store.join(FOLDER), machine::key(engine_build));
        Self { networks, optimise: Box::new(optimise), made: Mutex::default() }
    }

    /// Whether there is an optimised form of `network`.
    pub(super) fn has(&self, network: &Path) -> bool {
        self.networks.find(network).is_some()
    }

    /// The optimised form of `network`, which is made where there is none. None where that does not work, so that it is optimised while
    /// it is opened; but what ends the other process would end this one, too.
    pub(super) fn file(&self, network: &Path) -> Result<Option<PathBuf>, EngineError> {
        match self.make(network) {
            Ok(file) => Ok(Some(file)),
            Err(OptimisedError::Engine(died @ EngineError::Died { .. })) => Err(died),
            Err(error) => {
                tracing::warn!(error = chain(&error), "the network is optimised in memory instead");
                Ok(None)
            }
        }
    }

    /// Digest of `network`'s file.
    pub(super) fn digest(&self, network: &Path) -> io::Result<String> {
        self.networks.digest(network)
    }

    /// The same as [`OptimisedNetworks::was_made`].
    pub(super) fn was_made(&self, network: &Path) -> bool {
        self.networks.was_made(network)
    }

    /// Makes the optimised form of `network` now, if there is none.
    pub(super) fn make(&self, network: &Path) -> Result<PathBuf, OptimisedError> {
        let mut made = false;
        let file = self.networks.find_or_make(network, |directory| {
            made = true;
            (self.optimise)(network, directory)
        })?;
        if made {
            self.made.lock().insert(file.clone());
        }
        Ok(file)
    }

    /// Throws away the optimised form of `network` if an earlier process has made it; whether it has.
    pub(super) fn distrust(&self, network: &Path) -> bool {
        let file = self.networks.find(network);
        let distrusted = file.is_some_and(|file| !self.made.lock().contains(&file));
        if distrusted {
            self.discard(network);
        }
        distrusted
    }

    /// Throws the optimised form of `network` away.
    pub(super) fn discard(&self, network: &Path) {
        if let Err(error) = self.networks.discard(network) {
            tracing::warn!(%error, "failed to throw away an optimised network");
        }
    }
}

fn in_another_process(network: &Path, directory: &Path) -> Result<(), EngineError> {
    let program = env::current_exe().map_err(|source| EngineError::Optimise {
        path: network.display().to_string(),
        source: source.into(),
    })?;
    optimise::in_another_process(&program, network, directory)
}
