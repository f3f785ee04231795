//! The figures, one file each: what it is, how it is measured, what it is compared with.
//!
//! Each has a report of its own, which is all that the page is made from.

pub mod latency;
pub mod limit;
pub mod overload;
pub mod peers;
pub mod quota;
pub mod reload;
pub mod resident;
pub mod swaps;

use std::path::{Path, PathBuf};

use super::{
    Programs,
    server::{Server, Start},
    serving::Extent,
};

/// What every measurement needs.
pub(super) struct Stage<'a> {
    pub(super) programs: &'a Programs,
    /// For stores and logs.
    pub(super) directory: &'a Path,
    /// Holds a folder for each variant.
    pub(super) models: PathBuf,
    /// The variants' files, the largest first.
    pub(super) networks: Vec<PathBuf>,
    pub(super) extent: Extent,
    pub(super) say: &'a dyn Fn(&str),
}

impl Stage<'_> {
    /// Says what is measured now.
    pub(super) fn round(&self, what: &str, round: u64) {
        (self.say)(&format!("{what}: round {round} of {}", self.extent.rounds));
    }

    /// Starts a runtime on all variants.
    pub(super) async fn serve(&self, options: &[&str]) -> anyhow::Result<Server> {
        self.programs.serve(self.directory, Start { models: &self.models, options, group: None }).await
    }

    /// The networks' files, as arguments.
    pub(super) fn network_arguments(&self) -> Vec<String> {
        self.networks.iter().map(|network| network.display().to_string()).collect()
    }
}
