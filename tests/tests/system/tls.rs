//! A portfolio that is served by TLS: to everybody who trusts its authority, then only to clients with a certificate.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity, StatusCode};
use serde_json::{Value, json};

use super::{
    manifests,
    scene::{PATIENCE, Scene, words},
    until::{Look, until},
};

const NAME: &str = "fashion";

/// From a Secret that is missing to answers; then with an authority for clients.
pub async fn serves(scene: &Scene) -> Result<()> {
    let authority = Authority::new()?;
    let host = format!("{NAME}.{}.svc", scene.namespace);
    let (certificate, key) = authority.issue(&host)?;
    let mut manifest = manifests::published(&scene.namespace, NAME, &scene.world.artifacts.published);
    manifests::set(&mut manifest, "/spec/serving/tls", json!({"secretName": "server"}));
    scene.apply(&manifest)?;
    until("the missing Secret to be named", PATIENCE, async || {
        let ready = scene.condition(NAME, "Ready").await?;
        let said = words(ready.as_ref());
        Ok(Look::whether(said.contains("names secret server, which does not exist"), || said))
    })
    .await?;
    let secret =
        scene.secret("server", "kubernetes.io/tls", &json!({"tls.crt": certificate, "tls.key": key}));
    scene.apply(&secret)?;
    // Prometheus reads by TLS, too: without a load no node would come to run its largest variant.
    let url = scene.settle(&manifest).await?;
    let address = url.trim_start_matches("http://").parse().context("a Service has an address and a port")?;
    let door = Door { host, address, authority: &authority };
    ensure!(door.ask(None).await? == StatusCode::OK, "who trusts the authority gets no answer");
    let plain = reqwest::get(format!("{url}/v2")).await?.text().await?;
    ensure!(plain.contains("https"), "who asks in plain text is not told how to ask: {plain}");
    only_for_clients(scene, manifest, &door).await
}

/// With an authority for clients: who has no certificate of it is turned away, and probes still pass.
async fn only_for_clients(scene: &Scene, mut manifest: Value, door: &Door<'_>) -> Result<()> {
    let secret = scene.secret("clients", "Opaque", &json!({"ca.crt": door.authority.pem()}));
    scene.apply(&secret)?;
    manifests::set(&mut manifest, "/spec/serving/tls/clientCaSecretName", json!("clients"));
    scene.apply(&manifest)?;
    scene.until_ready(NAME).await?;
    // The old pod may have some answers left to give.
    until("a client without a certificate to be turned away", PATIENCE, async || {
        let status = door.ask(None).await?;
        Ok(Look::whether(status == StatusCode::FORBIDDEN, || status.to_string()))
    })
    .await?;
    let (certificate, key) = door.authority.issue("client")?;
    let identity = Identity::from_pem(format!("{certificate}{key}").as_bytes())?;
    // An old pod that still drains says that it is not ready.
    until("a client with a certificate to be answered", PATIENCE, async || {
        let status = door.ask(Some(identity.clone())).await?;
        Ok(Look::whether(status == StatusCode::OK, || status.to_string()))
    })
    .await?;
    let ready = scene.condition(NAME, "NodesServing").await?;
    ensure!(
        ready.as_ref().is_some_and(|it| it.status == "True"),
        "probes do not pass: {}",
        words(ready.as_ref())
    );
    Ok(())
}

/// The Service, as a client of it sees it.
struct Door<'a> {
    host: String,
    address: SocketAddr,
    authority: &'a Authority,
}

impl Door<'_> {
    /// Asks whether the model is ready, as `identity`.
    async fn ask(&self, identity: Option<Identity>) -> Result<StatusCode> {
        let mut client = Client::builder()
            .resolve(&self.host, self.address)
            .tls_certs_only([Certificate::from_pem(self.authority.pem().as_bytes())?]);
        if let Some(identity) = identity {
            client = client.identity(identity);
        }
        let url = format!("https://{}:{}/v2/models/{NAME}/ready", self.host, self.address.port());
        Ok(client.build()?.get(url).send().await?.status())
    }
}

/// Who signs the server's certificate and the clients'.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key for a name, in PEM.
    fn issue(&self, name: &str) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.0)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}
