use dnnshifter_crds::{
    conditions::{
        NODES_SERVING, NODES_UNSUPPORTED, READY, RECONCILING, STALLED, VARIANTS_AVAILABLE, WantedCondition,
    },
    model_portfolio::NodeCounts,
};

use super::{
    super::{registry::RegistryError, report},
    CLASSES, PUBLISHED, Source, Valid, applied, decided, node, served, valid, with_placements,
};

fn two_nodes() -> String {
    format!("{PUBLISHED}\n---{CLASSES}{}{}", node("edge-1", "large", "True"), node("edge-2", "small", "True"))
}

fn conditions(valid: &Valid) -> (NodeCounts, Vec<WantedCondition>) {
    report::conditions::of(valid, &decided(valid), &applied(valid))
}

fn found<'a>(conditions: &'a [WantedCondition], type_: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((condition.truth.as_str(), condition.reason, condition.message.as_str()))
}

#[test]
fn ready_is_when_every_reachable_node_serves_and_nothing_else_is_left_then() {
    let all = served(&two_nodes(), &["edge-1", "edge-2"]);
    let (counts, now) = conditions(&with_placements(&two_nodes(), all, Source::Manifest));
    assert_eq!(found(&now, READY), Some(("True", "Serving", "2 of 2 nodes serve revision 648ec71f1e")));
    assert_eq!(
        found(&now, VARIANTS_AVAILABLE),
        Some(("True", "Available", "revision 648ec71f1e has 2 variants"))
    );
    assert!(found(&now, RECONCILING).is_none() && found(&now, STALLED).is_none());
    assert_eq!(counts, NodeCounts { matched: 2, updated: 2, serving: 2 });
}

#[test]
fn a_node_that_is_not_there_yet_is_named() {
    let one = served(&two_nodes(), &["edge-1"]);
    let (counts, now) = conditions(&with_placements(&two_nodes(), one, Source::Manifest));
    let message = "1 of 2 nodes serve revision 648ec71f1e; waiting for edge-2";
    assert_eq!(found(&now, READY), Some(("False", "RollingOut", message)));
    assert_eq!(found(&now, RECONCILING), Some(("True", "RollingOut", message)));
    assert_eq!(counts, NodeCounts { matched: 2, updated: 2, serving: 1 });
}

#[test]
fn an_unreachable_node_never_makes_ready_false() {
    let one = served(&two_nodes(), &["edge-1"]);
    let cut_off = format!(
        "{PUBLISHED}\n---{CLASSES}{}{}",
        node("edge-1", "large", "True"),
        node("edge-2", "small", "Unknown")
    );
    let (_, now) = conditions(&with_placements(&cut_off, one, Source::Manifest));
    assert_eq!(
        found(&now, READY),
        Some(("True", "Serving", "1 of 2 nodes (1 unreachable) serve revision 648ec71f1e"))
    );
    assert_eq!(
        found(&now, NODES_SERVING).map(|(truth, reason, _)| (truth, reason)),
        Some(("False", "NodesMissing"))
    );
}

#[test]
fn a_missing_class_is_waited_for() {
    let (_, now) = conditions(&valid(PUBLISHED, Source::Manifest));
    assert_eq!(
        found(&now, READY),
        Some(("False", "DeviceClassMissing", "waiting for the device class large, small"))
    );
    assert!(found(&now, RECONCILING).is_some() && found(&now, STALLED).is_none());
}

#[test]
fn nodes_that_the_images_cannot_run_on_are_told_and_keep_nobody_from_being_ready() {
    let yaml = two_nodes().replace(
        "name: edge-2, labels: {kind: small}",
        "name: edge-2, labels: {kind: small, kubernetes.io/arch: arm64}",
    );
    let (counts, now) = conditions(&with_placements(&yaml, served(&yaml, &["edge-1"]), Source::Manifest));
    let ready = "1 of 1 nodes (1 of another architecture left out) serve revision 648ec71f1e";
    assert_eq!(found(&now, READY), Some(("True", "Serving", ready)));
    let (truth, reason, message) = found(&now, NODES_UNSUPPORTED).unwrap();
    assert_eq!((truth, reason), ("True", "ArchitectureUnsupported"));
    assert!(message.contains("for amd64: edge-2 (arm64)"), "{message}");
    assert_eq!(counts, NodeCounts { matched: 1, updated: 1, serving: 1 });
}

#[test]
fn a_registry_that_does_not_answer_is_waited_for_and_wrong_content_is_stalled() {
    let digest = RegistryError::DigestMismatch { image: "i".to_owned() };
    let (_, now) = conditions(&valid(&two_nodes(), Source::Fails(digest)));
    assert_eq!(found(&now, RECONCILING).map(|(_, reason, _)| reason), Some("RegistryUnreachable"));
    let wrong = RegistryError::NotAPortfolio { image: "i".to_owned() };
    let (counts, now) = conditions(&valid(&two_nodes(), Source::Fails(wrong)));
    assert_eq!(found(&now, STALLED).map(|(_, reason, _)| reason), Some("PortfolioUnusable"));
    assert!(
        found(&now, READY)
            .is_some_and(|(truth, _, message)| truth == "False" && message.contains("is not a portfolio"))
    );
    assert_eq!(counts.matched, 2);
}

#[test]
fn who_is_suspended_is_neither_on_the_way_nor_stalled() {
    let one = served(&two_nodes(), &["edge-1"]);
    let suspended = two_nodes().replace("spec:\n  variants", "spec:\n  suspend: true\n  variants");
    let (_, now) = conditions(&with_placements(&suspended, one, Source::Manifest));
    assert_eq!(found(&now, READY).map(|(truth, reason, _)| (truth, reason)), Some(("False", "Suspended")));
    assert!(found(&now, RECONCILING).is_none() && found(&now, STALLED).is_none());
}

#[test]
fn a_switch_changes_no_condition_and_no_count() {
    let mut placements = served(&two_nodes(), &["edge-1", "edge-2"]);
    let before = conditions(&with_placements(&two_nodes(), placements.clone(), Source::Manifest));
    let decision = serde_json::json!({
        "ceilingVariantName": "small", "reason": "SteppedDown", "decidedAt": "2026-01-01T00:00:00Z",
    });
    placements[0].spec.decision = Some(serde_json::from_value(decision).unwrap());
    placements[0].metadata.generation = Some(9);
    let after = conditions(&with_placements(&two_nodes(), placements, Source::Manifest));
    assert_eq!(before, after);
}

#[test]
fn what_the_api_server_refuses_is_told_and_a_person_has_to_act() {
    let all = served(&two_nodes(), &["edge-1", "edge-2"]);
    let valid = with_placements(&two_nodes(), all, Source::Manifest);
    let (counts, now) = report::conditions::refused(&valid, &decided(&valid), "exceeded quota".to_owned());
    assert_eq!(found(&now, READY), Some(("False", "Refused", "exceeded quota")));
    assert_eq!(found(&now, STALLED), Some(("True", "Refused", "exceeded quota")));
    assert_eq!(now.iter().filter(|condition| condition.type_ == READY).count(), 1);
    assert!(found(&now, RECONCILING).is_none());
    assert_eq!(counts.serving, 2);
}
