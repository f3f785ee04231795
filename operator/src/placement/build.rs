//! Builds the Deployment of a placement. Pure.

use dnnshifter_crds::names::{PLACEMENT_LABEL, REVISION_LABEL, RUNTIME_COMPONENT, TEMPLATE_HASH_LABEL};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{decide::Wanted, validate::Valid};
use crate::{
    metadata::{controller_reference, owned, portfolio_labels},
    template::selector,
};

pub(crate) fn deployment(valid: &Valid, wanted: &Wanted) -> Deployment {
    let spec = &valid.object.spec;
    let mut labels = portfolio_labels(&spec.portfolio_name, RUNTIME_COMPONENT);
    labels.insert(PLACEMENT_LABEL.to_owned(), valid.name.clone());
    labels.insert(REVISION_LABEL.to_owned(), spec.revision.clone());
    labels.insert(TEMPLATE_HASH_LABEL.to_owned(), wanted.template_hash.clone());
    Deployment {
        metadata: owned(&valid.namespace, &valid.name, labels, controller_reference(valid.object.as_ref())),
        spec: DeploymentSpec {
            replicas: Some(1),
            revision_history_limit: Some(1),
            selector: LabelSelector {
                match_labels: Some(selector(&spec.portfolio_name, &valid.name)),
                match_expressions: None,
            },
            strategy: Some(strategy(wanted.surge)),
            template: wanted.template.clone(),
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

/// With room for two the new pod serves before the old one ends; without, the old one makes room.
fn strategy(surge: bool) -> DeploymentStrategy {
    let count = |one: bool| Some(IntOrString::Int(i32::from(one)));
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: count(surge),
            max_unavailable: count(!surge),
        }),
    }
}
