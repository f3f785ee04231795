//! The reflex: under a load that has just risen, the node steps down by itself, long before Prometheus and the operator know.
//!
//! Four times a second it asks the same [`select()`] as the operator, at or below the operator's ceiling, with its own load. Two
//! signs let it be sooner: a quick average of the load, as far as that can hardly be chance; and items that were shed since the
//! last time. It goes up again, as far as the ceiling, after a whole step-up window of its own. A pin it leaves alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dnnshifter_portfolio::{
    LoadHistory, Moment, NodeProfile, Policy, Situation, VariantName, select, select::Direction,
};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    keeper::Host,
    server::Service,
    switch::{Standing, choice::Presence},
};

const TICK: Duration = Duration::from_millis(250);

/// Keeps one node within its objective.
pub(super) struct Reflex {
    service: Arc<Service>,
    host: Host,
    history: LoadHistory,
    overload_items: u64,
    /// What served when it was looked last, whoever chose that.
    served: Option<VariantName>,
}

/// What the node's own load allows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing can be said now: a variant is being loaded or measured, or nothing serves. What was said last holds.
    Unjudged,
    /// Whatever is asked for.
    Free,
    /// Nothing more accurate than this.
    Below(VariantName),
}

impl Reflex {
    /// One that has seen nothing yet.
    pub(super) fn new(service: Arc<Service>, host: Host) -> Self {
        Self { service, host, history: LoadHistory::default(), overload_items: 0, served: None }
    }

    /// Acts by the latest policy until `stop`.
    pub(super) async fn keep_within(
        mut self,
        policies: watch::Receiver<Option<Policy>>,
        stop: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let policy = policies.borrow().clone();
            if let Some(policy) = policy {
                self.act(&policy, self.service.clock.now());
            }
        }
    }

    fn act(&mut self, policy: &Policy, now: Moment) {
        let load = self.load(now);
        self.history.observe(now, Some(load), policy.step_up_window.max(policy.step_down_window));
        let standing = self.service.switch.standing();
        self.note_switch(&standing, policy, now);
        let profile = self.host.profile(standing.profiles.values().cloned());
        let limit = match judge(&standing, &profile, policy, &self.history, now) {
            Verdict::Unjudged => return,
            Verdict::Free => None,
            Verdict::Below(variant) => Some(variant),
        };
        if limit != standing.limit {
            tracing::info!(
                load,
                limit = limit.as_ref().map(VariantName::as_str),
                "the node's own limit has changed"
            );
            self.service.switch.keep_below(limit, Instant::now());
        }
    }

    /// A step up is on probation, whoever made it: by this node, or by the operator, which raised the ceiling.
    fn note_switch(&mut self, standing: &Standing, policy: &Policy, now: Moment) {
        let active = standing.active.as_ref().map(|active| active.variant.clone());
        let earlier = std::mem::replace(&mut self.served, active);
        let rank = |variant: Option<&VariantName>| standing.rank(variant?);
        let (Some(before), Some(after)) = (rank(earlier.as_ref()), rank(self.served.as_ref())) else {
            return;
        };
        if before != after {
            let direction = if after < before { Direction::Up } else { Direction::Down };
            self.history.switched(now, direction, policy.step_up_window);
        }
    }

    fn load(&mut self, now: Moment) -> f64 {
        let overload_items = self.service.metrics.overload_items();
        let sheds = std::mem::replace(&mut self.overload_items, overload_items) != overload_items;
        self.service.load.items_per_second_at_once(now, sheds)
    }
}

/// Judges what serves under a ceiling. Only variants that are loaded are chosen among: the others could not serve at once. Pure.
fn judge(
    standing: &Standing,
    profile: &NodeProfile,
    policy: &Policy,
    history: &LoadHistory,
    now: Moment,
) -> Verdict {
    let Some(wanted) = standing.wanted.as_ref().filter(|wanted| wanted.is_ceiling) else {
        return Verdict::Free;
    };
    let (ceiling, active) = (&wanted.variant, standing.active.as_ref().map(|active| &active.variant));
    let is_loaded = |variant: &VariantName| standing.presence(variant) == Presence::Resident;
    if active.is_none() || !is_loaded(ceiling) || !standing.is_measured() {
        return Verdict::Unjudged;
    }
    let variants: Vec<_> = standing.order.iter().filter(|variant| is_loaded(variant)).cloned().collect();
    let selection = select(Situation {
        variants: &variants,
        profile,
        policy,
        ceiling: Some(ceiling),
        active,
        history,
        now,
    });
    match selection {
        None => Verdict::Unjudged,
        Some(selection) if selection.variant == *ceiling => Verdict::Free,
        Some(selection) => Verdict::Below(selection.variant),
    }
}

#[cfg(test)]
mod tests;
