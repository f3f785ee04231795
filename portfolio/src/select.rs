//! Choosing a variant: the most accurate one that meets the latency objective, with the reason for it and for every refusal.
//!
//! [`select`] is pure, deterministic and total: the operator, the runtime and the simulations call the same function. It goes
//! *down* as soon as the objective is missed for the step-down window, and *up* only when a more accurate variant would meet a
//! stricter objective at a higher load than any seen during the whole step-up window. Unknown load holds what is active.

mod history;
mod reason;

use std::time::Duration;

pub use history::{Direction, LoadHistory};
pub use reason::{Reason, Refusal, Refused};

use crate::{
    fraction::Fraction,
    latency::{Prediction, predict},
    name::VariantName,
    profile::{NodeProfile, VariantProfile},
    time::Moment,
};

/// A step up must hold at so many times the largest load of the step-up window...
const HEADROOM_OF_LOAD: f64 = 1.2;
/// ... within this part of the objective. Together they are a hysteresis: a load that only just forced a step down does not
/// allow the step back up.
const HEADROOM_OF_OBJECTIVE: f64 = 0.8;

/// What the user asks of the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The quantile of the latency must be at most this.
    pub latency: Duration,
    /// The quantile, such as 0.99.
    pub quantile: Fraction,
    /// The objective must be missed for so long before a step down; zero for at once.
    pub step_down_window: Duration,
    /// A more accurate variant must have been affordable for so long before a step up.
    pub step_up_window: Duration,
    /// Run this variant whatever the load.
    pub pin: Option<VariantName>,
}

/// Everything that a choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The variants to choose among, the most accurate first.
    pub variants: &'a [VariantName],
    /// What the node measured of them.
    pub profile: &'a NodeProfile,
    /// What the user asks.
    pub policy: &'a Policy,
    /// The most accurate variant that may be used, if there is a limit.
    pub ceiling: Option<&'a VariantName>,
    /// The variant in use; the least accurate is assumed if there is none.
    pub active: Option<&'a VariantName>,
    /// The offered load, as it was observed.
    pub history: &'a LoadHistory,
    /// The present, on the clock of `history`.
    pub now: Moment,
}

/// A choice with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The chosen variant.
    pub variant: VariantName,
    /// Why it was chosen.
    pub reason: Reason,
    /// Whether the chosen variant meets the objective at the present load; unknown without load or profile.
    pub meets_objective: Option<bool>,
    /// Why every variant that is more accurate than the chosen one (and any that was looked at in vain) was refused.
    pub refused: Vec<Refused>,
}

/// Chooses a variant; `None` only if there are no variants to choose among.
pub fn select(situation: Situation<'_>) -> Option<Selection> {
    let smallest = situation.variants.last()?;
    let chooser = Chooser { situation, active: situation.active_or(smallest) };
    let pinned = situation.policy.pin.as_ref().filter(|pin| situation.variants.contains(pin));
    if let Some(pin) = pinned {
        return Some(chooser.selection(pin, Reason::Pinned, Vec::new()));
    }
    let Some(load) = situation.history.latest() else {
        return Some(chooser.selection(chooser.held(), Reason::LoadUnknown, Vec::new()));
    };
    Some(chooser.choose(load))
}

impl<'a> Situation<'a> {
    fn active_or(&self, smallest: &'a VariantName) -> &'a VariantName {
        self.active.filter(|active| self.variants.contains(active)).unwrap_or(smallest)
    }

    fn rank(&self, variant: &VariantName) -> usize {
        self.variants.iter().position(|name| name == variant).unwrap_or(self.variants.len())
    }
}

/// A situation with its open ends closed.
struct Chooser<'a> {
    situation: Situation<'a>,
    active: &'a VariantName,
}

