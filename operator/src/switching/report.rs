//! Reports whether the load is known: the condition `LoadKnown` of a portfolio. One patch if it changed, an Event if its reason
//! did. I/O.

use std::collections::BTreeMap;

use dnnshifter_crds::{
    ModelPortfolio,
    conditions::{LOAD_KNOWN, Truth, WantedCondition},
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
    reasons,
    telemetry::chain,
};

/// So many nodes are named in a message; the rest is counted.
const NAMED_NODES: usize = 3;

/// A node that serves, as far as `LoadKnown` is about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServingNode<'a> {
    pub(crate) name: &'a str,
    /// It serves for so short that Prometheus may not have scraped it yet.
    pub(crate) fresh: bool,
}

/// What `LoadKnown` says.
pub(crate) fn load_known(
    loads: &Result<BTreeMap<String, f64>, LoadError>,
    serving: &[ServingNode<'_>],
) -> WantedCondition {
    let condition = |truth, reason, message| WantedCondition { type_: LOAD_KNOWN, truth, reason, message };
    let loads = match loads {
        Ok(loads) => loads,
        Err(error) => {
            let message = format!("variants hold: {}", chain(error));
            return condition(Truth::False, failure(error), message);
        }
    };
    let (known, unknown): (Vec<&ServingNode<'_>>, Vec<_>) =
        serving.iter().partition(|node| loads.contains_key(node.name));
    let missing: Vec<&str> = unknown.iter().filter(|node| !node.fresh).map(|node| node.name).collect();
    if !missing.is_empty() {
        let message = format!(
            "no fresh load of {} of {} serving nodes, whose variants hold: {}",
            missing.len(),
            serving.len(),
            listed(&missing)
        );
        return condition(Truth::False, reasons::SAMPLES_MISSING, message);
    }
    match (known.is_empty(), unknown.is_empty()) {
        (true, true) => condition(Truth::Unknown, reasons::NOTHING_SERVES, "no node serves yet".to_owned()),
        (true, false) => {
            condition(Truth::Unknown, reasons::AWAITING_SAMPLES, "the first nodes only just serve".to_owned())
        }
        (false, _) => {
            condition(Truth::True, reasons::FRESH, format!("the load of {} nodes is known", known.len()))
        }
    }
}

fn failure(error: &LoadError) -> &'static str {
    match error {
        LoadError::NoUrl => reasons::PROMETHEUS_MISSING,
        LoadError::Credentials(_) => reasons::SECRET_UNUSABLE,
        LoadError::Url { .. }
        | LoadError::SecretDeadline { .. }
        | LoadError::Request(_)
        | LoadError::Unauthorized { .. }
        | LoadError::Redirected { .. }
        | LoadError::TooLong
        | LoadError::Json(_)
        | LoadError::Answer(_) => reasons::PROMETHEUS_UNREACHABLE,
    }
}

/// What `LoadKnown` says while nobody asks.
pub(crate) fn suspended() -> WantedCondition {
    WantedCondition {
        type_: LOAD_KNOWN,
        truth: Truth::Unknown,
        reason: reasons::SUSPENDED,
        message: "spec.suspend is true: nobody asks for the load, and variants hold".to_owned(),
    }
}

fn listed(names: &[&str]) -> String {
    let first = names.iter().take(NAMED_NODES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_NODES) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
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
