//! Tests of the pure steps, through the real `validate`, from the shortest YAML that shows the case.

mod applies;
mod builds;
mod conditions;
mod decides;
mod jobs;

use std::sync::Arc;

use dnnshifter_crds::{
    EdgeDeviceClass, ModelPortfolio, ModelVariant, VariantPlacement, yaml::from_yaml_documents,
};
use dnnshifter_portfolio::PortfolioManifest;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, Pod},
};
use kube::ResourceExt;
use serde_json::Value;

use super::{
    apply::AppliedPlacements,
    build::{Prepared, build},
    decide::{Decision, decide},
    observe::{Answer, Children, Observed},
    registry::RegistryError,
    validate::{Valid, validate},
};
use crate::{metadata::owner_reference, settings::Settings};

const RUNTIME: &str =
    "registry.test/runtime@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A published portfolio, revision `648ec71f1e`.
const PUBLISHED: &str = "
apiVersion: dnnshifter.io/v1alpha1
kind: ModelPortfolio
metadata: {name: fashion, namespace: shop, uid: portfolio-uid, generation: 3}
spec:
  variants: {published: {image: 'registry.test/fashion@sha256:1111111111111111111111111111111111111111111111111111111111111111'}}
  deviceClasses: [{name: large}, {name: small}]
  serving: {latencyObjective: {milliseconds: 20}}
";

/// A portfolio that is pruned here.
const PRUNED: &str = "
apiVersion: dnnshifter.io/v1alpha1
kind: ModelPortfolio
metadata: {name: fashion, namespace: shop, uid: portfolio-uid, generation: 3}
spec:
  variants:
    prune:
      model: {source: {image: {reference: 'registry.test/inputs:1'}}, path: vgg16.onnx}
      dataset: {source: {persistentVolumeClaim: {claimName: data}}, path: fashion-mnist, format: Idx}
      method: {structured: {}}
      minimumAccuracy: '0.8'
      job: {nodeSelector: {role: hub}, resources: {requests: {cpu: '2'}}}
      publish: {repository: registry.test/fashion, pushSecretName: push}
  deviceClasses: [{name: large}]
  serving: {latencyObjective: {milliseconds: 20}, imagePullSecrets: [pull]}
";

const CLASSES: &str = "
apiVersion: dnnshifter.io/v1alpha1
kind: EdgeDeviceClass
metadata: {name: large}
spec: {nodeSelector: {kind: large}, resources: {requests: {cpu: 250m, memory: 256Mi}, limits: {cpu: 500m}}}
---
apiVersion: dnnshifter.io/v1alpha1
kind: EdgeDeviceClass
metadata: {name: small}
spec: {nodeSelector: {kind: small}}
";

fn node(name: &str, kind: &str, ready: &str) -> String {
    format!(
        "\n---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{kind: {kind}}}}}\nstatus: {{conditions: [{{type: Ready, status: '{ready}'}}]}}\n"
    )
}

fn settings() -> Settings {
    Settings {
        runtime_image: RUNTIME.to_owned(),
        pruner_image: "registry.test/pruner@sha256:1".to_owned(),
        prometheus_url: None,
        plain_http_registries: Vec::new(),
        watch_namespaces: Vec::new(),
        runtime_cluster_role: "dnnshifter-runtime".to_owned(),
        namespace: "dnnshifter".to_owned(),
        identity: None,
        leader_election: false,
        metrics_listen: ([127, 0, 0, 1], 0).into(),
        shutdown_deadline_seconds: 1,
    }
}

/// A manifest with two variants.
fn manifest() -> PortfolioManifest {
    let record = |name: &str, digit: &str, accuracy: &str, macs: u32| {
        serde_json::json!({
            "name": name, "digest": format!("sha256:{}", digit.repeat(64)), "accuracy": accuracy, "parameters": macs / 10,
            "bytes": macs, "macs": macs, "latencyUs": 100, "maximumDifference": 1e-6,
        })
    };
    let manifest = serde_json::json!({
        "version": dnnshifter_portfolio::manifest::MANIFEST_VERSION, "revision": "any",
        "variants": [record("large", "2", "0.92", 1000), record("small", "3", "0.85", 100)],
    });
    serde_json::from_value(manifest).unwrap()
}

