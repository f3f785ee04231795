//! Variants follow the load, node by node, and nobody who asks meanwhile notices.

use anyhow::{Result, ensure};

use super::{
    load::{Load, too_much_for_the_largest},
    manifests::{self, NODES},
    published::same_but_for_status,
    scene::{PATIENCE, Scene, active, what_runs},
    until::{Look, until},
};

/// Little enough for any variant.
pub const CALM: f64 = 10.0;

/// Load up, step down; load down, step up.
pub async fn follows_load(scene: &Scene) -> Result<()> {
    let [node, others @ ..] = NODES;
    let url = scene
        .settle(&manifests::published(&scene.namespace, "fashion", &scene.world.artifacts.published))
        .await?;
    scene.until_condition("fashion", "LoadKnown", "True", PATIENCE).await?;
    let pods = scene.objects("deployments,pods")?;
    let portfolio = scene.objects("mpf")?;
    let rate = too_much_for_the_largest(&scene.placement("fashion", node).await?)?;

    let load = Load::begin(scene, node, &url, "fashion", rate)?;
    until_stepped_down(scene, node).await?;
    for other in others {
        let placement = scene.placement("fashion", other).await?;
        let largest = placement.spec.variants.first().map(|variant| variant.name.as_str());
        ensure!(active(&placement) == largest, "{other} has no load, but {}", what_runs(&[placement]));
    }
    let busy = load.end()?;
    ensure!(busy.variants.len() > 1, "{node} answered with one variant only: {:?}", busy.variants);

    let load = Load::begin(scene, node, &url, "fashion", CALM)?;
    scene.until_all_run_the_largest("fashion").await?;
    load.end()?;
    same_but_for_status(&pods, &scene.objects("deployments,pods")?)?;
    let after = scene.objects("mpf")?;
    ensure!(portfolio == after, "switches changed the portfolio: {portfolio:?}, then {after:?}");
    Ok(())
}

/// Waits until the node answers with another than its most accurate variant, as the switching loop decided.
pub async fn until_stepped_down(scene: &Scene, node: &str) -> Result<()> {
    until(&format!("{node} to step down"), PATIENCE, async || {
        let placement = scene.placement("fashion", node).await?;
        let largest = placement.spec.variants.first().map(|variant| variant.name.as_str());
        let decision =
            placement.spec.decision.as_ref().map(|decision| decision.ceiling_variant_name.as_str());
        let stepped =
            active(&placement).is_some() && active(&placement) != largest && active(&placement) == decision;
        Ok(Look::whether(stepped, || what_runs(&[placement])))
    })
    .await
}
