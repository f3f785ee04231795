//! Requests that name the variant which is to answer them.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_to_one_variant_is_not_answered_by_another_after_a_swap() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big"), resident("small", 2.0)]);
    engine.shut();
    let spawn = |path: &'static str| {
        let service = Arc::clone(&service);
        tokio::spawn(async move { ask(&service, Method::POST, path, one_item()).await })
    };
    let running = spawn(INFER);
    while service.lane.beats().is_multiple_of(2) {
        tokio::task::yield_now().await;
    }
    let (named, any) = (spawn("/v2/models/m/versions/big/infer"), spawn(INFER));
    while service.lane.length() < 3 {
        tokio::task::yield_now().await;
    }
    service.switch.direct(&names(&["big", "small"]), Some(wanted("small")), Instant::now());
    engine.open();
    assert_eq!(running.await.unwrap().json()["model_version"], "big");
    assert_eq!(any.await.unwrap().json()["model_version"], "small");
    let named = named.await.unwrap();
    assert_eq!(named.status, StatusCode::SERVICE_UNAVAILABLE, "{}", named.text());
    assert!(named.text().contains("the variant changed while the request waited"), "{}", named.text());
}
