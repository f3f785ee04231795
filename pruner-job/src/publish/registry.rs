//! An OCI registry with what publishing needs: put a blob unless it is there, mount it from another repository, put and get
//! manifests. Every call has a deadline and is tried again when the network or the registry failed, not when it refused.

use std::{fs::File, io, path::PathBuf, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use dnnshifter_portfolio::Digest;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciErrorCode},
    manifest::{OciDescriptor, OciImageManifest, OciManifest},
    secrets::RegistryAuth,
};

use super::layer::digest_of;

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest silence within an answer.
const SILENCE_DEADLINE: Duration = Duration::from_secs(30);
/// Longest time for one call: a 500 MB layer at 2 MB/s.
const CALL_DEADLINE: Duration = Duration::from_secs(250);

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// A docker `config.json` with credentials.
    pub(crate) credentials: Option<PathBuf>,
    /// Registries that speak plain HTTP.
    pub(crate) plain_http: Vec<String>,
}

/// A client of registries.
pub(crate) struct Registry {
    client: Client,
    credentials: Option<PathBuf>,
}

/// Why a registry does not do what is asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("\"{text}\" is not the name of a repository or image; write registry.example.com/team/name")]
    Name { text: String, source: oci_client::ParseError },
    #[error("failed to read registry credentials from \"{}\"", path.display())]
    Credentials { path: PathBuf, source: io::Error },
    #[error("failed to understand registry credentials in \"{}\"", path.display())]
    CredentialsFormat { path: PathBuf, source: CredentialRetrievalError },
    #[error("registry refuses access to \"{image}\"; check the credentials and their rights")]
    Refused { image: String, source: Box<OciDistributionError> },
    #[error("failed to {action} \"{image}\"")]
    Call { action: &'static str, image: String, source: Box<OciDistributionError> },
    #[error("failed to {action} \"{image}\": no answer within {} s", CALL_DEADLINE.as_secs())]
    Deadline { action: &'static str, image: String },
    #[error("failed to understand what the registry has as \"{image}\": {reason}")]
    Content { image: String, reason: String },
}

impl Registry {
    /// A client; nothing is asked yet.
    pub(crate) fn new(access: &Access) -> Self {
        let client = Client::new(ClientConfig {
            protocol: ClientProtocol::HttpsExcept(access.plain_http.clone()),
            read_timeout: Some(SILENCE_DEADLINE),
            connect_timeout: Some(CONNECT_DEADLINE),
            user_agent: concat!("dnnshifter-pruner-job/", env!("CARGO_PKG_VERSION")),
            use_monolithic_push: true,
            ..ClientConfig::default()
        });
        Self { client, credentials: access.credentials.clone() }
    }

    /// The image manifest behind a tag or digest, and its digest; `None` if there is none. Of an index the one for this
    /// platform.
    pub(crate) async fn manifest(
        &self,
        image: &Reference,
    ) -> Result<Option<(OciImageManifest, Digest)>, RegistryError> {
        let auth = self.credentials_for(image.resolve_registry())?;
        let pulled =
            self.call("read the manifest of", image, || self.client.pull_image_manifest(image, &auth)).await;
        match pulled {
            Ok((manifest, digest)) => {
                let digest = Digest::parse(&digest).map_err(|refused| RegistryError::Content {
                    image: image.whole(),
                    reason: refused.to_string(),
                })?;
                Ok(Some((manifest, digest)))
            }
            Err(RegistryError::Call { source, .. }) if is_missing(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of a blob, checked against its digest.
    pub(crate) async fn blob(&self, image: &Reference, blob: &OciDescriptor) -> Result<Bytes, RegistryError> {
        let pulled = self.call("read a layer of", image, || async {
            let mut bytes = Vec::with_capacity(usize::try_from(blob.size).unwrap_or(0).min(1 << 30));
            self.client.pull_blob(image, blob, &mut bytes).await?;
            Ok(bytes)
        });
        Ok(pulled.await?.into())
    }

    /// Puts a blob unless the repository has it.
    pub(crate) async fn put_blob(
        &self,
        image: &Reference,
        bytes: &Bytes,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        if self.has_blob(image, digest.as_str()).await? {
            return Ok(());
        }
        self.call("write a layer of", image, || self.client.push_blob(image, bytes.clone(), digest.as_str()))
            .await
            .map(|_| ())
    }

    /// Lets the repository of `image` have a blob of `source`: as a reference within the same registry, else as a copy.
    pub(crate) async fn mount_blob(
        &self,
        image: &Reference,
        source: &Reference,
        blob: &OciDescriptor,
    ) -> Result<(), RegistryError> {
        if self.has_blob(image, &blob.digest).await? {
            return Ok(());
        }
        if image.registry() == source.registry() {
            // A registry may decline to mount for reasons of its own; a copy does as well.
            let mounted = self
                .call("mount a layer into", image, || self.client.mount_blob(image, source, &blob.digest));
            if mounted.await.is_ok() {
                return Ok(());
            }
        }
        let bytes = self.blob(source, blob).await?;
        self.call("copy a layer into", image, || self.client.push_blob(image, bytes.clone(), &blob.digest))
            .await
            .map(|_| ())
    }

    /// Puts a manifest under the tag of `image` and gives its digest.
    pub(crate) async fn put_manifest(
        &self,
        image: &Reference,
        manifest: &OciImageManifest,
    ) -> Result<Digest, RegistryError> {
        let content = |reason: String| RegistryError::Content { image: image.whole(), reason };
        let body = Bytes::from(serde_json::to_vec(manifest).map_err(|error| content(error.to_string()))?);
        let digest = digest_of(&body).map_err(|error| content(error.to_string()))?;
        let media_type = OciManifest::Image(manifest.clone()).content_type().to_owned();
        let media_type =
            http::HeaderValue::from_str(&media_type).map_err(|error| content(error.to_string()))?;
        self.call("write the manifest of", image, || {
            self.client.push_manifest_raw(image, body.clone(), media_type.clone())
        })
        .await?;
        Ok(digest)
    }

    async fn has_blob(&self, image: &Reference, digest: &str) -> Result<bool, RegistryError> {
        self.call("look for a layer of", image, || self.client.blob_exists(image, digest)).await
    }

    fn credentials_for(&self, registry: &str) -> Result<RegistryAuth, RegistryError> {
        let Some(path) = &self.credentials else { return Ok(RegistryAuth::Anonymous) };
        let file =
            File::open(path).map_err(|source| RegistryError::Credentials { path: path.clone(), source })?;
        match docker_credential::get_credential_from_reader(file, registry) {
            Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
            Ok(DockerCredential::IdentityToken(token)) => Ok(RegistryAuth::Bearer(token)),
            Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
            Err(source) => Err(RegistryError::CredentialsFormat { path: path.clone(), source }),
        }
    }

    /// One call, tried again while that may help. Credentials are known to the client from the first call to a registry on.
    async fn call<T, F>(
        &self,
        action: &'static str,
        image: &Reference,
        attempt: impl Fn() -> F,
    ) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, OciDistributionError>>,
    {
        let auth = self.credentials_for(image.resolve_registry())?;
        self.client.store_auth_if_needed(image.resolve_registry(), &auth).await;
        let retried = attempt.retry(ExponentialBuilder::default().with_jitter()).when(may_pass);
        match tokio::time::timeout(CALL_DEADLINE, retried).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) if is_refused(&source) => {
                Err(RegistryError::Refused { image: image.whole(), source: Box::new(source) })
            }
            Ok(Err(source)) => {
                Err(RegistryError::Call { action, image: image.whole(), source: Box::new(source) })
            }
            Err(_) => Err(RegistryError::Deadline { action, image: image.whole() }),
        }
    }
}

/// Whether the same call may succeed a moment later.
fn may_pass(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(source) => {
            source.status().is_none_or(|status| status.is_server_error())
        }
        OciDistributionError::ServerError { code, .. } => *code >= 500,
        OciDistributionError::IoError(_) => true,
        _ => false,
    }
}

fn is_missing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        OciDistributionError::RegistryError { envelope, .. } => {
            let missing = [OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound];
            envelope.errors.iter().any(|error| missing.contains(&error.code))
        }
        OciDistributionError::ServerError { code, .. } => *code == 404,
        _ => false,
    }
}

fn is_refused(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::AuthenticationFailure(_) | OciDistributionError::UnauthorizedError { .. } => {
            true
        }
        OciDistributionError::ServerError { code, .. } => matches!(code, 401 | 403),
        OciDistributionError::RegistryError { envelope, .. } => {
            let refused = [OciErrorCode::Unauthorized, OciErrorCode::Denied];
            envelope.errors.iter().any(|error| refused.contains(&error.code))
        }
        _ => false,
    }
}