/// The same with other images for another digest of the portfolio.
fn published(object: &ModelPortfolio) -> PortfolioManifest {
    let image =
        object.spec.variants.published.as_ref().map(|published| published.image.clone()).unwrap_or_default();
    let mut manifest = manifest();
    if image.ends_with('9') {
        manifest.variants[0].digest =
            dnnshifter_portfolio::Digest::parse(&format!("sha256:{}", "8".repeat(64))).unwrap();
    }
    manifest
}

/// What the source of the variants answers in a test.
enum Source {
    Silent,
    Manifest,
    Fails(RegistryError),
    Pods,
}

fn of_kind<T: serde::de::DeserializeOwned>(documents: &[Value], kind: &str) -> Vec<T> {
    let found = documents.iter().filter(|document| document["kind"] == kind);
    found.map(|document| serde_json::from_value(document.clone()).unwrap()).collect()
}

fn observed(yaml: &str, source: Source) -> Observed {
    let documents: Vec<Value> = from_yaml_documents(yaml).unwrap();
    let object = Arc::new(of_kind::<ModelPortfolio>(&documents, "ModelPortfolio").remove(0));
    let classes = of_kind::<EdgeDeviceClass>(&documents, "EdgeDeviceClass");
    Observed {
        siblings: vec![owner_reference(object.as_ref())],
        classes: classes.into_iter().map(|class| (class.name_any(), class.spec)).collect(),
        nodes: of_kind::<Node>(&documents, "Node").into_iter().map(Arc::new).collect(),
        placements: of_kind::<VariantPlacement>(&documents, "VariantPlacement"),
        children: Children {
            jobs: of_kind::<Job>(&documents, "Job"),
            variants: of_kind::<ModelVariant>(&documents, "ModelVariant"),
            ..Children::default()
        },
        answer: match source {
            Source::Silent => Answer::None,
            Source::Manifest => Answer::Registry(Ok(published(&object))),
            Source::Fails(error) => Answer::Registry(Err(error)),
            Source::Pods => Answer::Job(of_kind::<Pod>(&documents, "Pod")),
        },
        object,
    }
}

fn valid(yaml: &str, source: Source) -> Valid {
    validate(observed(yaml, source), &settings()).unwrap()
}

fn decided(valid: &Valid) -> Decision {
    decide(valid, RUNTIME).unwrap()
}

fn built(valid: &Valid) -> Prepared {
    build(valid, &decided(valid), &settings()).unwrap()
}

/// The portfolio's placements as if they had been applied, and every node of `serving` had come to serve what it holds.
fn served(yaml: &str, serving: &[&str]) -> Vec<VariantPlacement> {
    let mut placements = built(&valid(yaml, Source::Manifest)).placements;
    let serving = |placement: &&mut VariantPlacement| serving.contains(&placement.spec.node_name.as_str());
    placements.iter_mut().filter(serving).for_each(serve);
    placements
}

fn serve(placement: &mut VariantPlacement) {
    let status = serde_json::json!({
        "templateHash": placement.spec.template_hash, "revision": placement.spec.revision,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    placement.status = Some(serde_json::from_value(status).unwrap());
}

fn with_placements(yaml: &str, placements: Vec<VariantPlacement>, source: Source) -> Valid {
    let mut observed = observed(yaml, source);
    observed.placements = placements;
    validate(observed, &settings()).unwrap()
}

fn applied(valid: &Valid) -> AppliedPlacements {
    let statuses = |name: &str| {
        valid.placements.iter().find(|placement| placement.name_any() == name).and_then(|p| p.status.clone())
    };
    let placements = built(valid).placements.into_iter().map(|mut placement| {
        placement.status = statuses(&placement.name_any());
        placement
    });
    AppliedPlacements(placements.collect())
}
