//! One round of the switching loop for one portfolio: one query, a choice for each node, and a patch for each that changes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use dnnshifter_crds::{
    ModelPortfolio, VariantPlacement,
    conditions::{READY, WantedCondition, is_true},
};
use dnnshifter_portfolio::{LoadHistory, Moment, select::Direction};
use futures::{StreamExt, stream};
use kube::{ResourceExt, runtime::events::EventType};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::{
    apply::switch,
    decide::{Change, NewDecision, policy},
    load::{LoadSource, Question},
    report::{ServingNode, load_known, report},
    step_deadline,
};
use crate::{
    events::{Happening, publish},
    reconcile::Context,
    telemetry::chain,
    watches::Guarded,
};

/// Patches in flight at the same time.
const CONCURRENT_PATCHES: usize = 16;

/// What the loop remembers of one portfolio. A new leader begins with nothing, so that its step-up windows begin anew.
pub(super) struct Memory {
    started: Instant,
    source: LoadSource,
    /// By the uid of the placement.
    histories: HashMap<String, LoadHistory>,
    /// Since when placements serve, by uid, as far as was seen.
    serving_since: HashMap<String, Moment>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            source: LoadSource::default(),
            histories: HashMap::new(),
            serving_since: HashMap::new(),
        }
    }
}

pub(super) async fn tick(
    context: &Context,
    portfolio: &ModelPortfolio,
    placements: &[Arc<Guarded<VariantPlacement>>],
    memory: &mut Memory,
) {
    let placements: Vec<&VariantPlacement> =
        placements.iter().filter_map(|placement| placement.0.as_ref().ok()).collect();
    let question = Question {
        namespace: &portfolio.namespace().unwrap_or_default(),
        portfolio: &portfolio.name_any(),
        prometheus: &portfolio.spec.switching.prometheus,
        default_url: context.settings.prometheus_url.as_deref(),
    };
    let loads = memory.source.loads(&context.client, question).await;
    let outcome = if loads.is_ok() { "ok" } else { "error" };
    context.metrics.load_queries.with_label_values(&[outcome]).inc();

    let began = Instant::now();
    let now = Moment::after_start(began.duration_since(memory.started));
    let known = loads.as_ref().ok();
    observe(memory, &placements, now, |node| known.and_then(|loads| loads.get(node).copied()));
    let deadline = step_deadline(&portfolio.spec.switching.prometheus);
    let switched = switch_all(context, &placements, memory, Round { now, until: began + deadline }).await;
    for (uid, direction, window) in switched {
        if let Some(history) = memory.histories.get_mut(&uid) {
            history.switched(now, direction, window);
        }
    }
    context.metrics.decision_seconds.with_label_values(&[] as &[&str]).observe(began.elapsed().as_secs_f64());
    let maximum_age = portfolio.spec.switching.prometheus.maximum_sample_age_seconds;
    let grace = Duration::from_secs(u64::try_from(maximum_age).unwrap_or(0));
    let condition = load_known(&loads, &serving(memory, &placements, now, grace));
    tell(context, portfolio, condition).await;
}

/// Reports `LoadKnown` within the deadline, if it changed.
pub(super) async fn tell(context: &Context, portfolio: &ModelPortfolio, condition: WantedCondition) {
    let deadline = step_deadline(&portfolio.spec.switching.prometheus);
    let reported = report(&context.client, &context.recorder, portfolio, condition);
    match timeout(deadline, reported).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(error = chain(&error), "failed to report whether the load is known, will try again");
        }
        Err(_) => warn!("failed to report in time whether the load is known, will try again"),
    }
}

/// When a round decides, and until when its decisions may be written.
#[derive(Clone, Copy, Debug)]
struct Round {
    now: Moment,
    until: Instant,
}

