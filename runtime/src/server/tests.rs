//! The protocol as clients meet it: good requests, and every kind of bad one.

mod failing;
mod grpc;
mod hostile;
mod http2;
mod loading;
mod tls;
mod trace;
mod unload;
mod versions;
mod waiting;
mod wire;

use std::time::{Duration, Instant};

use axum::{
    body::{Body, to_bytes},
    http::{
        Method, Request, StatusCode,
        header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH},
    },
};
use futures::FutureExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    protocol::{JSON_LENGTH_HEADER, largest_body_bytes},
    testing::{Constant, LONG, name, names, resident, resident_on, service, service_at_once, wanted},
};

const INFER: &str = "/v2/models/m/infer";

struct Reply {
    status: StatusCode,
    json_length: Option<usize>,
    closes: bool,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

async fn ask(service: &Arc<Service>, method: Method, path: &str, body: impl Into<Body>) -> Reply {
    send(service, Request::builder().method(method).uri(path).body(body.into()).unwrap()).await
}

async fn send(service: &Arc<Service>, request: Request<Body>) -> Reply {
    let response = router(Arc::clone(service)).oneshot(request).await.unwrap();
    let status = response.status();
    let json_length =
        response.headers().get(JSON_LENGTH_HEADER).map(|value| value.to_str().unwrap().parse().unwrap());
    let closes = response.headers().get(CONNECTION).is_some_and(|value| value == "close");
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
    Reply { status, json_length, closes, body }
}

fn one_item() -> String {
    json!({"inputs": [{"name": "image", "shape": [1, 2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]})
        .to_string()
}

fn two_variants(chooser: Chooser) -> Arc<Service> {
    service(chooser, vec![resident("big", 1.0), resident("small", 2.0)])
}

#[tokio::test]
async fn an_inference_is_answered_by_the_variant_that_serves() {
    let service = two_variants(Chooser::Clients);
    for path in [INFER, "/v2/models/m/versions/big/infer"] {
        let reply = ask(&service, Method::POST, path, one_item()).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        let expected = json!({"model_name": "m", "model_version": "big", "parameters": {"variant": "big"},
            "outputs": [{"name": "scores", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 1.0, 1.0]}]});
        assert_eq!(reply.json(), expected);
    }
}

#[tokio::test]
async fn raw_tensors_go_both_ways() {
    let service = two_variants(Chooser::Clients);
    let json = json!({"inputs": [{"name": "image", "shape": [2, 2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 32}}],
        "outputs": [{"name": "scores", "parameters": {"binary_data": true}}]})
    .to_string();
    let body = [json.as_bytes(), &[0; 32]].concat();
    let request =
        Request::post(INFER).header("Inference-Header-Content-Length", json.len()).body(body.into());
    let reply = send(&service, request.unwrap()).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.body[reply.json_length.unwrap()..], 1.0_f32.to_le_bytes().repeat(6));
}

#[tokio::test]
async fn what_json_cannot_write_is_answered_raw_only() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big")]);
    engine.overflow();
    let reply = ask(&service, Method::POST, INFER, one_item()).await;
    assert_eq!(reply.status, StatusCode::NOT_ACCEPTABLE);
    assert!(reply.text().contains("ask for raw values"), "{}", reply.text());
    let metrics = service.metrics.text();
    for line in [
        "dnnshifter_requests_total{outcome=\"invalid\"} 1",
        "dnnshifter_requests_total{outcome=\"answered\"} 0",
        "dnnshifter_request_duration_seconds_count 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let mut request: Value = serde_json::from_str(&one_item()).unwrap();
    request["parameters"] = json!({"binary_data_output": true});
    let reply = ask(&service, Method::POST, INFER, request.to_string()).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.body[reply.json_length.unwrap()..], f32::INFINITY.to_le_bytes().repeat(3));
}

