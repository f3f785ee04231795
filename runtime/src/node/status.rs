//! What the placement's status should say, and whether it must be written: pure.

use dnnshifter_crds::{
    VariantPlacement, VariantPlacementStatus,
    conditions::{OBJECTIVE_MET, Truth, VARIANTS_LOADED, WantedCondition},
    variant_placement::{MeasuredTime, MeasuredVariant},
};
use dnnshifter_portfolio::NodeProfile;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::{
    keeper::kept::MOVED,
    objective::Judgement,
    switch::{Slot, Standing},
};

/// Kubernetes keeps longer messages of conditions (32,768), but people do not read them.
const LONGEST_MESSAGE: usize = 1024;

/// What is known on the node.
pub(super) struct Facts<'a> {
    /// Of the variants.
    pub(super) standing: &'a Standing,
    /// Of the node.
    pub(super) profile: &'a NodeProfile,
    /// Of the latency.
    pub(super) judgement: Judgement,
    /// The pod.
    pub(super) pod_uid: Option<&'a str>,
}

/// How much a status that should be differs from the one that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// Not at all, or not worth a write.
    None,
    /// In measurements, which may wait a minute.
    Measurements,
    /// In whether the objective is met, which may wait some seconds.
    Objective,
    /// In what people and the operator wait for.
    Transition,
}

/// The fields of status that are the runtime's, as they should be.
pub(super) fn status(facts: &Facts<'_>, placement: &VariantPlacement, now: &Time) -> VariantPlacementStatus {
    let Facts { standing, profile, pod_uid, .. } = facts;
    let stored = placement.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = placement.metadata.generation;
    let conditions = [objective_met(facts, placement), variants_loaded(standing)];
    let active = standing.active.as_ref();
    VariantPlacementStatus {
        pod_uid: pod_uid.map(ToOwned::to_owned),
        active_variant_name: active.map(|active| active.variant.to_string()),
        active_since: active.and_then(|active| Timestamp::try_from(active.since).ok()).map(Time),
        reason: active.map(|active| active.reason.clone()),
        conditions: conditions
            .into_iter()
            .map(|condition| condition.observed(stored, generation, now))
            .collect(),
        ..VariantPlacementStatus::from(*profile)
    }
}

/// Compares what is stored with what should be there.
pub(super) fn difference(
    stored: Option<&VariantPlacementStatus>,
    wanted: &VariantPlacementStatus,
) -> Difference {
    let Some(stored) = stored else { return Difference::Transition };
    let outline = |status: &VariantPlacementStatus| {
        (
            status.pod_uid.clone(),
            status.active_variant_name.clone(),
            status.reason.clone(),
            status.limits.clone(),
            status.machine.clone(),
        )
    };
    let condition = |status: &VariantPlacementStatus, type_| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == type_)?;
        // The time of transition follows from the rest.
        let Condition { status, reason, message, observed_generation, .. } = condition.clone();
        Some((status, reason, message, observed_generation))
    };
    let differs = |type_| condition(stored, type_) != condition(wanted, type_);
    let unknown =
        |measured: &MeasuredVariant| stored.profiles.iter().all(|known| known.name != measured.name);
    let gone = stored
        .profiles
        .iter()
        .any(|known| wanted.profiles.iter().all(|measured| measured.name != known.name));
    if outline(stored) != outline(wanted)
        || differs(VARIANTS_LOADED)
        || gone
        || wanted.profiles.iter().any(unknown)
    {
        Difference::Transition
    } else if differs(OBJECTIVE_MET) {
        Difference::Objective
    } else if wanted.profiles.iter().any(|measured| moved(&stored.profiles, measured)) {
        Difference::Measurements
    } else {
        Difference::None
    }
}

fn moved(stored: &[MeasuredVariant], measured: &MeasuredVariant) -> bool {
    let Some(known) = stored.iter().find(|known| known.name == measured.name) else { return true };
    let times = |variant: &MeasuredVariant| {
        let of = |time: &MeasuredTime| [time.mean_microseconds, time.p99_microseconds];
        [of(&variant.wall), of(&variant.cpu), [variant.protocol_cpu_microseconds, variant.anonymous_bytes]]
    };
    if known.digest != measured.digest {
        return true;
    }
    let pairs = times(known).into_iter().flatten().zip(times(measured).into_iter().flatten());
    pairs.into_iter().any(|(before, now)| (now - before).abs() as f64 > MOVED * before.max(1) as f64)
}

fn objective_met(facts: &Facts<'_>, placement: &VariantPlacement) -> WantedCondition {
    let objective = &placement.spec.policy.latency_objective;
    let (milliseconds, quantile) = (objective.milliseconds, &objective.quantile);
    let objective_us = u64::try_from(milliseconds).unwrap_or(0).saturating_mul(1000);
    let active = facts.standing.active.as_ref().and_then(|active| facts.profile.variant(&active.variant));
    let (truth, reason, message) = match (facts.judgement, active) {
        (Judgement::Met, _) => (Truth::True, "AnsweredInTime", String::new()),
        (Judgement::Missed, _) => {
            let message = format!(
                "less than {quantile} of the requests of the last 30 s were answered within {milliseconds} ms"
            );
            (Truth::False, "AnsweredLate", message)
        }
        (Judgement::TooFew, None) => (Truth::Unknown, "NotMeasured", String::new()),
        (Judgement::TooFew, Some(profile)) if profile.wall.p99_us <= objective_us => {
            (Truth::True, "FastEnoughWhenIdle", String::new())
        }
        (Judgement::TooFew, Some(_)) => {
            let message = format!("one inference alone takes longer than {milliseconds} ms");
            (Truth::False, "TooSlowWhenIdle", message)
        }
    };
    WantedCondition { type_: OBJECTIVE_MET, truth, reason, message }
}

fn variants_loaded(standing: &Standing) -> WantedCondition {
    let refused: Vec<_> = standing
        .order
        .iter()
        .filter_map(|name| match standing.slots.get(name) {
            Some(Slot::Refused(why)) => Some(format!("{name}: {why}")),
            Some(Slot::Pending | Slot::Resident(..)) | None => None,
        })
        .collect();
    let pending = standing.slots.values().any(|slot| matches!(slot, Slot::Pending));
    let (truth, reason) = match (refused.is_empty(), pending) {
        (false, _) => (Truth::False, "VariantRefused"),
        (true, true) => (Truth::Unknown, "Loading"),
        (true, false) if standing.order.is_empty() => (Truth::Unknown, "NoVariants"),
        (true, false) => (Truth::True, "AllLoaded"),
    };
    let message = refused.join("; ").chars().take(LONGEST_MESSAGE).collect();
    WantedCondition { type_: VARIANTS_LOADED, truth, reason, message }
}

#[cfg(test)]
mod tests;