/// Notes each node's load, known or not, and forgets placements that are gone.
fn observe(
    memory: &mut Memory,
    placements: &[&VariantPlacement],
    now: Moment,
    load: impl Fn(&str) -> Option<f64>,
) {
    let uids: Vec<String> = placements.iter().filter_map(|placement| placement.uid()).collect();
    memory.histories.retain(|uid, _| uids.contains(uid));
    for placement in placements {
        let (Some(uid), Ok(policy)) = (placement.uid(), policy(placement)) else { continue };
        let keep = policy.step_up_window.max(policy.step_down_window);
        memory.histories.entry(uid).or_default().observe(now, load(&placement.spec.node_name), keep);
    }
}

/// The nodes that serve; those that do so for less than `grace` are fresh.
fn serving<'a>(
    memory: &mut Memory,
    placements: &[&'a VariantPlacement],
    now: Moment,
    grace: Duration,
) -> Vec<ServingNode<'a>> {
    let ready = |placement: &&&VariantPlacement| {
        placement.status.as_ref().is_some_and(|status| is_true(&status.conditions, READY))
    };
    let ready: Vec<_> = placements.iter().filter(ready).filter_map(|p| Some((*p, p.uid()?))).collect();
    memory.serving_since.retain(|uid, _| ready.iter().any(|(_, ready)| ready == uid));
    ready
        .into_iter()
        .map(|(placement, uid)| {
            let since = *memory.serving_since.entry(uid).or_insert(now);
            ServingNode { name: &placement.spec.node_name, fresh: now.since(since) < grace }
        })
        .collect()
}

async fn switch_all(
    context: &Context,
    placements: &[&VariantPlacement],
    memory: &Memory,
    round: Round,
) -> Vec<(String, Direction, Duration)> {
    let mut attempts = Vec::new();
    for placement in placements {
        if let Some(uid) = placement.uid()
            && let Some(history) = memory.histories.get(&uid)
        {
            attempts.push(attempt(context, placement, uid, history, round));
        }
    }
    stream::iter(attempts).buffer_unordered(CONCURRENT_PATCHES).filter_map(std::future::ready).collect().await
}

async fn attempt(
    context: &Context,
    placement: &VariantPlacement,
    uid: String,
    history: &LoadHistory,
    round: Round,
) -> Option<(String, Direction, Duration)> {
    let dropped = |reason| context.metrics.dropped_decisions.with_label_values(&[reason]).inc();
    match timeout_at(round.until, switch(&context.client, placement, history, round.now)).await {
        Ok(Ok(Some(decision))) => switched(context, placement, uid, &decision, round).await,
        Ok(Ok(None)) => None,
        Ok(Err(error)) => {
            dropped("error");
            warn!(error = chain(&error), "failed to switch, will decide again");
            None
        }
        Err(_) => {
            dropped("deadline");
            warn!(node = placement.spec.node_name, "failed to switch in time, will decide again");
            None
        }
    }
}

async fn switched(
    context: &Context,
    placement: &VariantPlacement,
    uid: String,
    decision: &NewDecision,
    round: Round,
) -> Option<(String, Direction, Duration)> {
    context.metrics.switches.with_label_values(&[decision.change.label()]).inc();
    let before =
        placement.spec.decision.as_ref().map_or("nothing", |decision| decision.ceiling_variant_name.as_str());
    let reason = decision.reason.as_str();
    info!(
        portfolio = placement.spec.portfolio_name,
        node = placement.spec.node_name,
        from = before,
        to = decision.ceiling.as_str(),
        reason,
        why = decision.message,
        "decided"
    );
    let Change::Ceiling(direction) = decision.change else { return None };
    let note = format!("from {before} to {}: {}", decision.ceiling, decision.message);
    let happening = Happening {
        type_: EventType::Normal,
        reason: reason.to_owned(),
        action: format!("SwitchTo/{}", decision.ceiling),
        note,
    };
    // With the deadline passed the Event is dropped; the log has it.
    let _told = timeout_at(round.until, publish(&context.recorder, placement, happening)).await;
    Some((uid, direction, policy(placement).ok()?.step_up_window))
}

#[cfg(test)]
mod tests;
