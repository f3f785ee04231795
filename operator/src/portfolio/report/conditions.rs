//! The conditions and counts of a portfolio, from what was decided and applied. Pure.
//!
//! An unreachable node never makes `Ready` false: that is what `NodesServing` is for.

use dnnshifter_crds::{
    VariantPlacement,
    conditions::{
        DEVICE_CLASSES_OVERLAP, NODES_SERVING, NODES_UNSUPPORTED, READY, RECONCILING, STALLED, Truth,
        VARIANTS_AVAILABLE, WantedCondition,
    },
    model_portfolio::NodeCounts,
};

use super::super::{
    apply::AppliedPlacements,
    decide::{Availability, Decision, Served, serves},
    validate::Valid,
};
use crate::{
    reasons,
    template::{ARCHITECTURE, ARCHITECTURE_LABEL},
};

/// So many nodes are named in a message; the rest is counted.
const NAMED_NODES: usize = 3;

pub(crate) fn of(
    valid: &Valid,
    decision: &Decision,
    applied: &AppliedPlacements,
) -> (NodeCounts, Vec<WantedCondition>) {
    let nodes = Nodes::count(decision, applied);
    let verdict = verdict(valid, decision, &nodes);
    let mut conditions =
        vec![verdict.ready(), variants_available(valid, &decision.availability), nodes.serving_condition()];
    conditions.extend(verdict.progress());
    conditions.extend(classes_overlap(decision));
    conditions.extend(nodes_unsupported(decision));
    (nodes.counts, conditions)
}

/// The same when the API server refused an object: nothing is known of placements but what was there before.
pub(crate) fn refused(
    valid: &Valid,
    decision: &Decision,
    message: String,
) -> (NodeCounts, Vec<WantedCondition>) {
    let (counts, mut conditions) = of(valid, decision, &AppliedPlacements(valid.placements.clone()));
    let verdict = Verdict::Stalled { reason: reasons::REFUSED, message };
    conditions.retain(|condition| ![READY, RECONCILING, STALLED].contains(&condition.type_));
    conditions.push(verdict.ready());
    conditions.extend(verdict.progress());
    (counts, conditions)
}

/// What the conditions `Ready`, `Reconciling` and `Stalled` say.
enum Verdict {
    Ready(String),
    /// On the way.
    Reconciling {
        reason: &'static str,
        message: String,
    },
    /// Not ready, and a person has to change something.
    Stalled {
        reason: &'static str,
        message: String,
    },
    /// Not ready, and nobody works on it.
    Resting {
        reason: &'static str,
        message: String,
    },
}

impl Verdict {
    fn ready(&self) -> WantedCondition {
        let (truth, reason, message) = match self {
            Self::Ready(message) => (Truth::True, reasons::SERVING, message),
            Self::Reconciling { reason, message }
            | Self::Stalled { reason, message }
            | Self::Resting { reason, message } => (Truth::False, *reason, message),
        };
        WantedCondition { type_: READY, truth, reason, message: message.clone() }
    }

    fn progress(&self) -> Option<WantedCondition> {
        let (type_, reason, message) = match self {
            Self::Ready(_) | Self::Resting { .. } => return None,
            Self::Reconciling { reason, message } => (RECONCILING, reason, message),
            Self::Stalled { reason, message } => (STALLED, reason, message),
        };
        Some(WantedCondition { type_, truth: Truth::True, reason, message: message.clone() })
    }
}

fn verdict(valid: &Valid, decision: &Decision, nodes: &Nodes) -> Verdict {
    let serves_on = match &decision.served {
        Some(served) if served.revision != valid.source.revision() => {
            format!("; revision {} serves on", served.revision)
        }
        _ => String::new(),
    };
    let verdict = match &decision.availability {
        Availability::Failed { reason, message } => {
            return Verdict::Stalled { reason, message: format!("{message}{serves_on}") };
        }
        Availability::Pending { reason, message } => {
            Verdict::Reconciling { reason, message: format!("{message}{serves_on}") }
        }
        Availability::Available(_) => serving_verdict(decision, nodes),
    };
    match verdict {
        Verdict::Reconciling { message, .. } if valid.suspend => Verdict::Resting {
            reason: reasons::SUSPENDED,
            message: format!("spec.suspend is true; before: {message}"),
        },
        verdict => verdict,
    }
}

fn serving_verdict(decision: &Decision, nodes: &Nodes) -> Verdict {
    if decision.service_taken {
        let message = "a Service of the portfolio's name exists and is not ours: rename the one or the other"
            .to_owned();
        return Verdict::Stalled { reason: reasons::SERVICE_NAME_TAKEN, message };
    }
    if let Some(pin) = &decision.unknown_pin {
        let message = format!(
            "spec.switching.pin names \"{pin}\", which is no variant of this portfolio; the pin is ignored: variants follow the load"
        );
        return Verdict::Stalled { reason: reasons::PIN_UNKNOWN, message };
    }
    if !decision.missing_classes.is_empty() {
        let message = format!("waiting for the device class {}", listed(&decision.missing_classes));
        return Verdict::Reconciling { reason: reasons::DEVICE_CLASS_MISSING, message };
    }
    if !nodes.waiting.is_empty() {
        let message = format!("{}; waiting for {}", nodes.summary, listed(&nodes.waiting));
        return Verdict::Reconciling { reason: reasons::ROLLING_OUT, message };
    }
    Verdict::Ready(nodes.summary.clone())
}

