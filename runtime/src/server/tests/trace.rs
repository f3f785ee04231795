//! Requests that are part of a trace: what is logged for them names it.

use std::{io, sync::LazyLock};

use parking_lot::Mutex;
use tracing::{Dispatch, Level, subscriber::DefaultGuard};

use super::*;

const TRACE_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// While there is but one subscriber, whoever logs something first is asked whether its own thread wants it, for all threads and for good:
/// that may be another test's, which has none (`tracing-core`, `callsite.rs`, `Rebuilder::JustOne`). So there are always two.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| {
    Dispatch::new(tracing_subscriber::fmt().with_max_level(Level::ERROR).with_writer(io::sink).finish())
});

/// A log in memory, of this thread, in JSON as a node writes it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Everything of this level or worse is written from now on, until the guard is dropped.
    fn begin(&self, level: Level) -> DefaultGuard {
        LazyLock::force(&SECOND);
        let log = self.clone();
        let logs = tracing_subscriber::fmt().with_max_level(level).with_writer(move || log.clone());
        tracing::subscriber::set_default(logs.json().flatten_event(true).with_span_list(false).finish())
    }

    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn traced(request: http::request::Builder) -> http::request::Builder {
    request.header("traceparent", TRACE_PARENT).header("tracestate", "vendor=1")
}

fn expect_span(line: &Value) {
    let expected = json!({"name": "request", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "parent_id": "00f067aa0ba902b7",
        "sampled": true, "tracestate": "vendor=1"});
    assert_eq!(line["span"], expected, "{line}");
}

#[tokio::test]
async fn what_is_logged_for_a_request_names_its_trace_over_rest_and_grpc() {
    let service = two_variants(Chooser::Clients);
    let log = Log::default();
    let guard = log.begin(Level::DEBUG);
    let rest = traced(Request::post(INFER)).body(one_item().into()).unwrap();
    assert_eq!(send(&service, rest).await.status, StatusCode::OK);
    let grpc = traced(Request::post("/inference.GRPCInferenceService/ModelInfer"))
        .header("content-type", "application/grpc")
        .body(Body::from(vec![0; 5]))
        .unwrap();
    assert_eq!(send(&service, grpc).await.status, StatusCode::OK);
    assert_eq!(ask(&service, Method::POST, INFER, one_item()).await.status, StatusCode::OK);
    drop(guard);
    let lines = log.lines();
    let ended: Vec<_> = lines.iter().filter(|line| line["message"] == "a request ended").collect();
    let [rest, grpc, untraced] = ended[..] else { panic!("{lines:?}") };
    assert_eq!((&rest["outcome"], &grpc["outcome"]), (&json!("answered"), &json!("invalid")));
    expect_span(rest);
    expect_span(grpc);
    assert!(untraced.get("span").is_none(), "{untraced}");
}

#[tokio::test]
async fn an_error_names_its_trace_even_where_only_errors_are_logged() {
    let failing = || async { tracing::error!("it went wrong") };
    let router =
        Router::new().route("/", get(failing)).layer(middleware::from_fn(super::super::trace::follow));
    let log = Log::default();
    let guard = log.begin(Level::ERROR);
    router.oneshot(traced(Request::get("/")).body(Body::empty()).unwrap()).await.unwrap();
    drop(guard);
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    expect_span(&lines[0]);
}

#[tokio::test]
async fn requests_that_are_answered_are_not_logged() {
    let service = two_variants(Chooser::Clients);
    let log = Log::default();
    let guard = log.begin(Level::INFO);
    let request = traced(Request::post(INFER)).body(one_item().into()).unwrap();
    assert_eq!(send(&service, request).await.status, StatusCode::OK);
    drop(guard);
    assert_eq!(log.lines(), Vec::<Value>::new());
}
