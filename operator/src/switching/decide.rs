//! Decides what a placement's ceiling should be, and whether that is worth a write. Pure.

use std::fmt::Write;

use dnnshifter_crds::{VariantPlacement, variant_placement::Decision};
use dnnshifter_portfolio::{
    LoadHistory, Moment, Policy, Selection, Situation, VariantName,
    name::InvalidVariantName,
    select,
    select::{Direction, Reason},
};

use crate::events::truncate;

/// The longest `spec.decision.message`.
const LONGEST_MESSAGE: usize = 1024;

/// A decision that is worth a write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewDecision {
    pub(crate) ceiling: VariantName,
    pub(crate) acknowledged_epoch: i64,
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) change: Change,
}

/// What a decision changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// There was none.
    First,
    /// Another ceiling.
    Ceiling(Direction),
    /// The same ceiling for another reason, or another epoch.
    Wording,
}

impl Change {
    /// The change as the metrics name it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Ceiling(Direction::Up) => "up",
            Self::Ceiling(Direction::Down) => "down",
            Self::Wording => "same",
        }
    }
}

/// The policy of a placement, parsed.
pub(crate) fn policy(placement: &VariantPlacement) -> Result<Policy, InvalidVariantName> {
    Policy::try_from(&placement.spec.policy)
}

/// The decision to write, if there is one to write.
pub(crate) fn decide(
    placement: &VariantPlacement,
    history: &LoadHistory,
    now: Moment,
) -> Result<Option<NewDecision>, InvalidVariantName> {
    let names = placement.spec.variants.iter().map(|variant| VariantName::parse(&variant.name));
    let variants = names.collect::<Result<Vec<_>, _>>()?;
    let status = placement.status.clone().unwrap_or_default();
    let profile = status.node_profile()?;
    // A ceiling that is no variant (any more) counts as none.
    let stored = placement.spec.decision.as_ref();
    let stored =
        stored.filter(|decision| variants.iter().any(|name| name.as_str() == decision.ceiling_variant_name));
    // A node may run less than its ceiling for a while, by its reflex: what was decided last is what is decided on.
    let decided = stored.map(|decision| decision.ceiling_variant_name.as_str());
    let active = decided.or(status.active_variant_name.as_deref()).map(VariantName::parse).transpose()?;
    let policy = policy(placement)?;
    let situation = Situation {
        variants: &variants,
        profile: &profile,
        policy: &policy,
        ceiling: None,
        active: active.as_ref(),
        history,
        now,
    };
    let Some(selection) = select(situation) else { return Ok(None) };
    let epoch = status.epoch.unwrap_or(0);
    let Some(change) = change(&variants, stored, &selection, epoch) else { return Ok(None) };
    let message = message(&selection, history.latest());
    Ok(Some(NewDecision {
        ceiling: selection.variant,
        acknowledged_epoch: epoch,
        reason: selection.reason,
        message,
        change,
    }))
}

fn change(
    variants: &[VariantName],
    stored: Option<&Decision>,
    selection: &Selection,
    epoch: i64,
) -> Option<Change> {
    let Some(stored) = stored else {
        // What is only held was never decided.
        return (!is_held(selection.reason)).then_some(Change::First);
    };
    let rank = |name: &str| variants.iter().position(|variant| variant.as_str() == name);
    let (before, after) = (rank(&stored.ceiling_variant_name), rank(selection.variant.as_str()));
    if before == after {
        let reworded = class(&stored.reason) != class(selection.reason.as_str());
        let pin_is_gone = stored.reason == Reason::Pinned.as_str();
        let reworded = reworded && (!is_held(selection.reason) || pin_is_gone);
        return (reworded || stored.acknowledged_epoch != epoch).then_some(Change::Wording);
    }
    Some(Change::Ceiling(if after < before { Direction::Up } else { Direction::Down }))
}

fn is_held(reason: Reason) -> bool {
    match reason {
        Reason::LoadUnknown | Reason::NothingMeasured => true,
        Reason::Pinned
        | Reason::MeetsObjective
        | Reason::SteppedDown
        | Reason::SteppedUp
        | Reason::NothingMeetsObjective => false,
    }
}

/// A step that was made meets the objective ever after: that alone is no news.
fn class(reason: &str) -> &str {
    match reason {
        "SteppedDown" | "SteppedUp" => "MeetsObjective",
        other => other,
    }
}

fn message(selection: &Selection, load: Option<f64>) -> String {
    let mut message = load.map_or_else(|| "load unknown".to_owned(), |load| format!("load {load:.1}/s"));
    for refused in &selection.refused {
        let _infallible = write!(message, "; {refused}");
    }
    truncate(&mut message, LONGEST_MESSAGE);
    message
}

#[cfg(test)]
pub(super) mod tests;
