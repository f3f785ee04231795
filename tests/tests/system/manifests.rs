//! The YAML that scenarios apply, as JSON values: one way to write each kind, changed by the scenario where it differs.

use serde_json::{Value, json};

use super::artifacts::{DATASET, MODEL};

/// Two kinds of machines, as the cluster labels its nodes. Limits are small, so that a little load is a lot.
pub const DEVICE_CLASSES: [&str; 2] = [
    "apiVersion: dnnshifter.io/v1alpha1
kind: EdgeDeviceClass
metadata: {name: test-large}
spec:
  nodeSelector: {dnnshifter.io/kind: large}
  resources: {requests: {cpu: 50m, memory: 96Mi}, limits: {cpu: 300m, memory: 256Mi}}
",
    "apiVersion: dnnshifter.io/v1alpha1
kind: EdgeDeviceClass
metadata: {name: test-small}
spec:
  nodeSelector: {dnnshifter.io/kind: small}
  resources: {requests: {cpu: 50m, memory: 96Mi}, limits: {cpu: 300m, memory: 192Mi}}
",
];

/// The nodes of the cluster that the classes match.
pub const NODES: [&str; 3] = ["edge-1", "edge-2", "edge-3"];

/// The step-up window: short, for tests.
pub const STEP_UP_WINDOW_SECONDS: u64 = 4;
/// Samples older than this are no load.
pub const MAXIMUM_SAMPLE_AGE_SECONDS: u64 = 6;

/// A portfolio of variants that were published before.
pub fn published(namespace: &str, name: &str, image: &str) -> Value {
    portfolio(namespace, name, &json!({"published": {"image": image}}))
}

/// A portfolio that is trained and pruned here: tiny, so that it takes seconds. The seed tells one training from another.
pub fn pruned(namespace: &str, name: &str, inputs: &str, repository: &str, seed: u32) -> Value {
    let source = json!({"image": {"reference": inputs}});
    let prune = json!({
        "model": {"source": source, "path": MODEL},
        "dataset": {"source": source, "path": DATASET, "format": "Idx", "normalization": {"mean": "0.286", "deviation": "0.353"}},
        "method": {"structured": {"channelMultiple": 8, "latencyRatio": "1.3", "fineTuningEpochs": 1}},
        "training": {"epochs": 2, "batchSize": 32, "learningRate": "0.02", "validationImages": 300, "seed": seed},
        "minimumAccuracy": "0.2",
        "maximumVariants": 3,
        "job": {"nodeSelector": {"dnnshifter.io/role": "hub"}},
        "publish": {"repository": repository, "plainHttp": true},
    });
    portfolio(namespace, name, &json!({"prune": prune}))
}

fn portfolio(namespace: &str, name: &str, variants: &Value) -> Value {
    json!({
        "apiVersion": "dnnshifter.io/v1alpha1",
        "kind": "ModelPortfolio",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "variants": variants,
            "deviceClasses": [{"name": "test-large"}, {"name": "test-small"}],
            "serving": {"latencyObjective": {"milliseconds": 50}},
            "switching": {
                "prometheus": {"intervalSeconds": 1, "maximumSampleAgeSeconds": MAXIMUM_SAMPLE_AGE_SECONDS},
                "behavior": {
                    "stepDown": {"stabilizationWindowSeconds": 0},
                    "stepUp": {"stabilizationWindowSeconds": STEP_UP_WINDOW_SECONDS},
                },
            },
        },
    })
}

/// Sets a field by its path (RFC 6901); its parent is there.
pub fn set(manifest: &mut Value, path: &str, value: Value) {
    let (parent, field) = path.rsplit_once('/').unwrap_or_default();
    if let Some(parent) = manifest.pointer_mut(parent).and_then(Value::as_object_mut) {
        parent.insert(field.to_owned(), value);
    }
}
