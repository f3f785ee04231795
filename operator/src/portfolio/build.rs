//! Builds the objects of a portfolio: deterministic names, labels, owner references. Pure.

mod job;
mod sharing;
mod variants;

use dnnshifter_crds::{
    ModelVariant, VariantPlacement, VariantPlacementSpec,
    model_portfolio::ServiceType,
    names::{REVISION_LABEL, RUNTIME_COMPONENT, placement_name},
};
pub(crate) use job::{GENERATION_ANNOTATION, PRUNER_CONTAINER, job_name};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, Service, ServiceAccount, ServicePort, ServiceSpec},
        rbac::v1::RoleBinding,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
pub(crate) use sharing::RUNTIME_ROLE_BINDING;

use super::{
    decide::{Availability, Content, Decision, JobAction, PlacedNode, Served},
    source::Source,
    validate::Valid,
};
use crate::{
    metadata::{controller_reference, owned, portfolio_labels},
    settings::Settings,
    template::{RUNTIME_PORT_NAME, service_selector},
};

/// The objects as they should be.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Plan and Job, if a Job has to start.
    pub(crate) pruning: Option<(ConfigMap, Job)>,
    pub(crate) variants: Vec<ModelVariant>,
    /// What nodes need; built as soon as there is something to serve.
    pub(crate) serving: Option<ServingObjects>,
    pub(crate) placements: Vec<VariantPlacement>,
}

#[derive(Debug)]
pub(crate) struct ServingObjects {
    /// None if its name is taken.
    pub(crate) service: Option<Service>,
    pub(crate) service_account: ServiceAccount,
    pub(crate) role_binding: RoleBinding,
}

/// Why an object could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("failed to write the pruning plan as JSON")]
    Plan(#[from] serde_json::Error),
}

pub(crate) fn build(valid: &Valid, decision: &Decision, settings: &Settings) -> Result<Prepared, BuildError> {
    let pruning = match (&decision.job, &valid.source) {
        (JobAction::Create, Source::Prune(prune)) => Some(job::pruning(valid, prune, settings)?),
        (
            JobAction::Create | JobAction::None | JobAction::Delete,
            Source::Prune(_) | Source::Published(_),
        ) => None,
    };
    let variants = match &decision.availability {
        Availability::Available(variants) => variants::model_variants(valid, variants),
        Availability::Pending { .. } | Availability::Failed { .. } => Vec::new(),
    };
    let served = decision.served.as_ref();
    Ok(Prepared {
        pruning,
        variants,
        serving: served.map(|_| ServingObjects {
            service: (!decision.service_taken).then(|| service(valid)),
            service_account: sharing::service_account(valid),
            role_binding: sharing::role_binding(valid, &settings.runtime_cluster_role),
        }),
        placements: served
            .map(|served| decision.nodes.iter().map(|node| placement(valid, served, node)).collect())
            .unwrap_or_default(),
    })
}

fn placement(valid: &Valid, served: &Served, placed: &PlacedNode) -> VariantPlacement {
    let mut spec = match &placed.content {
        Content::Kept(spec) => spec.as_ref().clone(),
        Content::Served { class, template_hash } => VariantPlacementSpec {
            portfolio_name: valid.name.clone(),
            node_name: placed.node.name.clone(),
            device_class_name: class.clone(),
            revision: served.revision.clone(),
            template_hash: template_hash.clone(),
            variants: served.variants.clone(),
            policy: valid.policy.clone(),
            decision: None,
        },
    };
    spec.policy = valid.policy.clone();
    // The switching loop's, under its own field manager.
    spec.decision = None;
    let mut labels = portfolio_labels(&valid.name, RUNTIME_COMPONENT);
    labels.insert(REVISION_LABEL.to_owned(), spec.revision.clone());
    let name = placement_name(&valid.name, &placed.node.name);
    VariantPlacement {
        metadata: owned(&valid.namespace, &name, labels, controller_reference(valid.object.as_ref())),
        spec,
        status: None,
    }
}

/// A node's clients reach its own pod, and others only while it has none. (`internalTrafficPolicy: Local` would drop them when a
/// mended link leaves the pod `NotReady` for a moment.)
fn service(valid: &Valid) -> Service {
    Service {
        metadata: owned(
            &valid.namespace,
            &valid.name,
            portfolio_labels(&valid.name, RUNTIME_COMPONENT),
            controller_reference(valid.object.as_ref()),
        ),
        spec: Some(ServiceSpec {
            type_: Some(
                match valid.serving.service.type_ {
                    ServiceType::ClusterIP => "ClusterIP",
                    ServiceType::NodePort => "NodePort",
                }
                .to_owned(),
            ),
            selector: Some(service_selector(&valid.name)),
            ports: Some(vec![ServicePort {
                name: Some(RUNTIME_PORT_NAME.to_owned()),
                port: valid.serving.service.port,
                target_port: Some(IntOrString::String(RUNTIME_PORT_NAME.to_owned())),
                protocol: Some("TCP".to_owned()),
                app_protocol: valid.serving.tls.as_ref().map(|_| "https".to_owned()),
                ..ServicePort::default()
            }]),
            traffic_distribution: Some("PreferSameNode".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
