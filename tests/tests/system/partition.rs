//! A node's link is cut: its own clients notice nothing, and its pod is neither deleted nor rebuilt when the link is back.

use anyhow::{Result, ensure};
use dnnshifter_crds::conditions::{NODES_SERVING, READY};
use k8s_openapi::api::core::v1::Node;
use kube::Api;

use super::{
    load::{Load, burst},
    manifests::{self, NODES},
    published::same_but_for_status,
    scene::{PATIENCE, Scene, words},
    switching::CALM,
    until::{Look, until},
};

/// Cuts a node off until the control plane gives it up, and mends the link.
pub async fn serves(scene: &Scene) -> Result<()> {
    let [cut, other, ..] = NODES;
    let cluster = &scene.world.cluster;
    let url = scene
        .settle(&manifests::published(&scene.namespace, "fashion", &scene.world.artifacts.published))
        .await?;
    let built = scene.objects("deployments,pods")?;
    let load = Load::begin(scene, cut, &url, "fashion", CALM)?;
    let elsewhere = Load::begin(scene, other, &url, "fashion", CALM)?;

    cluster.cut(cut)?;
    until_node_ready(scene, cut, false).await?;
    until_nodes_serving(scene, "False").await?;
    burst(scene, other, &url, "fashion", CALM, 2.0)?;

    cluster.mend(cut)?;
    until_node_ready(scene, cut, true).await?;
    until_nodes_serving(scene, "True").await?;
    burst(scene, cut, &url, "fashion", CALM, 3.0)?;
    load.end()?;
    elsewhere.end()?;
    same_but_for_status(&built, &scene.objects("deployments,pods")?)
}

/// Waits for what the control plane says of the node; the portfolio is `Ready` all the while.
async fn until_node_ready(scene: &Scene, name: &str, ready: bool) -> Result<()> {
    let nodes = Api::<Node>::all(scene.client.clone());
    until(&format!("node {name} to be Ready: {ready}"), PATIENCE, async || {
        stays_ready(scene, &format!("waiting for {name} to be Ready: {ready}")).await?;
        let status = nodes.get(name).await?.status.unwrap_or_default();
        let found =
            status.conditions.unwrap_or_default().into_iter().find(|condition| condition.type_ == READY);
        let is_ready = found.is_some_and(|found| found.status == "True");
        Ok(Look::whether(is_ready == ready, || format!("Ready: {is_ready}")))
    })
    .await
}

/// Waits for the condition that tells of nodes that are away; the portfolio is `Ready` all the while.
async fn until_nodes_serving(scene: &Scene, status: &str) -> Result<()> {
    until(&format!("NodesServing={status}"), PATIENCE, async || {
        stays_ready(scene, &format!("waiting for NodesServing={status}")).await?;
        let found = scene.condition("fashion", NODES_SERVING).await?;
        Ok(Look::whether(found.as_ref().is_some_and(|found| found.status == status), || {
            words(found.as_ref())
        }))
    })
    .await
}

/// A node that does not answer never makes a portfolio unready.
async fn stays_ready(scene: &Scene, when: &str) -> Result<()> {
    let ready = scene.condition("fashion", READY).await?;
    ensure!(
        ready.as_ref().is_some_and(|ready| ready.status == "True"),
        "{when}, and the portfolio is not Ready: {}",
        words(ready.as_ref())
    );
    Ok(())
}
