use super::{
    super::decide::{Availability, Content, JobAction},
    CLASSES, PRUNED, PUBLISHED, Source, decided, node, served, valid, with_placements,
};

fn three_nodes() -> String {
    let nodes =
        [node("edge-1", "large", "True"), node("edge-2", "large", "True"), node("edge-3", "small", "True")];
    format!("{PUBLISHED}\n---{CLASSES}{}", nodes.concat())
}

/// Another portfolio in place of the same one.
fn next_revision(yaml: &str) -> String {
    yaml.replace(&"1".repeat(64), &"9".repeat(64))
}

fn told(decision: &super::Decision) -> Vec<&str> {
    let told = decision.nodes.iter().filter(|placed| matches!(placed.content, Content::Served { .. }));
    told.map(|placed| placed.node.name.as_str()).collect()
}

#[test]
fn every_matching_node_is_placed_at_once_by_the_first_class_that_matches() {
    let yaml = format!("{}{}", three_nodes(), node("hub", "other", "True"));
    let both = yaml.replace("nodeSelector: {kind: small}", "nodeSelector: {kind: large}");
    let decision = decided(&valid(&yaml, Source::Manifest));
    assert_eq!(told(&decision), ["edge-1", "edge-2", "edge-3"]);
    assert!(decision.overlapping.is_empty());
    let decision = decided(&valid(&both, Source::Manifest));
    assert_eq!(decision.overlapping, ["edge-1", "edge-2"]);
    assert!(
        decision
            .nodes
            .iter()
            .all(|n| matches!(&n.content, Content::Served { class, .. } if class == "large"))
    );
}

/// There its pod would crash for ever, and hold every rollout up.
#[test]
fn a_node_of_another_architecture_is_left_out_and_named() {
    let yaml = three_nodes()
        .replace(
            "name: edge-2, labels: {kind: large}",
            "name: edge-2, labels: {kind: large, kubernetes.io/arch: arm64}",
        )
        .replace(
            "name: edge-3, labels: {kind: small}",
            "name: edge-3, labels: {kind: small, kubernetes.io/arch: amd64}",
        );
    let decision = decided(&valid(&yaml, Source::Manifest));
    assert_eq!(told(&decision), ["edge-1", "edge-3"]);
    assert_eq!(
        (decision.matched, decision.foreign.as_slice()),
        (2, ["edge-2 (arm64)".to_owned()].as_slice())
    );
}

#[test]
fn a_new_revision_goes_to_as_many_nodes_as_the_budget_allows() {
    let placements = served(&three_nodes(), &["edge-1", "edge-2", "edge-3"]);
    let decision = decided(&with_placements(&next_revision(&three_nodes()), placements, Source::Manifest));
    assert_eq!(told(&decision), ["edge-1"]);
}

#[test]
fn a_revision_that_does_not_come_up_on_its_first_node_goes_no_further() {
    let mut placements = served(&three_nodes(), &["edge-2", "edge-3"]);
    let updated = served(&next_revision(&three_nodes()), &[]);
    placements[0] = updated[0].clone();
    let decision = decided(&with_placements(&next_revision(&three_nodes()), placements, Source::Manifest));
    assert_eq!(told(&decision), ["edge-1"]);
}

#[test]
fn an_unreachable_node_is_left_alone_and_does_not_count() {
    let placements = served(&three_nodes(), &["edge-2", "edge-3"]);
    let cut_off = next_revision(&three_nodes()).replacen("status: 'True'", "status: 'Unknown'", 1);
    let decision = decided(&with_placements(&cut_off, placements, Source::Manifest));
    assert_eq!(told(&decision), ["edge-2"]);
}

/// A node that was told has not served yet, though its placement still says `Ready` of the old template.
#[test]
fn a_node_that_was_only_told_counts_against_the_budget() {
    let mut placements = served(&three_nodes(), &["edge-1", "edge-2", "edge-3"]);
    let updated = served(&next_revision(&three_nodes()), &[]);
    placements[0].spec = updated[0].spec.clone();
    let decision = decided(&with_placements(&next_revision(&three_nodes()), placements, Source::Manifest));
    assert_eq!(told(&decision), ["edge-1"]);
}

