//! A portfolio is deleted: all that the operator made for it goes.

use anyhow::{Result, ensure};
use dnnshifter_cluster::REGISTRY;

use super::{
    broken_model::{SHARED_REPOSITORY, SHARED_SEED},
    manifests,
    scene::{PATIENCE, Scene},
    until::{Look, until},
};

const KINDS: &str = "mpf,mv,vpl,deployments,replicasets,pods,services,endpointslices,jobs,configmaps,serviceaccounts,rolebindings";
/// What Kubernetes itself puts into every namespace.
const NOT_OURS: [&str; 2] = ["configmap/kube-root-ca.crt", "serviceaccount/default"];

/// Deletes a portfolio that was pruned here, so that a Job and its plan are there to be deleted too.
pub async fn is_complete(scene: &Scene) -> Result<()> {
    let repository = format!("{REGISTRY}/{SHARED_REPOSITORY}");
    let inputs = &scene.world.artifacts.inputs;
    scene.apply(&manifests::pruned(&scene.namespace, "fashion", inputs, &repository, SHARED_SEED))?;
    scene.until_ready("fashion").await?;
    let there = objects(scene)?;
    for kind in ["modelvariant", "variantplacement", "deployment", "pod/", "service/", "job", "configmap"] {
        ensure!(
            there.iter().any(|name| name.starts_with(kind)),
            "there is no {kind} to be deleted: {there:?}"
        );
    }
    scene.kubectl(&["delete", "mpf", "fashion", "--timeout=60s"])?;
    until("all of the portfolio to be gone", PATIENCE, async || {
        let left = objects(scene)?;
        Ok(Look::whether(left.is_empty(), || left.join(", ")))
    })
    .await
}

fn objects(scene: &Scene) -> Result<Vec<String>> {
    let names = scene.kubectl(&["get", KINDS, "--output", "name"])?;
    Ok(names.lines().filter(|name| !NOT_OURS.contains(name)).map(str::to_owned).collect())
}
