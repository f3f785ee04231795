//! What counts while a request waits: whose time it is, who makes room, and who gave up.

use std::net::IpAddr;

use super::{
    super::infer::{Origin, Target},
    *,
};
use crate::{protocol::InferenceRequest, values::Values};

const WHATEVER_SERVES: Target<'static> = Target { model: "m", version: None };

fn request(items: usize) -> InferenceRequest {
    InferenceRequest {
        id: None,
        items,
        input: Values::Fp32(vec![0.0; 4 * items]),
        raw_output: false,
        timeout: None,
    }
}

fn origin(client: u8, asked: Instant, read: Instant) -> Origin {
    Origin { client: Some(IpAddr::from([10, 0, 0, client])), asked, read, held: None }
}

#[tokio::test]
async fn a_slow_sender_uses_up_its_own_timeout_but_not_what_the_server_promises() {
    let service = two_variants(Chooser::Clients);
    service.lane.keep_within(Some(LONG));
    let now = Instant::now();
    let long_ago = now.checked_sub(LONG * 2).unwrap();
    let slow = service.compute(request(1), WHATEVER_SERVES, origin(1, long_ago, now)).await;
    assert!(slow.is_ok());
    let hurried = InferenceRequest { timeout: Some(LONG), ..request(1) };
    let refused = service.compute(hurried, WHATEVER_SERVES, origin(1, long_ago, now)).await.err().unwrap();
    assert!(refused.message.contains("the request's own timeout"), "{}", refused.message);
    let waited = service.compute(request(1), WHATEVER_SERVES, origin(1, long_ago, long_ago)).await;
    let refused = waited.err().unwrap();
    assert!(refused.message.contains("the request has waited"), "{}", refused.message);
}

#[tokio::test]
async fn a_batch_that_can_never_be_in_time_is_told_how_many_items_can() {
    let service = service(Chooser::Clients, vec![resident("big", 1.0).taking(LONG)]);
    service.lane.keep_within(Some(LONG * 3));
    let now = Instant::now();
    let refused = service.compute(request(4), WHATEVER_SERVES, origin(1, now, now)).await.err().unwrap();
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.message.ends_with("send at most 3 at a time"), "{}", refused.message);
    assert!(service.compute(request(3), WHATEVER_SERVES, origin(1, now, now)).await.is_ok());
}

#[tokio::test]
async fn a_client_that_asks_little_is_answered_beside_one_that_asks_without_measure() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big").taking(LONG)]);
    service.lane.keep_within(Some(LONG * 4));
    engine.shut();
    let now = Instant::now();
    let ask = |client| Box::pin(service.compute(request(1), WHATEVER_SERVES, origin(client, now, now)));
    let mut greedy = Vec::new();
    for _ in 0..6 {
        let mut asking = ask(1);
        match (&mut asking).now_or_never() {
            Some(refused) => assert!(refused.is_err()),
            None => greedy.push(asking),
        }
    }
    assert!(greedy.len() < 6);
    let mut modest = ask(2);
    assert!((&mut modest).now_or_never().is_none(), "it waits");
    let displaced = greedy.iter_mut().rev().find_map(|request| request.now_or_never()?.err());
    assert!(displaced.unwrap().message.contains("others who send less come first"));
    engine.open();
    assert!(modest.await.is_ok());
}

#[tokio::test]
async fn a_request_that_is_given_up_makes_room_at_once() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big")]);
    engine.shut();
    let ask = || Box::pin(ask(&service, Method::POST, INFER, one_item()));
    let (mut first, mut second) = (ask(), ask());
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    assert_eq!(service.lane.length(), 2);
    drop(second);
    assert_eq!(service.lane.length(), 1);
    engine.open();
    assert_eq!(first.await.status, StatusCode::OK);
    let metrics = service.metrics.text();
    for ended in ["answered", "cancelled"] {
        let series = format!("dnnshifter_requests_total{{outcome=\"{ended}\"}} 1");
        assert!(metrics.contains(&series), "{series} is not in {metrics}");
    }
}
