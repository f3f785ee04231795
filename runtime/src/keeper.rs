//! The keeper: one thread in the background that loads, measures and warms variants, so that a switch needs none of it.
//!
//! What it does next is a pure function of what stands ([`agenda`]). It never decides which variant serves; it tells the
//! [`Switch`], which chooses anew. How it loads is in [`loading`], how it measures in [`profiling`], what outlives the process in
//! [`kept`]. Its inferences are its own, beside those of the [`Lane`]: they wait until no request does, and samples that a request, or
//! the CPU quota, has disturbed do not count.

mod agenda;
pub(crate) mod attempts;
mod history;
pub(crate) mod kept;
mod loading;
mod measure;
pub(crate) mod memory;
mod profiling;
mod startup;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use dnnshifter_portfolio::{Correction, Digest, NodeProfile, VariantName, VariantProfile, profile::Machine};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::{agenda::Task, attempts::Attempts, history::History, kept::KeptProfiles, loading::Known};
use crate::{
    cgroup::{Cgroup, Limits},
    chain::chain,
    clock,
    engine::Engine,
    lane::Lane,
    metrics::Metrics,
    switch::Switch,
    variant::Resident,
};

/// A variant that is found in memory computes so seldom: for what no look shows, as its tables of pages. An inference of the largest
/// in between would take the CPU quota of requests, and its caches, for nothing.
const COMPUTE_EVERY: Duration = Duration::from_mins(1);

/// A busy lane is waited for so long before a variant is warmed, looking so often.
const WARM_PATIENCE: Duration = Duration::from_millis(250);
const WARM_PAUSE: Duration = Duration::from_millis(2);

/// Measures the CPU time that the protocol costs a request to a network with these tensors; `None` where that fails.
pub(crate) type ProtocolCost = Box<dyn Fn(&Resident) -> Option<Duration> + Send>;

/// What the keeper works with.
pub(crate) struct Keeper {
    /// Opens networks.
    pub(crate) engine: Arc<dyn Engine>,
    /// Threads that the engine uses.
    pub(crate) threads: usize,
    /// Holds a folder for each variant.
    pub(crate) models: PathBuf,
    /// Learns of every variant.
    pub(crate) switch: Arc<Switch>,
    /// Requests go first.
    pub(crate) lane: Arc<Lane>,
    /// Tells when the process was throttled.
    pub(crate) cgroup: Cgroup,
    /// What the process may use.
    pub(crate) host: Host,
    /// Asked when the first variant is there, and seldom again.
    pub(crate) protocol_cost: ProtocolCost,
    /// Marks what is being loaded.
    pub(crate) attempts: Attempts,
    /// What was measured before this process.
    pub(crate) kept: KeptProfiles,
    /// Counts loads.
    pub(crate) metrics: Arc<Metrics>,
    /// What it has seen so far.
    pub(crate) notes: Notes,
}

/// What the keeper has seen so far, and comes back to.
#[derive(Default)]
pub(crate) struct Notes {
    /// What was measured of variants when they were loaded.
    known: BTreeMap<VariantName, Known>,
    /// Variants that are tried again, and when.
    postponed: BTreeMap<VariantName, Instant>,
    /// What was measured of each variant.
    histories: BTreeMap<VariantName, History>,
    /// How much slower the node is now than it was measured.
    correction: Correction,
    /// Which network of each variant was loaded, as far as its digest is known.
    digests: BTreeMap<VariantName, Digest>,
    /// How long the first inference of each variant took after it lay idle.
    warm: BTreeMap<VariantName, Duration>,
    /// What the protocol costs: the least that was measured, and when that was tried last.
    protocol_cpu: Option<Duration>,
    protocol_tried: Option<Instant>,
    /// The lane's beats when it was looked at last, and when that was.
    lane_seen: Option<(u64, Instant)>,
    /// Whether what only starting needed was given back.
    gave_back_startup: bool,
}

/// What the runtime found on its node when it started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Its limits.
    pub(crate) limits: Limits,
    /// Memory that it needs without any variant.
    pub(crate) base_memory_bytes: u64,
    /// What it computes with.
    pub(crate) machine: Machine,
}

impl Host {
    /// The node's profile, with the variants that were measured.
    pub(crate) fn profile(&self, variants: impl IntoIterator<Item = VariantProfile>) -> NodeProfile {
        NodeProfile {
            quota: self.limits.quota,
            memory_limit_bytes: self.limits.memory_bytes,
            base_memory_bytes: self.base_memory_bytes,
            machine: self.machine.clone(),
            variants: variants.into_iter().collect(),
        }
    }
}

