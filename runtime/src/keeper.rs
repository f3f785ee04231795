//! The keeper: one thread in the background that loads, measures and warms variants, so that a switch needs none of it.
//!
//! What it does next is a pure function of what stands ([`agenda`]). It never decides which variant serves; it tells the
//! [`Switch`], which chooses anew. Its inferences are its own, beside those of the [`Lane`]: they wait until no request does,
//! and samples that a request, or the CPU quota, has disturbed do not count.

mod agenda;
mod measure;
pub(crate) mod memory;

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use dnnshifter_portfolio::{NodeProfile, VariantName, VariantProfile};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::{
    agenda::Task,
    measure::Measured,
    memory::{Footprint, ProcessMemory},
};
use crate::{
    cgroup::{Cgroup, Limits},
    engine::{Engine, Interface},
    lane::Lane,
    metrics::Metrics,
    switch::Switch,
    variant::{self, Resident, VariantError},
};

/// A busy lane is waited for so long before a variant is warmed, looking so often.
const WARM_PATIENCE: Duration = Duration::from_millis(250);
const WARM_PAUSE: Duration = Duration::from_millis(2);

/// Why a variant is refused that was loaded, but whose time could not be measured.
const NOT_MEASURED: &str = "failed to measure the variant: an inference of its check vector failed";

/// Measures the CPU time that the protocol costs a request to a network with these tensors.
pub(crate) type ProtocolCost = Box<dyn Fn(&Resident) -> Duration + Send>;

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
    /// Asked once, when the first variant is there.
    pub(crate) protocol_cost: ProtocolCost,
    /// Counts loads.
    pub(crate) metrics: Arc<Metrics>,
}

/// What the runtime found on its node when it started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Host {
    /// Its limits.
    pub(crate) limits: Limits,
    /// Memory that it needs without any variant.
    pub(crate) base_memory_bytes: u64,
}

impl Host {
    /// The node's profile, with the variants that were measured.
    pub(crate) fn profile(self, variants: impl IntoIterator<Item = VariantProfile>) -> NodeProfile {
        NodeProfile {
            quota: self.limits.quota,
            memory_limit_bytes: self.limits.memory_bytes,
            base_memory_bytes: self.base_memory_bytes,
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
        let mut changes = self.switch.changes();
        let rest =
            |pause| tokio.block_on(async { drop(tokio::time::timeout(pause, stop.cancelled()).await) });
        let mut protocol_cpu = None;
        while !stop.is_cancelled() {
            changes.mark_unchanged();
            drop(self.switch.take_retired());
            match agenda::next(&self.switch.standing()) {
                Task::Load(variant) => self.load(&variant),
                Task::Measure(variant, footprint) => {
                    let cpu = *protocol_cpu.get_or_insert_with(|| (self.protocol_cost)(&variant));
                    let stopped = || stop.is_cancelled();
                    let measured =
                        measure::measure(&self.probe(&variant), self.host.limits.quota, rest, stopped);
                    match measured {
                        Some(measured) => self.switch.measured(profile(&variant, footprint, measured, cpu)),
                        None if stop.is_cancelled() => (),
                        None => self.refuse(variant.name(), NOT_MEASURED.to_owned()),
                    }
                }
                Task::Warm(variant) => self.warm(&variant, rest),
                Task::Rest(at_most) => tokio.block_on(async {
                    tokio::select! {
                        () = stop.cancelled() => (),
                        _ = tokio::time::timeout(at_most, changes.changed()) => (),
                    }
                }),
            }
        }
    }

    fn load(&mut self, name: &VariantName) {
        let started = Instant::now();
        match self.try_load(name) {
            Ok((resident, footprint)) => {
                let elapsed = started.elapsed();
                self.metrics.variant_load_seconds.observe(elapsed.as_secs_f64());
                tracing::info!(variant = %name, milliseconds = elapsed.as_millis() as u64, anonymous_bytes = footprint.anonymous_bytes, "loaded");
                self.switch.loaded(resident, footprint);
            }
            Err(error) => self.refuse(name, chain(&error)),
        }
    }

    fn refuse(&self, name: &VariantName, why: String) {
        tracing::warn!(variant = %name, error = why, "refused a variant");
        self.switch.refused(name, why);
    }

    fn try_load(&self, name: &VariantName) -> Result<(Resident, Footprint), VariantError> {
        let folder = variant::read(&self.models, name)?;
        let file_bytes = folder.file_bytes();
        let before = ProcessMemory::now();
        memory::admit(before, file_bytes, self.host.limits.memory_bytes)?;
        let standing = self.switch.standing();
        let interface = Interface::of(&folder.description);
        if standing.residents().any(|(other, _)| other.interface != interface) {
            return Err(VariantError::Interface);
        }
        let resident = Resident::load(self.engine.as_ref(), folder)?;
        Ok((resident, Footprint::measured(before, ProcessMemory::now(), file_bytes)))
    }

    fn probe<'a>(&'a self, variant: &'a Resident) -> Probe<'a> {
        Probe { keeper: self, variant }
    }

    /// Requests go first: a busy lane is waited for, but not for ever, or a node under load would have no warm variant.
    fn warm(&self, variant: &Resident, rest: impl Fn(Duration)) {
        let started = Instant::now();
        while self.lane.length() > 0 && started.elapsed() < WARM_PATIENCE {
            rest(WARM_PAUSE);
        }
        if let Err(error) = variant.warm() {
            tracing::warn!(variant = %variant.name(), error = chain(&error), "failed to warm a variant");
        }
    }
}

fn profile(
    variant: &Resident,
    footprint: Footprint,
    measured: Measured,
    protocol_cpu: Duration,
) -> VariantProfile {
    let Measured { wall, cpu } = measured;
    tracing::info!(variant = %variant.name(), wall_us = wall.mean_us, p99_us = wall.p99_us, cpu_us = cpu.mean_us, samples = wall.samples, "measured");
    VariantProfile {
        name: variant.name().clone(),
        wall,
        cpu,
        protocol_cpu_us: u64::try_from(protocol_cpu.as_micros()).unwrap_or(u64::MAX),
        anonymous_bytes: footprint.anonymous_bytes,
        mapped_bytes: footprint.mapped_bytes,
    }
}

/// One variant, to be measured beside the lane.
struct Probe<'a> {
    keeper: &'a Keeper,
    variant: &'a Resident,
}

impl measure::Subject for Probe<'_> {
    fn busy(&self) -> bool {
        self.keeper.lane.length() > 0
    }

    fn disturbances(&self) -> (u64, u64) {
        (self.keeper.lane.beats(), self.keeper.cgroup.throttled_periods())
    }

    fn cpu(&self) -> Duration {
        if self.keeper.threads > 1 { crate::clock::process_cpu() } else { crate::clock::thread_cpu() }
    }

    fn run(&self) -> bool {
        let outcome = self.variant.warm();
        if let Err(error) = &outcome {
            tracing::warn!(variant = %self.variant.name(), error = chain(error), "failed to compute the check vector");
        }
        outcome.is_ok()
    }
}

/// An error with all its causes, for people.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
