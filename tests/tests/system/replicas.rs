//! Two operators: one works while the other stands by, and takes over when the first dies.

use anyhow::{Context, Result, ensure};
use dnnshifter_tests::demo::stage::SYSTEM_NAMESPACE;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use super::{
    load::{Load, too_much_for_the_largest},
    manifests::{self, NODES},
    operator_away::{BUILT, bring_back, scale, system},
    published::same_but_for_status,
    scene::{PATIENCE, Scene},
    switching::until_stepped_down,
    until::{Look, until},
    world::OPERATOR,
};

/// Kills the one that leads.
pub async fn take_over(scene: &Scene) -> Result<()> {
    let url = scene
        .settle(&manifests::published(&scene.namespace, "fashion", &scene.world.artifacts.published))
        .await?;
    let built = scene.objects(BUILT)?;
    let rate = too_much_for_the_largest(&scene.placement("fashion", NODES[0]).await?)?;

    scale(&scene.world.cluster, 2)?;
    let first = leader(scene, "").await?;
    stand_by(scene, &first)?;
    let killed = format!("pod/{first}");
    system(&scene.world.cluster, &["delete", &killed, "--force", "--grace-period=0"])?;
    let second = leader(scene, &first).await?;
    ensure!(second != first, "{first} is dead and leads");

    // The new leader works: it follows a load.
    let load = Load::begin(scene, NODES[0], &url, "fashion", rate)?;
    until_stepped_down(scene, NODES[0]).await?;
    load.end()?;
    same_but_for_status(&built, &scene.objects(BUILT)?)?;
    bring_back(&scene.world.cluster)
}

/// Every other pod of the operator is ready, and has neither led nor decided anything.
fn stand_by(scene: &Scene, leader: &str) -> Result<()> {
    let pods = system(&scene.world.cluster, &["get", "pods", "--output", "name"])?;
    let others: Vec<_> = pods.lines().filter(|pod| !pod.ends_with(leader)).collect();
    ensure!(others.len() == 1, "two operators should run, {leader} among them:\n{pods}");
    for other in others {
        let log = system(&scene.world.cluster, &["logs", other])?;
        ensure!(
            !log.contains("\"leading\"") && !log.contains("\"decided\""),
            "{other} works beside {leader}:\n{log}"
        );
    }
    Ok(())
}

/// The pod that holds the Lease, once that is another than `before`.
async fn leader(scene: &Scene, before: &str) -> Result<String> {
    let leases = Api::<Lease>::namespaced(scene.client.clone(), SYSTEM_NAMESPACE);
    until(&format!("a leader other than \"{before}\""), PATIENCE, async || {
        let lease = leases.get(OPERATOR).await.context("failed to read the operator's Lease")?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        let seen = format!("\"{holder}\" leads");
        Ok(Look::of((!holder.is_empty() && holder != before).then_some(holder), || seen))
    })
    .await
}
