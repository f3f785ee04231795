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
fn a_refused_variant_is_tried_again_when_other_variants_are_placed() {
    let switch = switch(&["big", "small"]);
    switch.refused(&name("big"), "no memory".to_owned());
    switch.direct(&names(&["big", "small"]), Some(wanted("small")), Instant::now());
    assert_eq!(switch.standing().presence(&name("big")), Presence::Refused);
    switch.direct(&names(&["big", "tiny"]), Some(wanted("big")), Instant::now());
    assert_eq!(switch.standing().presence(&name("big")), Presence::Pending);
}
