//! Decides whether a placement's Deployment is written. Pure.

use dnnshifter_crds::names::TEMPLATE_HASH_LABEL;
use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::util::intstr::IntOrString};
use kube::ResourceExt;

use super::validate::{Surroundings, Valid};
use crate::template::{Site, Template};

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
        serving: &whole.serving,
        runtime_image,
    };
    let template_hash = template.hash()?;
    if template_hash != spec.template_hash {
        return Ok(Decision::Keep(Kept::RolloutPending));
    }
    let site = Site { placement: &valid.name, node: &spec.node_name };
    Ok(Decision::Apply(Box::new(Wanted {
        template: template.pod(site, &template_hash),
        surge: whole.two_fit && !valid.crowded && !made_room(valid, &template_hash),
        template_hash,
    })))
}

/// Whether the old pod had to make room for this very template: to surge again afterwards would change nothing but the Deployment.
fn made_room(valid: &Valid, template_hash: &str) -> bool {
    valid.deployment.as_ref().is_some_and(|deployment| {
        let strategy = deployment.spec.strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        deployment.labels().get(TEMPLATE_HASH_LABEL).map(String::as_str) == Some(template_hash)
            && rolling.is_some_and(|rolling| rolling.max_surge == Some(IntOrString::Int(0)))
    })
}
