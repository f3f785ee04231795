//! Variants follow the load, node by node, and nobody who asks meanwhile notices.

use anyhow::{Result, ensure};

use super::{
    load::{Load, too_much_for_the_largest},
    manifests::{self, NODES},
    published::same_but_for_status,
    scene::{PATIENCE, Scene, active, ceiling, what_runs},
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

/// Waits until the node answers with another than its most accurate variant, and the switching loop has decided so, too.
pub async fn until_stepped_down(scene: &Scene, node: &str) -> Result<()> {
    until_switched(scene, node, "step down", |active, largest| active != largest).await
}

/// Waits until the node answers with its most accurate variant again, and the switching loop has decided so, too.
pub async fn until_stepped_up(scene: &Scene, node: &str) -> Result<()> {
    until_switched(scene, node, "step up", |active, largest| active == largest).await
}

async fn until_switched(
    scene: &Scene,
    node: &str,
    what: &str,
    wanted: impl Fn(&str, &str) -> bool,
) -> Result<()> {
    until(&format!("{node} to {what}"), PATIENCE, async || {
        let placement = scene.placement("fashion", node).await?;
        let largest = placement.spec.variants.first().map(|variant| variant.name.as_str());
        let is_so = |variant: Option<&str>| {
            variant.zip(largest).is_some_and(|(variant, largest)| wanted(variant, largest))
        };
        // The node may be below its ceiling, by its own reflex.
        let switched = is_so(active(&placement)) && is_so(ceiling(&placement));
        Ok(Look::whether(switched, || what_runs(&[placement])))
    })
    .await
}
