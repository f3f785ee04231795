//! What the status of a placement says, from what stands on the node.

use std::{collections::BTreeMap, time::SystemTime};

use dnnshifter_portfolio::{VariantProfile, profile::Distribution};

use super::*;
use crate::{
    switch::Active,
    testing::{name, names},
};

fn placement() -> VariantPlacement {
    let spec = r#"{"portfolioName":"p","nodeName":"n","deviceClassName":"c","revision":"r","templateHash":"t","variants":[],
        "policy":{"latencyObjective":{"milliseconds":20,"quantile":"0.99"},
            "behavior":{"stepDown":{"stabilizationWindowSeconds":0},"stepUp":{"stabilizationWindowSeconds":60}}}}"#;
    VariantPlacement::new("p-n", serde_json::from_str(spec).unwrap())
}

fn measured(variant: &str, microseconds: u64) -> VariantProfile {
    let time =
        Distribution { mean_us: microseconds, p99_us: microseconds, samples: 100, ..Distribution::default() };
    VariantProfile { wall: time, cpu: time, anonymous_bytes: 1 << 20, ..crate::testing::profile(variant) }
}

fn standing(active: &str) -> Standing {
    let active = Active { variant: name(active), reason: "Test".to_owned(), since: SystemTime::UNIX_EPOCH };
    Standing { order: names(&["big", "small"]), active: Some(active), ..Standing::default() }
}

struct Case {
    standing: Standing,
    microseconds: u64,
    judgement: Judgement,
}

impl Case {
    fn new() -> Self {
        Self { standing: standing("big"), microseconds: 2_000, judgement: Judgement::Met }
    }

    fn status(&self) -> VariantPlacementStatus {
        let variants = vec![measured("big", self.microseconds), measured("small", 500)];
        let profile = NodeProfile { variants, ..NodeProfile::default() };
        let facts = Facts {
            standing: &self.standing,
            profile: &profile,
            judgement: self.judgement,
            pod_uid: Some("u"),
        };
        status(&facts, &placement(), &Time(Timestamp::UNIX_EPOCH))
    }

    fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.status();
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == type_).unwrap();
        (condition.status, condition.reason, condition.message)
    }
}

#[test]
fn status_says_what_serves_and_leaves_the_fields_of_others_alone() {
    let status = Case::new().status();
    assert_eq!(
        (status.active_variant_name.as_deref(), status.reason.as_deref()),
        (Some("big"), Some("Test"))
    );
    assert_eq!((status.pod_uid.as_deref(), status.profiles.len()), (Some("u"), 2));
    assert_eq!((status.observed_generation, status.epoch), (None, None));
    let types: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, [OBJECTIVE_MET, VARIANTS_LOADED]);
}

#[test]
fn the_objective_is_judged_by_requests_and_without_them_by_the_profile() {
    let judged = |judgement, microseconds| {
        let (status, reason, _) = Case { microseconds, judgement, ..Case::new() }.condition(OBJECTIVE_MET);
        (status, reason)
    };
    let expect = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    assert_eq!(judged(Judgement::Met, 2_000), expect("True", "AnsweredInTime"));
    assert_eq!(judged(Judgement::Missed, 2_000), expect("False", "AnsweredLate"));
    assert_eq!(judged(Judgement::TooFew, 2_000), expect("True", "FastEnoughWhenIdle"));
    assert_eq!(judged(Judgement::TooFew, 20_001), expect("False", "TooSlowWhenIdle"));
    let unmeasured = Case { standing: standing("other"), judgement: Judgement::TooFew, ..Case::new() };
    assert_eq!(unmeasured.condition(OBJECTIVE_MET).1, "NotMeasured");
}

#[test]
fn a_variant_that_was_refused_is_named_with_the_reason() {
    let mut case = Case::new();
    let slots = [("big", Slot::Refused("broken".to_owned())), ("small", Slot::Pending)];
    case.standing.slots = slots.map(|(variant, slot)| (name(variant), slot)).into_iter().collect();
    let (status, reason, message) = case.condition(VARIANTS_LOADED);
    assert_eq!(
        (status.as_str(), reason.as_str(), message.as_str()),
        ("False", "VariantRefused", "big: broken")
    );
    case.standing.slots = BTreeMap::from([(name("small"), Slot::Pending)]);
    assert_eq!(case.condition(VARIANTS_LOADED).1, "Loading");
}

#[test]
fn only_what_matters_is_written() {
    let stored = Case::new().status();
    let against = |case: Case| difference(Some(&stored), &case.status());
    assert_eq!(difference(None, &stored), Difference::Transition);
    assert_eq!(against(Case::new()), Difference::None);
    assert_eq!(against(Case { microseconds: 2_300, ..Case::new() }), Difference::None);
    assert_eq!(against(Case { microseconds: 2_500, ..Case::new() }), Difference::Measurements);
    assert_eq!(against(Case { judgement: Judgement::Missed, ..Case::new() }), Difference::Objective);
    assert_eq!(against(Case { standing: standing("small"), ..Case::new() }), Difference::Transition);
}

#[test]
fn a_transition_time_alone_is_no_difference() {
    let (mut stored, wanted) = (Case::new().status(), Case::new().status());
    for condition in &mut stored.conditions {
        condition.last_transition_time = Time(Timestamp::MAX);
    }
    assert_eq!(difference(Some(&stored), &wanted), Difference::None);
}

#[test]
fn a_variant_that_was_not_reported_yet_is_a_transition() {
    let wanted = Case::new().status();
    let mut stored = wanted.clone();
    stored.profiles.pop();
    assert_eq!(difference(Some(&stored), &wanted), Difference::Transition);
}
