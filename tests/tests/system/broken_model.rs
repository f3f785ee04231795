//! A model file that is no network: the portfolio stalls, says why, and is cured by a specification that is right.

use anyhow::{Result, ensure};
use dnnshifter_cluster::REGISTRY;
use dnnshifter_crds::conditions::{READY, STALLED, VARIANTS_AVAILABLE};
use serde_json::json;

use super::{
    artifacts::{BROKEN_MODEL, MODEL},
    manifests,
    scene::{PATIENCE, Scene, words},
};

/// The repository and seed of a training that scenarios share: the first one trains, for the others it is there.
pub const SHARED_REPOSITORY: &str = "system/shared";
pub const SHARED_SEED: u32 = 1;

/// Applies a portfolio with a broken model, then the same one with a good model.
pub async fn stalls(scene: &Scene) -> Result<()> {
    let inputs = &scene.world.artifacts.inputs;
    let repository = format!("{REGISTRY}/{SHARED_REPOSITORY}");
    let mut manifest = manifests::pruned(&scene.namespace, "fashion", inputs, &repository, SHARED_SEED);
    let mut set_model = |path: &str| {
        manifests::set(&mut manifest, "/spec/variants/prune/model/path", json!(path));
        scene.apply(&manifest)
    };
    set_model(BROKEN_MODEL)?;
    let stalled = scene.until_condition("fashion", STALLED, "True", PATIENCE).await?;
    let said = words(Some(&stalled));
    ensure!(!stalled.reason.is_empty() && stalled.message.contains(BROKEN_MODEL), "no file is named: {said}");
    for type_ in [READY, VARIANTS_AVAILABLE] {
        let condition = scene.condition("fashion", type_).await?;
        ensure!(condition.as_ref().is_some_and(|one| one.status == "False"), "{}", words(condition.as_ref()));
    }
    ensure!(scene.objects("mv,vpl,deployments")?.is_empty(), "something is served of a model that is broken");

    set_model(MODEL)?;
    scene.until_ready("fashion").await
}
