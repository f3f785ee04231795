//! Reports whether the load is known: the condition `LoadKnown` of a portfolio. One patch if it changed, an Event if its reason
//! did. I/O.

use std::collections::BTreeMap;

use dnnshifter_crds::{
    ModelPortfolio, VariantPlacement,
    conditions::{LOAD_KNOWN, READY, Truth, WantedCondition, is_true},
    names::SWITCHING_FIELD_MANAGER,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Client, ResourceExt,
    runtime::events::{EventType, Recorder},
};
use serde_json::json;

use super::load::LoadError;
use crate::{
    apply::{ApplyError, apply_status},
    events::{Happening, publish},
    telemetry::chain,
};

/// So many nodes are named in a message; the rest is counted.
const NAMED_NODES: usize = 3;

/// What `LoadKnown` says.
pub(crate) fn load_known(
    loads: &Result<BTreeMap<String, f64>, LoadError>,
    placements: &[&VariantPlacement],
) -> WantedCondition {
    let condition = |truth, reason, message| WantedCondition { type_: LOAD_KNOWN, truth, reason, message };
    let loads = match loads {
        Ok(loads) => loads,
        Err(error @ LoadError::NoUrl) => return condition(Truth::False, "PrometheusMissing", chain(error)),
        Err(error) => {
            return condition(
                Truth::False,
                "PrometheusUnreachable",
                format!("variants hold: {}", chain(error)),
            );
        }
    };
    let serving = placements.iter().filter(|placement| {
        placement.status.as_ref().is_some_and(|status| is_true(&status.conditions, READY))
    });
    let nodes: Vec<&str> = serving.map(|placement| placement.spec.node_name.as_str()).collect();
    let missing: Vec<&str> = nodes.iter().copied().filter(|node| !loads.contains_key(*node)).collect();
    if nodes.is_empty() {
        return condition(Truth::Unknown, "NothingServes", "no node serves yet".to_owned());
    }
    if missing.is_empty() {
        return condition(
            Truth::True,
            "Fresh",
            format!("the load of all {} serving nodes is known", nodes.len()),
        );
    }
    let named = missing.iter().take(NAMED_NODES).copied().collect::<Vec<_>>().join(", ");
    let more = match missing.len().saturating_sub(NAMED_NODES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "no fresh load of {} of {} serving nodes, whose variants hold: {named}{more}",
        missing.len(),
        nodes.len()
    );
    condition(Truth::False, "SamplesMissing", message)
}

/// Writes the condition if it changed.
pub(crate) async fn report(
    client: &Client,
    recorder: &Recorder,
    portfolio: &ModelPortfolio,
    wanted: WantedCondition,
) -> Result<(), ApplyError> {
    let stored = portfolio.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let before = stored.iter().find(|condition| condition.type_ == LOAD_KNOWN);
    let condition = wanted.observed(stored, portfolio.metadata.generation, &Time(Timestamp::now()));
    if before == Some(&condition) {
        return Ok(());
    }
    let portfolios =
        Api::<ModelPortfolio>::namespaced(client.clone(), &portfolio.namespace().unwrap_or_default());
    let status = json!({"conditions": [condition]});
    apply_status(&portfolios, &portfolio.name_any(), SWITCHING_FIELD_MANAGER, &status).await?;
    if before.is_none_or(|before| before.reason != condition.reason) {
        let type_ = if condition.status == "False" { EventType::Warning } else { EventType::Normal };
        let reason = if condition.status == "True" { "LoadKnown".to_owned() } else { condition.reason };
        publish(
            recorder,
            portfolio,
            Happening { type_, reason, action: "ReadLoad".to_owned(), note: condition.message },
        )
        .await;
    }
    Ok(())
}
