//! Keeping the placement's status true: written by server-side apply, when it must be and not more often.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use backon::{BackoffBuilder, ConstantBuilder, ExponentialBuilder};
use dnnshifter_crds::{VariantPlacement, VariantPlacementStatus, names::RUNTIME_FIELD_MANAGER};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    status::{self, Difference, Facts},
    wanted,
};
use crate::{chain::chain, keeper::Host, server::Service, switch::Slot};

/// The objective is judged so often; everything else wakes the reporter by itself.
const TICK: Duration = Duration::from_secs(5);
/// A write that takes longer has failed.
const LONGEST_WRITE: Duration = Duration::from_secs(10);
/// Whether the objective is met is written at most so often...
const OBJECTIVE_INTERVAL: Duration = Duration::from_secs(10);
/// ... and measurements that moved at most so often, twice as seldom at worst: nodes that started together do not write together.
const MEASUREMENT_INTERVAL: Duration = Duration::from_mins(1);
/// A write is seen by the watch after so long at the latest; until then the same is not written again.
const ECHO: Duration = Duration::from_secs(5);

/// Writes the status of one placement.
pub(super) struct Reporter {
    /// Where it is.
    pub(super) api: Api<VariantPlacement>,
    /// Its name.
    pub(super) placement: String,
    /// The pod.
    pub(super) pod_uid: Option<String>,
    /// The template that the pod was made from.
    pub(super) template_hash: Option<String>,
    /// What there is to report.
    pub(super) service: Arc<Service>,
    /// The node.
    pub(super) host: Host,
    /// How long measurements that moved are kept back, drawn anew for each write.
    pub(super) pauses: Pauses,
}

/// Durations without end.
pub(super) type Pauses = Box<dyn Iterator<Item = Duration> + Send>;

/// What was written last.
#[derive(Default)]
struct Written(Option<Write>);

struct Write {
    status: VariantPlacementStatus,
    at: Instant,
    /// Measurements that moved are kept back for so long.
    pause: Duration,
}

impl Reporter {
    /// Keeps the status true until `stop`; `latest` is the placement as it was seen last.
    pub(super) async fn keep_reported(
        mut self,
        mut latest: watch::Receiver<Option<Arc<VariantPlacement>>>,
        stop: CancellationToken,
    ) {
        let mut changes = self.service.switch.changes();
        let mut tick = tokio::time::interval(TICK);
        let mut written = Written::default();
        let mut backoff = backoff();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = changes.changed() => (),
                Ok(()) = latest.changed() => (),
                _ = tick.tick() => (),
            }
            let placement = latest.borrow_and_update().clone();
            let Some(placement) = placement.filter(|placement| self.speaks_for(placement)) else { continue };
            changes.mark_unchanged();
            let Some(status) = self.due(&placement, &written) else { continue };
            match self.write(&status).await {
                Ok(()) => {
                    let pause = self.pauses.next().unwrap_or(MEASUREMENT_INTERVAL);
                    written = Written(Some(Write { status, at: Instant::now(), pause }));
                    backoff = self::backoff();
                }
                Err(error) => {
                    tracing::warn!(error, "failed to write the placement's status");
                    let pause = backoff.next().unwrap_or(LONGEST_WRITE);
                    if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        return;
                    }
                    tick.reset_immediately();
                }
            }
        }
    }

    /// Two pods may run for a moment: only the one whose template the placement asks for speaks.
    fn speaks_for(&self, placement: &VariantPlacement) -> bool {
        wanted::is_meant_for(&placement.spec, self.template_hash.as_deref())
    }

    /// The status to write, if it is time to write one.
    fn due(&self, placement: &VariantPlacement, written: &Written) -> Option<VariantPlacementStatus> {
        let standing = self.service.switch.standing();
        // Until the first variant answers, the pod that is replaced speaks, unless there is a reason to complain.
        if standing.active.is_none() && !standing.slots.values().any(|slot| matches!(slot, Slot::Refused(_)))
        {
            return None;
        }
        let quantile = placement.spec.policy.latency_objective.quantile;
        let judgement = self.service.objective.judge(quantile, self.service.clock.now());
        let profile = self.host.profile(standing.profiles.values().cloned());
        let facts =
            Facts { standing: &standing, profile: &profile, judgement, pod_uid: self.pod_uid.as_deref() };
        let now = Time(Timestamp::try_from(SystemTime::now()).unwrap_or_default());
        let mut wanted = status::status(&facts, placement, &now);
        let stored = placement.status.as_ref();
        if !standing.is_measured() {
            // A profile is reported whole, not in as many writes as variants. What an earlier pod measured of the same variants is better than nothing.
            wanted.profiles = stored.map(|stored| stored.profiles.clone()).unwrap_or_default();
            wanted.profiles.retain(|known| standing.order.iter().any(|name| name.as_str() == known.name));
        }
        written.allows(status::difference(stored, &wanted), &wanted).then_some(wanted)
    }

    async fn write(&self, status: &VariantPlacementStatus) -> Result<(), String> {
        let body = serde_json::json!({
            "apiVersion": VariantPlacement::api_version(&()),
            "kind": VariantPlacement::kind(&()),
            "metadata": {"name": self.placement},
            "status": status,
        });
        let parameters = PatchParams::apply(RUNTIME_FIELD_MANAGER).force();
        let patch = Patch::Apply(&body);
        let writing = self.api.patch_status(&self.placement, &parameters, &patch);
        match tokio::time::timeout(LONGEST_WRITE, writing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("no answer within {} s", LONGEST_WRITE.as_secs())),
        }
    }
}

impl Written {
    /// Whether it is time for a write that makes such a difference.
    fn allows(&self, difference: Difference, wanted: &VariantPlacementStatus) -> bool {
        let Some(Write { status, at, pause }) = &self.0 else { return difference > Difference::None };
        let elapsed = at.elapsed();
        if elapsed < ECHO && status::difference(Some(status), wanted) == Difference::None {
            return false;
        }
        match difference {
            Difference::None => false,
            Difference::Measurements => elapsed >= *pause,
            Difference::Objective => elapsed >= OBJECTIVE_INTERVAL,
            Difference::Transition => true,
        }
    }
}

/// From one to two intervals of measurements, for ever.
pub(super) fn pauses() -> Pauses {
    let pauses = ConstantBuilder::default().with_delay(MEASUREMENT_INTERVAL);
    Box::new(pauses.with_jitter().without_max_times().build())
}

/// From one second to half a minute, for ever.
fn backoff() -> impl Iterator<Item = Duration> {
    let delays =
        ExponentialBuilder::default().with_min_delay(Duration::from_secs(1)).with_max_delay(TICK * 6);
    delays.with_jitter().without_max_times().build()
}

#[cfg(test)]
mod tests;
