//! A node whose load rises and falls, and what its ceiling and a pin have to say.

use dnnshifter_portfolio::{Fraction, VariantProfile, profile::Distribution};

use super::*;
use crate::{
    server::Chooser,
    switch::{Wanted, choice::REFLEX},
    testing::{name, names, profile, resident, service, wanted},
};

const UP: Duration = Duration::from_secs(10);

/// Variants of 8, 4 and 1 ms under the ceiling `big`, on a whole processor, and 20 ms to meet.
struct Node {
    reflex: Reflex,
    now: Duration,
}

impl Node {
    fn new() -> Self {
        let variants = [("big", 8_000), ("middle", 4_000), ("small", 1_000)];
        let service =
            service(Chooser::Placement, variants.iter().map(|(name, _)| resident(name, 1.0)).collect());
        for (variant, mean_us) in variants {
            service.switch.measured(measured(variant, mean_us));
        }
        let host = Host::default();
        Self { reflex: Reflex::new(service, host), now: Duration::ZERO }
    }

    /// Offers so many items a second for a while, and lets the reflex act as it does.
    fn drive(&mut self, per_second: u32, seconds: u32) -> &mut Self {
        for _ in 0..seconds * 4 {
            for item in 0..per_second / 4 {
                let at = self.now + TICK * item / (per_second / 4);
                self.reflex.service.load.offered(1, Moment::after_start(at));
            }
            self.tick();
        }
        self
    }

    fn tick(&mut self) {
        self.now += TICK;
        let policy = Policy {
            latency: Duration::from_millis(20),
            quantile: Fraction::parse("0.99").unwrap(),
            step_down_window: Duration::ZERO,
            step_up_window: UP,
            pin: None,
        };
        self.reflex.act(&policy, Moment::after_start(self.now));
    }

    fn direct(&self, wanted: Wanted) {
        self.reflex.service.switch.direct(&names(&["big", "middle", "small"]), Some(wanted), Instant::now());
    }

    fn serves(&self) -> (String, String) {
        let active = self.reflex.service.switch.standing().active.unwrap();
        (active.variant.to_string(), active.reason)
    }
}

fn measured(variant: &str, mean_us: u64) -> VariantProfile {
    let time = Distribution::constant(mean_us, 100);
    VariantProfile { wall: time, cpu: time, protocol_cpu_us: 0, ..profile(variant) }
}

fn expect(variant: &str, reason: &str) -> (String, String) {
    (variant.to_owned(), reason.to_owned())
}

#[test]
fn a_load_that_can_be_borne_leaves_the_ceiling_alone() {
    let mut node = Node::new();
    assert_eq!(node.drive(12, 30).serves(), expect("big", "Test"));
    assert_eq!(node.reflex.service.switch.standing().limit, None);
}

#[test]
fn a_load_that_has_just_risen_steps_down_within_a_second() {
    let mut node = Node::new();
    assert_eq!(node.drive(12, 30).drive(240, 1).serves(), expect("small", REFLEX));
}

#[test]
fn shed_items_are_a_sign_of_overload_by_themselves() {
    let stepped_down_after = |shed: bool| {
        let mut node = Node::new();
        node.drive(12, 30);
        let ticks = (1..100).take_while(|_| {
            for item in 0..7 {
                let at = node.now + TICK * item / 7;
                node.reflex.service.load.offered(1, Moment::after_start(at));
            }
            if shed {
                node.reflex.service.metrics.overloaded(1);
            }
            node.tick();
            node.serves().0 == "big"
        });
        ticks.count()
    };
    assert!(stepped_down_after(true) < stepped_down_after(false));
}

#[test]
fn it_goes_up_to_the_ceiling_again_only_after_a_whole_window() {
    let mut node = Node::new();
    node.drive(12, 30).drive(240, 2);
    assert_eq!(node.drive(4, 9).serves().0, "small");
    // The averages still remember the peak for a while.
    assert_eq!(node.drive(4, 12).serves(), expect("big", "Test"));
}

#[test]
fn a_ceiling_at_the_limit_is_obeyed_and_ends_the_limit() {
    let mut node = Node::new();
    node.drive(12, 30).drive(240, 2);
    node.direct(Wanted { reason: "SteppedDown".to_owned(), ..wanted("small") });
    assert_eq!(node.drive(240, 1).serves(), expect("small", "SteppedDown"));
    assert_eq!(node.reflex.service.switch.standing().limit, None);
}

#[test]
fn a_raised_ceiling_that_had_to_be_taken_back_counts_as_a_failure() {
    let up_again_after = |raised: bool| {
        let mut node = Node::new();
        node.direct(wanted(if raised { "small" } else { "big" }));
        node.drive(4, 30);
        node.direct(wanted("big"));
        let mut seconds = 0;
        for _peak in 0..2 {
            node.drive(4, 1).drive(240, 2);
            assert_eq!(node.serves(), expect("small", REFLEX));
            seconds = (1..100).take_while(|_| node.drive(4, 1).serves().0 != "big").count();
        }
        seconds
    };
    assert!(up_again_after(true) > up_again_after(false));
}

#[test]
fn a_limit_holds_while_a_variant_is_loaded_and_never_names_one_that_is_not() {
    let mut node = Node::new();
    node.drive(12, 30).drive(240, 2);
    let order = names(&["big", "middle", "small", "new"]);
    node.reflex.service.switch.direct(&order, Some(wanted("big")), Instant::now());
    assert_eq!(node.drive(240, 1).serves(), expect("small", REFLEX));

    let mut node = Node::new();
    node.reflex.service.switch.no_room(&name("small"), "given up".to_owned());
    assert_eq!(node.drive(12, 30).drive(240, 2).serves(), expect("middle", REFLEX));
}

#[test]
fn a_pin_is_left_alone() {
    let mut node = Node::new();
    node.drive(12, 30).drive(240, 2);
    node.direct(Wanted { is_ceiling: false, ..wanted("big") });
    assert_eq!(node.drive(240, 5).serves(), expect("big", "Test"));
}

#[test]
fn what_is_not_measured_yet_is_not_judged() {
    let mut node = Node::new();
    let order = names(&["big", "middle", "small", "new"]);
    node.reflex.service.switch.direct(&order, Some(wanted("big")), Instant::now());
    assert_eq!(node.drive(240, 5).serves(), expect("big", "Test"));
    node.reflex.service.switch.refused(&name("new"), "broken".to_owned());
    assert_eq!(node.drive(240, 1).serves(), expect("small", REFLEX));
}
