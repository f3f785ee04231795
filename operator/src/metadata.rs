//! Metadata of the objects that we make: deterministic names, one set of labels, owner references.

use std::collections::BTreeMap;

use dnnshifter_crds::names::{
    APPLICATION, COMPONENT_LABEL, MANAGED_BY_LABEL, NAME_LABEL, OPERATOR_FIELD_MANAGER, PORTFOLIO_LABEL,
};
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, ResourceExt, core::ObjectMeta};

/// Labels that all objects of a portfolio bear.
pub(crate) fn portfolio_labels(portfolio: &str, component: &str) -> BTreeMap<String, String> {
    labels([
        (NAME_LABEL, APPLICATION),
        (COMPONENT_LABEL, component),
        (MANAGED_BY_LABEL, OPERATOR_FIELD_MANAGER),
        (PORTFOLIO_LABEL, portfolio),
    ])
}

/// Labels from pairs.
pub(crate) fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Metadata of an object in a namespace with one owner.
pub(crate) fn owned(
    namespace: &str,
    name: &str,
    labels: BTreeMap<String, String>,
    owner: OwnerReference,
) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        labels: Some(labels),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

/// A reference to the object as the controller of its children.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    OwnerReference { controller: Some(true), block_owner_deletion: Some(true), ..owner_reference(object) }
}

/// A reference to the object as one owner of several.
pub(crate) fn owner_reference<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: None,
        block_owner_deletion: None,
    }
}

/// Whether `object` is a child of `owner`, this very one and not an earlier one of the same name.
pub(crate) fn is_controlled_by<K: ResourceExt, O: ResourceExt>(object: &K, owner: &O) -> bool {
    let uid = owner.uid();
    object
        .owner_references()
        .iter()
        .any(|reference| reference.controller == Some(true) && Some(&reference.uid) == uid.as_ref())
}

/// Whether the operator has made the object.
pub(crate) fn is_managed<K: ResourceExt>(object: &K) -> bool {
    object.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager == OPERATOR_FIELD_MANAGER)
}

/// Whether a node with these labels belongs to a device class with this selector; an empty one selects nothing.
pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether the node answers its control plane.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}
