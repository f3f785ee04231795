//! TLS: who is let in, by which certificates, and what becomes of files that change.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    hostile::{CONNECTIONS, Served, first_line},
    *,
};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const CLIENT_CA: &str = "ca.crt";

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

/// A Secret as the kubelet mounts it: each file is a link into `..data`, which is a link to the folder of the present version.
struct Secret(TempDir);

impl Secret {
    fn mounted(identity: &Identity, client_ca: &str) -> Self {
        let secret = Self(tempfile::tempdir().unwrap());
        for name in [CERTIFICATE, KEY, CLIENT_CA] {
            symlink(Path::new("..data").join(name), secret.0.path().join(name)).unwrap();
        }
        secret.exchange(&identity.certificate, &identity.key, client_ca);
        secret
    }

    /// All files change at once.
    fn exchange(&self, certificate: &str, key: &str, client_ca: &str) {
        let folder = tempfile::tempdir_in(self.0.path()).unwrap().keep();
        for (name, text) in [(CERTIFICATE, certificate), (KEY, key), (CLIENT_CA, client_ca)] {
            fs::write(folder.join(name), text).unwrap();
        }
        let link = self.0.path().join("..data_tmp");
        symlink(folder, &link).unwrap();
        fs::rename(link, self.0.path().join("..data")).unwrap();
    }

    fn files(&self, mutual: bool) -> TlsFiles {
        let path = |name: &str| self.0.path().join(name);
        TlsFiles {
            certificate: path(CERTIFICATE),
            key: path(KEY),
            client_ca: mutual.then(|| path(CLIENT_CA)),
        }
    }
}

async fn serve_by(files: TlsFiles) -> (Served, Arc<Tls>, Arc<Service>) {
    let (service, tls) = (two_variants(Chooser::Clients), Arc::new(Tls::load(files).await.unwrap()));
    let (all, unknown) = (router(Arc::clone(&service)), router_for_the_unknown(Arc::clone(&service)));
    let served = Served::behind(Front::guarded(all, Arc::clone(&tls), unknown)).await;
    (served, tls, service)
}

/// A new connection of a client that trusts `authority`, and shows `identity`.
async fn connect(
    served: &Served,
    authority: &Authority,
    identity: Option<&Identity>,
) -> io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(Identity { certificate, key }) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, served.connect().await).await
}

