//! What a person who wrote something wrong is told by `kubectl apply`: where, and how to mend it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{manifests, scene::Scene};

/// A mistake, and the words that the message must have.
struct Mistake {
    path: &'static str,
    value: Value,
    told: &'static [&'static str],
}

/// Applies manifests with one mistake each.
pub async fn manifests(scene: &Scene) -> Result<()> {
    let digest = format!("registry.example.com/fashion@sha256:{}", "a".repeat(64));
    let mistakes = [
        Mistake { path: "/spec/servings", value: json!({}), told: &["servings", "field"] },
        Mistake {
            path: "/spec/variants/published/image",
            value: json!("registry.example.com/fashion:1"),
            told: &["spec.variants.published.image", "sha256"],
        },
        Mistake {
            path: "/spec/variants/prune",
            value: json!({
                "model": {"source": {"image": {"reference": "r/a:1"}}, "path": "m.onnx"},
                "dataset": {"source": {"image": {"reference": "r/a:1"}}, "format": "Idx"},
                "method": {"structured": {}},
                "publish": {"repository": "r/a"},
            }),
            told: &["spec.variants", "set exactly one of prune and published"],
        },
        Mistake {
            path: "/spec/rollout",
            value: json!({"maximumUnavailableNodes": "0%"}),
            told: &[
                "spec.rollout.maximumUnavailableNodes",
                "write a number from 1 or a percentage from 1% to 100%",
            ],
        },
        Mistake {
            path: "/spec/serving/latencyObjective/milliseconds",
            value: json!("20ms"),
            told: &["spec.serving.latencyObjective.milliseconds", "numeric"],
        },
        Mistake {
            path: "/metadata/name",
            value: json!("fashion.v1"),
            told: &["the name must be a DNS label", "at most 40 characters"],
        },
    ];
    for mistake in mistakes {
        let mut manifest = manifests::published(&scene.namespace, "fashion", &digest);
        manifests::set(&mut manifest, mistake.path, mistake.value);
        let Err(refusal) = scene.apply(&manifest) else {
            anyhow::bail!("a manifest that is wrong at {} was accepted", mistake.path);
        };
        let said = refusal.to_string();
        for words in mistake.told {
            ensure!(said.contains(words), "the refusal of {} does not say {words:?}: {said}", mistake.path);
        }
    }
    ensure!(scene.objects("mpf")?.is_empty(), "something of a refused manifest was stored");
    Ok(())
}
