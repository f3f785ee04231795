//! Decides what should be so: which variants are served, whether a Job has to run, and which nodes may change now. Pure; every
//! decision carries its reason.

mod nodes;

use std::collections::BTreeMap;

use dnnshifter_crds::{EdgeDeviceClassSpec, variant_placement::PlacedVariant};
pub(crate) use nodes::{Content, PlacedNode, serves};

use super::{
    known::Variant,
    outcome::JobState,
    validate::{Supply, Valid},
};
use crate::{metadata::is_controlled_by, reasons, template::Template};

/// What should be so.
pub(crate) struct Decision {
    pub(crate) availability: Availability,
    pub(crate) job: JobAction,
    /// What nodes get; `None` before there ever was a portfolio.
    pub(crate) served: Option<Served>,
    pub(crate) nodes: Vec<PlacedNode>,
    /// How many nodes the portfolio is for, placed or not yet.
    pub(crate) matched: usize,
    /// Nodes that a class matches, but that our images cannot run on, with their architectures: they are left out.
    pub(crate) foreign: Vec<String>,
    /// Nodes that more than one class matches.
    pub(crate) overlapping: Vec<String>,
    /// Classes that the portfolio names, but that do not exist.
    pub(crate) missing_classes: Vec<String>,
    /// A pin that names no variant of the wanted revision.
    pub(crate) unknown_pin: Option<String>,
    /// The Service's name is taken by one that is not ours.
    pub(crate) service_taken: bool,
}

/// Whether the wanted variants exist.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Availability {
    Available(Vec<Variant>),
    /// They may come: by themselves, or by something that is not in our hands.
    Pending {
        reason: &'static str,
        message: String,
    },
    /// They will not come without a change.
    Failed {
        reason: &'static str,
        message: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobAction {
    None,
    Create,
    /// Delete the old one; the next reconcile creates it anew.
    Delete,
}

/// What nodes get: the wanted revision, or while it does not exist the last one that did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) revision: String,
    pub(crate) variants: Vec<PlacedVariant>,
    /// The wanted revision is on its way: nodes that serve wait for it, rather than be told twice.
    pub(crate) provisional: bool,
    /// Hash of the pod template, for each class that exists.
    pub(crate) template_hashes: BTreeMap<String, String>,
}

/// Why nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecideError {
    #[error("failed to hash the pod template")]
    Hash(#[from] serde_json::Error),
}

pub(crate) fn decide(valid: &Valid, runtime_image: &str) -> Result<Decision, DecideError> {
    let (availability, job) = availability(valid);
    let served = served(valid, &availability, runtime_image)?;
    let (matched, foreign) = nodes::matched(valid);
    let nodes = served.as_ref().map(|served| nodes::place(valid, served, &matched)).unwrap_or_default();
    Ok(Decision {
        unknown_pin: unknown_pin(valid, &availability),
        service_taken: valid
            .children
            .service
            .as_ref()
            .is_some_and(|service| !is_controlled_by(service, valid.object.as_ref())),
        foreign,
        overlapping: matched.iter().filter(|m| m.overlapping).map(|m| m.node.name.clone()).collect(),
        missing_classes: valid
            .classes
            .iter()
            .filter(|(_, spec)| spec.is_none())
            .map(|(name, _)| name.clone())
            .collect(),
        availability,
        job,
        served,
        matched: matched.len().max(nodes.len()),
        nodes,
    })
}

fn availability(valid: &Valid) -> (Availability, JobAction) {
    match &valid.supply {
        Supply::Available(variants) => (Availability::Available(variants.clone()), JobAction::None),
        Supply::Unreachable(message) => {
            let unreachable =
                Availability::Pending { reason: reasons::REGISTRY_UNREACHABLE, message: message.clone() };
            (unreachable, JobAction::None)
        }
        Supply::Unusable(message) => {
            let unusable =
                Availability::Failed { reason: reasons::PORTFOLIO_UNUSABLE, message: message.clone() };
            (unusable, JobAction::None)
        }
        Supply::Job(state) => made_by_job(valid.source.revision(), state),
    }
}

/// What a person is told of the Job of `revision`, and what is done about it.
fn made_by_job(revision: &str, state: &JobState) -> (Availability, JobAction) {
    let at_work = || format!("a Job trains and prunes revision {revision}");
    let (message, action) = match state {
        JobState::Failed(message) => {
            let failed = Availability::Failed { reason: reasons::PRUNING_FAILED, message: message.clone() };
            return (failed, JobAction::None);
        }
        JobState::Absent => (at_work(), JobAction::Create),
        JobState::Running { complaint: None } | JobState::Succeeded(_) => (at_work(), JobAction::None),
        JobState::Running { complaint: Some(complaint) } => {
            (format!("the Job of revision {revision} waits: {complaint}"), JobAction::None)
        }
        JobState::Blocked { by } => {
            (format!("the Job of revision {revision} waits until {by} has ended"), JobAction::None)
        }
        JobState::NeverStarted => (
            "the Job never started, and begins anew with the changed specification".to_owned(),
            JobAction::Delete,
        ),
        JobState::AnswerLost(why) => {
            (format!("the Job runs again, since its answer is lost: {why}"), JobAction::Delete)
        }
        JobState::FailedBefore => {
            ("the Job failed, and runs again with the changed specification".to_owned(), JobAction::Delete)
        }
    };
    (Availability::Pending { reason: reasons::PRUNING, message }, action)
}

fn served(
    valid: &Valid,
    availability: &Availability,
    runtime_image: &str,
) -> Result<Option<Served>, DecideError> {
    let wanted = match availability {
        Availability::Available(variants) => {
            Some((valid.source.revision().to_owned(), variants.iter().map(Variant::placed).collect()))
        }
        Availability::Pending { .. } | Availability::Failed { .. } => last_good(valid),
    };
    let Some((revision, variants)) = wanted else { return Ok(None) };
    let existing = valid.classes.iter().filter_map(|(name, spec)| Some((name, spec.as_ref()?)));
    let hashes = existing.map(|(name, class)| {
        Ok::<_, serde_json::Error>((name.clone(), template(valid, &variants, class, runtime_image).hash()?))
    });
    let template_hashes = hashes.collect::<Result<_, _>>()?;
    let provisional = matches!(availability, Availability::Pending { .. });
    Ok(Some(Served { revision, variants, provisional, template_hashes }))
}

fn template<'a>(
    valid: &'a Valid,
    variants: &'a [PlacedVariant],
    class: &'a EdgeDeviceClassSpec,
    runtime_image: &'a str,
) -> Template<'a> {
    Template {
        namespace: &valid.namespace,
        portfolio: &valid.name,
        variants,
        class,
        serving: &valid.serving,
        runtime_image,
    }
}

fn last_good(valid: &Valid) -> Option<(String, Vec<PlacedVariant>)> {
    let status = valid.object.status.as_ref()?;
    let placed = status.variants.iter().map(|summary| PlacedVariant {
        name: summary.name.clone(),
        image: summary.image.clone(),
        accuracy: summary.accuracy.clone(),
    });
    let revision = status.revision.clone()?;
    (!status.variants.is_empty()).then(|| (revision, placed.collect()))
}

fn unknown_pin(valid: &Valid, availability: &Availability) -> Option<String> {
    let pin = &valid.policy.pin.as_ref()?.variant_name;
    match availability {
        Availability::Available(variants) if !variants.iter().any(|v| v.record.name.as_str() == pin) => {
            Some(pin.clone())
        }
        Availability::Available(_) | Availability::Pending { .. } | Availability::Failed { .. } => None,
    }
}
