//! `VariantPlacement`: one portfolio on one node. Three programs meet here, each with fields of its own:
//!
//! - the controllers write `spec` without `decision`, and of `status` the fields `observedGeneration`, `templateHash` and `revision`,
//!   and the condition `Ready`;
//! - the switching loop writes `spec.decision`;
//! - the runtime on the node writes all else of `status`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

mod profile;

pub use profile::{MeasuredTime, MeasuredVariant, NodeLimits, NodeMachine};

use crate::model_portfolio::{LatencyObjective, SwitchingBehavior};

/// One portfolio on one node: which variants are there, which may run, which does.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "dnnshifter.io",
    version = "v1alpha1",
    kind = "VariantPlacement",
    namespaced,
    shortname = "vpl",
    status = "VariantPlacementStatus",
    derive = "PartialEq",
    selectable = ".spec.nodeName",
    cel,
    doc = "One portfolio on one node: which variants are there, which may run, which does. Made by the operator.",
    printcolumn(name = "Portfolio", type_ = "string", json_path = ".spec.portfolioName"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.activeVariantName",
        description = "The variant that answers now."
    ),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.activeSince"),
    printcolumn(
        name = "Why",
        type_ = "string",
        json_path = ".status.reason",
        description = "Why this variant answers: the ceiling's reason, or Reflex, Loading, VariantRefused, Undecided."
    ),
    printcolumn(
        name = "Ceiling",
        type_ = "string",
        json_path = ".spec.decision.ceilingVariantName",
        description = "The most accurate variant that may answer now."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".spec.decision.reason",
        description = "Why the ceiling is what it is."
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        description = "Why the node is ready, or is not."
    ),
    printcolumn(
        name = "Objective",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='ObjectiveMet')].status"
    ),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.deviceClassName", priority = 1),
    printcolumn(
        name = "Decision",
        type_ = "string",
        json_path = ".spec.decision.message",
        description = "The load, and what spoke against each more accurate variant.",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct VariantPlacementSpec {
    /// The portfolio.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a placement belongs to one portfolio for ever"))]
    pub portfolio_name: String,

    /// The node.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a placement belongs to one node for ever"))]
    pub node_name: String,

    /// The `EdgeDeviceClass` by which the node was matched.
    #[schemars(length(min = 1, max = 63))]
    pub device_class_name: String,

    /// The revision of the portfolio that the node is to serve. It lags behind the portfolio's while a rollout goes on.
    #[schemars(length(min = 1, max = 20))]
    pub revision: String,

    /// Hash of the pod template that the node is to run.
    #[schemars(length(min = 1, max = 20))]
    pub template_hash: String,

    /// The variants that are mounted, the largest first, as in the portfolio's status. A function of the revision and the class only.
    /// 1 to 12.
    #[schemars(length(min = 1, max = 12))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub variants: Vec<PlacedVariant>,

    /// How the variant is chosen.
    pub policy: PlacementPolicy,

    /// What the switching loop decided last. Absent until it did; then the smallest variant runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// A variant that is mounted on the node.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacedVariant {
    /// The variant's name within the portfolio.
    #[schemars(length(min = 1, max = 20))]
    pub name: String,
    /// Its image, by digest.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Its accuracy, a decimal fraction.
    #[schemars(length(min = 1, max = 8))]
    pub accuracy: String,
}

/// How the variant is chosen: a copy of what the portfolio says for this node's class.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementPolicy {
    /// The latency to keep.
    pub latency_objective: LatencyObjective,
    /// How fast steps follow the load.
    pub behavior: SwitchingBehavior,
    /// Run this variant whatever the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

/// A variant that runs whatever the load.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// The variant's name within the portfolio.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub variant_name: String,
}

/// What the switching loop decided.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The most accurate variant that the node may use now.
    #[schemars(length(min = 1, max = 20))]
    pub ceiling_variant_name: String,

    /// The `status.epoch` that this decision answers.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub acknowledged_epoch: i64,

    /// Why, in one word.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,

    /// Why, with the numbers: the load, and what spoke against each more accurate variant.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,

    /// When. For people: nothing is ever decided by it.
    pub decided_at: Time,
}

/// What is so on the node.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VariantPlacementStatus {
    /// The generation that the controllers acted on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Hash of the pod template that the controllers gave the node's Deployment. `Ready` is about this template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub template_hash: Option<String>,

    /// The revision of the variants in that template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub revision: Option<String>,

    /// How often the node has gone on alone. A decision counts only if it acknowledges the present epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub epoch: Option<i64>,

    /// The pod that wrote this.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub pod_uid: Option<String>,

    /// The variant that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub active_variant_name: Option<String>,

    /// Since when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_since: Option<Time>,

    /// Why it does, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,

    /// What the pod may use, as the runtime found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<NodeLimits>,

    /// What the pod computes with, as the runtime found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<NodeMachine>,

    /// What the node measured of each variant. At most 12.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub profiles: Vec<MeasuredVariant>,

    /// `Ready` (by the controllers): the node's pod runs the wanted template and answers. `ObjectiveMet` and `VariantsLoaded` (by
    /// the runtime).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
