//! What can go wrong. [`class`] says who must act.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    architecture::InvalidBlueprint,
    checkpoint::CheckpointError,
    describe::DescribeError,
    durable,
    engine::EngineError,
    external::UnreadableModel,
    plan::PlanError,
    publish::{PublishError, registry::RegistryError},
    study::StudyError,
    variant::FolderError,
    verify::VerifyError,
};

mod class;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("failed to read \"{}\"", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to write \"{}\"", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("--report would overwrite \"{}\", which is another file of the same command; give it another name", path.display())]
    SameFile { path: PathBuf },
    #[error("the computation stopped in the middle; this is a defect, please report it")]
    Stopped(#[source] tokio::task::JoinError),
    #[error("failed to print the result")]
    Print(#[source] io::Error),
    #[error("failed to write the outcome as JSON")]
    Serialize(#[source] serde_json::Error),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Study(#[from] StudyError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Blueprint(#[from] InvalidBlueprint),
    #[error("the model \"{name}\" cannot be used")]
    Model { name: String, source: UnreadableModel },
    #[error("the model \"{name}\" cannot be compacted")]
    Uncompactable { name: String, source: UnreadableModel },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Describe(#[from] DescribeError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// An error and its causes in one line: what was wrong, where, and why.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let reason = source.to_string();
        // Some libraries print their cause themselves.
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        cause = source.source();
    }
    text
}

/// Reads a whole file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|source| Failure::Read { path: path.to_owned(), source })
}

/// Writes a whole file, or nothing.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    // A pipe, such as /dev/stdout, takes what comes and cannot be replaced.
    let is_stream = fs::metadata(path).is_ok_and(|found| !found.is_file());
    let written = if is_stream { fs::write(path, bytes) } else { durable::write(path, bytes) };
    written.map_err(|source| Failure::Write { path: path.to_owned(), source })
}

/// Writes a report for programs, which people can read too.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(report).map_err(Failure::Serialize)?;
    text.push(b'\n');
    write_file(path, &text)
}
