//! Variants that have to be loaded before they serve, and what those who wait for them are told. The keeper is the test itself.

use tokio::task::JoinHandle;

use super::*;
use crate::{keeper::memory::Footprint, switch::choice::Presence};

/// Asks for a variant, which is then to be loaded.
async fn load(service: &Arc<Service>, version: &str) -> JoinHandle<Reply> {
    let spawned = Arc::clone(service);
    let body = json!({"parameters": {"version": version}}).to_string();
    let mut changes = service.switch.changes();
    changes.mark_unchanged();
    let loading =
        tokio::spawn(async move { ask(&spawned, Method::POST, "/v2/repository/models/m/load", body).await });
    while service.switch.standing().wanted.is_none_or(|wanted| wanted.variant != name(version)) {
        changes.changed().await.unwrap();
    }
    loading
}

async fn serves(service: &Arc<Service>) -> Value {
    ask(service, Method::POST, INFER, one_item()).await.json()["model_version"].clone()
}

#[tokio::test]
async fn a_variant_that_is_refused_is_reported_and_the_old_one_serves_on() {
    let service = two_variants(Chooser::Clients);
    service.switch.refused(&name("small"), "of before".to_owned());
    let loading = load(&service, "small").await;
    service.switch.refused(&name("small"), "its check does not hold".to_owned());
    let reply = loading.await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.json()), (422, json!({"error": "its check does not hold"})));
    assert_eq!(serves(&service).await, "big");
}

#[tokio::test]
async fn a_variant_that_was_refused_is_loaded_once_it_was_mended() {
    let service = two_variants(Chooser::Clients);
    service.switch.refused(&name("small"), "its check does not hold".to_owned());
    // The second time it is wanted already.
    for _ in 0..2 {
        let loading = load(&service, "small").await;
        while service.switch.standing().presence(&name("small")) != Presence::Pending {
            tokio::task::yield_now().await;
        }
        service.switch.refused(&name("small"), "its check does still not hold".to_owned());
        assert_eq!(loading.await.unwrap().status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let loading = load(&service, "small").await;
    while service.switch.standing().presence(&name("small")) != Presence::Pending {
        tokio::task::yield_now().await;
    }
    service.switch.loaded(resident("small", 2.0), Footprint::default());
    assert_eq!(loading.await.unwrap().status, StatusCode::OK);
    assert_eq!(serves(&service).await, "small");
}

#[tokio::test]
async fn who_waits_for_a_variant_is_told_at_once_when_another_one_is_asked_for() {
    let service = two_variants(Chooser::Clients);
    service.switch.no_room(&name("small"), "given up".to_owned());
    let first = load(&service, "small").await;
    assert_eq!(load(&service, "big").await.await.unwrap().status, StatusCode::OK);
    let superseded = first.await.unwrap();
    assert_eq!(superseded.status, StatusCode::CONFLICT, "{}", superseded.text());
    let said = superseded.json()["error"].to_string();
    assert!(said.contains("another request has asked for the version \\\"big\\\" meanwhile"), "{said}");
    service.switch.loaded(resident("small", 2.0), Footprint::default());
    assert_eq!(serves(&service).await, "big");
}
