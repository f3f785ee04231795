//! A Prometheus behind TLS, in this process: what it is asked with, and what becomes of its answers.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header::LOCATION},
    response::IntoResponse,
    routing::get,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::*;
use crate::fake::{Reply, api_server};

const TOKEN: &str = "t0ken";

/// A Prometheus with a certificate of its own; it ends when it is dropped.
struct TlsPrometheus {
    url: String,
    certificate: String,
    asked_with: Arc<Mutex<Vec<Option<String>>>>,
    _server: JoinSet<io::Result<()>>,
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Who does not trust the certificate hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl TlsPrometheus {
    /// One that takes the token [`TOKEN`], knows the load of one node, and sends `/elsewhere` elsewhere.
    async fn start() -> Self {
        // Another test of this process may have been faster.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let asked_with = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new()
            .route("/api/v1/query", get(answer))
            .route(
                "/elsewhere/api/v1/query",
                get(|| async { (StatusCode::FOUND, [(LOCATION, "/api/v1/query")]) }),
            )
            .with_state(Arc::clone(&asked_with));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        Self { url, certificate: cert.pem(), asked_with, _server: server }
    }

    /// What it is asked with: the Secrets `prometheus` (with a token, which may be sent to `allowed`) and `ca`.
    async fn loads(
        &self,
        prometheus: Value,
        allowed: &str,
        token: &str,
    ) -> Result<BTreeMap<String, f64>, LoadError> {
        let base64 = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
        let secret = json!({
            "metadata": {"name": "prometheus", "annotations": {"dnnshifter.io/prometheus-url": allowed}},
            "type": "Opaque", "data": {"token": base64(token)},
        });
        let authority = json!({"metadata": {"name": "ca"}, "data": {"ca.crt": base64(&self.certificate)}});
        let (client, _requests) = api_server(move |request, _| match request.path.as_str() {
            "/api/v1/namespaces/shop/secrets/prometheus" => Reply::Ok(secret.clone()),
            "/api/v1/namespaces/shop/secrets/ca" => Reply::Ok(authority.clone()),
            _ => Reply::Fails(404),
        });
        let prometheus: Prometheus = serde_json::from_value(prometheus).unwrap();
        let question = Question {
            namespace: "shop",
            portfolio: "clothes",
            prometheus: &prometheus,
            default_url: Some(&self.url),
        };
        LoadSource::default().loads(&client, question).await
    }

    fn asked_with(&self) -> Vec<Option<String>> {
        self.asked_with.lock().unwrap().clone()
    }
}

async fn answer(
    State(asked_with): State<Arc<Mutex<Vec<Option<String>>>>>,
    headers: HeaderMap,
) -> axum::response::Response {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    asked_with.lock().unwrap().push(authorization.clone());
    if authorization.as_deref() != Some("Bearer t0ken") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let series = |part: &str, value: &str| json!({"metric": {"node": "edge-1", "dnnshifter_part": part}, "value": [1.0, value]});
    let result = [series("value", "12.5"), series("age", "1")];
    axum::Json(json!({"status": "success", "data": {"resultType": "vector", "result": result}}))
        .into_response()
}

fn with_both() -> Value {
    json!({"authorizationSecretName": "prometheus", "caSecretName": "ca"})
}

#[tokio::test]
async fn prometheus_is_asked_with_the_token_over_the_tls_that_the_secrets_say() {
    let prometheus = TlsPrometheus::start().await;
    let loads = prometheus.loads(with_both(), &prometheus.url, TOKEN).await.unwrap();
    assert_eq!(loads, BTreeMap::from([("edge-1".to_owned(), 12.5)]));
    assert_eq!(prometheus.asked_with(), [Some("Bearer t0ken".to_owned())]);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent() {
    let prometheus = TlsPrometheus::start().await;
    let only_token = json!({"authorizationSecretName": "prometheus"});
    let error = prometheus.loads(only_token, &prometheus.url, TOKEN).await.unwrap_err();
    assert!(matches!(error, LoadError::Request(_)), "{error}");
    assert!(prometheus.asked_with().is_empty());
}

#[tokio::test]
async fn a_secret_that_does_not_name_the_address_sends_nothing_there() {
    let prometheus = TlsPrometheus::start().await;
    let error = prometheus.loads(with_both(), "https://prometheus.monitoring", TOKEN).await.unwrap_err();
    assert!(matches!(error, LoadError::Credentials(CredentialsError::NotAllowed { .. })), "{error}");
    assert!(prometheus.asked_with().is_empty());
}

#[tokio::test]
async fn a_refused_token_and_a_redirection_say_how_to_mend_them() {
    let prometheus = TlsPrometheus::start().await;
    let error = prometheus.loads(with_both(), &prometheus.url, "stale").await.unwrap_err();
    assert!(error.to_string().contains("authorizationSecretName"), "{error}");
    let moved = format!("{}/elsewhere", prometheus.url);
    let mut elsewhere = with_both();
    elsewhere["url"] = json!(moved);
    let asked = prometheus.asked_with().len();
    let error = prometheus.loads(elsewhere, &moved, TOKEN).await.unwrap_err();
    assert!(matches!(error, LoadError::Redirected { status: StatusCode::FOUND }), "{error}");
    assert_eq!(prometheus.asked_with().len(), asked);
}

#[tokio::test]
async fn an_answer_without_end_is_refused() {
    let answered = async |bytes: usize| body(http::Response::new(vec![b' '; bytes]).into()).await;
    assert_eq!(answered(LONGEST_ANSWER).await.unwrap().len(), LONGEST_ANSWER);
    let error = answered(LONGEST_ANSWER + 1).await.unwrap_err();
    assert!(error.to_string().contains("longer than 4 MiB"), "{error}");
}
