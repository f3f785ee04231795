//! Parses what was observed: afterwards nothing is left to doubt. Pure.

use std::{collections::BTreeMap, sync::Arc};

use dnnshifter_crds::{
    EdgeDeviceClassSpec, ModelPortfolio, VariantPlacement, conditions::READY, model_portfolio::Serving,
    variant_placement::PlacementPolicy,
};
use dnnshifter_portfolio::rollout::Budget;
use k8s_openapi::{
    api::core::v1::Node,
    apimachinery::pkg::{apis::meta::v1::OwnerReference, util::intstr::IntOrString},
};
use kube::ResourceExt;

use super::{
    known::{self, Variant},
    observe::{Answer, Children, Observed},
    outcome::{self, JobState},
    registry::RegistryError,
    source::{InvalidSource, Source},
};
use crate::{
    metadata::is_ready,
    reasons::NODE_UNREACHABLE,
    settings::Settings,
    telemetry::chain,
    template::{ARCHITECTURE, ARCHITECTURE_LABEL},
};

/// A portfolio with its surroundings, parsed.
pub(crate) struct Valid {
    pub(crate) object: Arc<ModelPortfolio>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: Option<i64>,
    pub(crate) source: Source,
    pub(crate) supply: Supply,
    /// In the order of the portfolio; `None` is a class that does not exist.
    pub(crate) classes: Vec<(String, Option<EdgeDeviceClassSpec>)>,
    pub(crate) budget: Budget,
    pub(crate) policy: PlacementPolicy,
    pub(crate) serving: Serving,
    pub(crate) suspend: bool,
    pub(crate) nodes: Vec<NodeFacts>,
    pub(crate) placements: Vec<VariantPlacement>,
    pub(crate) siblings: Vec<OwnerReference>,
    pub(crate) children: Children,
}

/// What is known of the wanted variants.
#[derive(Debug)]
pub(crate) enum Supply {
    /// They exist, the largest first.
    Available(Vec<Variant>),
    /// The registry did not tell, but may later.
    Unreachable(String),
    /// What the registry told cannot be used, now or ever.
    Unusable(String),
    /// A Job makes them, or has to.
    Job(JobState),
}

/// What is read of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether the node answers its control plane.
    pub(crate) reachable: bool,
}

impl From<&Node> for NodeFacts {
    fn from(node: &Node) -> Self {
        Self { name: node.name_any(), labels: node.labels().clone(), reachable: is_ready(node) }
    }
}

impl NodeFacts {
    /// The node's architecture, if our images cannot run on it. The kubelet says which it is; of whom nothing is said nothing is held
    /// against.
    pub(crate) fn foreign_architecture(&self) -> Option<&str> {
        self.labels.get(ARCHITECTURE_LABEL).map(String::as_str).filter(|found| *found != ARCHITECTURE)
    }

    /// A node that came back is heard of before its pods are: until then they say nothing of themselves.
    fn heard(mut self, placements: &[VariantPlacement]) -> Self {
        let unheard =
            placements.iter().filter(|placement| placement.spec.node_name == self.name).any(|placement| {
                let conditions =
                    placement.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
                conditions
                    .iter()
                    .any(|c| c.type_ == READY && c.status != "True" && c.reason == NODE_UNREACHABLE)
            });
        self.reachable &= !unheard;
        self
    }
}

pub(crate) fn validate(observed: Observed, settings: &Settings) -> Result<Valid, InvalidSource> {
    let Observed { object, siblings, mut classes, nodes, placements, children, answer } = observed;
    let spec = &object.spec;
    let source = Source::parse(spec, &settings.runtime_image)?;
    let supply = supply(&object, &source, &children, answer);
    let mut nodes: Vec<_> =
        nodes.iter().map(|node| NodeFacts::from(node.as_ref()).heard(&placements)).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Valid {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        generation: object.metadata.generation,
        source,
        supply,
        classes: spec
            .device_classes
            .iter()
            .map(|class| (class.name.clone(), classes.remove(&class.name)))
            .collect(),
        budget: budget(&spec.rollout.maximum_unavailable_nodes),
        policy: PlacementPolicy {
            latency_objective: spec.serving.latency_objective.clone(),
            behavior: spec.switching.behavior.clone(),
            pin: spec.switching.pin.clone(),
        },
        serving: spec.serving.clone(),
        suspend: spec.suspend,
        nodes,
        placements,
        siblings,
        children,
        object,
    })
}

fn supply(object: &ModelPortfolio, source: &Source, children: &Children, answer: Answer) -> Supply {
    if let Some(variants) = known::variants(object, &children.variants, source.revision()) {
        return Supply::Available(variants);
    }
    let in_repository = |records: Vec<_>| {
        Supply::Available(
            records.into_iter().map(|record| Variant::in_repository(record, source.repository())).collect(),
        )
    };
    match answer {
        Answer::Registry(Ok(manifest)) => in_repository(manifest.variants),
        Answer::Registry(Err(error)) => unreadable(&error),
        Answer::Job(pods) => match outcome::job_state(object, source, &children.jobs, &pods) {
            JobState::Succeeded(manifest) => in_repository(manifest.variants),
            state => Supply::Job(state),
        },
        Answer::None => Supply::Unreachable("the source was not asked".to_owned()),
    }
}

fn unreadable(error: &RegistryError) -> Supply {
    let message = chain(error);
    if error.is_transient() { Supply::Unreachable(message) } else { Supply::Unusable(message) }
}

/// The API server admits numbers from 1 and percentages from 1% to 100% only.
fn budget(maximum: &IntOrString) -> Budget {
    match maximum {
        IntOrString::Int(nodes) => Budget::Nodes(u32::try_from(*nodes).unwrap_or(1)),
        IntOrString::String(text) => Budget::Percent(text.trim_end_matches('%').parse().unwrap_or(1)),
    }
}
