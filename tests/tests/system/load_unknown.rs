//! Prometheus away, empty, or answering nonsense: nobody knows the load, so no ceiling moves, and a condition says so. When it is
//! back, the load is followed again. (A node that is overloaded steps below its ceiling by itself: it knows its own load.)

use std::fs;

use anyhow::{Context, Result, ensure};
use dnnshifter_cluster::Cluster;
use dnnshifter_crds::conditions::{LOAD_KNOWN, READY};
use serde_json::json;

use super::{
    fake_prometheus::FakePrometheus,
    load::{Load, burst, too_much_for_the_largest},
    manifests::{self, MAXIMUM_SAMPLE_AGE_SECONDS, NODES, STEP_UP_WINDOW_SECONDS},
    scene::{PATIENCE, Scene, ceiling, words},
    switching::{until_stepped_down, until_stepped_up},
};

const PROMETHEUS: &str = "prometheus";
/// Longer than a step up takes when the load is known: its window, the age of samples, and some ticks.
const UNNOTICED_SECONDS: f64 = (STEP_UP_WINDOW_SECONDS + MAXIMUM_SAMPLE_AGE_SECONDS) as f64 + 2.0;

/// Its process dies.
pub async fn killed(scene: &Scene) -> Result<()> {
    let cluster = &scene.world.cluster;
    holds_without(scene, None, || Ok(cluster.kill(PROMETHEUS)?), || restore_prometheus(cluster)).await
}

/// It runs, and knows of no pod.
pub async fn empty(scene: &Scene) -> Result<()> {
    let cluster = &scene.world.cluster;
    holds_without(scene, None, || forget_everything(cluster), || restore_prometheus(cluster)).await
}

/// It says that every load is NaN.
pub async fn not_a_number(scene: &Scene) -> Result<()> {
    let fake = FakePrometheus::start().await?;
    let lie = |lies| {
        fake.lie(lies);
        Ok(())
    };
    holds_without(scene, Some(&fake.url), || lie(true), || lie(false)).await
}

/// One node is busy and has stepped down, one is calm. Then nobody knows the load, and they change places: neither's ceiling
/// moves until the load is known again.
async fn holds_without(
    scene: &Scene,
    url: Option<&str>,
    break_it: impl FnOnce() -> Result<()>,
    mend_it: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let [busy, calm, ..] = NODES;
    let mut manifest = manifests::published(&scene.namespace, "fashion", &scene.world.artifacts.published);
    if let Some(url) = url {
        manifests::set(&mut manifest, "/spec/switching/prometheus/url", json!(url));
    }
    let service = scene.settle(&manifest).await?;
    scene.until_condition("fashion", LOAD_KNOWN, "True", PATIENCE).await?;
    let load = Load::begin(scene, busy, &service, "fashion", too_much(scene, busy).await?)?;
    until_stepped_down(scene, busy).await?;
    let rate = too_much(scene, calm).await?;

    break_it()?;
    let unknown = scene.until_condition("fashion", LOAD_KNOWN, "False", PATIENCE).await?;
    ensure!(
        !unknown.reason.is_empty() && !unknown.message.is_empty(),
        "no reason: {}",
        words(Some(&unknown))
    );
    let before = decisions(scene).await?;
    load.end()?;
    burst(scene, calm, &service, "fashion", rate, UNNOTICED_SECONDS)?;
    let after = decisions(scene).await?;
    ensure!(before == after, "nobody knew the load, but {before:?} became {after:?}");
    let ready = scene.condition("fashion", READY).await?;
    ensure!(ready.as_ref().is_some_and(|ready| ready.status == "True"), "{}", words(ready.as_ref()));

    mend_it()?;
    let load = Load::begin(scene, calm, &service, "fashion", rate)?;
    scene.until_condition("fashion", LOAD_KNOWN, "True", PATIENCE).await?;
    until_stepped_down(scene, calm).await?;
    until_stepped_up(scene, busy).await?;
    load.end()?;
    Ok(())
}

async fn too_much(scene: &Scene, node: &str) -> Result<f64> {
    too_much_for_the_largest(&scene.placement("fashion", node).await?)
}

/// What was decided for each node.
async fn decisions(scene: &Scene) -> Result<Vec<(String, Option<String>)>> {
    let placements = scene.portfolio("fashion").placements().await?;
    let decided = |placement: &dnnshifter_crds::VariantPlacement| ceiling(placement).map(str::to_owned);
    Ok(placements.iter().map(|placement| (placement.spec.node_name.clone(), decided(placement))).collect())
}

/// Starts Prometheus without its past and with nothing to do.
fn forget_everything(cluster: &Cluster) -> Result<()> {
    cluster.stop(PROMETHEUS)?;
    let run = &cluster.layout().run;
    let config = run.join("prometheus.yml");
    fs::copy(&config, run.join("prometheus.yml.kept")).context("failed to keep Prometheus' configuration")?;
    fs::write(&config, "scrape_configs: []\n").context("failed to write Prometheus' configuration")?;
    fs::remove_dir_all(run.join("prometheus")).context("failed to remove Prometheus' data")?;
    Ok(cluster.start(PROMETHEUS)?)
}

/// Prometheus as the cluster was started with; nothing if it is so already.
pub fn restore_prometheus(cluster: &Cluster) -> Result<()> {
    let run = &cluster.layout().run;
    let kept = run.join("prometheus.yml.kept");
    if kept.exists() {
        if cluster.runs(PROMETHEUS)? {
            cluster.stop(PROMETHEUS)?;
        }
        fs::rename(&kept, run.join("prometheus.yml"))
            .context("failed to restore Prometheus' configuration")?;
    }
    if !cluster.runs(PROMETHEUS)? {
        cluster.start(PROMETHEUS)?;
    }
    Ok(())
}