#[test]
fn nodes_of_a_class_that_was_deleted_keep_what_they_have() {
    let placements = served(&three_nodes(), &["edge-1", "edge-2", "edge-3"]);
    let without_small = next_revision(&three_nodes()).replace("{name: small}\nspec", "{name: other}\nspec");
    let decision = decided(&with_placements(&without_small, placements, Source::Manifest));
    assert_eq!(decision.missing_classes, ["small"]);
    let kept = decision.nodes.iter().find(|placed| placed.node.name == "edge-3").unwrap();
    assert!(matches!(&kept.content, Content::Kept(spec) if spec.revision == "648ec71f1e"));
}

#[test]
fn without_an_answer_nothing_is_served_and_a_job_starts() {
    let decision =
        decided(&valid(&format!("{PRUNED}\n---{CLASSES}{}", node("edge-1", "large", "True")), Source::Pods));
    assert_eq!(decision.job, JobAction::Create);
    assert!(decision.served.is_none() && decision.nodes.is_empty());
    assert_eq!(decision.matched, 1);
    assert!(matches!(decision.availability, Availability::Pending { reason: "Pruning", .. }));
}

#[test]
fn while_a_new_revision_is_made_the_last_one_is_served_on() {
    let status = "status: {revision: '0000000000', variants: [{name: old, image: 'r@sha256:0', accuracy: '0.9', parameters: 1, bytes: 1}]}\n";
    let yaml = format!("{PRUNED}{status}\n---{CLASSES}{}", node("edge-1", "large", "True"));
    let served = decided(&valid(&yaml, Source::Pods)).served.unwrap();
    assert_eq!((served.revision.as_str(), served.variants[0].name.as_str()), ("0000000000", "old"));
}

#[test]
fn a_pin_that_names_no_variant_is_noticed_when_the_variants_are_known() {
    let pinned = PUBLISHED.replace("serving:", "switching: {pin: {variantName: huge}}\n  serving:");
    assert_eq!(decided(&valid(&pinned, Source::Manifest)).unknown_pin.as_deref(), Some("huge"));
    assert_eq!(decided(&valid(&pinned, Source::Silent)).unknown_pin, None);
    let known = pinned.replace("huge", "small");
    assert_eq!(decided(&valid(&known, Source::Manifest)).unknown_pin, None);
}

/// A new runtime makes a new revision of what is pruned here: one restart for both, not two.
#[test]
fn while_a_new_revision_is_made_nodes_that_serve_are_not_told_of_a_new_template() {
    let status = "status: {revision: '0000000000', variants: [{name: old, image: 'r@sha256:0', accuracy: '0.9', parameters: 1, bytes: 1}]}\n";
    let yaml = format!("{PRUNED}{status}\n---{CLASSES}{}", node("edge-1", "large", "True"));
    let mut placements = super::built(&valid(&yaml, Source::Pods)).placements;
    placements[0].spec.template_hash = "of the old runtime".to_owned();
    let down = decided(&with_placements(&yaml, placements.clone(), Source::Pods));
    assert_eq!(told(&down), ["edge-1"]);
    super::serve(&mut placements[0]);
    let serving = decided(&with_placements(&yaml, placements, Source::Pods));
    assert!(told(&serving).is_empty());
}

/// The node of a mended link is heard of before its pods are.
#[test]
fn a_node_whose_pod_is_not_heard_of_yet_counts_as_unreachable() {
    let mut placements = served(&three_nodes(), &["edge-1", "edge-2", "edge-3"]);
    let ready = &mut placements[0].status.as_mut().unwrap().conditions[0];
    ready.status = "False".to_owned();
    ready.reason = crate::reasons::NODE_UNREACHABLE.to_owned();
    let valid = with_placements(&three_nodes(), placements, Source::Manifest);
    assert_eq!(valid.nodes.iter().map(|node| node.reachable).collect::<Vec<_>>(), [false, true, true]);
}
