//! A registry that fails in the middle: whenever it does, nothing that is half published has the portfolio's name.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::Response,
};

use super::*;

/// What stands between a publisher and its registry, and lets so many writes through.
#[derive(Clone)]
struct Proxy {
    registry: String,
    writes_left: Arc<AtomicUsize>,
    client: reqwest::Client,
}

impl Proxy {
    /// A proxy of `server`, and a publisher that knows only the proxy.
    async fn before(server: &TestRegistry, repository: &str, writes: usize) -> (Self, Publisher) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
        let proxy = Self { registry: server.address.clone(), writes_left: Arc::new(writes.into()), client };
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Router::new().fallback(forward).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, service).await });
        let publisher = Publisher::new(Target {
            repository: &format!("{address}/{repository}"),
            runtime_image: &format!("{address}/dnnshifter/runtime:1"),
            plain_http: true,
            plain_http_registries: &[],
            credentials: None,
        });
        (proxy, publisher.unwrap())
    }
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    let is_write = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    let let_through = |left: usize| left.checked_sub(1);
    if is_write && proxy.writes_left.fetch_update(SeqCst, SeqCst, let_through).is_err() {
        // Its own fault, but none that passes by itself: a client need not try again.
        return Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE).body(Body::empty()).unwrap();
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let url = format!("http://{}{}", proxy.registry, parts.uri.path_and_query().unwrap());
    let sent =
        proxy.client.request(parts.method, url).headers(parts.headers).body(body).send().await.unwrap();
    let mut answer = Response::builder().status(sent.status());
    answer.headers_mut().unwrap().extend(sent.headers().clone());
    answer.body(Body::from(sent.bytes().await.unwrap())).unwrap()
}

#[tokio::test]
async fn a_registry_that_fails_at_any_write_has_no_portfolio() {
    const MANY: usize = 1000;
    let server = TestRegistry::start();
    put_runtime(&server.publisher("team/a")).await;
    let variants = [variant("small", "0.8"), variant("large", "0.9")];
    let (proxy, publisher) = Proxy::before(&server, "team/whole", MANY).await;
    publisher.publish("r1", &variants).await.unwrap();
    let writes = MANY - proxy.writes_left.load(SeqCst);
    assert!(writes > 6, "{writes}");
    for allowed in 0..writes {
        let repository = format!("team/after{allowed}");
        let (_, publisher) = Proxy::before(&server, &repository, allowed).await;
        let failed = publisher.publish("r1", &variants).await.unwrap_err();
        assert!(failed.to_string().contains(&repository), "{failed}");
        assert_eq!(server.publisher(&repository).published("r1").await.unwrap(), None, "after {allowed}");
    }
}
