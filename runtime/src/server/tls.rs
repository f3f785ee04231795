//! TLS: certificates and keys from files, taken anew when the files change, and who must show a certificate of its own.
//!
//! Client certificates are asked for, but not demanded, while hands are shaken: the kubelet speaks HTTPS, but has none to show, and
//! its probes must get in. So a peer without one is [`Peer::Unknown`], for which [`connection`](super::connection) has other routes; one
//! that shows a certificate of another authority is refused at once.

mod files;

use std::{io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::files::Contents;
pub(crate) use self::files::TlsFiles;
use crate::{chain::chain, metrics::Metrics};

/// The files are looked at so often. A changed Secret takes the kubelet up to a minute, and reading a few kilobytes costs nothing.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The first byte of every connection of TLS: a record of the handshake (RFC 8446, 5.1). No request of HTTP begins so.
const HANDSHAKE: u8 = 22;

/// So much of what a client of plain HTTP sends is read before its connection is closed: otherwise it would see a reset instead of
/// the answer.
const MOST_DRAINED_BYTES: usize = 64 << 10;

/// What such a client is told.
const PLAIN_HTTP: &str = r#"{"error":"this port speaks TLS: ask by https, or with TLS in gRPC"}"#;

/// Protocols that are offered (ALPN), the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody who may ask for everything.
    Known,
    /// Somebody who was to show a certificate, and has shown none.
    Unknown,
}

/// Why TLS cannot be spoken with these files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("failed to find {what} in {path}: it must be a PEM file")]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key cannot be used, or not together.
    #[error(
        "failed to use the certificate {path} with its key: they must belong together, the server's own certificate first"
    )]
    Certificate {
        /// The certificate's file.
        path: String,
        /// What is wrong with them.
        #[source]
        source: rustls::Error,
    },
    /// An authority cannot be used.
    #[error("failed to use the client authority {path}")]
    Authority {
        /// Its file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What new connections are shaken hands with.
pub(crate) struct Tls {
    files: TlsFiles,
    pub(super) first: Contents,
    config: ArcSwap<ServerConfig>,
}

/// What was in the files when they were looked at last, or why they could not be read.
pub(super) type Seen = Result<Contents, String>;

impl Tls {
    /// Reads the files for the first time.
    pub(crate) async fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let first = files.read().await?;
        let config = ArcSwap::from_pointee(config(&files, &first)?);
        Ok(Self { files, first, config })
    }

    /// Takes files that have changed, for ever.
    pub(crate) async fn keep_fresh(&self, metrics: &Metrics) {
        let mut seen = Ok(self.first.clone());
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look(&mut seen, metrics).await;
        }
    }

    /// Takes files that are not as they were `seen`. What cannot be used is told once, and what was good before holds.
    pub(super) async fn look(&self, seen: &mut Seen, metrics: &Metrics) {
        let Some(now) = self.files.settled().await else { return };
        let now = now.map_err(|error| chain(&error));
        if now == *seen {
            return;
        }
        let made = |contents| config(&self.files, contents).map_err(|error| chain(&error));
        let taken = now.as_ref().map_err(String::clone).and_then(made);
        metrics.certificate_reloaded(taken.is_ok());
        match taken {
            Ok(config) => {
                self.config.store(Arc::new(config));
                tracing::info!(certificate = %self.files.certificate.display(), "took a new certificate");
            }
            Err(error) => tracing::error!(error, "refused a new certificate: the last good one holds"),
        }
        *seen = now;
    }

    /// Shakes hands. The caller sets the deadline.
    pub(super) async fn accept(&self, mut stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Peer)> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            refuse_plain_http(&mut stream).await?;
            return Err(io::Error::other("it does not speak TLS"));
        }
        let stream = TlsAcceptor::from(self.config.load_full()).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
        let known = shown || self.files.client_ca.is_none();
        Ok((stream, if known { Peer::Known } else { Peer::Unknown }))
    }
}

async fn refuse_plain_http(stream: &mut TcpStream) -> io::Result<()> {
    let length = PLAIN_HTTP.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{PLAIN_HTTP}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let (mut buffer, mut drained) = ([0; 4096], 0);
    while drained < MOST_DRAINED_BYTES {
        match stream.read(&mut buffer).await? {
            0 => break,
            bytes => drained += bytes,
        }
    }
    Ok(())
}

/// The configuration that these files make.
fn config(files: &TlsFiles, contents: &Contents) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let shown = || files.certificate.display().to_string();
    let failed = |source| TlsError::Certificate { path: shown(), source };
    let chain = certificates(&contents.certificate).map_err(|source| TlsError::Pem {
        what: "a certificate",
        path: shown(),
        source,
    })?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|source| TlsError::Pem {
        what: "a private key",
        path: files.key.display().to_string(),
        source,
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = match files.client_ca.as_ref().zip(contents.client_ca.as_ref()) {
        Some((path, authorities)) => {
            builder.with_client_cert_verifier(verifier(&path.display().to_string(), authorities)?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(failed)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}

/// Accepts certificates of these authorities, and peers that show none.
fn verifier(path: &str, authorities: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let path = || path.to_owned();
    let authorities = certificates(authorities).map_err(|source| TlsError::Pem {
        what: "a certificate authority",
        path: path(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|source| TlsError::Authority { path: path(), source: source.into() })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
        .allow_unauthenticated()
        .build()
        .map_err(|source| TlsError::Authority { path: path(), source: source.into() })
}

/// All certificates of a PEM file, at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(rustls::pki_types::pem::Error::NoItemsFound);
    }
    Ok(certificates)
}
