//! What a pod does with placements: with those that are meant for it, and with those for the pod that will replace it.

use std::time::Duration;

use dnnshifter_portfolio::VariantName;

use super::{watch::Listener, *};
use crate::testing::{name, names, resident, service};

/// A placement of `variants` for pods of the template `hash`, with this ceiling.
fn placement(hash: &str, variants: &[&str], ceiling: &str) -> VariantPlacement {
    let variants: Vec<_> = variants
        .iter()
        .map(|name| serde_json::json!({"name": name, "image": "i", "accuracy": "0.9"}))
        .collect();
    let spec = serde_json::json!({
        "portfolioName": "p", "nodeName": "n", "deviceClassName": "c", "revision": "r", "templateHash": hash,
        "variants": variants,
        "policy": {"latencyObjective": {"milliseconds": 20, "quantile": "0.99"},
            "behavior": {"stepDown": {"stabilizationWindowSeconds": 0}, "stepUp": {"stabilizationWindowSeconds": 60}}},
        "decision": {"ceilingVariantName": ceiling, "reason": "SteppedDown", "decidedAt": "2026-01-01T00:00:00Z"},
    });
    VariantPlacement::new("p-n", serde_json::from_value(spec).unwrap())
}

fn follower(hash: Option<&str>, directory: &Path) -> Follower {
    Follower {
        service: service(Chooser::Placement, vec![resident("big", 1.0), resident("small", 2.0)]),
        seen: channel::channel(None).0,
        policies: channel::channel(None).0,
        store: Store::new(Some(directory.to_owned()), "p-n".to_owned()),
        template_hash: hash.map(str::to_owned),
    }
}

fn serving(follower: &Follower) -> VariantName {
    follower.service.switch.active().unwrap().name().clone()
}

#[tokio::test]
async fn a_placement_for_another_template_leaves_the_variants_serving_and_switchable() {
    let directory = tempfile::tempdir().unwrap();
    let mut follower = follower(Some("old"), directory.path());
    follower.changed(placement("new", &["other", "next"], "other"), Source::List, Instant::now()).await;
    assert_eq!(follower.service.switch.standing().order, names(&["big", "small"]));
    assert_eq!(serving(&follower), name("big"));
    assert_eq!(follower.service.lane.objective(), Some(Duration::from_millis(20)));
    follower.changed(placement("new", &["other", "small"], "small"), Source::List, Instant::now()).await;
    assert_eq!(serving(&follower), name("small"));
    assert!(follower.service.switch.take_retired().is_empty());
    assert_eq!(follower.store.load().await, None);
}

#[tokio::test]
async fn a_placement_for_this_template_or_for_a_pod_that_knows_none_is_obeyed_and_remembered() {
    for hash in [Some("new"), Some(""), None] {
        let directory = tempfile::tempdir().unwrap();
        let mut follower = follower(hash, directory.path());
        let placement = placement("new", &["small", "next"], "small");
        follower.changed(placement.clone(), Source::List, Instant::now()).await;
        assert_eq!(follower.service.switch.standing().order, names(&["small", "next"]));
        assert_eq!(serving(&follower), name("small"));
        assert_eq!(follower.store.load().await, Some(placement));
    }
}

#[tokio::test]
async fn a_remembered_placement_for_another_template_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    for (own, order) in [("new", names(&[])), ("old", names(&["small"]))] {
        let follower = follower(Some(own), directory.path());
        follower.store.save(&placement("old", &["small"], "small")).await;
        follower.start_alone(directory.path()).await;
        assert_eq!(follower.service.switch.standing().order, order);
    }
}

#[tokio::test]
async fn what_a_watch_tells_late_does_not_count_and_what_a_restored_server_lists_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut follower = follower(None, directory.path());
    let of_generation = |ceiling: &str, generation: i64| {
        let mut placement = placement("t", &["big", "small"], ceiling);
        (placement.metadata.uid, placement.metadata.generation) = (Some("u".to_owned()), Some(generation));
        placement
    };
    follower.changed(of_generation("small", 9), Source::List, Instant::now()).await;
    follower.changed(of_generation("big", 8), Source::Watch, Instant::now()).await;
    assert_eq!(serving(&follower), name("small"));
    follower.changed(of_generation("big", 3), Source::List, Instant::now()).await;
    assert_eq!(serving(&follower), name("big"));
    follower.changed(of_generation("small", 4), Source::Watch, Instant::now()).await;
    assert_eq!(serving(&follower), name("small"));
}
