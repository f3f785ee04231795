//! The pod that serves a portfolio on a node, and the hash by which it is known. Pure.
//!
//! The portfolio controller writes the hash into a placement when a rollout reaches its node; the placement controller applies
//! the template only if it hashes to the same. So whatever changes the pod (variants, class, runtime, this very file in another
//! release) goes out under the portfolio's budget. The hash is over the built template without what differs between nodes.

mod container;
pub(crate) mod tls;

use std::collections::BTreeMap;

pub(crate) use container::{container_security, resources};
use dnnshifter_crds::{
    EdgeDeviceClassSpec,
    model_portfolio::Serving,
    names::{
        APPLICATION, COMPONENT_LABEL, NAME_LABEL, PLACEMENT_LABEL, PORTFOLIO_LABEL, RUNTIME_COMPONENT,
        TEMPLATE_HASH_LABEL,
    },
    variant_placement::PlacedVariant,
};
use k8s_openapi::api::core::v1::{
    Affinity, EmptyDirVolumeSource, ImageVolumeSource, LocalObjectReference, NodeAffinity, NodeSelector,
    NodeSelectorRequirement, NodeSelectorTerm, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile,
    Toleration, Volume,
};
use kube::core::ObjectMeta;

use crate::{hash::short_hash, metadata::labels};

/// The `ServiceAccount` of the runtime, one for each namespace with a portfolio.
pub(crate) const RUNTIME_SERVICE_ACCOUNT: &str = "dnnshifter-runtime";
/// The port of the Open Inference Protocol and of `/metrics`.
pub(crate) const RUNTIME_PORT: i32 = 8080;
/// The name of that port.
pub(crate) const RUNTIME_PORT_NAME: &str = "http";
/// The label by which the kubelet says what architecture its node is of.
pub(crate) const ARCHITECTURE_LABEL: &str = "kubernetes.io/arch";
/// The architecture of our images: that of the ONNX Runtime and libtorch in them.
pub(crate) const ARCHITECTURE: &str = "amd64";
/// No user of Debian's, and the one that distroless images made usual for "nobody in particular".
pub(crate) const UNPRIVILEGED_USER: i64 = 65532;

/// What a pod depends on, besides its node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) portfolio: &'a str,
    pub(crate) variants: &'a [PlacedVariant],
    pub(crate) class: &'a EdgeDeviceClassSpec,
    pub(crate) serving: &'a Serving,
    pub(crate) runtime_image: &'a str,
}

/// Where a pod runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) placement: &'a str,
    pub(crate) node: &'a str,
}

impl Template<'_> {
    /// The hash by which this template is known on every node.
    pub(crate) fn hash(&self) -> Result<String, serde_json::Error> {
        short_hash(&self.pod(Site { placement: "", node: "" }, ""))
    }

    /// The template for one node.
    pub(crate) fn pod(&self, site: Site<'_>, hash: &str) -> PodTemplateSpec {
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(self.labels(site, hash)),
                annotations: Some(self.annotations()),
                ..ObjectMeta::default()
            }),
            spec: Some(PodSpec {
                service_account_name: Some(RUNTIME_SERVICE_ACCOUNT.to_owned()),
                enable_service_links: Some(false),
                security_context: Some(pod_security()),
                affinity: Some(pinned_to(site.node)),
                tolerations: Some(self.tolerations()),
                runtime_class_name: self.class.runtime_class_name.clone(),
                priority_class_name: self.class.priority_class_name.clone(),
                image_pull_secrets: self.image_pull_secrets(),
                termination_grace_period_seconds: Some(30),
                init_containers: Some(vec![container::preparation(self)]),
                containers: vec![container::runtime(self, site, hash)],
                volumes: Some(self.volumes()),
                ..PodSpec::default()
            }),
        }
    }

    fn labels(&self, site: Site<'_>, hash: &str) -> BTreeMap<String, String> {
        let mut labels = selector(self.portfolio, site.placement);
        labels.insert(TEMPLATE_HASH_LABEL.to_owned(), hash.to_owned());
        labels
    }

    /// By which Prometheus finds the pod, where it is told to look for such annotations.
    fn annotations(&self) -> BTreeMap<String, String> {
        let port = RUNTIME_PORT.to_string();
        let mut annotations =
            labels([("prometheus.io/scrape", "true"), ("prometheus.io/port", port.as_str())]);
        if self.serving.tls.is_some() {
            annotations.insert("prometheus.io/scheme".to_owned(), "https".to_owned());
        }
        annotations
    }

    /// Those of the class, and those of a `DaemonSet`'s pods: whatever befalls a node that is cut off, its pod goes on serving
    /// there; and no other node can stand in for one that is cordoned or short of something.
    fn tolerations(&self) -> Vec<Toleration> {
        let tolerated = |condition: &str, effect: &str| Toleration {
            key: Some(format!("node.kubernetes.io/{condition}")),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let to_stay = ["not-ready", "unreachable"].map(|condition| tolerated(condition, "NoExecute"));
        let to_start = ["unschedulable", "disk-pressure", "memory-pressure", "pid-pressure"]
            .map(|condition| tolerated(condition, "NoSchedule"));
        to_stay.into_iter().chain(to_start).chain(self.class.tolerations.iter().cloned()).collect()
    }

    fn image_pull_secrets(&self) -> Option<Vec<LocalObjectReference>> {
        let names = &self.serving.image_pull_secrets;
        let references = names.iter().map(|name| LocalObjectReference { name: name.clone() });
        (!names.is_empty()).then(|| references.collect())
    }

    fn volumes(&self) -> Vec<Volume> {
        let store = Volume {
            name: container::STORE_VOLUME.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        };
        let variants = self.variants.iter().enumerate().map(|(index, variant)| Volume {
            name: container::variant_volume(index),
            image: Some(ImageVolumeSource {
                reference: Some(variant.image.clone()),
                pull_policy: Some("IfNotPresent".to_owned()),
            }),
            ..Volume::default()
        });
        let tls = self.serving.tls.iter().flat_map(tls::volumes);
        std::iter::once(store).chain(variants).chain(tls).collect()
    }
}