fn variants_available(valid: &Valid, availability: &Availability) -> WantedCondition {
    let (truth, reason, message) = match availability {
        Availability::Available(variants) => {
            let message = format!("revision {} has {} variants", valid.source.revision(), variants.len());
            (Truth::True, reasons::AVAILABLE, message)
        }
        Availability::Pending { reason, message } | Availability::Failed { reason, message } => {
            (Truth::False, *reason, message.clone())
        }
    };
    WantedCondition { type_: VARIANTS_AVAILABLE, truth, reason, message }
}

fn classes_overlap(decision: &Decision) -> Option<WantedCondition> {
    (!decision.overlapping.is_empty()).then(|| WantedCondition {
        type_: DEVICE_CLASSES_OVERLAP,
        truth: Truth::True,
        reason: reasons::SEVERAL_CLASSES_MATCH,
        message: format!("the first class that matches wins on {}", listed(&decision.overlapping)),
    })
}

fn nodes_unsupported(decision: &Decision) -> Option<WantedCondition> {
    (!decision.foreign.is_empty()).then(|| WantedCondition {
        type_: NODES_UNSUPPORTED,
        truth: Truth::True,
        reason: reasons::ARCHITECTURE_UNSUPPORTED,
        message: format!(
            "left out, since the images are for {ARCHITECTURE}: {}; with {ARCHITECTURE_LABEL}: {ARCHITECTURE} in the nodeSelector of their device class they do not match",
            listed(&decision.foreign)
        ),
    })
}

struct Nodes {
    counts: NodeCounts,
    /// Reachable nodes that do not serve what they should, with the reason where it is known.
    waiting: Vec<String>,
    /// All nodes that do not serve what they should.
    missing: Vec<String>,
    summary: String,
}

impl Nodes {
    fn count(decision: &Decision, applied: &AppliedPlacements) -> Self {
        let (mut updated, mut serving, mut unreachable) = (0, 0, 0_usize);
        let (mut waiting, mut missing) = (Vec::new(), Vec::new());
        for placed in &decision.nodes {
            let placement = applied.0.iter().find(|placement| placement.spec.node_name == placed.node.name);
            let told = placement.is_some_and(|placement| holds(placement, decision.served.as_ref()));
            let serves = told && placement.is_some_and(serves);
            updated += i32::from(told);
            serving += i32::from(serves);
            unreachable += usize::from(!placed.node.reachable);
            if !serves {
                missing.push(placed.node.name.clone());
                if placed.node.reachable {
                    waiting.push(explained(&placed.node.name, placement.filter(|_| told)));
                }
            }
        }
        let matched = decision.matched;
        let cut_off = if unreachable > 0 { format!(" ({unreachable} unreachable)") } else { String::new() };
        let left_out = match decision.foreign.len() {
            0 => String::new(),
            more => format!(" ({more} of another architecture left out)"),
        };
        let summary = decision.served.as_ref().map_or_else(
            || format!("{matched} nodes match{left_out}; there is nothing to serve yet"),
            |served| {
                format!("{serving} of {matched} nodes{cut_off}{left_out} serve revision {}", served.revision)
            },
        );
        let counts = NodeCounts { matched: i32::try_from(matched).unwrap_or(i32::MAX), updated, serving };
        Self { counts, waiting, missing, summary }
    }

    fn serving_condition(&self) -> WantedCondition {
        let all = self.counts.serving == self.counts.matched;
        let (reason, message) = if all {
            (reasons::ALL_NODES_SERVE, self.summary.clone())
        } else if self.missing.is_empty() {
            (reasons::NOTHING_TO_SERVE, self.summary.clone())
        } else {
            (reasons::NODES_MISSING, format!("{}; missing: {}", self.summary, listed(&self.missing)))
        };
        WantedCondition { type_: NODES_SERVING, truth: all.into(), reason, message }
    }
}

fn holds(placement: &VariantPlacement, served: Option<&Served>) -> bool {
    served.is_some_and(|served| {
        let hash = served.template_hashes.get(&placement.spec.device_class_name);
        // A class that is gone has no template: what its nodes hold is all there is.
        placement.spec.revision == served.revision
            && hash.is_none_or(|hash| *hash == placement.spec.template_hash)
    })
}

/// The node's name, with what its placement says of itself.
fn explained(node: &str, placement: Option<&VariantPlacement>) -> String {
    let status = placement.and_then(|placement| placement.status.as_ref());
    let ready = status.and_then(|status| status.conditions.iter().find(|condition| condition.type_ == READY));
    match ready {
        Some(condition) if condition.status != "True" && !condition.message.is_empty() => {
            format!("{node} ({})", condition.message)
        }
        _ => node.to_owned(),
    }
}

fn listed(names: &[String]) -> String {
    let first = names.iter().take(NAMED_NODES).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_NODES) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