impl Keeper {
    /// Starts the thread; it ends soon after `stop` is cancelled.
    pub(crate) fn start(self, tokio: Handle, stop: CancellationToken) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("keeper".to_owned()).spawn(move || self.work(&tokio, &stop))
    }

    fn work(mut self, tokio: &Handle, stop: &CancellationToken) {
        let mut work = self.switch.work();
        let switch = Arc::clone(&self.switch);
        let interrupted = || stop.is_cancelled() || agenda::urgent(&switch.standing()).is_some();
        let rest = |pause| {
            tokio.block_on(async {
                tokio::select! {
                    () = stop.cancelled() => (),
                    _ = tokio::time::timeout(pause, until_urgent(&switch)) => (),
                }
            });
        };
        while !stop.is_cancelled() {
            work.mark_unchanged();
            drop(self.switch.take_retired());
            self.try_postponed();
            let stale = |name: &VariantName| self.notes.is_stale(name, Instant::now());
            match agenda::next(&self.switch.standing(), stale) {
                Task::Prove(variant) => self.prove(&variant),
                Task::Load(variant) => self.load(&variant),
                Task::Measure(variant, footprint) => {
                    self.measure(&variant, footprint, rest, interrupted);
                }
                Task::Warm(variant) => self.warm(&variant, rest, interrupted),
                Task::Rest(_) if self.may_give_back() => self.give_back_startup(rest),
                Task::Rest(at_most) => tokio.block_on(async {
                    tokio::select! {
                        () = stop.cancelled() => (),
                        _ = tokio::time::timeout(at_most, work.changed()) => (),
                    }
                }),
            }
        }
    }

    /// Inferences have failed: by the requests, or by the variant, which then may not serve. It is tried again later: what is broken may
    /// be the memory, or the moment.
    fn prove(&mut self, variant: &Resident) {
        match variant.prove() {
            Ok(()) => variant.acquit(),
            Err(error) => {
                self.refuse_for_now(variant.name(), format!("its inferences fail: {}", chain(&error)));
            }
        }
    }

    /// What is found in memory is warm. Else it computes, but requests go first: a busy lane is waited for, though not for ever, or a node
    /// under load would have no warm variant. Variants get cold at the same time, and to warm all of them in a row would take the CPU
    /// quota of a whole period: each is followed by a rest.
    fn warm(&mut self, variant: &Resident, rest: impl Fn(Duration), interrupted: impl Fn() -> bool) {
        if is_warm(variant) {
            return;
        }
        let started = Instant::now();
        while self.lane.length() > 0 && started.elapsed() < WARM_PATIENCE && !interrupted() {
            rest(WARM_PAUSE);
        }
        if interrupted() {
            return;
        }
        if let Some(took) = self.compute(variant, rest) {
            self.notes.warm.insert(variant.name().clone(), took);
        }
    }

    /// Computes once, for nobody, and rests; how long it took, if it went well.
    fn compute(&self, variant: &Resident, rest: impl Fn(Duration)) -> Option<Duration> {
        let (before, began) = (self.cpu(), Instant::now());
        let outcome = variant.warm().inspect_err(|error| {
            tracing::warn!(variant = %variant.name(), error = chain(error), "failed to warm a variant");
        });
        let took = began.elapsed();
        rest(measure::pause_beside_requests(self.cpu().saturating_sub(before), self.host.limits.quota));
        outcome.is_ok().then_some(took)
    }

    /// Whether all is loaded and measured for the first time, and no request would have to wait for its code. What later loads need stays:
    /// they would have to map it again.
    fn may_give_back(&self) -> bool {
        !self.notes.gave_back_startup && self.switch.active().is_some() && self.lane.length() == 0
    }

    /// What serves computes once after that, so that the code of inferences is there for requests.
    fn give_back_startup(&mut self, rest: impl Fn(Duration)) {
        self.notes.gave_back_startup = true;
        match startup::give_back() {
            Ok(bytes) => tracing::info!(bytes, "gave back pages of code that only starting needed"),
            Err(error) => tracing::warn!(%error, "failed to find pages of code to give back"),
        }
        if let Some(serves) = self.switch.active() {
            self.compute(&serves, rest);
        }
    }

    /// CPU time that inferences of this thread have used so far, those of the engine's threads for it included.
    fn cpu(&self) -> Duration {
        if self.threads > 1 { clock::process_cpu() } else { clock::thread_cpu() }
    }
}

/// Whether the variant need not compute: it has lately, and all its weights are found in memory.
fn is_warm(variant: &Resident) -> bool {
    variant.idle() < COMPUTE_EVERY && variant.look()
}

/// Returns once a variant is to be loaded before all else.
async fn until_urgent(switch: &Switch) {
    let mut work = switch.work();
    while agenda::urgent(&switch.standing()).is_none() && work.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests;