#[tokio::test]
async fn requests_that_cannot_be_answered_get_a_clear_4xx() {
    let service = two_variants(Chooser::Placement);
    let item = one_item();
    let cases: [(Method, &str, &str, u16, &str); 12] = [
        (
            Method::POST,
            "/v2/models/x/infer",
            &item,
            404,
            "there is no model \"x\" here: this server serves \"m\"",
        ),
        (
            Method::POST,
            "/v2/models/m/versions/small/infer",
            &item,
            404,
            "\"small\" does not serve now, \"big\" does",
        ),
        (Method::POST, INFER, "", 400, "not the JSON of an inference request"),
        (Method::POST, INFER, "\u{0}", 400, "not the JSON of an inference request"),
        (Method::POST, INFER, r#"{"inputs":[]}"#, 400, "has 0 inputs"),
        (Method::GET, INFER, "", 405, "/v2/models/m/infer cannot be asked for by GET"),
        (Method::GET, "/v3", "", 404, "there is nothing at /v3"),
        (Method::GET, "/v2/models/x", "", 404, "there is no model \"x\""),
        (Method::GET, "/v2/models/m/versions/x", "", 404, "no version \"x\""),
        (Method::GET, "/v2/models/x/ready", "", 404, "there is no model \"x\""),
        (Method::POST, "/v2/repository/models/x/load", "{}", 404, "there is no model \"x\""),
        (
            Method::POST,
            "/v2/repository/models/m/load",
            "{}",
            403,
            "set spec.switching.pin of the ModelPortfolio",
        ),
    ];
    for (method, path, body, status, expected) in cases {
        let reply = ask(&service, method, path, body.to_owned()).await;
        assert_eq!(reply.status.as_u16(), status, "{path} {body}: {}", reply.text());
        let said = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(expected), "{path} {body}: {said}");
    }
}

#[tokio::test]
async fn readiness_is_that_a_variant_answers_and_the_process_stays() {
    let empty = service(Chooser::Clients, Vec::new());
    let serving = two_variants(Chooser::Clients);
    for path in ["/readyz", "/v2/health/ready", "/v2/models/m/ready"] {
        assert_eq!(ask(&empty, Method::GET, path, "").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&serving, Method::GET, path, "").await.status, StatusCode::OK);
    }
    assert_eq!(ask(&empty, Method::POST, INFER, one_item()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(&empty, Method::GET, "/livez", "").await.status, StatusCode::OK);
    assert!(!ask(&serving, Method::POST, INFER, one_item()).await.closes);
    serving.draining.store(true, Ordering::Release);
    assert_eq!(ask(&serving, Method::GET, "/readyz", "").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let reply = ask(&serving, Method::POST, INFER, one_item()).await;
    assert_eq!((reply.status, reply.closes), (StatusCode::OK, true));
}

#[tokio::test]
async fn the_readiness_of_a_model_names_it() {
    let service = two_variants(Chooser::Clients);
    for (path, status, ready) in [
        ("/v2/models/m/ready", 200, true),
        ("/v2/models/m/versions/big/ready", 200, true),
        ("/v2/models/m/versions/small/ready", 503, false),
    ] {
        let reply = ask(&service, Method::GET, path, "").await;
        assert_eq!((reply.status.as_u16(), reply.json()), (status, json!({"name": "m", "ready": ready})));
    }
}

#[tokio::test]
async fn the_server_describes_itself_with_and_without_a_slash() {
    let service = two_variants(Chooser::Clients);
    for path in ["/v2", "/v2/"] {
        let reply = ask(&service, Method::GET, path, "").await;
        assert_eq!(reply.json()["name"], "dnnshifter-runtime", "{path}");
    }
}

#[tokio::test]
async fn the_model_describes_its_tensors_and_variants() {
    let reply = ask(&two_variants(Chooser::Clients), Method::GET, "/v2/models/m", "").await;
    let expected = json!({"name": "m", "versions": ["big", "small"], "platform": "onnx_onnxv1",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 2, 2]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}]});
    assert_eq!(reply.json(), expected);
}

