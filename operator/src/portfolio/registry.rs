//! Reads a published portfolio from its registry: by digest, checked by digest, bounded in size and time. I/O.

use std::{fmt::Write, time::Duration};

use dnnshifter_portfolio::{
    PortfolioManifest,
    manifest::{InvalidPortfolio, PORTFOLIO_ARTIFACT_TYPE, PORTFOLIO_MEDIA_TYPE},
};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use oci_client::{
    Reference,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest},
    secrets::RegistryAuth,
};
use sha2::{Digest as _, Sha256};

use super::{credentials, source::PublishedSource};

/// Twelve variants take 4 KiB.
const LARGEST_DOCUMENT: usize = 64 << 10;
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Where a portfolio is read from, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) source: &'a PublishedSource,
    pub(crate) pull_secrets: &'a [String],
    pub(crate) plain_http_registries: &'a [String],
}

/// Why a portfolio could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("\"{image}\" is not an image reference: {reason}")]
    Reference { image: String, reason: String },
    #[error("failed to read secret {name} of spec.serving.imagePullSecrets")]
    Secret {
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("failed to understand secret {name}: it must be of type kubernetes.io/dockerconfigjson")]
    Credentials {
        name: String,
        #[source]
        source: credentials::CredentialsError,
    },
    #[error(
        "failed to read {image}: its registry wants a user and password; name a Secret of type kubernetes.io/dockerconfigjson that knows it in spec.serving.imagePullSecrets"
    )]
    Unauthorized {
        image: String,
        #[source]
        source: Box<OciDistributionError>,
    },
    #[error("failed to read {image}")]
    Registry {
        image: String,
        #[source]
        source: Box<OciDistributionError>,
    },
    #[error("failed to read {image}: the connection broke")]
    Stream {
        image: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{image} is not what its digest says")]
    DigestMismatch { image: String },
    #[error(
        "{image} is not a portfolio: expected an artifact of type {PORTFOLIO_ARTIFACT_TYPE} with one layer {PORTFOLIO_MEDIA_TYPE}"
    )]
    NotAPortfolio { image: String },
    #[error("{image} is larger than {LARGEST_DOCUMENT} bytes, which no portfolio is")]
    TooLarge { image: String },
    #[error("failed to read {image} as JSON")]
    Json {
        image: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("failed to use {image}")]
    Invalid {
        image: String,
        #[source]
        source: InvalidPortfolio,
    },
}

impl RegistryError {
    /// Whether trying again can help. What is under its own digest, but no portfolio, never will be one.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Secret { .. }
            | Self::Credentials { .. }
            | Self::Unauthorized { .. }
            | Self::Registry { .. }
            | Self::Stream { .. }
            | Self::DigestMismatch { .. } => true,
            Self::Reference { .. }
            | Self::NotAPortfolio { .. }
            | Self::TooLarge { .. }
            | Self::Json { .. }
            | Self::Invalid { .. } => false,
        }
    }
}

/// Reads and checks the portfolio.
pub(crate) async fn read(client: &Client, request: Request<'_>) -> Result<PortfolioManifest, RegistryError> {
    let image = format!("{}@{}", request.source.repository, request.source.digest);
    let reference: Reference = image
        .parse()
        .map_err(|error| RegistryError::Reference { image: image.clone(), reason: format!("{error}") })?;
    let auth = authentication(client, request, reference.resolve_registry()).await?;
    let registry = oci_client::Client::new(ClientConfig {
        protocol: ClientProtocol::HttpsExcept(request.plain_http_registries.to_vec()),
        connect_timeout: Some(CONNECT_DEADLINE),
        read_timeout: Some(READ_DEADLINE),
        ..ClientConfig::default()
    });
    let failed = |source| refused(&image, source);
    let (manifest, _) =
        registry.pull_manifest_raw(&reference, &auth, &[OCI_IMAGE_MEDIA_TYPE]).await.map_err(failed)?;
    check(&image, &manifest, request.source.digest.as_str())?;
    let layer = portfolio_layer(&image, &manifest)?;
    let mut blob = registry.pull_blob_stream(&reference, &layer).await.map_err(failed)?.stream;
    let mut document = Vec::new();
    while let Some(bytes) =
        blob.try_next().await.map_err(|source| RegistryError::Stream { image: image.clone(), source })?
    {
        document.extend_from_slice(&bytes);
        if document.len() > LARGEST_DOCUMENT {
            return Err(RegistryError::TooLarge { image });
        }
    }
    check(&image, &document, &layer.digest)?;
    let portfolio: PortfolioManifest = serde_json::from_slice(&document)
        .map_err(|source| RegistryError::Json { image: image.clone(), source })?;
    portfolio.validated().map_err(|source| RegistryError::Invalid { image, source })
}

fn refused(image: &str, source: OciDistributionError) -> RegistryError {
    let (image, source) = (image.to_owned(), Box::new(source));
    match *source {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            RegistryError::Unauthorized { image, source }
        }
        _ => RegistryError::Registry { image, source },
    }
}

fn portfolio_layer(image: &str, manifest: &[u8]) -> Result<OciDescriptor, RegistryError> {
    let manifest: OciImageManifest = serde_json::from_slice(manifest)
        .map_err(|source| RegistryError::Json { image: image.to_owned(), source })?;
    let layer = manifest.layers.into_iter().find(|layer| layer.media_type == PORTFOLIO_MEDIA_TYPE);
    match (manifest.artifact_type.as_deref(), layer) {
        (Some(PORTFOLIO_ARTIFACT_TYPE), Some(layer)) => Ok(layer),
        _ => Err(RegistryError::NotAPortfolio { image: image.to_owned() }),
    }
}

fn check(image: &str, bytes: &[u8], digest: &str) -> Result<(), RegistryError> {
    let mut found = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        let _infallible = write!(found, "{byte:02x}");
    }
    if found == digest { Ok(()) } else { Err(RegistryError::DigestMismatch { image: image.to_owned() }) }
}

/// The first of the secrets that knows the registry wins, as for the kubelet.
async fn authentication(
    client: &Client,
    request: Request<'_>,
    registry: &str,
) -> Result<RegistryAuth, RegistryError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), request.namespace);
    for name in request.pull_secrets {
        let secret =
            secrets.get(name).await.map_err(|source| RegistryError::Secret { name: name.clone(), source })?;
        let found = credentials::find(&secret, registry)
            .map_err(|source| RegistryError::Credentials { name: name.clone(), source })?;
        if let Some((user, password)) = found {
            return Ok(RegistryAuth::Basic(user, password));
        }
    }
    Ok(RegistryAuth::Anonymous)
}
