//! What all portfolios of a namespace share: the runtime's `ServiceAccount` and its rights there. Pure.
//!
//! Every portfolio of the namespace is an owner, so the two go with the last one; each portfolio applies the same two objects.

use dnnshifter_crds::names::{
    APPLICATION, COMPONENT_LABEL, MANAGED_BY_LABEL, NAME_LABEL, OPERATOR_FIELD_MANAGER, RUNTIME_COMPONENT,
};
use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{RoleBinding, RoleRef, Subject},
};
use kube::core::ObjectMeta;

use super::Valid;
use crate::{metadata::labels, template::RUNTIME_SERVICE_ACCOUNT};

/// The `RoleBinding` of the runtime, one for each namespace with a portfolio, whatever its role is called.
pub(crate) const RUNTIME_ROLE_BINDING: &str = "dnnshifter-runtime";

pub(super) fn service_account(valid: &Valid) -> ServiceAccount {
    ServiceAccount { metadata: metadata(valid, RUNTIME_SERVICE_ACCOUNT), ..ServiceAccount::default() }
}

pub(super) fn role_binding(valid: &Valid, cluster_role: &str) -> RoleBinding {
    RoleBinding {
        metadata: metadata(valid, RUNTIME_ROLE_BINDING),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "ClusterRole".to_owned(),
            name: cluster_role.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: RUNTIME_SERVICE_ACCOUNT.to_owned(),
            namespace: Some(valid.namespace.clone()),
            api_group: None,
        }]),
    }
}

fn metadata(valid: &Valid, name: &str) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(valid.namespace.clone()),
        name: Some(name.to_owned()),
        labels: Some(labels([
            (NAME_LABEL, APPLICATION),
            (COMPONENT_LABEL, RUNTIME_COMPONENT),
            (MANAGED_BY_LABEL, OPERATOR_FIELD_MANAGER),
        ])),
        owner_references: Some(valid.siblings.clone()),
        ..ObjectMeta::default()
    }
}
