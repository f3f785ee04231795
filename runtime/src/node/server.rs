//! An API server for tests: one placement, told as a script of answers.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use dnnshifter_crds::{VariantPlacement, VariantPlacementStatus};
use http::{Method, Request, Response, StatusCode};
use kube::{Api, Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::service_fn;

use super::api::{LONGEST_SILENCE, answering_within};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Nothing, for ever.
    Silence,
    /// This status, with this text.
    Text(StatusCode, String),
    /// The placement with the status that was sent.
    Stored,
}

/// A server that gives the next of its answers to each request, and the last of them for ever; and what it has seen.
#[derive(Clone)]
pub(super) struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    last: Answer,
    requests: Arc<Mutex<Vec<(Method, String)>>>,
    stored: mpsc::UnboundedSender<VariantPlacementStatus>,
}

impl Server {
    /// A server, and where each status can be received that it stores.
    pub(super) fn new(
        answers: impl IntoIterator<Item = Answer>,
        last: Answer,
    ) -> (Self, mpsc::UnboundedReceiver<VariantPlacementStatus>) {
        let (stored, statuses) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(answers.into_iter().collect()));
        (Self { answers, last, requests: Arc::default(), stored }, statuses)
    }

    /// The way to it, with the deadline that a real one has.
    pub(super) fn api(&self) -> Api<VariantPlacement> {
        let server = self.clone();
        let service = service_fn(move |request| server.clone().answer(request));
        Api::namespaced(Client::new(answering_within(LONGEST_SILENCE, service), "ns"), "ns")
    }

    /// The methods and paths so far.
    pub(super) fn requests(&self) -> Vec<(Method, String)> {
        self.requests.lock().clone()
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        self.requests.lock().push((request.method().clone(), request.uri().to_string()));
        let next = self.answers.lock().pop_front();
        match next.unwrap_or(self.last) {
            Answer::Silence => std::future::pending().await,
            Answer::Text(status, text) => {
                let mut response = Response::new(Body::from(text.into_bytes()));
                *response.status_mut() = status;
                Ok(response)
            }
            Answer::Stored => {
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut sent: Value = serde_json::from_slice(&body).unwrap();
                let status = serde_json::from_value(sent["status"].take()).unwrap();
                let answer = VariantPlacement { status: Some(status), ..placement(1) };
                self.stored.send(answer.status.clone().unwrap()).unwrap();
                Ok(Response::new(Body::from(serde_json::to_vec(&answer).unwrap())))
            }
        }
    }
}

impl Answer {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self::Text(StatusCode::OK, text.into())
    }

    /// An error as the API server tells it.
    pub(super) fn error(status: StatusCode) -> Self {
        let code = status.as_u16();
        let text = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Test", "message": "test"});
        Self::Text(status, text.to_string())
    }

    /// A list of these placements.
    pub(super) fn list(placements: &[VariantPlacement]) -> Self {
        let list = json!({"apiVersion": "dnnshifter.io/v1alpha1", "kind": "VariantPlacementList",
            "metadata": {"resourceVersion": "1"}, "items": placements});
        Self::ok(list.to_string())
    }

    /// A watch in which the placement becomes these, one after the other, and which ends then.
    pub(super) fn watch(placements: &[VariantPlacement]) -> Self {
        let event =
            |object: &VariantPlacement| json!({"type": "MODIFIED", "object": object}).to_string() + "\n";
        Self::ok(placements.iter().map(event).collect::<String>())
    }
}

/// A placement of that generation, as a server tells it.
pub(super) fn placement(generation: i64) -> VariantPlacement {
    let placement: Value = json!({
        "apiVersion": "dnnshifter.io/v1alpha1", "kind": "VariantPlacement",
        "metadata": {"name": "p-n", "namespace": "ns", "uid": "u", "resourceVersion": generation.to_string(), "generation": generation},
        "spec": {
            "portfolioName": "p", "nodeName": "n", "deviceClassName": "c", "revision": "r", "templateHash": "t",
            "variants": [{"name": "big", "image": "i", "accuracy": "0.9"}, {"name": "small", "image": "i", "accuracy": "0.8"}],
            "policy": {"latencyObjective": {"milliseconds": 20, "quantile": "0.99"},
                "behavior": {"stepDown": {"stabilizationWindowSeconds": 0}, "stepUp": {"stabilizationWindowSeconds": 60}}},
        },
    });
    serde_json::from_value(placement).unwrap()
}
