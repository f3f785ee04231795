//! A Prometheus that can be told to lie: it passes queries on to the real one, and changes the answers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use dnnshifter_cluster::{HUB_ADDRESS, PROMETHEUS_ADDRESS};
use serde_json::{Value, json};

/// As much of a query as anybody asks.
const LONGEST_QUERY: usize = 1 << 20;

/// A server on the hub that pods reach.
pub struct FakePrometheus {
    /// Where it answers.
    pub url: String,
    lies: Arc<AtomicBool>,
}

impl FakePrometheus {
    /// Starts it; it tells the truth until it is told otherwise, and ends with the scenario's runtime.
    pub async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind((HUB_ADDRESS, 0)).await.context("failed to listen")?;
        let address: SocketAddr = listener.local_addr()?;
        let lies = Arc::new(AtomicBool::new(false));
        let routes = Router::new().fallback(answer).with_state(lies.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { url: format!("http://{address}"), lies })
    }

    /// From now on every value is NaN, or is the truth again.
    pub fn lie(&self, lies: bool) {
        self.lies.store(lies, Ordering::Relaxed);
    }
}

async fn answer(State(lies): State<Arc<AtomicBool>>, request: Request) -> Response {
    match pass_on(request).await {
        Ok(mut truth) => {
            if lies.load(Ordering::Relaxed) {
                let samples = truth.pointer_mut("/data/result").and_then(Value::as_array_mut);
                for value in samples.into_iter().flatten().filter_map(|sample| sample.pointer_mut("/value/1"))
                {
                    *value = json!("NaN");
                }
            }
            ([(CONTENT_TYPE, "application/json")], truth.to_string()).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn pass_on(request: Request) -> Result<Value> {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, LONGEST_QUERY).await?;
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let mut question = reqwest::Client::new()
        .request(parts.method, format!("{PROMETHEUS_ADDRESS}{path}"))
        .body(body.to_vec());
    if let Some(type_) = parts.headers.get(CONTENT_TYPE) {
        question = question.header(CONTENT_TYPE, type_);
    }
    let text = question.send().await?.text().await?;
    serde_json::from_str(&text).with_context(|| format!("Prometheus answered {text}"))
}
