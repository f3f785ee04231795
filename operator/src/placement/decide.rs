//! Decides whether a placement's Deployment is written. Pure.

use super::validate::{Surroundings, Valid};
use crate::template::{Site, Template};

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// What to do with the Deployment.
pub(crate) enum Decision {
    /// Write it with this template.
    Apply(Box<Wanted>),
    /// Leave it as it is.
    Keep(Kept),
}

/// The Deployment's variable parts.
pub(crate) struct Wanted {
    pub(crate) template: PodTemplateSpec,
    pub(crate) template_hash: String,
    /// A second pod may start before the first one ends.
    pub(crate) surge: bool,
}

/// Why a Deployment is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The template that can be built is not the one that the placement names: the rollout has not come here yet.
    RolloutPending,
    /// The class is gone: the node serves on.
    ClassMissing,
    /// The portfolio is gone: so will this be.
    PortfolioMissing,
}

/// Why nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecideError {
    #[error("failed to hash the pod template")]
    Hash(#[from] serde_json::Error),
}

pub(crate) fn decide(valid: &Valid, runtime_image: &str) -> Result<Decision, DecideError> {
    let whole = match &valid.surroundings {
        Surroundings::NoClass => return Ok(Decision::Keep(Kept::ClassMissing)),
        Surroundings::NoPortfolio => return Ok(Decision::Keep(Kept::PortfolioMissing)),
        Surroundings::Whole(whole) => whole,
    };
    let spec = &valid.object.spec;
    let template = Template {
        namespace: &valid.namespace,
        portfolio: &spec.portfolio_name,
        variants: &spec.variants,
        class: &whole.class,
        pull_secrets: &whole.pull_secrets,
        runtime_image,
    };
    let template_hash = template.hash()?;
    if template_hash != spec.template_hash {
        return Ok(Decision::Keep(Kept::RolloutPending));
    }
    let site = Site { placement: &valid.name, node: &spec.node_name };
    Ok(Decision::Apply(Box::new(Wanted {
        template: template.pod(site, &template_hash),
        template_hash,
        surge: whole.two_fit,
    })))
}
