//! A registry that asks for a password: the Job pushes with one Secret, the operator and the nodes pull with another.

use anyhow::{Result, ensure};
use dnnshifter_cluster::{PRIVATE_REGISTRY, PRIVATE_REGISTRY_PASSWORD, PRIVATE_REGISTRY_USER, REGISTRY};
use dnnshifter_crds::conditions::VARIANTS_AVAILABLE;
use serde_json::json;

use super::{
    broken_model::SHARED_SEED,
    load::burst,
    manifests::{self, NODES},
    scene::{PATIENCE, Scene, words},
};

const PUSH: &str = "push";
const PULL: &str = "pull";

/// Prunes into the registry and serves from it; then serves what was published there, first without the Secret.
pub async fn pushed_and_served(scene: &Scene) -> Result<()> {
    for name in [PUSH, PULL] {
        make_secret(scene, name)?;
    }
    let (name, repository) = ("fashion", format!("{PRIVATE_REGISTRY}/system/private"));
    let mut pruned =
        manifests::pruned(&scene.namespace, name, &scene.world.artifacts.inputs, &repository, SHARED_SEED);
    manifests::set(&mut pruned, "/spec/variants/prune/publish/pushSecretName", json!(PUSH));
    manifests::set(&mut pruned, "/spec/serving/imagePullSecrets", json!([PULL]));
    scene.apply(&pruned)?;
    scene.until_ready(name).await?;
    answers(scene, name).await?;

    let (name, image) = ("shoes", scene.world.artifacts.published.replace(REGISTRY, PRIVATE_REGISTRY));
    let mut published = manifests::published(&scene.namespace, name, &image);
    scene.apply(&published)?;
    let refused = scene.until_condition(name, VARIANTS_AVAILABLE, "False", PATIENCE).await?;
    let said = words(Some(&refused));
    ensure!(
        said.contains(PRIVATE_REGISTRY) && said.contains("imagePullSecrets"),
        "no way out is named: {said}"
    );
    manifests::set(&mut published, "/spec/serving/imagePullSecrets", json!([PULL]));
    scene.apply(&published)?;
    scene.until_ready(name).await?;
    answers(scene, name).await
}

fn make_secret(scene: &Scene, name: &str) -> Result<()> {
    let (server, user, password) = (
        format!("--docker-server={PRIVATE_REGISTRY}"),
        format!("--docker-username={PRIVATE_REGISTRY_USER}"),
        format!("--docker-password={PRIVATE_REGISTRY_PASSWORD}"),
    );
    scene.kubectl(&["create", "secret", "docker-registry", name, &server, &user, &password])?;
    Ok(())
}

async fn answers(scene: &Scene, name: &str) -> Result<()> {
    let url = scene.portfolio(name).service_url().await?;
    for node in NODES {
        burst(scene, node, &url, name, 20.0, 1.0)?;
    }
    Ok(())
}
