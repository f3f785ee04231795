//! What clients and probes are told when a thread beside the server has died.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_thread_that_computes_dies_requests_are_refused_and_the_server_is_not_alive() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big")]);
    assert_eq!(ask(&service, Method::GET, "/livez", "").await.status, StatusCode::OK);
    engine.shut();
    engine.break_down();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let service = Arc::clone(&service);
            tokio::spawn(async move { ask(&service, Method::POST, INFER, one_item()).await.status })
        })
        .collect();
    while service.lane.length() < 3 {
        tokio::task::yield_now().await;
    }
    engine.open();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(ask(&service, Method::POST, INFER, one_item()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    while service.lane.is_alive() {
        tokio::task::yield_now().await;
    }
    for path in ["/livez", "/v2/health/live", "/readyz"] {
        assert_eq!(ask(&service, Method::GET, path, "").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn a_request_that_finds_nobody_else_is_computed_at_once_and_ends_the_lane_if_that_dies() {
    for (breaks, expected) in [(false, StatusCode::OK), (true, StatusCode::SERVICE_UNAVAILABLE)] {
        let engine = Constant::of(1.0);
        let variant = resident_on(&engine, "big").taking(Duration::from_millis(1));
        let service = service_at_once(Chooser::Clients, vec![variant], LONG);
        if breaks {
            engine.break_down();
        }
        let reply = ask(&service, Method::POST, INFER, one_item()).now_or_never();
        assert_eq!(reply.map(|reply| reply.status), Some(expected));
        while breaks && service.lane.is_alive() {
            tokio::task::yield_now().await;
        }
        assert_eq!(service.alive(), !breaks);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_inference_is_stuck_the_server_is_not_alive() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big")]);
    engine.shut();
    let asking = {
        let service = Arc::clone(&service);
        tokio::spawn(async move { ask(&service, Method::POST, INFER, one_item()).await.status })
    };
    // It is being computed once it has begun.
    while service.lane.beats() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&service, Method::GET, "/livez", "").await.status, StatusCode::OK);
    service.lane.age(LONG);
    assert_eq!(ask(&service, Method::GET, "/livez", "").await.status, StatusCode::SERVICE_UNAVAILABLE);
    engine.open();
    assert_eq!(asking.await.unwrap(), StatusCode::OK);
    assert_eq!(ask(&service, Method::GET, "/livez", "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_its_keeper_the_server_is_not_alive() {
    let service = two_variants(Chooser::Clients);
    let keeper = service.keeper.get_or_init(|| std::thread::spawn(|| ()));
    while !keeper.is_finished() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&service, Method::GET, "/livez", "").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
