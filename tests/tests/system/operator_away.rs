//! The operator dies: nodes serve on, and when it is back it finds all as it should be and rebuilds nothing.

use std::time::Duration;

use anyhow::Result;
use dnnshifter_cluster::Cluster;
use dnnshifter_tests::demo::stage::SYSTEM_NAMESPACE;

use super::{
    load::{Load, burst, too_much_for_the_largest},
    manifests::{self, NODES},
    published::same_but_for_status,
    scene::{PATIENCE, Scene},
    switching::{CALM, until_stepped_down},
    until::{Look, until},
    world::OPERATOR,
};

/// What must be neither changed nor made anew.
pub const BUILT: &str = "deployments,pods,services,mv";

/// Kills the operator under load, and brings it back.
pub async fn serves(scene: &Scene) -> Result<()> {
    let url = scene
        .settle(&manifests::published(&scene.namespace, "fashion", &scene.world.artifacts.published))
        .await?;
    let built = scene.objects(BUILT)?;
    let rate = too_much_for_the_largest(&scene.placement("fashion", NODES[0]).await?)?;
    let load = Load::begin(scene, NODES[1], &url, "fashion", CALM)?;

    kill(&scene.world.cluster).await?;
    for node in NODES {
        burst(scene, node, &url, "fashion", CALM, 1.0)?;
    }
    bring_back(&scene.world.cluster)?;
    // It works again when it follows a load.
    let much = Load::begin(scene, NODES[0], &url, "fashion", rate)?;
    until_stepped_down(scene, NODES[0]).await?;
    much.end()?;
    load.end()?;
    same_but_for_status(&built, &scene.objects(BUILT)?)
}

/// Ends the operator without warning, and keeps it from coming back.
async fn kill(cluster: &Cluster) -> Result<()> {
    system(cluster, &["scale", "deployment", "--all", "--replicas=0"])?;
    system(cluster, &["delete", "pods", "--all", "--force", "--grace-period=0"])?;
    until("the operator to be gone", Duration::from_mins(1), async || {
        let left = system(cluster, &["get", "pods", "--output", "name"])?;
        Ok(Look::whether(left.trim().is_empty(), || left.clone()))
    })
    .await
}

/// The operator as it was installed; nothing if it is there.
pub fn bring_back(cluster: &Cluster) -> Result<()> {
    scale(cluster, 1)
}

/// So many operators, and all of them ready.
pub fn scale(cluster: &Cluster, replicas: u8) -> Result<()> {
    let patience = format!("--timeout={}s", PATIENCE.as_secs());
    system(cluster, &["scale", "deployment", "--all", &format!("--replicas={replicas}")])?;
    system(cluster, &["rollout", "status", "deployment", OPERATOR, &patience])?;
    Ok(())
}

/// Runs kubectl in the operator's own namespace.
pub fn system(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    Ok(cluster.kubectl(&[&["--namespace", SYSTEM_NAMESPACE], arguments].concat())?)
}
