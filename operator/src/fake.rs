//! An API server for tests: every request is recorded, and answered by a closure, or never.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::{Client, client::Body};
use serde_json::Value;

/// A request as the API server saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// What the API server answers.
pub(crate) enum Reply {
    Ok(Value),
    /// A status of Kubernetes with this code.
    Fails(u16),
    /// Nothing, ever.
    Silence,
}

/// All requests so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Arc<Mutex<Vec<Recorded>>>);

impl Requests {
    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn of(&self, method: &Method) -> Vec<Recorded> {
        self.all().into_iter().filter(|request| request.method == *method).collect()
    }
}

/// A client whose requests are answered by `answer`, which is told how many requests came before.
pub(crate) fn api_server(
    answer: impl Fn(&Recorded, usize) -> Reply + Send + Sync + 'static,
) -> (Client, Requests) {
    let requests = Requests::default();
    let (recorded, answer) = (requests.clone(), Arc::new(answer));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (recorded, answer) = (recorded.clone(), Arc::clone(&answer));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let request = Recorded {
                method: parts.method,
                path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let before = {
                let mut recorded = recorded.0.lock().unwrap();
                recorded.push(request.clone());
                recorded.len() - 1
            };
            let (code, body) = match answer(&request, before) {
                Reply::Ok(body) => (200, body),
                Reply::Fails(code) => (code, status(code)),
                Reply::Silence => std::future::pending().await,
            };
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(service, "default"), requests)
}

fn status(code: u16) -> Value {
    serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": if code == 409 { "Conflict" } else { "Forbidden" }, "message": "as the test wants",
    })
}
