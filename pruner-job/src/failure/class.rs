//! Classes of failures: each has its exit code, so that whoever started the Job knows who must act. The table for people is
//! `docs/exit-codes.md`.

use std::io;

use super::Failure;
use crate::{
    checkpoint::CheckpointError,
    data::DataError,
    describe::DescribeError,
    engine::EngineError,
    interpreter::InterpreterError,
    magnitude::MagnitudeError,
    plan::PlanError,
    publish::{PublishError, registry::RegistryError},
    structured::StructuredError,
    study::{StudyError, UnusableModel},
    training::TrainingError,
    variant::FolderError,
    verify::VerifyError,
};

mod network;

use network::{model_class, nodes_class, tensor_class, unreadable_class};

/// Classes of failures and their exit codes, after `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Two networks that are compared differ; the code that `cmp` and `diff` have for it.
    Different = 1,
    /// The arguments contradict each other; the code of a command line that cannot be read.
    Arguments = 2,
    /// A file is no model, or a broken one: mend it.
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
    /// The model has operators, control flow or an operator set that cannot be worked on: export it otherwise.
    Unsupported = 80,
    /// The model is in half precision or quantised: give it in float32.
    Precision = 81,
    /// The model's sizes are open: export it with fixed ones.
    OpenSizes = 82,
    /// The model's weights are not finite: take weights from before that.
    NotFinite = 83,
    /// The model is no classifier: take one.
    NotAClassifier = 84,
    /// The data set is broken or does not fit the model: mend it.
    Dataset = 85,
    /// Training did not come to what was asked for: ask for less, or train otherwise.
    NotReached = 86,
}

#[cfg(test)]
impl Class {
    const ALL: [Self; 16] = [
        Self::Different,
        Self::Arguments,
        Self::Data,
        Self::NoInput,
        Self::Unavailable,
        Self::Internal,
        Self::Output,
        Self::Permission,
        Self::Plan,
        Self::Unsupported,
        Self::Precision,
        Self::OpenSizes,
        Self::NotFinite,
        Self::NotAClassifier,
        Self::Dataset,
        Self::NotReached,
    ];
}

impl Failure {
    /// The class, which decides the exit code.
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Class::NoInput,
            Self::Read { .. } | Self::Blueprint(_) => Class::Data,
            Self::Model { source, .. } | Self::Uncompactable { source, .. } => unreadable_class(source),
            Self::Write { .. } | Self::Print(_) | Self::Serialize(_) => Class::Output,
            Self::Plan(PlanError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Class::NoInput
            }
            Self::Plan(_) => Class::Plan,
            Self::SameFile { .. } => Class::Arguments,
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
        StudyError::Data(_) => Class::Dataset,
        StudyError::Model { source, .. } => match source {
            UnusableModel::Read(error) => unreadable_class(error),
            UnusableModel::Structured(error) => structured_class(error),
            UnusableModel::Magnitude(error) => magnitude_class(error),
            UnusableModel::Weight(error) => model_class(error),
            UnusableModel::NotAClassifier { .. } => Class::NotAClassifier,
        },
        StudyError::Rewind { .. } => Class::Plan,
        StudyError::Name(_) | StudyError::Compaction(_) => Class::Internal,
        StudyError::NotAccurate { .. } => Class::NotReached,
        StudyError::Structured(error) => structured_class(error),
        StudyError::Magnitude(error) => magnitude_class(error),
        StudyError::Training(error) => training_class(error),
        StudyError::Describe(error) => describe_class(error),
        StudyError::Engine(error) => engine_class(error),
    }
}

fn structured_class(error: &StructuredError) -> Class {
    match error {
        StructuredError::Unsupported(error) => nodes_class(error),
        StructuredError::Shape(_) => Class::Data,
        StructuredError::NoChannels(_) | StructuredError::NoBatchNorm { .. } => Class::Unsupported,
        StructuredError::Slice(_) => Class::Internal,
        StructuredError::Engine(error) => engine_class(error),
        StructuredError::Training(error) => training_class(error),
    }
}

fn magnitude_class(error: &MagnitudeError) -> Class {
    match error {
        MagnitudeError::Unsupported(error) => nodes_class(error),
        MagnitudeError::Shape(_) => Class::Data,
        MagnitudeError::Weight(error) => tensor_class(error),
        MagnitudeError::Nothing { .. } => Class::Unsupported,
    }
}

fn training_class(error: &TrainingError) -> Class {
    match error {
        TrainingError::Network(error) => interpreter_class(error),
        TrainingError::Tensor { .. } => Class::Internal,
        TrainingError::Diverged { .. } => Class::NotReached,
    }
}

fn interpreter_class(error: &InterpreterError) -> Class {
    match error {
        InterpreterError::Unsupported(error) => nodes_class(error),
        InterpreterError::Shape(_) => Class::Data,
        InterpreterError::Weight(error) => tensor_class(error),
        InterpreterError::Node { .. } | InterpreterError::Input { .. } | InterpreterError::Weights(_) => {
            Class::Internal
        }
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
        EngineError::Unknown(_) => Class::Unsupported,
        EngineError::Load { .. } | EngineError::Start(_) | EngineError::Run(_) | EngineError::NoOutput => {
            Class::Internal
        }
    }
}

fn describe_class(error: &DescribeError) -> Class {
    match error {
        DescribeError::Unsupported(error) => nodes_class(error),
        DescribeError::Weight(error) => tensor_class(error),
        DescribeError::Shape(_) | DescribeError::NoInput => Class::Data,
        DescribeError::Engine(error) => engine_class(error),
        DescribeError::Interpreter(error) => interpreter_class(error),
        DescribeError::Compute(_) | DescribeError::Difference { .. } => Class::Internal,
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
        VerifyError::Type { .. } => Class::Precision,
        VerifyError::Kind { .. } => Class::Unsupported,
        VerifyError::Ends { .. } | VerifyError::Cases(_) => Class::Data,
        VerifyError::Open { source, .. } | VerifyError::Run { source, .. } => engine_class(source),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::command::CommandLine;

    #[test]
    fn every_class_is_in_the_table_and_in_the_help() {
        let table = include_str!("../../../docs/exit-codes.md");
        let help = CommandLine::command().render_help().to_string();
        for class in Class::ALL {
            let code = class as u8;
            assert!(table.contains(&format!("\n| {code} | ")), "{class:?} is not in docs/exit-codes.md");
            assert!(help.contains(&format!(" {code} ")), "{class:?} is not in --help");
        }
    }
}
