//! The metrics of the runtime, by the conventions of Prometheus. Labels are bounded: variants (at most 12), and fixed words.

mod maker;
mod outcome;
mod profile;
mod reasons;

use std::{sync::Arc, time::Duration};

use dnnshifter_portfolio::Moment;
use parking_lot::Mutex;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result, TextEncoder,
};

pub(crate) use self::outcome::Outcome;
use self::{maker::Maker, profile::ProfileMetrics};
use crate::{
    cgroup::Cgroup,
    keeper::memory::ProcessMemory,
    load::LoadMeter,
    switch::{Standing, choice::REFUSED, swaps::Swap},
};

/// From half a millisecond to five seconds: an inference takes milliseconds, a throttled period tens of them.
const LATENCY_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0, 5.0];
/// From a tenth of a millisecond: most requests do not wait.
const WAIT_BUCKETS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0];
/// From a microsecond to a second.
const SWAP_BUCKETS: [f64; 11] = [1e-6, 5e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 0.05, 0.25, 1.0];
/// From ten milliseconds to ten seconds.
const LOAD_BUCKETS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

const BUILD_INFO: &str = "Version of the runtime, its engine, and the release of that; always 1.";
const OFFERED: &str = "Items that clients ask for, refused ones included: exponential average over 2 s.";
const REQUESTS: &str = "Inference requests, by how they ended.";
const REQUEST: &str = "Time from a request read to its answer ready, of those that were answered.";
const WAIT: &str = "Time that a request waited for its inference to begin, of those that were answered.";
const INFERENCE: &str = "Time that the engine took for a request.";
const QUEUE: &str = "Requests that wait or are being computed.";
const SHED: &str = "Items that were refused, for there was too much to do.";
const OVERLOAD: &str = "Items that were refused for overload: of those that were refused, all but those whose client gave too little time.";
const SWAPS: &str = "Changes of the variant that serves, by reason.";
const SWAP: &str = "Time from a decision received to the new variant serving, by what the variant was then.";
const LOAD: &str = "Time from a variant's folder to a checked and warm variant.";
const ACTIVE: &str = "1 for the variant that serves, 0 for the others.";
const RESIDENT: &str = "Memory that a loaded variant takes.";
const RELOADS: &str =
    "Changes of the TLS certificate, its key or the client authority that were seen, by what became of them.";
const PROCESS: &str = "Resident memory of the process.";

/// Where the time of an answered request went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// From the request read to its answer ready.
    pub(crate) whole: Duration,
    /// Of that, in the queue.
    pub(crate) waited: Duration,
    /// Of that, in the engine.
    pub(crate) inference: Duration,
}

/// Whose load the gauge is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    /// The portfolio's name.
    pub(crate) portfolio: String,
    /// Its namespace; empty without Kubernetes.
    pub(crate) namespace: String,
    /// The node's name; empty without Kubernetes.
    pub(crate) node: String,
}

/// All metrics, and the registry that they are in.
pub(crate) struct Metrics {
    registry: Registry,
    build: IntGaugeVec,
    offered: Gauge,
    requests: IntCounterVec,
    request_seconds: Histogram,
    wait_seconds: Histogram,
    inference_seconds: HistogramVec,
    queue_length: IntGauge,
    shed_items: IntCounter,
    overload_items: IntCounter,
    swaps: IntCounterVec,
    swap_seconds: HistogramVec,
    /// Time from the folder to a warm variant.
    pub(crate) variant_load_seconds: Histogram,
    active: IntGaugeVec,
    resident_bytes: IntGaugeVec,
    certificate_reloads: IntCounterVec,
    process_bytes: IntGauge,
    /// Held while the text is made: of two at a time one would find the variants that the other has just taken away.
    rendering: Mutex<()>,
    profile: ProfileMetrics,
}

/// What became of a certificate that was new.
const CERTIFICATE_OUTCOMES: [&str; 2] = ["taken", "refused"];

/// What a variant was when the decision for it came.
const RESIDENT_BEFORE: &str = "resident";
const LOADED_FOR_IT: &str = "loaded";

impl Metrics {
    /// Metrics of their own registry; those that a rate is taken of are there, with zero, from the start.
    pub(crate) fn new(identity: &Identity) -> Result<Arc<Self>> {
        let registry = Registry::new();
        let metrics = Self::in_registry(&registry, identity)?;
        for outcome in Outcome::ALL {
            metrics.requests.with_label_values(&[outcome.as_str()]);
        }
        for outcome in CERTIFICATE_OUTCOMES {
            metrics.certificate_reloads.with_label_values(&[outcome]);
        }
        for reason in reasons::of_swaps() {
            metrics.swaps.with_label_values(&[reason]);
        }
        for was in [RESIDENT_BEFORE, LOADED_FOR_IT] {
            metrics.swap_seconds.with_label_values(&[was]);
        }
        Ok(Arc::new(metrics))
    }

