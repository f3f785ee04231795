//! Writes decisions: `spec.decision` and nothing else, under the switching loop's own field manager, and only over what was
//! read. I/O.

use dnnshifter_crds::{VariantPlacement, names::SWITCHING_FIELD_MANAGER};
use dnnshifter_portfolio::{LoadHistory, Moment, name::InvalidVariantName};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::decide::{NewDecision, decide};

/// Why a decision was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    #[error("failed to write the decision of placement {name}")]
    Write {
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("failed to read placement {name} again after a conflict")]
    Read {
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("failed to understand placement {name}")]
    Invalid {
        name: String,
        #[source]
        source: InvalidVariantName,
    },
}

/// Decides for one placement and writes what is new. If it was changed meanwhile it is read, and decided about, once more.
pub(crate) async fn switch(
    client: &Client,
    placement: &VariantPlacement,
    history: &LoadHistory,
    now: Moment,
) -> Result<Option<NewDecision>, SwitchError> {
    let Some(decision) = decision_for(placement, history, now)? else { return Ok(None) };
    let placements =
        Api::<VariantPlacement>::namespaced(client.clone(), &placement.namespace().unwrap_or_default());
    match write(&placements, placement, &decision).await {
        Ok(()) => return Ok(Some(decision)),
        Err(source) if is_conflict(&source) => {}
        Err(source) => return Err(SwitchError::Write { name: placement.name_any(), source }),
    }
    let name = placement.name_any();
    let current =
        placements.get_opt(&name).await.map_err(|source| SwitchError::Read { name: name.clone(), source })?;
    let Some(current) = current.filter(|current| current.uid() == placement.uid()) else { return Ok(None) };
    let Some(decision) = decision_for(&current, history, now)? else { return Ok(None) };
    write(&placements, &current, &decision).await.map_err(|source| SwitchError::Write { name, source })?;
    Ok(Some(decision))
}

fn decision_for(
    placement: &VariantPlacement,
    history: &LoadHistory,
    now: Moment,
) -> Result<Option<NewDecision>, SwitchError> {
    decide(placement, history, now)
        .map_err(|source| SwitchError::Invalid { name: placement.name_any(), source })
}

async fn write(
    placements: &Api<VariantPlacement>,
    seen: &VariantPlacement,
    decision: &NewDecision,
) -> Result<(), kube::Error> {
    let body = json!({
        "apiVersion": VariantPlacement::api_version(&()),
        "kind": VariantPlacement::kind(&()),
        // With the version that was read: a stale leader cannot win.
        "metadata": {"name": seen.name_any(), "resourceVersion": seen.resource_version()},
        "spec": {"decision": {
            "ceilingVariantName": decision.ceiling,
            "acknowledgedEpoch": decision.acknowledged_epoch,
            "reason": decision.reason.as_str(),
            "message": decision.message,
            "decidedAt": Time(Timestamp::now()),
        }},
    });
    let params = PatchParams::apply(SWITCHING_FIELD_MANAGER).force();
    placements.patch(&seen.name_any(), &params, &Patch::Apply(&body)).await.map(drop)
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests;
