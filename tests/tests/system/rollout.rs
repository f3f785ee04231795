//! A revision that cannot come up: it stops at the nodes that may be out of service, the others serve the old one, and the
//! portfolio says why. Going back heals it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use dnnshifter_crds::conditions::READY;
use serde_json::json;

use super::{
    load::{Load, burst},
    manifests::{self, NODES},
    scene::{PATIENCE, Scene, words},
    switching::CALM,
    until::{Look, until},
};

/// Rolls out a portfolio whose images nobody can pull, and goes back.
pub async fn stops(scene: &Scene) -> Result<()> {
    let manifest = |image: &str| {
        let mut manifest = manifests::published(&scene.namespace, "fashion", image);
        manifests::set(&mut manifest, "/spec/rollout", json!({"maximumUnavailableNodes": 1}));
        manifest
    };
    let good = manifest(&scene.world.artifacts.published);
    let url = scene.settle(&good).await?;
    let old = scene.placement("fashion", NODES[0]).await?.spec.revision;
    let pods = scene.objects("pods")?;
    let mut loads = Vec::new();
    for node in NODES {
        loads.push(Load::begin(scene, node, &url, "fashion", CALM)?);
    }

    scene.apply(&manifest(&scene.world.artifacts.unpullable))?;
    let first = until("the rollout to stop and say why", PATIENCE, async || {
        let ready = scene.condition("fashion", READY).await?;
        let said = words(ready.as_ref());
        let failing = ready.filter(|ready| ready.status == "False" && ready.message.contains("ImagePull"));
        let first = NODES.into_iter().find(|node| failing.as_ref().is_some_and(|f| f.message.contains(node)));
        Ok(Look::of(first, || said))
    })
    .await?;
    burst(scene, first, &url, "fashion", CALM, 3.0)?;
    let revisions = revisions(scene).await?;
    let told: Vec<_> =
        revisions.iter().filter(|(_, revision)| **revision != old).map(|(node, _)| node).collect();
    ensure!(told == [first], "the new revision went to {told:?}, and {first} does not come up");

    scene.apply(&good)?;
    scene.until_ready("fashion").await?;
    for load in loads {
        load.end()?;
    }
    let after = scene.objects("pods")?;
    let kept = |name: &String| after.get(name).map(|pod| &pod.uid) == pods.get(name).map(|pod| &pod.uid);
    let rebuilt: Vec<_> = pods.keys().filter(|name| !kept(name) && !name.contains(first)).collect();
    ensure!(
        rebuilt.is_empty(),
        "pods of nodes that the bad revision never reached were rebuilt: {rebuilt:?}"
    );
    Ok(())
}

/// Which revision each node was told of.
async fn revisions(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let placements = scene.portfolio("fashion").placements().await.context("failed to read the revisions")?;
    Ok(placements.into_iter().map(|placement| (placement.spec.node_name, placement.spec.revision)).collect())
}
