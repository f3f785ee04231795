//! `EdgeDeviceClass`: a kind of edge machine, told by the labels of its nodes, with what a runtime may use there.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::Toleration,
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Condition},
};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A kind of edge machine: which nodes belong to it, and what a portfolio's pod gets there.
///
/// A node belongs to every class whose `nodeSelector` it matches; of a portfolio's `deviceClasses` the first that matches wins.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "dnnshifter.io",
    version = "v1alpha1",
    kind = "EdgeDeviceClass",
    plural = "edgedeviceclasses",
    shortname = "edc",
    status = "EdgeDeviceClassStatus",
    derive = "PartialEq",
    cel,
    doc = "A kind of edge machine: which nodes belong to it, and what a portfolio's pod gets there.",
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.matchedNodes", description = "Nodes that match the selector."),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name must be at most 63 characters, as it becomes a label")
)]
pub struct EdgeDeviceClassSpec {
    /// Labels that a node must have, all of them, to belong to this class. 1 to 16 labels.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints of these nodes that the portfolio's pods tolerate. Those of an unreachable node are always tolerated. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,

    /// CPU and memory of the portfolio's pod on such a node. A memory limit bounds how many variants stay resident; a CPU limit is
    /// taken into account in the choice of a variant. Without it the pod runs as `BestEffort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<PodResources>,

    /// `RuntimeClass` of the pod, such as one of a sandboxed container runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,

    /// `PriorityClass` of the pod: who has to go when the node is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// Requests and limits of a container, as in a pod.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodResources {
    /// What the scheduler sets aside, by resource name (`cpu`, `memory`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub requests: BTreeMap<String, Quantity>,

    /// What the container may use at most, by resource name (`cpu`, `memory`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub limits: BTreeMap<String, Quantity>,
}

/// What the operator observed of a device class.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeDeviceClassStatus {
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// How many nodes match the selector.
    #[serde(default)]
    pub matched_nodes: i32,

    /// `Ready`: at least one node matches.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