/// All that is answered to a request with this head and body, until the server closes.
async fn converse(
    mut client: TlsStream<tokio::net::TcpStream>,
    head: &str,
    body: &str,
) -> io::Result<String> {
    let length = body.len();
    let request =
        format!("{head} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    client.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn infer(served: &Served, authority: &Authority, identity: Option<&Identity>) -> io::Result<String> {
    let client = connect(served, authority, identity).await?;
    converse(client, &format!("POST {INFER}"), &one_item()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_by_tls_with_both_protocols_on_offer() {
    let authority = Authority::new();
    let secret = Secret::mounted(&authority.sign(), "");
    let (served, ..) = serve_by(secret.files(false)).await;
    let answer = infer(&served, &authority, None).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains(r#""model_version":"big""#), "{answer}");
    let client = connect(&served, &authority, None).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    // Another authority's server is not this one.
    assert!(infer(&served, &Authority::new(), None).await.is_err());
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_plain_http_is_told_what_to_do() {
    let authority = Authority::new();
    let secret = Secret::mounted(&authority.sign(), "");
    let (served, ..) = serve_by(secret.files(false)).await;
    for begun in ["GET /livez HTTP/1.1\r\nhost: h\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\0"] {
        let mut client = served.connect().await;
        client.write_all(begun.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(
            answer.ends_with(r#"{"error":"this port speaks TLS: ask by https, or with TLS in gRPC"}"#),
            "{answer}"
        );
    }
    assert!(infer(&served, &authority, None).await.is_ok());
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_client_authority_only_its_clients_are_served_and_probes_need_no_certificate() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let secret = Secret::mounted(&authority.sign(), &clients.pem);
    let (served, ..) = serve_by(secret.files(true)).await;
    let answer = infer(&served, &authority, Some(&clients.sign())).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    let asking = |head: &'static str| {
        let (served, authority) = (&served, &authority);
        async move { converse(connect(served, authority, None).await?, head, "").await }
    };
    for head in ["POST /v2/models/m/infer", "GET /v2", "GET /metrics", "POST /v2/repository/models/m/load"] {
        let answer = asking(head).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden"), "{head}: {answer}");
        assert!(answer.contains("show one in the TLS handshake"), "{head}: {answer}");
    }
    for head in ["GET /livez", "GET /readyz"] {
        let answer = asking(head).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{head}: {answer}");
    }
    let grpc = asking(
        "POST /inference.GRPCInferenceService/ServerLive HTTP/1.1\r\ncontent-type: application/grpc\r\nx:",
    );
    let answer = grpc.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("grpc-status: 16"), "{answer}");

    // A certificate of another authority is refused at once, for whatever it asks.
    let stranger = Authority::new().sign();
    let answer = infer(&served, &authority, Some(&stranger)).await;
    assert!(answer.as_ref().is_err(), "{answer:?}");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_taken_and_a_bad_one_leaves_the_last_good_one() {
    let (old, new) = (Authority::new(), Authority::new());
    let secret = Secret::mounted(&old.sign(), &old.pem);
    let (served, tls, service) = serve_by(secret.files(true)).await;
    let mut seen = Ok(tls.first.clone());
    let (old_client, new_client) = (old.sign(), new.sign());
    assert!(infer(&served, &old, Some(&old_client)).await.is_ok());
    // What was connected before stays so.
    let before = connect(&served, &old, Some(&old_client)).await.unwrap();

    let Identity { certificate, key } = new.sign();
    secret.exchange(&certificate, &key, &new.pem);
    tls.look(&mut seen, &service.metrics).await;
    assert!(infer(&served, &new, Some(&new_client)).await.unwrap().starts_with("HTTP/1.1 200 OK"));
    assert!(infer(&served, &old, Some(&old_client)).await.is_err());
    assert!(infer(&served, &new, Some(&old_client)).await.is_err());
    assert!(converse(before, "GET /livez", "").await.unwrap().starts_with("HTTP/1.1 200 OK"));

    let other = new.sign();
    for (certificate, key, client_ca) in [
        ("", key.as_str(), new.pem.as_str()),
        (&certificate, "no key", &new.pem),
        (&certificate, &other.key, &new.pem),
        (&certificate, &key, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        secret.exchange(certificate, key, client_ca);
        // The second look finds nothing new, and says nothing more.
        tls.look(&mut seen, &service.metrics).await;
        tls.look(&mut seen, &service.metrics).await;
        assert!(infer(&served, &new, Some(&new_client)).await.unwrap().starts_with("HTTP/1.1 200 OK"));
    }
    fs::remove_file(secret.0.path().join("..data")).unwrap();
    tls.look(&mut seen, &service.metrics).await;
    assert!(infer(&served, &new, Some(&new_client)).await.is_ok());
    let metrics = service.metrics.text();
    for line in [
        "dnnshifter_certificate_reloads_total{outcome=\"taken\"} 1",
        "dnnshifter_certificate_reloads_total{outcome=\"refused\"} 5",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    served.end().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_say_which_and_why() {
    let authority = Authority::new();
    let (good, other) = (authority.sign(), authority.sign());
    let secret = Secret::mounted(&good, &authority.pem);
    let said = || async { crate::chain::chain(&Tls::load(secret.files(true)).await.err().unwrap()) };
    for (certificate, key, client_ca, expected) in [
        ("", good.key.as_str(), authority.pem.as_str(), "failed to find a certificate in"),
        (&good.certificate, "", &authority.pem, "failed to find a private key in"),
        (&good.certificate, &other.key, &authority.pem, "they must belong together"),
        (&good.certificate, &good.key, "", "failed to find a certificate authority in"),
    ] {
        secret.exchange(certificate, key, client_ca);
        let said = said().await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
    fs::remove_file(secret.0.path().join(KEY)).unwrap();
    assert!(said().await.contains("tls.key: No such file"), "{}", said().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_do_not_end_their_handshake_keep_nobody_out() {
    let authority = Authority::new();
    let secret = Secret::mounted(&authority.sign(), "");
    let (served, ..) = serve_by(secret.files(false)).await;
    let mut idle = Vec::new();
    for count in 0..4 * CONNECTIONS {
        let mut client = served.connect().await;
        if count % 2 == 0 {
            client.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        }
        idle.push(client);
    }
    for _ in 0..10 {
        assert!(infer(&served, &authority, None).await.unwrap().starts_with("HTTP/1.1 200 OK"));
    }
    drop(idle);
    served.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_is_given_up() {
    let authority = Authority::new();
    let secret = Secret::mounted(&authority.sign(), "");
    let (served, ..) = serve_by(secret.files(false)).await;
    let began = tokio::time::Instant::now();
    assert_eq!(first_line(served.connect().await).await, "");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    served.end().await;
}
