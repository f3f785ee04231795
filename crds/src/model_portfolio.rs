//! `ModelPortfolio`: what a platform team declares: one model, the machines it must run on, and how it may adapt.

use k8s_openapi::apimachinery::pkg::{apis::meta::v1::Condition, util::intstr::IntOrString};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

mod prune;
mod serving;
mod switching;

pub use prune::{
    Augmentation, DataFormat, Dataset, DatasetNormalization, ImageSource, ImportanceCriterion,
    IterativeMagnitudeMethod, Model, PersistentVolumeClaimSource, Prune, PruneMethod, PruningJob,
    PublishTarget, Source, StructuredMethod, TrainingOptions,
};
pub use serving::{LatencyObjective, Service, ServiceType, Serving, ServingTls};
pub use switching::{Prometheus, Stabilization, Switching, SwitchingBehavior};

use crate::variant_placement::Pin;

/// A model, declared once, that serves on every edge node of the named device classes, each with the variant that it can
/// afford at the present load.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "dnnshifter.io",
    version = "v1alpha1",
    kind = "ModelPortfolio",
    namespaced,
    shortname = "mpf",
    status = "ModelPortfolioStatus",
    derive = "PartialEq",
    cel,
    doc = "A model, declared once, that serves on every edge node of the named device classes, each with the variant that it can afford at the present load. Its status follows kstatus: wait with `kubectl wait --for=condition=Ready`.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Matched", type_ = "integer", json_path = ".status.nodes.matched", description = "Nodes of the device classes."),
    printcolumn(name = "Updated", type_ = "integer", json_path = ".status.nodes.updated", description = "Nodes that were told of the wanted revision."),
    printcolumn(name = "Serving", type_ = "integer", json_path = ".status.nodes.serving", description = "Nodes that serve the wanted revision."),
    printcolumn(name = "Load", type_ = "string", json_path = ".status.conditions[?(@.type=='LoadKnown')].status", description = "Whether the load is known; variants hold while it is not."),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("the name must be a DNS label (RFC 1035) of at most 40 characters, since names of other objects are made from it: a lower-case letter, then letters, digits and '-'")
)]
pub struct ModelPortfolioSpec {
    /// Stop working on this portfolio: no Job starts, no node is added or updated, and no ceiling moves. What runs goes on serving, and a node that is overloaded still steps below its ceiling.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,

    /// Where the variants come from.
    pub variants: Variants,

    /// The device classes to serve on, 1 to 16. A node that belongs to several takes the first of this list.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub device_classes: Vec<DeviceClassRef>,

    /// How the variants are served.
    pub serving: Serving,

    /// How variants follow the load.
    #[serde(default)]
    pub switching: Switching,

    /// How a new revision reaches the nodes.
    #[serde(default)]
    pub rollout: Rollout,
}

/// Where the variants come from: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.prune) != has(self.published)").message("set exactly one of prune and published"))]
pub struct Variants {
    /// Train and prune a model here, in a Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<Prune>,

    /// Use a portfolio that was pruned elsewhere: prune once, serve in many clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
}

/// A portfolio in a registry.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The portfolio's artifact by digest, `registry.example.com/team/model@sha256:...`, as a pruning Job or
    /// `dnnshifter-pruner-job publish` prints it.
    #[schemars(length(max = 512), regex(pattern = r"^[a-z0-9][a-z0-9._:/-]*@sha256:[a-f0-9]{64}$"))]
    pub image: String,
}

/// A device class to serve on.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceClassRef {
    /// Name of an `EdgeDeviceClass`. One that does not exist (yet) is waited for; the others serve.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// How a new revision reaches the nodes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// At most so many nodes may be out of service for an update: a number from 1, or a percentage of the reachable nodes from `1%`
    /// to `100%`, rounded down, but never below one node. Nodes that do not come up count, so that a bad revision stops there.
    /// Default `10%`.
    #[serde(default = "default_maximum_unavailable_nodes")]
    #[x_kube(validation = Rule::new("string(self).matches('^([1-9][0-9]{0,5}|([1-9][0-9]?|100)%)$')").message("write a number from 1 or a percentage from 1% to 100%"))]
    pub maximum_unavailable_nodes: IntOrString,
}

fn default_maximum_unavailable_nodes() -> IntOrString {
    IntOrString::String("10%".to_owned())
}

impl Default for Rollout {
    fn default() -> Self {
        Self { maximum_unavailable_nodes: default_maximum_unavailable_nodes() }
    }
}

/// What the operator observed of a portfolio. A switch of variants changes nothing here.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelPortfolioStatus {
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The revision of the variants that nodes are to serve: it changes with what training and packaging depend on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub revision: Option<String>,

    /// The variants of that revision, the largest first: by operations, which is the order of preference (neighbours may be close
    /// enough to change places on the test set). At most 12.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub variants: Vec<VariantSummary>,

    /// How many nodes.
    #[serde(default)]
    pub nodes: NodeCounts,

    /// `Ready`: the wanted revision exists and every reachable matching node serves it. Beside it `VariantsAvailable`, `NodesServing`
    /// (unreachable nodes included), `LoadKnown`, and, only while true, `Reconciling`, `Stalled`, `DeviceClassesOverlap` and
    /// `NodesUnsupported` (nodes of another architecture than the images', which are left out).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A variant in short; its `ModelVariant` says more.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VariantSummary {
    /// The variant's name within the portfolio.
    #[schemars(length(min = 1, max = 20))]
    pub name: String,
    /// Its image, by digest.
    #[schemars(length(max = 512))]
    pub image: String,
    /// Its accuracy on the test set, a decimal fraction.
    #[schemars(length(max = 8))]
    pub accuracy: String,
    /// Its parameters.
    pub parameters: i64,
    /// The size of its ONNX file.
    pub bytes: i64,
}

/// Counts of nodes; each node's own state is in its `VariantPlacement`.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// Nodes of the device classes.
    #[serde(default)]
    pub matched: i32,
    /// Of these, nodes that were told of the wanted revision.
    #[serde(default)]
    pub updated: i32,
    /// Of these, nodes that serve it.
    #[serde(default)]
    pub serving: i32,
}
