use super::{CLASSES, PRUNED, PUBLISHED, Source, built, node, served, valid, with_placements};
use crate::golden::assert_golden;

fn one_node() -> String {
    format!("{PUBLISHED}\n---{CLASSES}{}", node("edge-1", "large", "True"))
}

#[test]
fn the_objects_of_a_published_portfolio_are_as_reviewed() {
    let prepared = built(&valid(&one_node(), Source::Manifest));
    let serving = prepared.serving.unwrap();
    assert_golden("service", &serving.service);
    assert_golden("service-account", &serving.service_account);
    assert_golden("role-binding", &serving.role_binding);
    assert_golden("model-variant", &prepared.variants[0]);
    assert_golden("placement", &prepared.placements[0]);
    assert!(prepared.pruning.is_none());
    let by_tls = one_node().replace("serving: {", "serving: {tls: {secretName: server}, ");
    let prepared = built(&valid(&by_tls, Source::Manifest));
    assert_golden("service-tls", &prepared.serving.unwrap().service);
}

#[test]
fn the_pruning_job_and_its_plan_are_as_reviewed() {
    let (plan, job) = built(&valid(PRUNED, Source::Pods)).pruning.unwrap();
    assert_golden("plan", &plan);
    assert_golden("job", &job);
}

/// A rollout takes its time; a pin and an objective do not.
#[test]
fn a_policy_reaches_every_node_at_once_and_leaves_the_decision_alone() {
    let placements = served(&one_node(), &["edge-1"]);
    let pinned = one_node()
        .replace("serving:", "switching: {pin: {variantName: small}}\n  serving:")
        .replace(&"1".repeat(64), &"9".repeat(64))
        .replace("status: 'True'", "status: 'Unknown'");
    let placement = built(&with_placements(&pinned, placements, Source::Manifest)).placements.remove(0);
    assert_eq!(placement.spec.policy.pin.unwrap().variant_name, "small");
    assert_eq!(placement.spec.revision, "648ec71f1e");
    assert!(placement.spec.decision.is_none());
}
