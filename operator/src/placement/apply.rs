//! Applies the Deployment of a placement. I/O.
//!
//! An API server that does not know image volumes takes them away without a word, and the pod would serve empty folders. So a
//! new template is tried in a dry run, and what came back is looked at, before it is written.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client, ResourceExt, api::PatchParams};

use dnnshifter_crds::names::{OPERATOR_FIELD_MANAGER, TEMPLATE_HASH_LABEL};

use super::validate::Valid;
use crate::apply::{ApplyError, Ensured, apply, ensure};

/// What became of the Deployment.
pub(crate) enum Applied {
    /// It is as wanted.
    Deployment(Box<Deployment>),
    /// The API server takes image volumes away: nothing was written.
    ImageVolumesUnsupported,
}

pub(crate) async fn apply_deployment(
    client: &Client,
    valid: &Valid,
    wanted: Deployment,
) -> Result<Applied, ApplyError> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), &valid.namespace);
    let hash = |deployment: &Deployment| deployment.labels().get(TEMPLATE_HASH_LABEL).cloned();
    let is_new = valid.deployment.as_ref().and_then(hash) != hash(&wanted);
    if is_new {
        let dry_run = PatchParams::apply(OPERATOR_FIELD_MANAGER).force().dry_run();
        let tried = apply(&deployments, &wanted, &dry_run).await?;
        if image_volumes(&tried) < image_volumes(&wanted) {
            return Ok(Applied::ImageVolumesUnsupported);
        }
    }
    // With the old hash on it, what is covered would still be another template.
    let live = valid.deployment.as_ref().filter(|_| !is_new);
    Ok(Applied::Deployment(match ensure(&deployments, &wanted, live).await? {
        Ensured::Written(deployment) => deployment,
        Ensured::Unchanged => Box::new(live.cloned().unwrap_or(wanted)),
    }))
}

fn image_volumes(deployment: &Deployment) -> usize {
    let pod = deployment.spec.template.spec.as_ref();
    let volumes = pod.and_then(|pod| pod.volumes.as_ref());
    volumes.map(|volumes| volumes.iter().filter(|volume| volume.image.is_some()).count()).unwrap_or_default()
}
