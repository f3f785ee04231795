//! Decisions against a fake API server: conflicts, deadlines, and what is written.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::*;
use crate::{
    fake::{Reply, api_server},
    switching::decide::tests::placement,
};

fn seen(version: &str, active: &str) -> VariantPlacement {
    let mut placement = placement(None);
    placement.metadata.uid = Some("uid".to_owned());
    placement.metadata.resource_version = Some(version.to_owned());
    placement.status.as_mut().unwrap().active_variant_name = Some(active.to_owned());
    placement
}

fn load(load: f64) -> LoadHistory {
    let mut history = LoadHistory::default();
    history.observe(Moment::default(), Some(load), Duration::from_mins(1));
    history
}

fn json(placement: &VariantPlacement) -> Value {
    serde_json::to_value(placement).unwrap()
}

#[tokio::test]
async fn a_decision_is_written_alone_over_what_was_read_under_its_own_manager() {
    let (client, requests) = api_server(|_, _| Reply::Ok(json(&seen("8", "large"))));
    switch(&client, &seen("7", "large"), &load(110.0), Moment::default()).await.unwrap().unwrap();
    let [patch] = requests.all().try_into().unwrap();
    assert_eq!(patch.method, Method::PATCH);
    assert!(
        patch.path.contains("fieldManager=dnnshifter-switching") && patch.path.contains("force=true"),
        "{}",
        patch.path
    );
    assert_eq!(patch.body.pointer("/metadata/resourceVersion").unwrap(), "7");
    let fields: Vec<_> = patch.body.pointer("/spec").unwrap().as_object().unwrap().keys().collect();
    assert_eq!(fields, ["decision"]);
    assert_eq!(patch.body.pointer("/spec/decision/ceilingVariantName").unwrap(), "small");
}

#[tokio::test]
async fn after_a_conflict_it_is_read_again_and_decided_again() {
    let (client, requests) = api_server(|_, before| {
        if before == 0 {
            return Reply::Fails(409);
        }
        // Meanwhile another epoch began.
        let mut current = seen("9", "large");
        current.status.as_mut().unwrap().epoch = Some(4);
        Reply::Ok(json(&current))
    });
    let decision =
        switch(&client, &seen("7", "large"), &load(110.0), Moment::default()).await.unwrap().unwrap();
    assert_eq!(decision.acknowledged_epoch, 4);
    let [first, read, second] = requests.all().try_into().unwrap();
    assert_eq!((first.method, read.method), (Method::PATCH, Method::GET));
    assert_eq!(second.body.pointer("/metadata/resourceVersion").unwrap(), "9");
    assert_eq!(second.body.pointer("/spec/decision/acknowledgedEpoch").unwrap(), 4);
}

#[tokio::test]
async fn what_somebody_else_decided_meanwhile_is_left_alone() {
    let (client, requests) = api_server(|request, _| {
        if request.method == Method::PATCH {
            return Reply::Fails(409);
        }
        let mut current = crate::switching::decide::tests::placement(Some(("small", "SteppedDown", 0)));
        current.metadata.uid = Some("uid".to_owned());
        Reply::Ok(json(&current))
    });
    let decision = switch(&client, &seen("7", "large"), &load(110.0), Moment::default()).await.unwrap();
    assert_eq!(decision, None);
    assert_eq!(requests.of(&Method::PATCH).len(), 1);
}

#[tokio::test]
async fn two_conflicts_in_a_row_wait_for_the_next_round() {
    let (client, requests) = api_server(|request, _| match request.method {
        Method::PATCH => Reply::Fails(409),
        _ => Reply::Ok(json(&seen("9", "large"))),
    });
    let failed = switch(&client, &seen("7", "large"), &load(110.0), Moment::default()).await;
    assert!(matches!(failed, Err(SwitchError::Write { .. })));
    assert_eq!(requests.all().len(), 3);
}

#[tokio::test]
async fn a_placement_that_is_another_one_by_now_is_not_touched() {
    let (client, requests) = api_server(|request, _| {
        if request.method == Method::PATCH {
            return Reply::Fails(409);
        }
        let mut current = seen("9", "large");
        current.metadata.uid = Some("another".to_owned());
        Reply::Ok(json(&current))
    });
    assert_eq!(switch(&client, &seen("7", "large"), &load(110.0), Moment::default()).await.unwrap(), None);
    assert_eq!(requests.all().len(), 2);
}