    fn in_registry(registry: &Registry, identity: &Identity) -> Result<Self> {
        let make = Maker(registry);
        Ok(Self {
            build: make.gauges(
                "dnnshifter_runtime_build_info",
                BUILD_INFO,
                &["version", "engine", "engine_release"],
            )?,
            offered: make.registered(Gauge::with_opts(offered(identity)))?,
            requests: make.counters("dnnshifter_requests_total", REQUESTS, &["outcome"])?,
            request_seconds: make.histogram(
                "dnnshifter_request_duration_seconds",
                REQUEST,
                &LATENCY_BUCKETS,
            )?,
            wait_seconds: make.histogram("dnnshifter_queue_duration_seconds", WAIT, &WAIT_BUCKETS)?,
            inference_seconds: make.histograms(
                "dnnshifter_inference_duration_seconds",
                INFERENCE,
                &LATENCY_BUCKETS,
                &["variant"],
            )?,
            queue_length: make.gauge("dnnshifter_queue_length", QUEUE)?,
            shed_items: make.registered(IntCounter::new("dnnshifter_shed_items_total", SHED))?,
            overload_items: make.registered(IntCounter::new("dnnshifter_overload_items_total", OVERLOAD))?,
            swaps: make.counters("dnnshifter_swaps_total", SWAPS, &["reason"])?,
            swap_seconds: make.histograms(
                "dnnshifter_swap_duration_seconds",
                SWAP,
                &SWAP_BUCKETS,
                &["variant_was"],
            )?,
            variant_load_seconds: make.histogram(
                "dnnshifter_variant_load_duration_seconds",
                LOAD,
                &LOAD_BUCKETS,
            )?,
            active: make.gauges("dnnshifter_variant_active", ACTIVE, &["variant"])?,
            resident_bytes: make.gauges("dnnshifter_variant_resident_bytes", RESIDENT, &["variant"])?,
            certificate_reloads: make.counters(
                "dnnshifter_certificate_reloads_total",
                RELOADS,
                &["outcome"],
            )?,
            process_bytes: make.gauge("process_resident_memory_bytes", PROCESS)?,
            rendering: Mutex::default(),
            profile: ProfileMetrics::new(&make)?,
            registry: registry.clone(),
        })
    }

    /// A request of `items` ended.
    pub(crate) fn ended(&self, outcome: Outcome, items: usize) {
        self.requests.with_label_values(&[outcome.as_str()]).inc();
        if outcome == Outcome::Shed {
            self.shed_items.inc_by(items as u64);
        }
    }

    /// So many items were refused for overload.
    pub(crate) fn overloaded(&self, items: usize) {
        self.overload_items.inc_by(items as u64);
    }

    /// Items that were refused for overload so far.
    pub(crate) fn overload_items(&self) -> u64 {
        self.overload_items.get()
    }

    /// This release of the engine computes.
    pub(crate) fn runs_on(&self, engine_release: &str) {
        self.build.with_label_values(&[env!("CARGO_PKG_VERSION"), "onnxruntime", engine_release]).set(1);
    }

    /// The process is in this control group.
    pub(crate) fn runs_under(&self, cgroup: Cgroup) {
        self.profile.runs_under(cgroup);
    }

    /// A request was answered by `variant`.
    pub(crate) fn answered(&self, variant: &str, times: Times) {
        let Times { whole, waited, inference } = times;
        self.request_seconds.observe(whole.as_secs_f64());
        self.wait_seconds.observe(waited.as_secs_f64());
        self.inference_seconds.with_label_values(&[variant]).observe(inference.as_secs_f64());
    }

    /// The files of TLS have changed, and were `taken` or refused.
    pub(crate) fn certificate_reloaded(&self, taken: bool) {
        let [as_taken, as_refused] = CERTIFICATE_OUTCOMES;
        self.certificate_reloads.with_label_values(&[if taken { as_taken } else { as_refused }]).inc();
    }

    /// The variant that serves has changed.
    pub(crate) fn swapped(&self, swap: &Swap) {
        self.swaps.with_label_values(&[swap.reason.as_str()]).inc();
        if swap.reason == REFUSED {
            // Nobody decided it: it says nothing of how fast decisions are carried out.
            return;
        }
        let was = if swap.was_resident { RESIDENT_BEFORE } else { LOADED_FOR_IT };
        self.swap_seconds.with_label_values(&[was]).observe(swap.microseconds as f64 / 1e6);
    }

    /// The text that Prometheus reads, with what is only known at this moment.
    pub(crate) fn render(
        &self,
        load: &LoadMeter,
        queue: usize,
        standing: &Standing,
        now: Moment,
    ) -> Result<Vec<u8>> {
        let _alone = self.rendering.lock();
        self.offered.set(load.items_per_second(now));
        self.queue_length.set(queue as i64);
        self.process_bytes.set(ProcessMemory::now().resident() as i64);
        self.active.reset();
        for name in &standing.order {
            let active = standing.active.as_ref().is_some_and(|active| active.variant == *name);
            self.active.with_label_values(&[name.as_str()]).set(i64::from(active));
        }
        self.profile.show(standing);
        self.resident_bytes.reset();
        for (resident, footprint) in standing.residents() {
            let bytes = footprint.anonymous_bytes.saturating_add(footprint.mapped_bytes);
            self.resident_bytes.with_label_values(&[resident.name().as_str()]).set(bytes as i64);
        }
        self.encoded()
    }

    fn encoded(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The text, without what is only known at the moment of asking.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.encoded().unwrap()).unwrap()
    }
}

/// `namespace` and `pod` are set by Prometheus from what it scrapes, so ours has another name.
fn offered(identity: &Identity) -> Opts {
    Opts::new("dnnshifter_offered_items_per_second", OFFERED)
        .const_label("portfolio", &identity.portfolio)
        .const_label("portfolio_namespace", &identity.namespace)
        .const_label("node", &identity.node)
}

#[cfg(test)]
mod tests;
