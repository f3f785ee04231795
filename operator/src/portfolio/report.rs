//! Reports what became of a portfolio: one status patch if something changed, and Events for transitions. I/O.

pub(super) mod conditions;

use dnnshifter_crds::{
    ModelPortfolio, ModelPortfolioStatus,
    conditions::{LOAD_KNOWN, READY, STALLED, Truth, WantedCondition, is_true},
    model_portfolio::{NodeCounts, VariantSummary},
    names::OPERATOR_FIELD_MANAGER,
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{Api, ResourceExt, runtime::events::EventType};
use tracing::info;

use super::{
    apply::AppliedPlacements,
    decide::{Availability, Decision},
    source::InvalidSource,
    validate::Valid,
};
use crate::{
    apply::{ApplyError, apply_status},
    events::{Happening, publish},
    reasons,
    reconcile::{Context, Reported},
    telemetry::chain,
};

/// Reports a portfolio that was worked on.
pub(crate) async fn report(
    context: &Context,
    valid: &Valid,
    decision: &Decision,
    applied: &AppliedPlacements,
) -> Result<Reported, ApplyError> {
    write_conditions(context, valid, decision, conditions::of(valid, decision, applied)).await
}

/// Reports a portfolio of which the API server refused an object. What it took already is reported as usual.
pub(crate) async fn report_refused(
    context: &Context,
    valid: &Valid,
    decision: &Decision,
    error: &ApplyError,
) -> Result<Reported, ApplyError> {
    write_conditions(context, valid, decision, conditions::refused(valid, decision, chain(error))).await
}

async fn write_conditions(
    context: &Context,
    valid: &Valid,
    decision: &Decision,
    (counts, wanted): (NodeCounts, Vec<WantedCondition>),
) -> Result<Reported, ApplyError> {
    let object = valid.object.as_ref();
    let stored = object.status.clone().unwrap_or_default();
    let (revision, variants) = match &decision.availability {
        Availability::Available(variants) => {
            let summaries = variants.iter().map(|variant| VariantSummary {
                name: variant.record.name.to_string(),
                image: variant.image.clone(),
                accuracy: variant.record.accuracy.to_string(),
                parameters: i64::try_from(variant.record.parameters).unwrap_or(i64::MAX),
                bytes: i64::try_from(variant.record.bytes).unwrap_or(i64::MAX),
            });
            (Some(valid.source.revision().to_owned()), summaries.collect())
        }
        Availability::Pending { .. } | Availability::Failed { .. } => {
            (stored.revision.clone(), stored.variants.clone())
        }
    };
    let status = ModelPortfolioStatus {
        observed_generation: object.metadata.generation,
        revision,
        variants,
        nodes: counts,
        conditions: observed(object, wanted),
    };
    write(context, object, status).await
}

/// Reports a portfolio whose specification cannot be worked on; what runs goes on.
pub(crate) async fn report_invalid(
    context: &Context,
    object: &ModelPortfolio,
    error: &InvalidSource,
) -> Result<Reported, ApplyError> {
    let mut status = object.status.clone().unwrap_or_default();
    status.observed_generation = object.metadata.generation;
    let condition =
        |type_, truth| WantedCondition { type_, truth, reason: reasons::INVALID_SPEC, message: chain(error) };
    status.conditions =
        observed(object, vec![condition(READY, Truth::False), condition(STALLED, Truth::True)]);
    write(context, object, status).await
}

fn observed(object: &ModelPortfolio, wanted: Vec<WantedCondition>) -> Vec<Condition> {
    let stored = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let now = Time(Timestamp::now());
    wanted.into_iter().map(|condition| condition.observed(stored, object.metadata.generation, &now)).collect()
}

async fn write(
    context: &Context,
    object: &ModelPortfolio,
    status: ModelPortfolioStatus,
) -> Result<Reported, ApplyError> {
    let mut stored = object.status.clone().unwrap_or_default();
    // The switching loop's, under its own field manager.
    stored.conditions.retain(|condition| condition.type_ != LOAD_KNOWN);
    if stored == status {
        return Ok(Reported::Unchanged);
    }
    let name = object.name_any();
    let portfolios =
        Api::<ModelPortfolio>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let body = serde_json::to_value(&status).map_err(|source| ApplyError::Json {
        kind: "ModelPortfolio".to_owned(),
        name: name.clone(),
        source,
    })?;
    apply_status(&portfolios, &name, OPERATOR_FIELD_MANAGER, &body).await?;
    announce(context, object, &stored.conditions, &status.conditions).await;
    Ok(Reported::Written)
}

async fn announce(context: &Context, object: &ModelPortfolio, before: &[Condition], after: &[Condition]) {
    let ready =
        |conditions: &[Condition]| conditions.iter().find(|condition| condition.type_ == READY).cloned();
    let Some(now) = ready(after) else { return };
    let same = ready(before).is_some_and(|before| before.status == now.status && before.reason == now.reason);
    if same {
        return;
    }
    info!(ready = now.status, reason = now.reason, why = now.message, "portfolio changed");
    let type_ = if is_true(after, STALLED) { EventType::Warning } else { EventType::Normal };
    let happening =
        Happening { type_, reason: now.reason, action: "Reconcile".to_owned(), note: now.message };
    publish(&context.recorder, object, happening).await;
}
