//! Decisions about one placement, told as situations.

use std::time::Duration;

use dnnshifter_crds::yaml::from_yaml_documents;

use super::*;

const PLACEMENT: &str = "
apiVersion: dnnshifter.io/v1alpha1
kind: VariantPlacement
metadata: {name: p-n, namespace: ns}
spec:
  portfolioName: p
  nodeName: n
  deviceClassName: c
  revision: '0123456789'
  templateHash: abc
  variants:
  - {name: large, image: r@sha256:1, accuracy: '0.92'}
  - {name: small, image: r@sha256:2, accuracy: '0.85'}
  policy:
    latencyObjective: {milliseconds: 20, quantile: '0.99'}
    behavior: {stepDown: {stabilizationWindowSeconds: 0}, stepUp: {stabilizationWindowSeconds: 60}}
status:
  activeVariantName: large
  profiles:
  - {name: large, wall: &slow {meanMicroseconds: 8000, deviationMicroseconds: 100, p50Microseconds: 8000, p95Microseconds: 8200, p99Microseconds: 8300, samples: 50}, cpu: *slow, protocolCpuMicroseconds: 0, anonymousBytes: 1, mappedBytes: 1}
  - {name: small, wall: &fast {meanMicroseconds: 1000, deviationMicroseconds: 10, p50Microseconds: 1000, p95Microseconds: 1020, p99Microseconds: 1030, samples: 50}, cpu: *fast, protocolCpuMicroseconds: 0, anonymousBytes: 1, mappedBytes: 1}
";

pub(crate) fn placement(decision: Option<(&str, &str, i64)>) -> VariantPlacement {
    let mut placement: VariantPlacement = from_yaml_documents(PLACEMENT).unwrap().remove(0);
    placement.spec.decision = decision.map(|(ceiling, reason, epoch)| Decision {
        ceiling_variant_name: ceiling.to_owned(),
        acknowledged_epoch: epoch,
        reason: reason.to_owned(),
        message: String::new(),
        decided_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        ),
    });
    placement
}

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn history(load: Option<f64>, seconds: u64) -> LoadHistory {
    let mut history = LoadHistory::default();
    for second in 0..=seconds {
        history.observe(at(second), load, Duration::from_mins(1));
    }
    history
}

fn decided(placement: &VariantPlacement, load: Option<f64>, seconds: u64) -> Option<NewDecision> {
    decide(placement, &history(load, seconds), at(seconds)).unwrap()
}

#[test]
fn too_much_load_steps_down_at_once_and_says_why() {
    let decision = decided(&placement(Some(("large", "MeetsObjective", 0))), Some(110.0), 0).unwrap();
    assert_eq!((decision.ceiling.as_str(), decision.reason), ("small", Reason::SteppedDown));
    assert_eq!(decision.change, Change::Ceiling(Direction::Down));
    assert!(decision.message.starts_with("load 110.0/s; large: "), "{}", decision.message);
}

#[test]
fn a_steady_state_writes_nothing() {
    assert_eq!(decided(&placement(Some(("large", "MeetsObjective", 0))), Some(10.0), 0), None);
    assert_eq!(decided(&placement(Some(("large", "SteppedUp", 0))), Some(10.0), 0), None);
}

#[test]
fn an_unknown_load_writes_nothing_with_or_without_a_decision() {
    assert_eq!(decided(&placement(None), None, 0), None);
    assert_eq!(decided(&placement(Some(("large", "MeetsObjective", 0))), None, 0), None);
    assert_eq!(decided(&placement(Some(("small", "SteppedDown", 0))), None, 0), None);
}

#[test]
fn the_first_known_load_makes_the_first_decision() {
    assert_eq!(decided(&placement(None), Some(10.0), 0).unwrap().change, Change::First);
}

#[test]
fn an_epoch_is_acknowledged_even_if_nothing_else_changes() {
    let mut alone = placement(Some(("large", "MeetsObjective", 0)));
    alone.status.as_mut().unwrap().epoch = Some(3);
    let decision = decided(&alone, Some(10.0), 0).unwrap();
    assert_eq!((decision.acknowledged_epoch, decision.change), (3, Change::Wording));
}

#[test]
fn a_pin_is_the_ceiling_whatever_the_load_and_its_end_is_told() {
    let mut pinned = placement(Some(("large", "MeetsObjective", 0)));
    pinned.spec.policy.pin =
        Some(dnnshifter_crds::variant_placement::Pin { variant_name: "small".to_owned() });
    let decision = decided(&pinned, None, 0).unwrap();
    assert_eq!((decision.ceiling.as_str(), decision.reason), ("small", Reason::Pinned));
    let mut unpinned = placement(Some(("small", "Pinned", 0)));
    unpinned.status.as_mut().unwrap().active_variant_name = Some("small".to_owned());
    assert_eq!(decided(&unpinned, None, 0).unwrap().change, Change::Wording);
}

#[test]
fn a_step_up_waits_for_a_whole_window() {
    let mut small = placement(Some(("small", "SteppedDown", 0)));
    small.status.as_mut().unwrap().active_variant_name = Some("small".to_owned());
    assert_eq!(decided(&small, Some(1.0), 59), None);
    assert_eq!(decided(&small, Some(1.0), 60).unwrap().change, Change::Ceiling(Direction::Up));
}

#[test]
fn a_node_that_keeps_below_its_ceiling_by_itself_keeps_its_ceiling() {
    let mut below = placement(Some(("large", "MeetsObjective", 0)));
    below.status.as_mut().unwrap().active_variant_name = Some("small".to_owned());
    assert_eq!(decided(&below, Some(10.0), 0), None);
    let overloaded = decided(&below, Some(110.0), 0).unwrap();
    assert_eq!((overloaded.ceiling.as_str(), overloaded.reason), ("small", Reason::SteppedDown));
}

#[test]
fn a_ceiling_that_is_no_variant_any_more_is_decided_anew() {
    assert_eq!(
        decided(&placement(Some(("gone", "MeetsObjective", 0))), Some(10.0), 0).unwrap().change,
        Change::First
    );
    assert_eq!(decided(&placement(Some(("gone", "MeetsObjective", 0))), None, 0), None);
}
