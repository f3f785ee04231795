//! Applying, against an API server that echoes what it is sent, or refuses.

use http::Method;

use super::{super::apply::apply_all, CLASSES, PRUNED, Source, build, decided, node, settings, valid};
use crate::fake::{Reply, api_server};

/// Pruned here, with another revision that serves meanwhile, on many nodes.
fn pruned_with_a_last_good_revision(nodes: usize) -> String {
    let variant =
        "{name: large, image: 'registry.test/fashion@sha256:2', accuracy: '0.92', parameters: 1, bytes: 1}";
    let nodes: String = (0..nodes).map(|index| node(&format!("edge-{index}"), "large", "True")).collect();
    format!(
        "{PRUNED}status: {{revision: '0123456789', variants: [{variant}], nodes: {{matched: 0, updated: 0, serving: 0}}}}\n---{CLASSES}{nodes}"
    )
}

#[tokio::test]
async fn a_job_that_is_refused_keeps_nothing_from_the_nodes() {
    let valid = valid(&pruned_with_a_last_good_revision(40), Source::Pods);
    let decision = decided(&valid);
    let prepared = build(&valid, &decision, &settings()).unwrap();
    let (client, requests) = api_server(|request, _| {
        if request.path.contains("/jobs/") { Reply::Fails(422) } else { Reply::Ok(request.body.clone()) }
    });
    let error = apply_all(&client, &valid, &decision, prepared).await.err().unwrap();
    assert!(error.is_refusal(), "{error}");
    let patches = requests.of(&Method::PATCH);
    let placements = patches.iter().filter(|patch| patch.path.contains("/variantplacements/"));
    assert_eq!(placements.count(), 40);
    assert!(patches.last().unwrap().path.contains("/jobs/"));
}

#[tokio::test]
async fn a_placement_that_is_refused_keeps_nothing_from_the_others() {
    let yaml = pruned_with_a_last_good_revision(40);
    let valid = valid(&yaml, Source::Pods);
    let decision = decided(&valid);
    let prepared = build(&valid, &decision, &settings()).unwrap();
    let (client, requests) = api_server(|request, _| {
        if request.path.contains("edge-0") { Reply::Fails(403) } else { Reply::Ok(request.body.clone()) }
    });
    assert!(apply_all(&client, &valid, &decision, prepared).await.err().unwrap().is_refusal());
    let patches = requests.of(&Method::PATCH);
    assert_eq!(patches.iter().filter(|patch| patch.path.contains("/variantplacements/")).count(), 40);
}
