//! Profiles: each variant is measured once it is loaded, and again from time to time, by real requests where there are enough.

use std::time::{Duration, Instant};

use dnnshifter_portfolio::{Digest, VariantName, VariantProfile};

use super::{
    Keeper, Notes,
    history::{History, Seen},
    kept,
    measure::{self, Measured, Terms},
    memory::Footprint,
};
use crate::{cgroup, chain::chain, variant::Resident};

/// Why a variant is refused that was loaded, but whose time could not be measured.
const NOT_MEASURED: &str = "failed to measure the variant: an inference of its check vector failed";

/// While measuring what the protocol costs fails, so much is assumed: twice what was measured on slow machines, since a cost of zero
/// would promise a load that the node cannot carry.
const ASSUMED_PROTOCOL_CPU: Duration = Duration::from_micros(500);

/// While requests use more than this part of the granted CPU time, variants are not measured again beside them.
const MOST_USE: f64 = 0.5;

/// What the protocol costs is measured again after so long: it takes a quarter of a second, during which nothing can be loaded.
const PROTOCOL_EVERY: Duration = Duration::from_mins(10);

impl Keeper {
    /// Measures a variant for the first time, or again. What was `stopped` does not count, and is to be done again.
    pub(super) fn measure(
        &mut self,
        variant: &Resident,
        footprint: Footprint,
        rest: impl Fn(Duration),
        stopped: impl Fn() -> bool,
    ) {
        let has_time = self.has_time();
        if self.notes.histories.contains_key(variant.name()) {
            let terms = has_time.then(|| Terms::brief(self.host.limits.quota));
            self.measure_again(variant, terms, rest, &stopped);
        } else {
            let terms = Terms::whole(self.host.limits.quota);
            let measured = measure::measure(&self.probe(variant), terms, rest, &stopped);
            if stopped() {
                return;
            }
            let Some(measured) = measured else {
                return self.refuse_for_now(variant.name(), NOT_MEASURED.to_owned());
            };
            let history = History::new(measured, Instant::now());
            self.notes.histories.insert(variant.name().clone(), history);
            self.notes.correction.measured(variant.name());
            // What was measured is no request.
            drop(variant.take_recent_us());
        }
        if self.protocol_cost_is_due(has_time) && !stopped() {
            self.learn_protocol_cost(variant);
        }
        self.report_all(variant.name(), footprint);
    }

    /// What an earlier process measured of a variant that is about to be there holds until it is measured again.
    pub(super) fn recall(&mut self, variant: &VariantName, footprint: Footprint) {
        let kept = self.kept.find(variant, self.notes.digests.get(variant)).cloned();
        let Some(kept) = kept.filter(|_| !self.notes.histories.contains_key(variant)) else { return };
        let VariantProfile { wall, cpu, throttled_periods, .. } = kept;
        let history = History::recalled(Measured { wall, cpu, throttled_periods });
        self.notes.histories.insert(variant.clone(), history);
        tracing::info!(%variant, "what was measured before holds until it is measured again");
        self.notes.protocol_cpu.get_or_insert(Duration::from_micros(kept.protocol_cpu_us));
        self.report(variant, footprint);
    }

    /// By the requests since the last time if there were enough; else on these terms, if the node has the time for it.
    fn measure_again(
        &mut self,
        variant: &Resident,
        terms: Option<Terms>,
        rest: impl Fn(Duration),
        stopped: impl Fn() -> bool,
    ) {
        let (name, times) = (variant.name(), variant.take_recent_us());
        let history = self.notes.histories.get_mut(name);
        if let Some(seen) = history.and_then(|history| history.by_traffic(times, Instant::now())) {
            return self.notes.correct(name, seen);
        }
        let measured = terms.and_then(|terms| measure::measure(&self.probe(variant), terms, rest, &stopped));
        if stopped() {
            return;
        }
        let Some(history) = self.notes.histories.get_mut(name) else { return };
        match measured {
            Some(measured) => {
                let seen = history.add(measured, Instant::now());
                self.notes.correct(name, seen);
                // They were no requests.
                drop(variant.take_recent_us());
            }
            None => history.skip(Instant::now()),
        }
    }

    fn protocol_cost_is_due(&self, has_time: bool) -> bool {
        let recently = self.notes.protocol_tried.is_some_and(|tried| tried.elapsed() < PROTOCOL_EVERY);
        self.notes.protocol_cpu.is_none() || has_time && !recently
    }

