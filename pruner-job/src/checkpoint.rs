//! Finished steps, kept so that a killed Job goes on from the last of them: in the registry that the variants go to, or in a
//! folder. A step is there whole or not at all. What a step holds is for [`crate::command::run`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::{
    durable,
    publish::{Artifact, PublishError, Publisher, registry::RegistryError},
};

/// `artifactType` of a finished step in a registry. Its version changes with the meaning of what steps hold.
const ARTIFACT_TYPE: &str = "application/vnd.dnnshifter.checkpoint.v1";
const FACTS_MEDIA_TYPE: &str = "application/vnd.dnnshifter.checkpoint.v1+json";
const MODEL_MEDIA_TYPE: &str = "application/vnd.dnnshifter.checkpoint.v1.onnx";

/// What a finished step left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// JSON.
    pub(crate) facts: Bytes,
    /// An ONNX file; empty if the step made none.
    pub(crate) model: Bytes,
}

/// Where finished steps are kept.
pub(crate) enum Checkpoints<'a> {
    /// Nowhere: a killed Job starts again.
    None,
    /// One folder a step.
    Folder(&'a Path),
    /// One artifact a step, beside the variants.
    Registry(&'a Publisher),
}

/// Why a step cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("failed to read the finished step \"{}\"", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to keep the finished step \"{}\"", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("failed to keep a finished step")]
    Put(#[source] PublishError),
    #[error("failed to look for a finished step")]
    Find(#[source] RegistryError),
}

impl Checkpoints<'_> {
    /// What the step called `tag` left; `None` if it is not finished.
    pub(crate) async fn find(&self, tag: &str) -> Result<Option<Checkpoint>, CheckpointError> {
        match self {
            Self::None => Ok(None),
            Self::Folder(folder) => read_folder(&folder.join(tag)),
            Self::Registry(publisher) => {
                let found = publisher.artifact(tag).await.map_err(CheckpointError::Find)?;
                Ok(found.and_then(|(mut layers, _)| {
                    let facts = layers.remove(FACTS_MEDIA_TYPE)?;
                    Some(Checkpoint { facts, model: layers.remove(MODEL_MEDIA_TYPE).unwrap_or_default() })
                }))
            }
        }
    }

    /// Keeps what the step called `tag` left.
    pub(crate) async fn keep(&self, tag: &str, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        match self {
            Self::None => Ok(()),
            Self::Folder(folder) => write_folder(&folder.join(tag), checkpoint),
            Self::Registry(publisher) => {
                let mut layers = vec![(FACTS_MEDIA_TYPE, checkpoint.facts.clone())];
                if !checkpoint.model.is_empty() {
                    layers.push((MODEL_MEDIA_TYPE, checkpoint.model.clone()));
                }
                let put =
                    publisher.put_artifact(tag, &Artifact { artifact_type: ARTIFACT_TYPE, layers }).await;
                put.map(|_| ()).map_err(CheckpointError::Put)
            }
        }
    }
}

const FACTS_FILE: &str = "facts.json";
const MODEL_FILE: &str = "model.onnx";

fn read_folder(place: &Path) -> Result<Option<Checkpoint>, CheckpointError> {
    let read = |name| {
        let path = place.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CheckpointError::Read { path, source }),
        }
    };
    match (read(FACTS_FILE)?, read(MODEL_FILE)?) {
        (Some(facts), Some(model)) => Ok(Some(Checkpoint { facts, model })),
        _ => Ok(None),
    }
}

fn write_folder(place: &Path, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    let files = [(FACTS_FILE, &checkpoint.facts[..]), (MODEL_FILE, &checkpoint.model[..])];
    durable::write_folder(place, &files)
        .map_err(|source| CheckpointError::Write { path: place.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(text: &'static str) -> Checkpoint {
        Checkpoint { facts: Bytes::from_static(b"{}"), model: Bytes::from_static(text.as_bytes()) }
    }

    #[tokio::test]
    async fn a_step_in_a_folder_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::Folder(folder.path());
        assert_eq!(checkpoints.find("dense").await.unwrap(), None);
        for text in ["first", "second"] {
            checkpoints.keep("dense", &checkpoint(text)).await.unwrap();
            assert_eq!(checkpoints.find("dense").await.unwrap(), Some(checkpoint(text)));
        }
        assert_eq!(checkpoints.find("variant-1").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_step_that_was_cut_short_is_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("dense");
        fs::create_dir(&place).unwrap();
        fs::write(place.join(MODEL_FILE), "half").unwrap();
        assert_eq!(Checkpoints::Folder(folder.path()).find("dense").await.unwrap(), None);
    }
}
