//! What can go wrong, in classes: each has its exit code, so that whoever started the Job knows who must act.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dnnshifter_network::network::InvalidModel;
use serde::Serialize;

use crate::{
    architecture::InvalidBlueprint,
    checkpoint::CheckpointError,
    command::compact::UnusableModel,
    data::DataError,
    describe::DescribeError,
    engine::EngineError,
    external::ExternalError,
    plan::PlanError,
    publish::{PublishError, registry::RegistryError},
    structured::StructuredError,
    study::StudyError,
    training::TrainingError,
    variant::FolderError,
    verify::VerifyError,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("failed to read \"{}\"", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to write \"{}\"", path.display())]
    Write { path: PathBuf, source: io::Error },
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
    Model { name: String, source: InvalidModel },
    #[error("the model \"{name}\" cannot be compacted")]
    Uncompactable { name: String, source: UnusableModel },
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

/// Classes of failures and their exit codes, after `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Two networks that are compared differ; the code that `cmp` and `diff` have for it.
    Different = 1,
    /// The model or the data cannot be used: mend them.
    Data = 65,
    /// An input file is missing: mend the plan or its mounts.
    NoInput = 66,
    /// The registry cannot be reached or failed: try again.
    Unavailable = 69,
    /// libtorch or ONNX Runtime failed.
    Internal = 70,
    /// An output cannot be written: mend the disk.
    Output = 73,
    /// The registry refuses access: mend the credentials.
    Permission = 77,
    /// The plan cannot be used: mend it.
    Plan = 78,
}

impl Failure {
    /// The class, which decides the exit code.
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Class::NoInput,
            Self::Uncompactable { source: UnusableModel::External(ExternalError::Read { .. }), .. } => {
                Class::NoInput
            }
            Self::Read { .. } | Self::Blueprint(_) | Self::Model { .. } | Self::Uncompactable { .. } => {
                Class::Data
            }
            Self::Write { .. } | Self::Print(_) | Self::Serialize(_) => Class::Output,
            Self::Plan(PlanError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Class::NoInput
            }
            Self::Plan(_) => Class::Plan,
            Self::Study(error) => study_class(error),
            Self::Checkpoint(error) => checkpoint_class(error),
            Self::Stopped(_) => Class::Internal,
            Self::Engine(error) => engine_class(error),
            Self::Describe(error) => describe_class(error),
            Self::Folder(error) => folder_class(error),
            Self::Registry(error) => registry_class(error),
            Self::Publish(error) => publish_class(error),
            Self::Verify(error) => verify_class(error),
        }
    }
}

fn study_class(error: &StudyError) -> Class {
    match error {
        StudyError::Data(DataError::Missing { .. } | DataError::MissingFile { .. }) => Class::NoInput,
        StudyError::Data(_)
        | StudyError::Model { .. }
        | StudyError::Name(_)
        | StudyError::NotAccurate { .. } => Class::Data,
        StudyError::Structured(error) | StudyError::Unprunable { source: error, .. } => {
            structured_class(error)
        }
        StudyError::Training(error) => training_class(error),
        StudyError::Describe(error) => describe_class(error),
        StudyError::Engine(error) => engine_class(error),
    }
}

fn structured_class(error: &StructuredError) -> Class {
    match error {
        StructuredError::Unsupported(_)
        | StructuredError::Shape(_)
        | StructuredError::Entangled(_)
        | StructuredError::NoBatchNorm { .. } => Class::Data,
        StructuredError::Slice(_) => Class::Internal,
        StructuredError::Engine(error) => engine_class(error),
        StructuredError::Training(error) => training_class(error),
    }
}

fn training_class(error: &TrainingError) -> Class {
    match error {
        TrainingError::Network(_) | TrainingError::Tensor { .. } => Class::Internal,
        TrainingError::Diverged { .. } => Class::Data,
    }
}

fn checkpoint_class(error: &CheckpointError) -> Class {
    match error {
        CheckpointError::Read { .. } | CheckpointError::Write { .. } => Class::Output,
        CheckpointError::Put(error) => publish_class(error),
        CheckpointError::Find(error) => registry_class(error),
    }
}

fn engine_class(error: &EngineError) -> Class {
    match error {
        EngineError::Open(_) => Class::Data,
        EngineError::Load { .. } | EngineError::Start(_) | EngineError::Run(_) | EngineError::NoOutput => {
            Class::Internal
        }
    }
}

fn describe_class(error: &DescribeError) -> Class {
    match error {
        DescribeError::Unsupported(_)
        | DescribeError::Shape(_)
        | DescribeError::Weight(_)
        | DescribeError::NoInput => Class::Data,
        DescribeError::Engine(error) => engine_class(error),
        DescribeError::Interpreter(_) | DescribeError::Compute(_) | DescribeError::Difference { .. } => {
            Class::Internal
        }
    }
}

fn folder_class(error: &FolderError) -> Class {
    match error {
        FolderError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Class::NoInput,
        FolderError::Read { .. }
        | FolderError::Parse { .. }
        | FolderError::Changed { .. }
        | FolderError::Portfolio(_) => Class::Data,
        FolderError::Write { .. } | FolderError::Serialize { .. } | FolderError::Pack { .. } => Class::Output,
    }
}

fn registry_class(error: &RegistryError) -> Class {
    match error {
        RegistryError::Refused { .. }
        | RegistryError::Credentials { .. }
        | RegistryError::CredentialsFormat { .. } => Class::Permission,
        RegistryError::Name { .. } => Class::Data,
        RegistryError::Call { .. } | RegistryError::Deadline { .. } | RegistryError::Content { .. } => {
            Class::Unavailable
        }
    }
}

fn publish_class(error: &PublishError) -> Class {
    match error {
        PublishError::Registry(error) => registry_class(error),
        PublishError::Folder(error) => folder_class(error),
        PublishError::Portfolio(_) => Class::Data,
        PublishError::NoRuntime { .. } | PublishError::RuntimeConfig { .. } => Class::Unavailable,
        PublishError::Serialize(_) | PublishError::Digest(_) => Class::Output,
    }
}

fn verify_class(error: &VerifyError) -> Class {
    match error {
        VerifyError::Different { .. } | VerifyError::NotFinite { .. } | VerifyError::Shape { .. } => {
            Class::Different
        }
        VerifyError::Missing { .. } => Class::NoInput,
        VerifyError::Ends { .. } | VerifyError::Type { .. } | VerifyError::Cases(_) => Class::Data,
        VerifyError::Open { source, .. } | VerifyError::Run { source, .. } => engine_class(source),
    }
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

/// Writes a whole file.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|source| Failure::Write { path: path.to_owned(), source })
}

/// Writes a report for programs, which people can read too.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(report).map_err(Failure::Serialize)?;
    text.push(b'\n');
    write_file(path, &text)
}
