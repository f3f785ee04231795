//! Variants that are refused, and what becomes of them.

use super::*;
use crate::{
    metrics::Identity,
    testing::{name, names, resident, wanted},
};

fn switch(order: &[&str]) -> Switch {
    let switch = Switch::new(Metrics::new(&Identity::default()).unwrap());
    switch.direct(&names(order), order.first().map(|first| wanted(first)), Instant::now());
    for variant in order {
        switch.loaded(resident(variant, 1.0), Footprint::default());
    }
    switch
}

#[test]
fn another_variant_serves_when_the_one_that_serves_is_refused() {
    let switch = switch(&["big", "small"]);
    switch.refused(&name("big"), "broken".to_owned());
    assert_eq!(switch.active().unwrap().name(), &name("small"));
    assert_eq!(switch.take_retired().len(), 1);
    let swaps = serde_json::to_value(switch.swaps()).unwrap();
    assert_eq!((&swaps["count"], &swaps["last"]["wasResident"]), (&0.into(), &false.into()));
}

#[test]
fn what_is_refused_serves_no_more_even_if_nothing_else_can() {
    let switch = switch(&["big"]);
    // Another one is placed instead: until it is loaded, the old one serves.
    switch.direct(&names(&["other"]), Some(wanted("other")), Instant::now());
    assert_eq!(switch.active().unwrap().name(), &name("big"));
    switch.loaded(resident("other", 1.0), Footprint::default());
    switch.refused(&name("other"), "broken".to_owned());
    assert!(switch.active().is_none() && switch.standing().active.is_none());
    switch.loaded(resident("other", 1.0), Footprint::default());
    assert_eq!(switch.active().unwrap().name(), &name("other"));
}

#[test]
fn a_refused_variant_is_tried_again_when_other_variants_are_placed() {
    let switch = switch(&["big", "small"]);
    switch.refused(&name("big"), "no memory".to_owned());
    switch.direct(&names(&["big", "small"]), Some(wanted("small")), Instant::now());
    assert_eq!(switch.standing().presence(&name("big")), Presence::Refused);
    switch.direct(&names(&["big", "tiny"]), Some(wanted("big")), Instant::now());
    assert_eq!(switch.standing().presence(&name("big")), Presence::Pending);
}

#[test]
fn a_variant_without_room_is_tried_again_once_it_is_wanted() {
    let switch = switch(&["big", "middle", "small"]);
    switch.direct(&names(&["big", "middle", "small"]), Some(wanted("small")), Instant::now());
    switch.no_room(&name("big"), "given up".to_owned());
    assert_eq!((switch.take_retired().len(), switch.active().unwrap().name()), (1, &name("small")));
    switch.direct(&names(&["big", "middle", "small"]), Some(wanted("middle")), Instant::now());
    assert_eq!(switch.standing().presence(&name("big")), Presence::Refused);
    switch.direct(&names(&["big", "middle", "small"]), Some(wanted("big")), Instant::now());
    assert_eq!(switch.standing().presence(&name("big")), Presence::Pending);
    assert_eq!(switch.active().unwrap().name(), &name("middle"));
}

#[test]
fn a_variant_that_is_asked_for_again_is_tried_again_even_if_it_is_wanted_already() {
    let switch = switch(&["big", "small"]);
    let order = names(&["big", "small"]);
    switch.direct(&order, Some(wanted("small")), Instant::now());
    switch.refused(&name("big"), "broken".to_owned());
    let long_ago = Instant::now().checked_sub(crate::testing::LONG).unwrap();
    switch.direct(&order, Some(wanted("big")), long_ago);
    let mut work = switch.work();
    work.mark_unchanged();
    switch.try_again(&name("big"), Instant::now());
    assert!(work.has_changed().unwrap(), "the keeper has something to load");
    assert_eq!(switch.standing().presence(&name("big")), Presence::Pending);
    switch.loaded(resident("big", 1.0), Footprint::default());
    assert_eq!(switch.active().unwrap().name(), &name("big"));
    let last = serde_json::to_value(switch.swaps()).unwrap()["last"].clone();
    assert_eq!(last["wasResident"], false);
    assert!(last["microseconds"].as_u64().unwrap() < crate::testing::LONG.as_micros() as u64);
    switch.try_again(&name("small"), Instant::now());
    assert_eq!(switch.standing().presence(&name("small")), Presence::Resident);
}

#[test]
fn a_swap_that_a_refusal_causes_is_timed_from_the_refusal_and_kept_out_of_the_histogram() {
    let switch = switch(&["big", "small"]);
    let long_ago = Instant::now().checked_sub(crate::testing::LONG).unwrap();
    switch.direct(&names(&["big", "small"]), Some(wanted("small")), long_ago);
    switch.direct(&names(&["big", "small"]), Some(wanted("big")), long_ago);
    switch.refused(&name("big"), "broken".to_owned());
    let last = serde_json::to_value(switch.swaps()).unwrap()["last"].clone();
    assert_eq!(last["reason"], "VariantRefused");
    assert!(last["microseconds"].as_u64().unwrap() < crate::testing::LONG.as_micros() as u64);
    let metrics = switch.metrics.text();
    assert!(metrics.contains("dnnshifter_swaps_total{reason=\"VariantRefused\"} 1"), "{metrics}");
    let none = "dnnshifter_swap_duration_seconds_count{variant_was=\"loaded\"} 0";
    assert!(metrics.contains(none), "{metrics}");
}

#[test]
fn the_keeper_is_woken_by_what_is_to_be_loaded_or_dropped_and_by_no_swap() {
    let switch = switch(&["big", "small"]);
    let mut work = switch.work();
    let mut wakes = |order: &[&str], serves: &str| {
        work.mark_unchanged();
        switch.direct(&names(order), Some(wanted(serves)), Instant::now());
        work.has_changed().unwrap()
    };
    assert!(!wakes(&["big", "small"], "small"));
    assert!(!wakes(&["big", "small"], "big"));
    assert!(wakes(&["big", "small", "tiny"], "big"), "tiny is to be loaded");
    switch.refused(&name("tiny"), "broken".to_owned());
    assert!(wakes(&["big"], "big"), "small is to be dropped");
}
