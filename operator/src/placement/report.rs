//! Reports what a placement's Deployment runs, and whether it is ready. One status patch if something changed. I/O.

use dnnshifter_crds::{
    VariantPlacement,
    conditions::{READY, Truth, WantedCondition},
    names::OPERATOR_FIELD_MANAGER,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::Api;
use serde_json::json;

use super::{
    apply::Applied,
    decide::Kept,
    validate::{Deployed, Valid},
};
use crate::{
    apply::{ApplyError, apply_status},
    reasons,
    reconcile::{Context, Reported},
};

/// What became of the placement.
pub(crate) enum Outcome {
    Applied(Applied),
    Kept(Kept),
    /// The API server refused the Deployment, for this reason.
    Refused(String),
}

pub(crate) async fn report(
    context: &Context,
    valid: &Valid,
    outcome: &Outcome,
) -> Result<Reported, ApplyError> {
    let object = valid.object.as_ref();
    let stored = object.status.clone().unwrap_or_default();
    let deployed = match outcome {
        Outcome::Applied(Applied::Deployment(deployment)) => Some(Deployed::from(deployment.as_ref())),
        Outcome::Applied(Applied::ImageVolumesUnsupported) | Outcome::Kept(_) | Outcome::Refused(_) => {
            valid.deployment.as_ref().map(Deployed::from)
        }
    };
    let generation = object.metadata.generation;
    let ready = ready(valid, outcome, deployed.as_ref()).observed(
        &stored.conditions,
        generation,
        &Time(Timestamp::now()),
    );
    let (template_hash, revision) = deployed.map(|d| (d.template_hash, d.revision)).unwrap_or_default();
    let unchanged = stored.observed_generation == generation
        && stored.template_hash == template_hash
        && stored.revision == revision
        && stored.conditions.contains(&ready);
    if unchanged {
        return Ok(Reported::Unchanged);
    }
    let mut status = json!({"observedGeneration": generation, "conditions": [ready]});
    if let Some(fields) = status.as_object_mut() {
        fields.extend(template_hash.map(|hash| ("templateHash".to_owned(), json!(hash))));
        fields.extend(revision.map(|revision| ("revision".to_owned(), json!(revision))));
    }
    let placements = Api::<VariantPlacement>::namespaced(context.client.clone(), &valid.namespace);
    apply_status(&placements, &valid.name, OPERATOR_FIELD_MANAGER, &status).await?;
    Ok(Reported::Written)
}

/// What `Ready` says.
pub(super) fn ready(valid: &Valid, outcome: &Outcome, deployed: Option<&Deployed>) -> WantedCondition {
    let condition =
        |truth: Truth, reason, message: String| WantedCondition { type_: READY, truth, reason, message };
    let not_ready = |reason, message: String| condition(Truth::False, reason, message);
    if let Outcome::Applied(Applied::ImageVolumesUnsupported) = outcome {
        let message = "the API server takes image volumes away: use Kubernetes 1.35 or newer, or turn on the feature gate ImageVolume";
        return not_ready(reasons::IMAGE_VOLUMES_UNSUPPORTED, message.to_owned());
    }
    if let Outcome::Refused(message) = outcome {
        return not_ready(reasons::REFUSED, message.clone());
    }
    let Some(deployed) = deployed else {
        return match outcome {
            Outcome::Kept(Kept::ClassMissing) => not_ready(
                reasons::DEVICE_CLASS_MISSING,
                format!("waiting for the device class {}", valid.object.spec.device_class_name),
            ),
            Outcome::Kept(Kept::RolloutPending | Kept::PortfolioMissing)
            | Outcome::Applied(_)
            | Outcome::Refused(_) => {
                not_ready(reasons::ROLLOUT_PENDING, "waiting for its turn in the rollout".to_owned())
            }
        };
    };
    if valid.serves(deployed) {
        let revision = deployed.revision.as_deref().unwrap_or_default();
        return condition(Truth::True, reasons::SERVING, format!("serves revision {revision}"));
    }
    if !valid.node_reachable || valid.pod_unheard {
        return not_ready(
            reasons::NODE_UNREACHABLE,
            "the node does not answer its control plane; it may well serve its own clients".to_owned(),
        );
    }
    // A pod that complains has come further than its Secrets, or not even to them.
    match (&valid.complaint, &valid.unusable_secret) {
        (Some(complaint), _) => not_ready(reasons::POD_FAILING, complaint.clone()),
        (None, Some(secret)) => not_ready(reasons::SECRET_UNUSABLE, secret.clone()),
        (None, None) => not_ready(reasons::STARTING, "the pod starts".to_owned()),
    }
}
