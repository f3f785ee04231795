//! The last placement on disk, so that a process that starts while the API server is away goes on where the last one ended.

use std::{io, path::PathBuf};

use dnnshifter_crds::VariantPlacement;

use crate::{chain::chain, replace::replace};

/// A directory that outlives the process, if there is one. A failure here is logged, and never stops serving.
pub(super) struct Store {
    directory: Option<PathBuf>,
    placement: String,
}

impl Store {
    /// A store in `directory`, for the placement of that name.
    pub(super) fn new(directory: Option<PathBuf>, placement: String) -> Self {
        Self { directory, placement }
    }

    /// The placement that was remembered, if it is there and of that name.
    pub(super) async fn load(&self) -> Option<VariantPlacement> {
        let path = self.directory.as_ref()?.join(FILE);
        let text = match tokio::fs::read(&path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "failed to read the remembered placement");
                return None;
            }
        };
        match serde_json::from_slice::<VariantPlacement>(&text) {
            Ok(placement) => {
                Some(placement).filter(|placement| placement.metadata.name.as_ref() == Some(&self.placement))
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), error = chain(&error), "the remembered placement is damaged, and left out");
                None
            }
        }
    }

    /// Remembers a placement: whole or not at all.
    pub(super) async fn save(&self, placement: &VariantPlacement) {
        let Some(directory) = &self.directory else { return };
        let text = serde_json::to_vec(placement).map_err(io::Error::from);
        let writing = {
            let directory = directory.clone();
            tokio::task::spawn_blocking(move || replace(&directory, FILE, &text?))
        };
        if let Err(error) = writing.await.map_err(io::Error::other).flatten() {
            tracing::warn!(directory = %directory.display(), %error, "failed to remember the placement");
        }
    }
}

const FILE: &str = "placement.json";

#[cfg(test)]
mod tests {
    use super::*;

    fn placement() -> VariantPlacement {
        let spec = r#"{"portfolioName":"p","nodeName":"n","deviceClassName":"c","revision":"r","templateHash":"t","variants":[],
            "policy":{"latencyObjective":{"milliseconds":20,"quantile":"0.99"},
                "behavior":{"stepDown":{"stabilizationWindowSeconds":0},"stepUp":{"stabilizationWindowSeconds":60}}}}"#;
        VariantPlacement::new("p-n", serde_json::from_str(spec).unwrap())
    }

    fn store(directory: &std::path::Path, name: &str) -> Store {
        Store::new(Some(directory.to_owned()), name.to_owned())
    }

    #[tokio::test]
    async fn a_placement_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        store(directory.path(), "p-n").save(&placement()).await;
        assert_eq!(store(directory.path(), "p-n").load().await, Some(placement()));
    }

    #[tokio::test]
    async fn a_foreign_damaged_or_missing_placement_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(store(directory.path(), "p-n").load().await, None);
        store(directory.path(), "p-n").save(&placement()).await;
        assert_eq!(store(directory.path(), "other").load().await, None);
        std::fs::write(directory.path().join(FILE), "{").unwrap();
        assert_eq!(store(directory.path(), "p-n").load().await, None);
        assert_eq!(Store::new(None, "p-n".to_owned()).load().await, None);
    }
}
