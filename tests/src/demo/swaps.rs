//! Forced switches: pins, set on the placements themselves while the operator is told to keep off, under a steady load.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde::Deserialize;
use serde_json::json;

use super::kubernetes::Portfolio;
use crate::load::{Outcome, Record, unix_us};

/// A node that has not switched after so long never will.
const LONGEST_SWITCH: Duration = Duration::from_secs(10);
/// The pause between switches, so that they meet the load at any phase.
const PAUSE: Duration = Duration::from_millis(120);

/// A pin that was set on one placement.
#[derive(Clone, Debug)]
pub struct Forced {
    /// The node.
    pub node: String,
    /// The variant.
    pub variant: String,
    /// When the patch was sent, in microseconds of Unix time, on this machine's one clock.
    pub patched_unix_us: u64,
}

/// Pins every placement `rounds` times: to the largest variant, or to the smallest one where the largest is active.
pub async fn force(portfolio: &Portfolio, rounds: usize) -> Result<Vec<Forced>> {
    let mut forced = Vec::new();
    for _ in 0..rounds {
        for placement in portfolio.placements().await? {
            let variants = &placement.spec.variants;
            let (largest, smallest) =
                variants.first().zip(variants.last()).context("a placement has no variants")?;
            let active = placement.status.as_ref().and_then(|status| status.active_variant_name.as_ref());
            let target = if active == Some(&largest.name) { &smallest.name } else { &largest.name }.clone();
            let name = placement.metadata.name.clone().unwrap_or_default();
            let patched_unix_us = unix_us();
            let patch = json!({"spec": {"policy": {"pin": {"variantName": target}}}});
            let api = portfolio.placement_api();
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .context("failed to pin a placement")?;
            wait_active(portfolio, &name, &target).await?;
            forced.push(Forced { node: placement.spec.node_name, variant: target, patched_unix_us });
            tokio::time::sleep(PAUSE / 3).await;
        }
    }
    Ok(forced)
}

async fn wait_active(portfolio: &Portfolio, placement: &str, variant: &str) -> Result<()> {
    let deadline = Instant::now() + LONGEST_SWITCH;
    loop {
        let status = portfolio.placement_api().get(placement).await?.status.unwrap_or_default();
        if status.active_variant_name.as_deref() == Some(variant) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{placement} did not switch to {variant} within {} s",
            LONGEST_SWITCH.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// From each patch to the end of the first answer by the new variant on that node. Fails if one was never answered by it: then
/// the load had ended too early, and the rest would flatter.
pub fn decision_to_answer(
    forced: &[Forced],
    records: &BTreeMap<String, Vec<Record>>,
) -> Result<Vec<Duration>> {
    let first_answer = |forced: &Forced| {
        let answers = records.get(&forced.node)?.iter().filter(|record| record.outcome == Outcome::Answered);
        let by_new = answers.filter(|record| record.variant.as_deref() == Some(&forced.variant));
        let after = by_new
            .map(|record| record.ended_unix_us)
            .filter(|ended| *ended > forced.patched_unix_us)
            .min()?;
        Some(Duration::from_micros(after - forced.patched_unix_us))
    };
    let durations = forced.iter().map(|forced| {
        first_answer(forced).with_context(|| format!("{} never answered by {}", forced.node, forced.variant))
    });
    durations.collect()
}

/// Durations that each node's runtime measured of its swaps so far, the oldest first: from the decision received to the
/// pointer stored.
pub async fn measured(portfolio: &Portfolio) -> Result<BTreeMap<String, Vec<Duration>>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Swaps {
        durations_microseconds: Vec<u64>,
    }
    let mut durations = BTreeMap::new();
    for (node, address) in portfolio.pods().await? {
        let url = format!("http://{address}:8080/swaps");
        let text = reqwest::get(&url).await?.error_for_status()?.text().await?;
        let swaps: Swaps = serde_json::from_str(&text)
            .with_context(|| format!("the runtime of {node} answered no swaps: {text}"))?;
        durations.insert(node, swaps.durations_microseconds.into_iter().map(Duration::from_micros).collect());
    }
    Ok(durations)
}

/// The swaps of `after` that were not there `before`.
pub fn newer(
    before: &BTreeMap<String, Vec<Duration>>,
    after: BTreeMap<String, Vec<Duration>>,
) -> Vec<Duration> {
    let known = |node: &String| before.get(node).map_or(0, Vec::len);
    after.into_iter().flat_map(|(node, durations)| durations.into_iter().skip(known(&node))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_by_the_new_variant_after_the_patch_counts() {
        let answer = |ended_unix_us, variant: &str| Record {
            intended: Duration::ZERO,
            latency: Duration::ZERO,
            ended_unix_us,
            outcome: Outcome::Answered,
            variant: Some(variant.to_owned()),
            correct: true,
            error: None,
        };
        let records = BTreeMap::from([(
            "edge-1".to_owned(),
            vec![answer(90, "small"), answer(120, "large"), answer(150, "small"), answer(160, "small")],
        )]);
        let forced =
            [Forced { node: "edge-1".to_owned(), variant: "small".to_owned(), patched_unix_us: 100 }];
        assert_eq!(decision_to_answer(&forced, &records).unwrap(), [Duration::from_micros(50)]);
        let late = [Forced { patched_unix_us: 500, ..forced[0].clone() }];
        assert!(decision_to_answer(&late, &records).is_err());
    }
}