impl<'a> Chooser<'a> {
    fn choose(&self, load: f64) -> Selection {
        let mut refused = Vec::new();
        let mut fitting: Vec<&VariantProfile> = Vec::new();
        for variant in self.situation.variants {
            let judged = self.fit(variant).and_then(|profile| {
                fitting.push(profile);
                self.judge(profile, load)
            });
            match judged {
                Ok(reason) => return self.selection(variant, reason, refused),
                Err(refusal) => refused.push(Refused { variant: variant.clone(), refusal }),
            }
        }
        match fitting.iter().min_by_key(|profile| profile.wall.mean_us) {
            Some(fastest) => self.selection(&fastest.name, Reason::NothingMeetsObjective, refused),
            None => self.selection(self.held(), Reason::NothingMeasured, refused),
        }
    }

    /// The active variant, brought down to the ceiling.
    fn held(&self) -> &'a VariantName {
        match self.situation.ceiling {
            Some(ceiling) if self.situation.rank(ceiling) > self.situation.rank(self.active) => {
                self.situation.variants.iter().find(|name| *name == ceiling).unwrap_or(self.active)
            }
            _ => self.active,
        }
    }

    /// Whether the variant may run on this node at all.
    fn fit(&self, variant: &VariantName) -> Result<&'a VariantProfile, Refusal> {
        let Situation { profile: node, ceiling, .. } = self.situation;
        if ceiling.is_some_and(|ceiling| self.situation.rank(variant) < self.situation.rank(ceiling)) {
            return Err(Refusal::AboveCeiling);
        }
        // A measurement without samples says nothing, least of all that the variant takes no time.
        let measured = node.variant(variant).filter(|profile| profile.wall.samples > 0);
        let profile = measured.ok_or(Refusal::NotMeasured)?;
        let needed_bytes = node.base_memory_bytes.saturating_add(profile.memory_bytes());
        match node.memory_limit_bytes {
            Some(limit_bytes) if needed_bytes > limit_bytes => {
                Err(Refusal::Memory { needed_bytes, limit_bytes })
            }
            _ => Ok(profile),
        }
    }

    /// Whether the variant should run now: a step up, the active one, or a step down.
    fn judge(&self, profile: &VariantProfile, load: f64) -> Result<Reason, Refusal> {
        let Situation { policy, history, now, .. } = self.situation;
        match self.situation.rank(&profile.name).cmp(&self.situation.rank(self.active)) {
            std::cmp::Ordering::Less => self.judge_step_up(profile),
            std::cmp::Ordering::Equal => {
                let eased = history.smallest(now, policy.step_down_window).unwrap_or(load);
                self.require(profile, eased.min(load), policy.latency).map(|()| Reason::MeetsObjective)
            }
            std::cmp::Ordering::Greater => {
                self.require(profile, load, policy.latency).map(|()| Reason::SteppedDown)
            }
        }
    }

    fn judge_step_up(&self, profile: &VariantProfile) -> Result<Reason, Refusal> {
        let Situation { policy, history, now, .. } = self.situation;
        let largest = history.largest(now, policy.step_up_window).ok_or(Refusal::ObservedTooShortly)?;
        self.require(profile, largest * HEADROOM_OF_LOAD, policy.latency.mul_f64(HEADROOM_OF_OBJECTIVE))?;
        if history.backs_off(now) { Err(Refusal::BackingOff) } else { Ok(Reason::SteppedUp) }
    }

    fn require(&self, profile: &VariantProfile, load: f64, limit: Duration) -> Result<(), Refusal> {
        match predict(profile, load, self.situation.profile.quota, self.situation.policy.quantile) {
            Prediction::Latency(predicted) if predicted <= limit => Ok(()),
            Prediction::Latency(predicted) => Err(Refusal::TooSlow { predicted, limit, load }),
            Prediction::Overload => Err(Refusal::Overload { load }),
        }
    }

    fn selection(&self, variant: &VariantName, reason: Reason, refused: Vec<Refused>) -> Selection {
        let measured = self.situation.profile.variant(variant).zip(self.situation.history.latest());
        let meets = |(profile, load)| self.require(profile, load, self.situation.policy.latency).is_ok();
        Selection { variant: variant.clone(), reason, meets_objective: measured.map(meets), refused }
    }
}

#[cfg(test)]
mod tests;
