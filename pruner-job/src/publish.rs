//! Publishing a portfolio: for each variant an image that runs anywhere the runtime's image runs, then the portfolio's
//! artifact, last, so that nothing is ever published half. The same variants give the same digests.
//!
//! [`registry`] speaks to registries, [`layer`] packs a variant.

use std::{collections::BTreeMap, path::PathBuf};

use bytes::Bytes;
use dnnshifter_portfolio::{
    Digest, PortfolioManifest, PruningOutcome,
    manifest::{InvalidPortfolio, MANIFEST_VERSION, PORTFOLIO_ARTIFACT_TYPE, PORTFOLIO_MEDIA_TYPE},
};
use oci_client::{
    ParseError, Reference,
    manifest::{IMAGE_LAYER_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest},
};
use serde_json::{Value, json};

use crate::variant::{FolderError, Variant};

pub(crate) mod layer;
pub(crate) mod registry;

use layer::{ModelLayer, digest_of};
use registry::{Access, Registry, RegistryError};

/// Media type of the config of artifacts that have none (OCI image specification 1.1, manifest.md).
const EMPTY_MEDIA_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The time that images carry: content alone shall decide their digest.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Publishes variants to one repository.
pub(crate) struct Publisher {
    registry: Registry,
    repository: Reference,
    runtime: Reference,
}

/// Where variants are published, and how it is reached.
#[derive(Clone, Debug)]
pub(crate) struct Target<'a> {
    /// A repository such as `registry.example.com/team/name`.
    pub(crate) repository: &'a str,
    /// The runtime's image.
    pub(crate) runtime_image: &'a str,
    /// The repository's registry speaks plain HTTP.
    pub(crate) plain_http: bool,
    /// More registries (`HOST:PORT`) that do: the runtime image's may be another one.
    pub(crate) plain_http_registries: &'a [String],
    /// A docker `config.json` with credentials.
    pub(crate) credentials: Option<PathBuf>,
}

