//! A client of the Open Inference Protocol that costs little itself: connections are kept, and every request is made once.
//!
//! All servers are asked by this client. It waits by polling, on a core of its own, so that waking a sleeping client does not
//! count as the server's latency.

mod grpc;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, client::conn, header::HOST};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};

use super::variants::{INPUT_NAME, INPUT_SHAPE};
use crate::load::Outcome;

/// A request without an answer for so long has failed.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// REST with binary tensors, both ways.
    Raw,
    /// REST with numbers as text.
    Json,
    /// gRPC.
    Grpc,
}

/// A client of one model of one server.
pub(super) struct Client {
    address: SocketAddr,
    request: Prepared,
    connections: Connections,
}

/// What is sent each time.
struct Prepared {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

enum Connections {
    /// Those that are idle; each carries one request at a time.
    Http1(Mutex<Vec<conn::http1::SendRequest<Full<Bytes>>>>),
    /// One for all requests.
    Http2(tokio::sync::Mutex<Option<conn::http2::SendRequest<Full<Bytes>>>>),
}

impl Client {
    /// A client that sends a grey image to `model` at `address`.
    pub(super) fn new(address: SocketAddr, model: &str, form: Form) -> Arc<Self> {
        let values = vec![super::sessions::VALUE; INPUT_SHAPE.iter().product::<u64>() as usize];
        let (request, connections) = match form {
            Form::Raw => (raw(model, &values), Connections::Http1(Mutex::default())),
            Form::Json => (json(model, &values), Connections::Http1(Mutex::default())),
            Form::Grpc => (grpc::request(model, &values), Connections::Http2(tokio::sync::Mutex::default())),
        };
        Arc::new(Self { address, request, connections })
    }

    /// Sends a request, and reads its answer.
    pub(super) async fn ask(&self) -> Result<Outcome> {
        timeout(LONGEST_WAIT, self.exchange()).await.context("no answer in time")?
    }

    async fn exchange(&self) -> Result<Outcome> {
        match &self.connections {
            Connections::Http1(idle) => {
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut connection = match kept.filter(|connection| !connection.is_closed()) {
                    Some(connection) => connection,
                    None => self.connect().await?,
                };
                connection.ready().await?;
                let outcome = outcome(connection.send_request(self.request.build(self.address)?).await?);
                let outcome = outcome.await?;
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                Ok(outcome)
            }
            Connections::Http2(shared) => {
                let mut connection = {
                    let mut shared = shared.lock().await;
                    match shared.clone().filter(|connection| !connection.is_closed()) {
                        Some(connection) => connection,
                        None => shared.insert(self.connect_http2().await?).clone(),
                    }
                };
                connection.ready().await?;
                grpc::outcome(connection.send_request(self.request.build(self.address)?).await?).await
            }
        }
    }

    async fn stream(&self) -> Result<TokioIo<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(TokioIo::new(stream))
    }

    async fn connect(&self) -> Result<conn::http1::SendRequest<Full<Bytes>>> {
        let (sender, connection) = conn::http1::handshake(self.stream().await?).await?;
        // It ends with the sender, whose requests then say why.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    async fn connect_http2(&self) -> Result<conn::http2::SendRequest<Full<Bytes>>> {
        let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), self.stream().await?).await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

impl Prepared {
    fn build(&self, address: SocketAddr) -> Result<Request<Full<Bytes>>> {
        let uri = if self.path.starts_with("/v2") {
            self.path.clone()
        } else {
            format!("http://{address}{}", self.path)
        };
        let mut request = Request::builder().method(Method::POST).uri(uri);
        if self.path.starts_with("/v2") {
            request = request.header(HOST, address.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        Ok(request.body(Full::new(self.body.clone()))?)
    }
}

/// What became of a request over REST. The body is read to its end.
async fn outcome(response: Response<Incoming>) -> Result<Outcome> {
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Ok(Outcome::Shed);
    }
    ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(Outcome::Answered)
}

fn raw(model: &str, values: &[f32]) -> Prepared {
    let input = serde_json::json!({"name": INPUT_NAME, "shape": shape(), "datatype": "FP32",
        "parameters": {"binary_data_size": values.len() * 4}});
    let head = serde_json::json!({"inputs": [input], "parameters": {"binary_data_output": true}}).to_string();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let headers = vec![
        ("content-type", "application/octet-stream".to_owned()),
        ("inference-header-content-length", head.len().to_string()),
    ];
    Prepared { path: path(model), headers, body: [head.into_bytes(), raw].concat().into() }
}

fn json(model: &str, values: &[f32]) -> Prepared {
    let input = serde_json::json!({"name": INPUT_NAME, "shape": shape(), "datatype": "FP32", "data": values});
    let body = serde_json::json!({"inputs": [input]}).to_string();
    let headers = vec![("content-type", "application/json".to_owned())];
    Prepared { path: path(model), headers, body: body.into() }
}

fn path(model: &str) -> String {
    format!("/v2/models/{model}/infer")
}

/// Of a batch of one.
fn shape() -> Vec<u64> {
    std::iter::once(1).chain(INPUT_SHAPE).collect()
}