    /// What disturbs makes it slower, never faster: the least counts.
    fn learn_protocol_cost(&mut self, variant: &Resident) {
        self.notes.protocol_tried = Some(Instant::now());
        if let Some(measured) = (self.protocol_cost)(variant) {
            let known = self.notes.protocol_cpu.unwrap_or(measured);
            self.notes.protocol_cpu = Some(known.min(measured));
        }
    }

    /// What was learned of one variant may change what is believed of all.
    fn report_all(&mut self, variant: &VariantName, footprint: Footprint) {
        let standing = self.switch.standing();
        self.report(variant, footprint);
        for other in standing.profiles.values().filter(|other| other.name != *variant) {
            let VariantProfile { anonymous_bytes, mapped_bytes, .. } = *other;
            self.report(&other.name, Footprint { anonymous_bytes, mapped_bytes });
        }
    }

    /// Tells the switch what is believed of a variant, and keeps what was measured of it.
    fn report(&mut self, variant: &VariantName, footprint: Footprint) {
        let Some(history) = self.notes.histories.get(variant) else { return };
        let protocol_cpu = self.notes.protocol_cpu.unwrap_or(ASSUMED_PROTOCOL_CPU);
        let Measured { wall, cpu, throttled_periods } = history.base();
        let warm = self.notes.warm.get(variant).copied().unwrap_or_default();
        let measured = VariantProfile {
            name: variant.clone(),
            wall,
            cpu,
            protocol_cpu_us: microseconds(protocol_cpu),
            anonymous_bytes: footprint.anonymous_bytes,
            mapped_bytes: footprint.mapped_bytes,
            // The first one, at loading, may have found everything in the caches.
            warm_us: microseconds(warm).max(wall.p50_us),
            throttled_periods,
            digest: self.notes.digests.get(variant).cloned(),
        };
        let standing = self.switch.standing();
        self.kept.keep(&measured, &standing.order);
        let profile = self.notes.correction.corrected(&measured);
        let before = standing.profiles.get(variant);
        if before == Some(&profile) {
            return;
        }
        if before.is_none_or(|before| kept::moved(before, &profile)) {
            let factor = self.notes.correction.factor(variant);
            tracing::info!(%variant, wall_us = profile.wall.mean_us, p99_us = profile.wall.p99_us, cpu_us = profile.cpu.mean_us, samples = profile.wall.samples, factor, "measured");
        }
        self.switch.measured(profile);
    }

    /// Whether requests have left enough of the granted CPU time since the last look.
    fn has_time(&mut self) -> bool {
        let (beats, now) = (self.lane.beats(), Instant::now());
        let (beats_before, before) = self.notes.lane_seen.replace((beats, now)).unwrap_or((beats, now));
        // Each inference is two beats; all were of the variant that serves now, near enough.
        let inferences = beats.saturating_sub(beats_before) as f64 / 2.0;
        let each = self.switch.active().map_or(0.0, |active| active.service_time().as_secs_f64());
        let granted = self.host.limits.quota.map_or(1.0, cgroup::share).min(1.0);
        let elapsed = now.saturating_duration_since(before).as_secs_f64();
        self.lane.length() == 0 && inferences * each <= MOST_USE * granted * elapsed
    }

    fn probe<'a>(&'a self, variant: &'a Resident) -> Probe<'a> {
        Probe { keeper: self, variant }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Notes {
    /// The network of a variant that is loaded now. What was measured of another one of that name no longer counts.
    pub(super) fn note_digest(&mut self, variant: &VariantName, digest: Option<Digest>) {
        let before = match digest {
            Some(digest) => self.digests.insert(variant.clone(), digest),
            None => self.digests.remove(variant),
        };
        if before.as_ref() != self.digests.get(variant) {
            self.histories.remove(variant);
            self.warm.remove(variant);
        }
    }

    /// What was seen of a variant counts for it, and for the node.
    fn correct(&mut self, variant: &VariantName, seen: Seen) {
        self.correction.observe(variant, seen.ratio);
        if seen.is_base {
            self.correction.measured(variant);
        }
    }

    /// Whether it is time to measure the variant again.
    pub(super) fn is_stale(&self, variant: &VariantName, now: Instant) -> bool {
        self.histories.get(variant).is_none_or(|history| history.is_stale(now))
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
        self.keeper.cpu()
    }

    fn run(&self) -> bool {
        let outcome = self.variant.warm();
        if let Err(error) = &outcome {
            tracing::warn!(variant = %self.variant.name(), error = chain(error), "failed to compute the check vector");
        }
        outcome.is_ok()
    }
}
