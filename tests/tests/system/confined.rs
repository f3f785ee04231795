//! A runtime's token writes the status of its own node's placement, and of no other: who steals it can lie about one node only.

use anyhow::{Context, Result, bail, ensure};
use dnnshifter_crds::VariantPlacement;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use super::{
    manifests::{self, NODES},
    scene::Scene,
};

const ACCOUNT: &str = "dnnshifter-runtime";

/// Tries all three kinds of token.
pub async fn to_its_node(scene: &Scene) -> Result<()> {
    let [own, other, ..] = NODES;
    scene
        .settle(&manifests::published(&scene.namespace, "fashion", &scene.world.artifacts.published))
        .await?;
    let token = scene.kubectl(&["create", "token", ACCOUNT])?;
    let nameless = client(scene, &token).await?;
    let runtime = client(scene, &token_of_pod(scene, own).await?).await?;

    write_status(scene, &runtime, own).await.context("a runtime must report on its own node")?;
    refused(write_status(scene, &runtime, other).await, "another node's placement")?;
    refused(write_status(scene, &nameless, own).await, "a token without a node")
}

fn refused(written: Result<(), kube::Error>, what: &str) -> Result<()> {
    match written {
        Err(kube::Error::Api(answer)) => {
            let says = answer.message.contains("its own node's placement only");
            ensure!(says && answer.code == 403, "{what} is refused with other words: {answer:?}");
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("failed to try {what}")),
        Ok(()) => bail!("{what} was accepted"),
    }
}

/// Changes nothing: admission judges a dry run, too.
async fn write_status(scene: &Scene, client: &Client, node: &str) -> Result<(), kube::Error> {
    let placements = Api::<VariantPlacement>::namespaced(client.clone(), &scene.namespace);
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    let lie = Patch::Merge(json!({"status": {"reason": "Lie"}}));
    placements.patch_status(&format!("fashion-{node}"), &dry_run, &lie).await.map(drop)
}

/// The token that the kubelet gives to the runtime's pod on `node`.
async fn token_of_pod(scene: &Scene, node: &str) -> Result<String> {
    let pods = Api::<Pod>::namespaced(scene.client.clone(), &scene.namespace);
    let pods = pods.list(&ListParams::default()).await?.items;
    let here = |pod: &&Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(node));
    let pod = pods.iter().find(here).with_context(|| format!("no pod runs on {node}"))?;
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    let bound = ["--bound-object-kind", "Pod", "--bound-object-name", &name, "--bound-object-uid", &uid];
    scene.kubectl(&[&["create", "token", ACCOUNT], &bound[..]].concat())
}

/// A client with that token and nothing else.
async fn client(scene: &Scene, token: &str) -> Result<Client> {
    let mut kubeconfig = Kubeconfig::read_from(scene.world.cluster.layout().admin_kubeconfig())?;
    let only = AuthInfo { token: Some(token.trim().to_owned().into()), ..AuthInfo::default() };
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(only.clone());
    }
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
