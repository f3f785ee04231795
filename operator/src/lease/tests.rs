//! The lease against a fake API server and paused time: who may lead, and when.

use http::Method;

use super::*;
use crate::fake::{Reply, api_server};

fn lease(holder: &str, version: u32) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "lease", "resourceVersion": version.to_string()},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 1},
    })
}

fn candidate(client: Client) -> Candidate {
    Candidate::new(client, "system", "lease", "me".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_is_taken_over_exactly_what_was_seen() {
    let (client, requests) = api_server(|request, _| match request.method {
        Method::PUT => Reply::Ok(lease("me", 8)),
        _ => Reply::Ok(lease("other", 7)),
    });
    let began = Instant::now();
    candidate(client).acquire().await;
    assert!(began.elapsed() >= LEASE_DURATION, "{:?}", began.elapsed());
    let [taken] = requests.of(&Method::PUT).try_into().unwrap();
    assert_eq!(taken.body.pointer("/metadata/resourceVersion").unwrap(), "7");
    assert_eq!(taken.body.pointer("/spec/leaseTransitions").unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_race_goes_on_waiting() {
    let (client, requests) = api_server(|request, before| match request.method {
        // Another candidate was faster, and leads; much later it gives the Lease back.
        Method::PUT if before < 50 => Reply::Fails(409),
        Method::PUT => Reply::Ok(lease("me", 99)),
        _ if before == 0 => Reply::Ok(lease("", 1)),
        _ if before < 50 => Reply::Ok(lease("faster", u32::try_from(before).unwrap())),
        _ => Reply::Ok(lease("", 98)),
    });
    candidate(client).acquire().await;
    assert_eq!(requests.of(&Method::PUT).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_answered_stops_before_another_may_take_over() {
    let (client, _) = api_server(|_, _| Reply::Silence);
    let began = Instant::now();
    let lost = candidate(client).hold(Lease::default()).await;
    assert!(matches!(lost, LeadershipLost::Expired { .. }));
    assert!(began.elapsed() < LEASE_DURATION, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_sees_another_holder_stops_at_once() {
    let (client, _) = api_server(|request, _| match request.method {
        Method::PUT => Reply::Fails(409),
        _ => Reply::Ok(lease("other", 9)),
    });
    let lost = candidate(client).hold(Lease::default()).await;
    assert!(matches!(lost, LeadershipLost::Taken { holder } if holder == "other"));
}

#[tokio::test(start_paused = true)]
async fn only_our_own_lease_is_released() {
    for (holder, writes) in [("me", 1), ("other", 0)] {
        let (client, requests) = api_server(move |_, _| Reply::Ok(lease(holder, 7)));
        candidate(client).release().await;
        assert_eq!(requests.of(&Method::PUT).len(), writes);
    }
}
