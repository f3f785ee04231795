//! Parses what was observed of a placement. Pure.

use std::sync::Arc;

use dnnshifter_crds::{
    EdgeDeviceClassSpec, VariantPlacement,
    model_portfolio::Serving,
    names::{REVISION_LABEL, TEMPLATE_HASH_LABEL},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod, PodSpec},
};
use kube::ResourceExt;

use super::{observe::Observed, quantity};
use crate::{
    metadata::is_ready,
    pods::{complaint, lacks_room, replica_failure},
    template::tls::unusable_secret,
};

/// A placement with its surroundings, parsed.
pub(crate) struct Valid {
    pub(crate) object: Arc<VariantPlacement>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) surroundings: Surroundings,
    pub(crate) deployment: Option<Deployment>,
    pub(crate) node_reachable: bool,
    /// The pod's containers are ready, but not the pod: its node is not heard of, or only just again. (The kubelet makes both
    /// ready together; only the control plane takes the latter alone away.)
    pub(crate) pod_unheard: bool,
    /// The template hash of the only pod, if that is ready. Its Deployment counts it a moment later.
    pub(crate) ready_template: Option<String>,
    /// Why the pods are not available, as far as they or their Deployment say.
    pub(crate) complaint: Option<String>,
    /// Why the pods cannot even be started: a Secret with certificates.
    pub(crate) unusable_secret: Option<String>,
    /// A pod finds no room, whatever the node's size tells: others are on the node, too.
    pub(crate) crowded: bool,
}

/// Whether the pod's template can be built.
pub(crate) enum Surroundings {
    Whole(Box<Whole>),
    /// The class does not exist (any more).
    NoClass,
    /// The portfolio does not exist (any more): the placement will be collected.
    NoPortfolio,
}

/// All that the pod depends on, besides the placement itself.
pub(crate) struct Whole {
    pub(crate) class: EdgeDeviceClassSpec,
    /// How the portfolio is served.
    pub(crate) serving: Serving,
    /// Whether two pods fit on the node at once, as far as its size tells.
    pub(crate) two_fit: bool,
}

/// What the Deployment runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deployed {
    pub(crate) template_hash: Option<String>,
    pub(crate) revision: Option<String>,
    /// As the Deployment counts.
    pub(crate) available: bool,
}

impl Valid {
    /// Whether what is deployed serves: by the Deployment's count, or by the pod's own word before it is counted again.
    pub(crate) fn serves(&self, deployed: &Deployed) -> bool {
        deployed.available || (self.ready_template.is_some() && self.ready_template == deployed.template_hash)
    }
}

impl From<&Deployment> for Deployed {
    fn from(deployment: &Deployment) -> Self {
        Self {
            template_hash: deployment.labels().get(TEMPLATE_HASH_LABEL).cloned(),
            revision: deployment.labels().get(REVISION_LABEL).cloned(),
            available: is_available(deployment),
        }
    }
}

/// Whether the one pod of the Deployment's present template is available, and no older one is left.
pub(crate) fn is_available(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    status.observed_generation >= deployment.metadata.generation
        && status.updated_replicas == Some(1)
        && status.replicas == Some(1)
        && status.available_replicas == Some(1)
}

/// The pod that the Deployment makes.
pub(crate) fn pod_spec(deployment: &Deployment) -> Option<&PodSpec> {
    deployment.spec.template.spec.as_ref()
}

pub(crate) fn validate(observed: Observed) -> Valid {
    let Observed { object, class, serving, node, deployment, pods, secrets } = observed;
    let waiting = deployment.as_ref().filter(|_| !pods.is_empty()).and_then(pod_spec);
    let unusable_secret = waiting.and_then(|pod| unusable_secret(pod, &secrets));
    let surroundings = match (class, serving) {
        (_, None) => Surroundings::NoPortfolio,
        (None, Some(_)) => Surroundings::NoClass,
        (Some(class), Some(serving)) => {
            Surroundings::Whole(Box::new(Whole { two_fit: two_fit(&class, node.as_deref()), class, serving }))
        }
    };
    let complaint = complaint(&pods).or_else(|| deployment.as_ref().and_then(replica_failure));
    Valid {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        surroundings,
        deployment,
        node_reachable: node.as_deref().is_some_and(is_ready),
        pod_unheard: pods.iter().any(is_unheard),
        ready_template: ready_template(&pods),
        complaint,
        unusable_secret,
        crowded: pods.iter().any(lacks_room),
        object,
    }
}

fn is_unheard(pod: &Pod) -> bool {
    says(pod, "ContainersReady", "True") && says(pod, "Ready", "False")
}

fn ready_template(pods: &[Pod]) -> Option<String> {
    let [pod] = pods else { return None };
    let ready = pod.metadata.deletion_timestamp.is_none() && says(pod, "Ready", "True");
    pod.labels().get(TEMPLATE_HASH_LABEL).filter(|_| ready).cloned()
}

fn says(pod: &Pod, type_: &str, status: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == type_ && c.status == status)
}

/// Without requests the scheduler asks for nothing. A quantity that cannot be read counts as too large.
fn two_fit(class: &EdgeDeviceClassSpec, node: Option<&Node>) -> bool {
    let Some(resources) = &class.resources else { return true };
    let allocatable = node.and_then(|node| node.status.as_ref()?.allocatable.as_ref());
    // As Kubernetes does: a limit without a request is the request.
    let unrequested = resources.limits.iter().filter(|(name, _)| !resources.requests.contains_key(*name));
    resources.requests.iter().chain(unrequested).all(|(name, requested)| {
        let available = allocatable.and_then(|allocatable| quantity::parse(&allocatable.get(name)?.0));
        available
            .zip(quantity::parse(&requested.0))
            .is_some_and(|(available, requested)| 2.0 * requested <= available)
    })
}
