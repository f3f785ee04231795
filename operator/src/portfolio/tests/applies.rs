//! Applying, against an API server that echoes what it is sent, or refuses.

use http::Method;
use kube::ResourceExt;

use super::{
    super::apply::apply_all, CLASSES, PRUNED, PUBLISHED, Source, build, decided, node, settings, valid,
};
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

/// Its pods may still write the steps of the same training.
#[tokio::test]
async fn a_job_that_is_used_no_more_is_there_until_its_pods_have_ended() {
    let earlier = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: fashion-0123456789, ownerReferences: [{apiVersion: dnnshifter.io/v1alpha1, kind: ModelPortfolio, name: fashion, uid: portfolio-uid, controller: true}]}\n";
    let valid = valid(&format!("{PRUNED}\n---\n{earlier}"), Source::Pods);
    let decision = decided(&valid);
    let prepared = build(&valid, &decision, &settings()).unwrap();
    let (client, requests) = api_server(|request, _| Reply::Ok(request.body.clone()));
    apply_all(&client, &valid, &decision, prepared).await.ok().unwrap();
    let [deleted] = requests.of(&Method::DELETE).try_into().unwrap();
    assert!(deleted.path.contains("/jobs/fashion-0123456789"), "{}", deleted.path);
    assert_eq!(deleted.body["propagationPolicy"], "Foreground");
    assert!(requests.of(&Method::PATCH).is_empty());
}

/// The role of a `RoleBinding` cannot be changed, and another release of the chart has a role of another name.
#[tokio::test]
async fn a_binding_to_the_role_of_an_earlier_installation_is_made_anew_and_one_that_is_not_ours_is_left_alone()
 {
    for (manager, deleted) in [("dnnshifter-operator", 1), ("somebody", 0)] {
        let yaml = format!("{PUBLISHED}\n---{CLASSES}{}", node("edge-1", "large", "True"));
        let mut valid = valid(&yaml, Source::Manifest);
        let decision = decided(&valid);
        let prepared = build(&valid, &decision, &settings()).unwrap();
        let mut earlier = prepared.serving.as_ref().unwrap().role_binding.clone();
        earlier.role_ref.name = "earlier-role".to_owned();
        earlier.labels_mut().insert("app.kubernetes.io/managed-by".to_owned(), manager.to_owned());
        valid.children.role_binding = Some(earlier);
        let (client, requests) = api_server(|request, _| Reply::Ok(request.body.clone()));
        apply_all(&client, &valid, &decision, prepared).await.ok().unwrap();
        let written: Vec<_> =
            requests.all().into_iter().filter(|r| r.path.contains("/rolebindings/")).collect();
        assert_eq!(written.iter().filter(|request| request.method == Method::DELETE).count(), deleted);
        let last = written.last().unwrap();
        assert_eq!(
            (&last.method, &last.body["roleRef"]["name"]),
            (&Method::PATCH, &"dnnshifter-runtime".into())
        );
    }
}
