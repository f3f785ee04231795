//! What the operator says of itself: metrics, and the set-up of its log. Labels are bounded: no names of objects.

use std::{future::Future, time::Duration};

use prometheus::{
    Encoder, Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// The operator's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Reconciles, by `controller` and `outcome` (`ok`, `error`, `deadline`).
    pub(crate) reconciles: IntCounterVec,
    /// Duration of reconciles, by `controller`.
    pub(crate) reconcile_seconds: HistogramVec,
    /// Errors, by `controller` and `kind`.
    pub(crate) errors: IntCounterVec,
    /// Errors of watches, by `kind` of the watched objects.
    pub(crate) watch_errors: IntCounterVec,
    /// Changes of a decision, by `direction` (`up`, `down`, `first`, `same`).
    pub(crate) switches: IntCounterVec,
    /// Decisions that could not be written, by `reason` (`deadline`, `error`).
    pub(crate) dropped_decisions: IntCounterVec,
    /// Queries of Prometheus, by `outcome` (`ok`, `error`).
    pub(crate) load_queries: IntCounterVec,
    /// Duration of a whole round of decisions for one portfolio, without the query, by nothing.
    pub(crate) decision_seconds: HistogramVec,
    /// 1 while this replica leads.
    pub(crate) leader: IntGauge,
}

const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

impl Metrics {
    /// Registers everything.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("dnnshifter_operator".to_owned()), None)?;
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let vector = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vector.clone()))?;
            Ok(vector)
        };
        let histogram =
            |name: &str, help: &str, labels: &[&str]| -> Result<HistogramVec, prometheus::Error> {
                let vector =
                    HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)?;
                registry.register(Box::new(vector.clone()))?;
                Ok(vector)
            };
        let leader = IntGauge::new("leader", "1 while this replica leads.")?;
        registry.register(Box::new(leader.clone()))?;
        let build = Gauge::with_opts(
            Opts::new("build_info", "Always 1; the labels say what was built.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1.0);
        registry.register(Box::new(build))?;
        Ok(Self {
            reconciles: counter("reconciles_total", "Reconciles.", &["controller", "outcome"])?,
            reconcile_seconds: histogram(
                "reconcile_duration_seconds",
                "Duration of reconciles.",
                &["controller"],
            )?,
            errors: counter("errors_total", "Errors of reconciles, by kind.", &["controller", "kind"])?,
            watch_errors: counter("watch_errors_total", "Errors of watches.", &["kind"])?,
            switches: counter("switches_total", "Decisions that were changed.", &["direction"])?,
            dropped_decisions: counter(
                "dropped_decisions_total",
                "Decisions that could not be written, and are made anew in the next round.",
                &["reason"],
            )?,
            load_queries: counter("load_queries_total", "Queries of Prometheus for the load.", &["outcome"])?,
            decision_seconds: histogram(
                "decision_duration_seconds",
                "Choosing for all nodes of a portfolio.",
                &[],
            )?,
            leader,
            registry,
        })
    }

    /// All metrics in the text format of Prometheus.
    pub(crate) fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Writes the log as one JSON object a line to standard error; the environment variable `RUST_LOG` filters it (default `info`).
pub fn init_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
}

/// An error with all its causes on one line, for logs and conditions.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// How long a future took, beside its output.
pub(crate) async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let started = tokio::time::Instant::now();
    let output = future.await;
    (output, started.elapsed())
}