#[tokio::test]
async fn clients_switch_by_the_model_repository() {
    let service = two_variants(Chooser::Clients);
    let load = |version: &str| json!({"parameters": {"version": version}}).to_string();
    let path = "/v2/repository/models/m/load";
    assert_eq!(ask(&service, Method::POST, path, load("small")).await.status, StatusCode::OK);
    assert_eq!(ask(&service, Method::POST, INFER, one_item()).await.json()["model_version"], "small");
    let index = ask(&service, Method::POST, "/v2/repository/index", "").await.json();
    assert_eq!(index[1], json!({"name": "m", "version": "small", "state": "READY", "reason": "serves"}));
    let by_config = json!({"parameters": {"config": "{\"version\": \"small\"}"}}).to_string();
    assert_eq!(ask(&service, Method::POST, path, by_config).await.status, StatusCode::OK);
    assert_eq!(ask(&service, Method::POST, path, load("x")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&service, Method::POST, path, "{}").await.status, StatusCode::BAD_REQUEST);
    let swaps = ask(&service, Method::GET, "/swaps", "").await.json();
    assert_eq!((&swaps["count"], &swaps["last"]["reason"]), (&json!(1), &json!("Requested")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_fail_no_request_and_mix_no_variants() {
    let service = two_variants(Chooser::Clients);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let service = Arc::clone(&service);
            tokio::spawn(async move {
                for _ in 0..250 {
                    let reply = ask(&service, Method::POST, INFER, one_item()).await;
                    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
                    let answer = reply.json();
                    let value = if answer["model_version"] == "big" { 1.0 } else { 2.0 };
                    assert_eq!(answer["outputs"][0]["data"], json!([value, value, value]));
                }
            })
        })
        .collect();
    let order = names(&["big", "small"]);
    let mut swaps = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        let variant = if swaps % 2 == 0 { "small" } else { "big" };
        service.switch.direct(&order, Some(wanted(variant)), Instant::now());
        swaps += 1;
        // Every dispatch after the swap is on the new variant.
        assert_eq!(ask(&service, Method::POST, INFER, one_item()).await.json()["model_version"], variant);
    }
    for client in clients {
        client.await.unwrap();
    }
    assert!(swaps > 10, "{swaps}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_late_is_shed_at_once_and_counts_as_offered() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big").taking(LONG)]);
    service.lane.keep_within(Some(LONG * 5 / 2));
    engine.shut();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let service = Arc::clone(&service);
            tokio::spawn(async move { ask(&service, Method::POST, INFER, one_item()).await.status })
        })
        .collect();
    while service.lane.length() < 2 {
        tokio::task::yield_now().await;
    }
    let shed = ask(&service, Method::POST, INFER, one_item()).await;
    assert_eq!(shed.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(shed.text().contains("overloaded: the answer would take"), "{}", shed.text());
    engine.open();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), StatusCode::OK);
    }
    let metrics = ask(&service, Method::GET, "/metrics", "").await.text();
    for line in [
        "dnnshifter_requests_total{outcome=\"shed\"} 1",
        "dnnshifter_requests_total{outcome=\"answered\"} 2",
        "dnnshifter_shed_items_total 1",
        "dnnshifter_overload_items_total 1",
        "dnnshifter_queue_duration_seconds_count 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(service.load.items_per_second(service.clock.now()) > 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_client_went_away_is_not_computed() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big")]);
    let before = engine.runs();
    engine.shut();
    let spawn = || {
        let service = Arc::clone(&service);
        tokio::spawn(async move { ask(&service, Method::POST, INFER, one_item()).await.status })
    };
    let first = spawn();
    // An odd number of beats: an inference has begun.
    while service.lane.beats().is_multiple_of(2) {
        tokio::task::yield_now().await;
    }
    let gone = spawn();
    while service.lane.length() < 2 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    engine.open();
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    assert_eq!(ask(&service, Method::POST, INFER, one_item()).await.status, StatusCode::OK);
    assert_eq!(engine.runs() - before, 2);
}

#[tokio::test]
async fn the_load_is_reported_before_the_first_request() {
    let metrics = ask(&two_variants(Chooser::Clients), Method::GET, "/metrics", "").await.text();
    assert!(
        metrics.contains(
            r#"dnnshifter_offered_items_per_second{node="",portfolio="",portfolio_namespace=""} 0"#
        ),
        "{metrics}"
    );
    assert!(metrics.contains("dnnshifter_requests_total{outcome=\"failed\"} 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_protocol_costs_can_be_measured() {
    let tokio = tokio::runtime::Handle::current();
    let cost =
        tokio::task::spawn_blocking(move || cost::measure(&tokio, &resident("big", 1.0))).await.unwrap();
    assert!(cost.is_some());
}
