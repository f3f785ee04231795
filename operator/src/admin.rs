//! `/livez`, `/readyz` and `/metrics`: for the kubelet and for Prometheus. No control over anything.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// What the probes answer from.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    ready: Arc<AtomicBool>,
    metrics: Metrics,
}

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server failed.
    #[error("failed to serve /livez, /readyz and /metrics")]
    Serve(#[source] std::io::Error),
}

impl Health {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { ready: Arc::default(), metrics }
    }

    /// From now on `/readyz` says yes: the API server answers, and its objects are known.
    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Release);
    }
}

/// Serves until `shutdown`.
pub(crate) async fn serve(
    address: std::net::SocketAddr,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), AdminError> {
    let listener =
        TcpListener::bind(address).await.map_err(|source| AdminError::Listen { address, source })?;
    axum::serve(listener, router(health))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(AdminError::Serve)
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(|| async { StatusCode::OK }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> StatusCode {
    if health.ready.load(Ordering::Acquire) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn metrics(State(health): State<Health>) -> Result<Vec<u8>, StatusCode> {
    health.metrics.text().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
