//! The files that TLS needs, read whole: a mounted Secret changes by the swap of one link, all its files at once.

use std::path::{Path, PathBuf};

use super::TlsError;

/// Where certificates and keys are.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    /// The server's certificate chain, its own certificate first.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// The authorities whose clients are served; without them every client is.
    pub(crate) client_ca: Option<PathBuf>,
}

/// What was in them.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::server) struct Contents {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) client_ca: Option<Vec<u8>>,
}

impl TlsFiles {
    /// Reads all of them.
    pub(super) async fn read(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            certificate: read(&self.certificate).await?,
            key: read(&self.key).await?,
            client_ca: match &self.client_ca {
                Some(path) => Some(read(path).await?),
                None => None,
            },
        })
    }

    /// Reads all of them, unless they change meanwhile: a certificate and the key of another would be refused for nothing.
    pub(super) async fn settled(&self) -> Option<Result<Contents, TlsError>> {
        let (before, after) = (self.read().await, self.read().await);
        match (&before, &after) {
            (Ok(one), Ok(other)) if one != other => None,
            (Ok(_) | Err(_), Ok(_) | Err(_)) => Some(after),
        }
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.display().to_string(), source };
    tokio::fs::read(path).await.map_err(failed)
}