/// Labels by which a Deployment knows its pods; they never change.
pub(crate) fn selector(portfolio: &str, placement: &str) -> BTreeMap<String, String> {
    let mut labels = service_selector(portfolio);
    labels.insert(PLACEMENT_LABEL.to_owned(), placement.to_owned());
    labels
}

/// Labels by which the Service of a portfolio knows the pods of all nodes.
pub(crate) fn service_selector(portfolio: &str) -> BTreeMap<String, String> {
    labels([(NAME_LABEL, APPLICATION), (COMPONENT_LABEL, RUNTIME_COMPONENT), (PORTFOLIO_LABEL, portfolio)])
}

/// Pod Security `restricted`, pod's part.
pub(crate) fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(UNPRIVILEGED_USER),
        run_as_group: Some(UNPRIVILEGED_USER),
        fs_group: Some(UNPRIVILEGED_USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// By the node's name, which nobody can take by a label.
fn pinned_to(node: &str) -> Affinity {
    let name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![name]), match_expressions: None };
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![term],
            }),
            preferred_during_scheduling_ignored_during_execution: None,
        }),
        ..Affinity::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(image: &str) -> PlacedVariant {
        PlacedVariant { name: "macs-100".to_owned(), image: image.to_owned(), accuracy: "0.9".to_owned() }
    }

    fn class() -> EdgeDeviceClassSpec {
        EdgeDeviceClassSpec {
            node_selector: labels([("a", "b")]),
            tolerations: Vec::new(),
            resources: None,
            runtime_class_name: None,
            priority_class_name: None,
        }
    }

    #[test]
    fn the_hash_changes_with_the_pod_and_with_nothing_else() {
        let variants = [variant("r@sha256:1")];
        let class = class();
        let serving: Serving =
            serde_json::from_value(serde_json::json!({"latencyObjective": {"milliseconds": 20}})).unwrap();
        let template = Template {
            namespace: "n",
            portfolio: "p",
            variants: &variants,
            class: &class,
            serving: &serving,
            runtime_image: "runtime@sha256:1",
        };
        let hash = template.hash().unwrap();
        assert_ne!(hash, Template { runtime_image: "runtime@sha256:2", ..template }.hash().unwrap());
        assert_ne!(hash, Template { variants: &[variant("r@sha256:2")], ..template }.hash().unwrap());
        let prioritised =
            EdgeDeviceClassSpec { priority_class_name: Some("high".to_owned()), ..class.clone() };
        assert_ne!(hash, Template { class: &prioritised, ..template }.hash().unwrap());
        let selecting = EdgeDeviceClassSpec { node_selector: labels([("c", "d")]), ..class.clone() };
        assert_eq!(hash, Template { class: &selecting, ..template }.hash().unwrap());
    }
}
