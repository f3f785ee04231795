//! A portfolio that is trained and pruned here, with its data on a volume, by a Job that is killed midway: it goes on from its
//! last finished step, and what is served is what a whole run published.

use std::{
    collections::BTreeSet,
    fs::{Permissions, set_permissions},
    os::unix::fs::PermissionsExt,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use dnnshifter_cluster::{REGISTRY, REGISTRY_ADDRESS};
use dnnshifter_crds::names::{COMPONENT_LABEL, PRUNER_COMPONENT};
use dnnshifter_portfolio::PortfolioManifest;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    artifacts::cut_dataset,
    load::burst,
    manifests::{self, NODES},
    operator_away::system,
    scene::{PATIENCE, Scene},
    until::{Look, until},
};

const REPOSITORY: &str = "system/pruned";
/// Of the claim, and with the namespace before it of the volume.
const CLAIM: &str = "images";

/// From `kubectl apply` to a served portfolio, through the death of the Job's pod and of the operator.
pub async fn resumes(scene: &Scene) -> Result<()> {
    let repository = format!("{REGISTRY}/{REPOSITORY}");
    let inputs = &scene.world.artifacts.inputs;
    let known = tags().await?;
    let mut manifest = manifests::pruned(&scene.namespace, "fashion", inputs, &repository, fresh_seed());
    let source = json!({"persistentVolumeClaim": {"claimName": CLAIM}});
    manifests::set(&mut manifest, "/spec/variants/prune/dataset/source", source);
    manifests::set(&mut manifest, "/spec/variants/prune/dataset/path", json!("."));
    let _data = volume_of_data(scene)?;
    scene.apply(&manifest)?;

    kill_after_first_step(scene, &known).await?;
    system(&scene.world.cluster, &["delete", "pods", "--all", "--force", "--grace-period=0"])?;
    let jobs = scene.objects("jobs")?;
    ensure!(jobs.len() == 1, "there should be one Job: {jobs:?}");
    ensure!(scene.objects("mv,vpl,deployments")?.is_empty(), "something is served before the Job has ended");

    scene.until_ready("fashion").await?;
    let after = scene.objects("jobs")?;
    let same = jobs.iter().all(|(name, job)| after.get(name).is_some_and(|now| now.uid == job.uid));
    ensure!(same && after.len() == 1, "the Job was made anew: {jobs:?}, then {after:?}");
    let log = job_log(scene)?;
    ensure!(
        log.contains("finished before"),
        "no second pod went on from the first one's steps (or the first had ended before it was killed):\n{log}"
    );
    is_whole(scene).await?;
    let url = scene.portfolio("fashion").service_url().await?;
    for node in NODES {
        burst(scene, node, &url, "fashion", 20.0, 1.0)?;
    }
    Ok(())
}

/// Nothing comes between the sight of the step and the end of the pod, which meanwhile goes on with the next.
async fn kill_after_first_step(scene: &Scene, known: &BTreeSet<String>) -> Result<()> {
    let pods = Api::<Pod>::namespaced(scene.client.clone(), &scene.namespace);
    let pod = until("the Job's pod", PATIENCE, async || {
        let found = pods.list(&ListParams::default()).await?.items;
        Ok(Look::of(found.first().map(ResourceExt::name_any), || "no pod".to_owned()))
    })
    .await?;
    until("the first finished step of the training", PATIENCE, async || {
        let new: Vec<_> = tags().await?.difference(known).cloned().collect();
        Ok(Look::whether(new.iter().any(|tag| tag.ends_with("-dense")), || format!("new tags: {new:?}")))
    })
    .await?;
    pods.delete(&pod, &DeleteParams::default().grace_period(0))
        .await
        .context("failed to kill the Job's pod")?;
    Ok(())
}

/// A claim on a volume that holds the data set. It lies in a folder of this machine, which is every node's, until that is dropped.
fn volume_of_data(scene: &Scene) -> Result<TempDir> {
    let folder = tempfile::tempdir().context("failed to make a folder for data")?;
    // The Job is not root.
    set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    cut_dataset(folder.path())?;
    let name = format!("{}-{CLAIM}", scene.namespace);
    scene.kubectl(&["delete", "persistentvolume", &name, "--ignore-not-found"])?;
    let (size, modes) = (json!({"storage": "1Gi"}), json!(["ReadOnlyMany"]));
    scene.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"capacity": size, "accessModes": modes, "storageClassName": "", "hostPath": {"path": folder.path(), "type": "Directory"}},
    }))?;
    scene.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM, "namespace": scene.namespace},
        "spec": {"resources": {"requests": size}, "accessModes": modes, "storageClassName": "", "volumeName": name},
    }))?;
    Ok(folder)
}

/// What is served is what stands under the revision's tag, which is pushed last.
async fn is_whole(scene: &Scene) -> Result<()> {
    let revision = scene.read("fashion").await?.status.unwrap_or_default().revision.context("no revision")?;
    let manifest: Value = serde_json::from_str(&read(&format!("manifests/{revision}")).await?)?;
    let digest = manifest.pointer("/layers/0/digest").and_then(Value::as_str).context("no layer")?;
    let portfolio: PortfolioManifest = serde_json::from_str(&read(&format!("blobs/{digest}")).await?)?;
    // After a few steps of training a small variant may be better than all larger ones, which are then left out.
    ensure!(!portfolio.variants.is_empty(), "no variant was published: {portfolio:?}");
    let image = |digest: &dyn std::fmt::Display| format!("{REGISTRY}/{REPOSITORY}@{digest}");
    let published: BTreeSet<_> = portfolio.variants.iter().map(|variant| image(&variant.digest)).collect();
    let variants = scene.portfolio("fashion").variants().await?;
    let named: BTreeSet<_> = variants.into_iter().map(|variant| variant.spec.image).collect();
    ensure!(named == published, "published is {published:?}, the variants are {named:?}");
    for placement in scene.portfolio("fashion").placements().await? {
        let mounted: BTreeSet<_> = placement.spec.variants.into_iter().map(|variant| variant.image).collect();
        ensure!(mounted == published, "{} mounts {mounted:?}, not {published:?}", placement.spec.node_name);
    }
    Ok(())
}

fn job_log(scene: &Scene) -> Result<String> {
    let selector = format!("{COMPONENT_LABEL}={PRUNER_COMPONENT}");
    scene.kubectl(&["logs", "--selector", &selector, "--tail", "-1"])
}

async fn tags() -> Result<BTreeSet<String>> {
    let Ok(text) = read("tags/list").await else { return Ok(BTreeSet::new()) };
    let list: Value = serde_json::from_str(&text)?;
    let tags = list.pointer("/tags").and_then(Value::as_array).into_iter().flatten();
    Ok(tags.filter_map(Value::as_str).map(str::to_owned).collect())
}

async fn read(path: &str) -> Result<String> {
    let url = format!("http://{REGISTRY_ADDRESS}/v2/{REPOSITORY}/{path}");
    let accept = "application/vnd.oci.image.manifest.v1+json, */*";
    let answer = reqwest::Client::new().get(&url).header("Accept", accept).send().await?;
    Ok(answer.error_for_status().with_context(|| format!("failed to read {url}"))?.text().await?)
}

/// A training that nobody has done before, on whatever cluster: another one's steps would leave nothing to kill.
fn fresh_seed() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos())
}