/// An artifact in a registry.
pub(crate) struct Artifact {
    pub(crate) artifact_type: &'static str,
    /// Media type and bytes of each layer.
    pub(crate) layers: Vec<(&'static str, Bytes)>,
}

/// Why a portfolio cannot be published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Portfolio(#[from] InvalidPortfolio),
    #[error("the runtime's image \"{image}\" does not exist")]
    NoRuntime { image: String },
    #[error("the config of the runtime's image \"{image}\" is not one of an OCI image: {reason}")]
    RuntimeConfig { image: String, reason: String },
    #[error("failed to write the portfolio's manifest as JSON")]
    Serialize(#[source] serde_json::Error),
    #[error("failed to compute a digest")]
    Digest(#[source] std::io::Error),
}

impl Publisher {
    /// A publisher; nothing is asked of the registry yet.
    pub(crate) fn new(target: Target<'_>) -> Result<Self, RegistryError> {
        let Target { repository, runtime_image, plain_http, plain_http_registries, credentials } = target;
        let repository = reference(repository)?;
        let own = plain_http.then(|| repository.registry().to_owned());
        let plain_http = own.into_iter().chain(plain_http_registries.iter().cloned()).collect();
        let registry = Registry::new(&Access { credentials, plain_http });
        Ok(Self { registry, repository, runtime: reference(runtime_image)? })
    }

    /// The repository's name with a digest, as `published.image` wants it.
    pub(crate) fn by_digest(&self, digest: &Digest) -> String {
        format!("{}/{}@{digest}", self.repository.registry(), self.repository.repository())
    }

    /// Publishes `variants` under `revision`.
    pub(crate) async fn publish(
        &self,
        revision: &str,
        variants: &[Variant],
    ) -> Result<PruningOutcome, PublishError> {
        let runtime = RuntimeImage::read(&self.registry, &self.runtime).await?;
        let mut records = Vec::new();
        for variant in variants {
            let image = self.tagged(&format!("{revision}-{}", variant.description.name));
            let digest = self.put_image(&image, &runtime, &variant.layer()?).await?;
            tracing::info!(variant = %variant.description.name, %image, %digest, "variant published");
            records.push(variant.record(digest));
        }
        let version = MANIFEST_VERSION.to_owned();
        let portfolio =
            PortfolioManifest { version, revision: revision.to_owned(), variants: records }.validated()?;
        let layer = serde_json::to_vec(&portfolio).map_err(PublishError::Serialize)?;
        let layers = vec![(PORTFOLIO_MEDIA_TYPE, Bytes::from(layer))];
        let artifact = Artifact { artifact_type: PORTFOLIO_ARTIFACT_TYPE, layers };
        let digest = self.put_artifact(revision, &artifact).await?;
        tracing::info!(portfolio = self.by_digest(&digest), variants = variants.len(), "portfolio published");
        Ok(PruningOutcome { digest, portfolio })
    }

    /// The portfolio that is already published under `revision`; `None` if there is none.
    pub(crate) async fn published(&self, revision: &str) -> Result<Option<PruningOutcome>, PublishError> {
        let Some((layers, digest)) = self.artifact(revision).await? else { return Ok(None) };
        let text = layers.get(PORTFOLIO_MEDIA_TYPE).cloned().unwrap_or_default();
        let portfolio: PortfolioManifest =
            serde_json::from_slice(&text).map_err(|error| RegistryError::Content {
                image: self.tagged(revision).whole(),
                reason: format!("it is no portfolio: {error}"),
            })?;
        Ok(Some(PruningOutcome { digest, portfolio: portfolio.validated()? }))
    }

    /// Puts an artifact under a tag of the repository.
    pub(crate) async fn put_artifact(&self, tag: &str, artifact: &Artifact) -> Result<Digest, PublishError> {
        let image = self.tagged(tag);
        let config = self.put(&image, EMPTY_MEDIA_TYPE, &Bytes::from_static(b"{}")).await?;
        let mut layers = Vec::new();
        for (media_type, bytes) in &artifact.layers {
            layers.push(self.put(&image, media_type, bytes).await?);
        }
        let artifact_type = Some(artifact.artifact_type.to_owned());
        let manifest = OciImageManifest { artifact_type, ..manifest(config, layers) };
        Ok(self.registry.put_manifest(&image, &manifest).await?)
    }

    /// The layers of an artifact by media type, and its digest; `None` if there is none under that tag.
    pub(crate) async fn artifact(
        &self,
        tag: &str,
    ) -> Result<Option<(BTreeMap<String, Bytes>, Digest)>, RegistryError> {
        let image = self.tagged(tag);
        let Some((manifest, digest)) = self.registry.manifest(&image).await? else { return Ok(None) };
        let mut layers = BTreeMap::new();
        for layer in &manifest.layers {
            layers.insert(layer.media_type.clone(), self.registry.blob(&image, layer).await?);
        }
        Ok(Some((layers, digest)))
    }

    async fn put_image(
        &self,
        image: &Reference,
        runtime: &RuntimeImage,
        layer: &ModelLayer,
    ) -> Result<Digest, PublishError> {
        let mut layers = runtime.manifest.layers.clone();
        for blob in &layers {
            self.registry.mount_blob(image, &runtime.source, blob).await?;
        }
        self.registry.put_blob(image, &layer.bytes, &layer.digest).await?;
        layers.push(descriptor(IMAGE_LAYER_MEDIA_TYPE, &layer.digest, layer.bytes.len()));
        let media_type = &runtime.manifest.config.media_type;
        let config = self.put(image, media_type, &runtime.config_with(layer)?).await?;
        Ok(self.registry.put_manifest(image, &manifest(config, layers)).await?)
    }

    async fn put(
        &self,
        image: &Reference,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<OciDescriptor, PublishError> {
        let digest = digest_of(bytes).map_err(PublishError::Digest)?;
        self.registry.put_blob(image, bytes, &digest).await?;
        Ok(descriptor(media_type, &digest, bytes.len()))
    }

    fn tagged(&self, tag: &str) -> Reference {
        let (registry, repository) = (self.repository.registry(), self.repository.repository());
        Reference::with_tag(registry.to_owned(), repository.to_owned(), tag.to_owned())
    }
}

fn reference(text: &str) -> Result<Reference, RegistryError> {
    text.parse().map_err(|source: ParseError| RegistryError::Name { text: text.to_owned(), source })
}

fn manifest(config: OciDescriptor, layers: Vec<OciDescriptor>) -> OciImageManifest {
    let media_type = Some(OCI_IMAGE_MEDIA_TYPE.to_owned());
    OciImageManifest { media_type, config, layers, ..OciImageManifest::default() }
}

fn descriptor(media_type: &str, digest: &Digest, size: usize) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size: size as i64,
        ..OciDescriptor::default()
    }
}

/// The runtime's image: what each variant's image starts with.
struct RuntimeImage {
    source: Reference,
    manifest: OciImageManifest,
    config: Value,
}

impl RuntimeImage {
    async fn read(registry: &Registry, image: &Reference) -> Result<Self, PublishError> {
        let found = registry.manifest(image).await?;
        let (manifest, _) = found.ok_or_else(|| PublishError::NoRuntime { image: image.whole() })?;
        let config = registry.blob(image, &manifest.config).await?;
        let config = serde_json::from_slice(&config).map_err(|error| PublishError::RuntimeConfig {
            image: image.whole(),
            reason: error.to_string(),
        })?;
        Ok(Self { source: image.clone(), manifest, config })
    }

    /// The runtime's config with one more layer; entrypoint, user and environment stay.
    fn config_with(&self, layer: &ModelLayer) -> Result<Bytes, PublishError> {
        let refused = |reason: &str| PublishError::RuntimeConfig {
            image: self.source.whole(),
            reason: reason.to_owned(),
        };
        let mut config = self.config.clone();
        let diff_ids = config.pointer_mut("/rootfs/diff_ids").and_then(Value::as_array_mut);
        diff_ids.ok_or_else(|| refused("it has no rootfs.diff_ids"))?.push(json!(layer.digest));
        let fields = config.as_object_mut().ok_or_else(|| refused("it is no JSON object"))?;
        fields.insert("created".to_owned(), json!(CREATED));
        let history = fields.entry("history").or_insert_with(|| json!([]));
        if let Some(history) = history.as_array_mut() {
            history.push(json!({"created": CREATED, "created_by": "dnnshifter-pruner-job: /model"}));
        }
        serde_json::to_vec(&config).map(Bytes::from).map_err(PublishError::Serialize)
    }
}

#[cfg(test)]
mod tests;
