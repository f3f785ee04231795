//! Which nodes a portfolio runs on, by which class, and which of them may change now. Pure.

use std::collections::{BTreeMap, BTreeSet};

use dnnshifter_crds::{
    VariantPlacement, VariantPlacementSpec,
    conditions::{READY, is_true},
};
use dnnshifter_portfolio::rollout::{self, NodeState};

use super::{super::validate::NodeFacts, Served, Valid};
use crate::metadata::selects;

/// A node that a class matches.
pub(super) struct Matched {
    pub(super) node: NodeFacts,
    class: String,
    /// More than one class matches: the first one wins.
    pub(super) overlapping: bool,
}

/// A node with what its placement is to hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlacedNode {
    pub(crate) node: NodeFacts,
    pub(crate) content: Content,
}

/// What a placement is to hold, besides the policy, which every node gets at once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// What is served, by this class.
    Served { class: String, template_hash: String },
    /// What it holds: the rollout has not come to it, or its class is gone.
    Kept(Box<VariantPlacementSpec>),
}

/// The nodes that the portfolio's classes match, in order of name; and, as `name (architecture)`, those of them that our images cannot
/// run on: there a pod would only crash.
pub(super) fn matched(valid: &Valid) -> (Vec<Matched>, Vec<String>) {
    let (mut matched, mut foreign) = (Vec::new(), Vec::new());
    for found in valid.nodes.iter().filter_map(|node| matched_node(valid, node)) {
        match found.node.foreign_architecture() {
            Some(architecture) => foreign.push(format!("{} ({architecture})", found.node.name)),
            None => matched.push(found),
        }
    }
    (matched, foreign)
}

fn matched_node(valid: &Valid, node: &NodeFacts) -> Option<Matched> {
    let mut classes = valid
        .classes
        .iter()
        .filter(|(_, spec)| spec.as_ref().is_some_and(|spec| selects(&spec.node_selector, &node.labels)));
    let (class, _) = classes.next()?;
    Some(Matched { node: node.clone(), class: class.clone(), overlapping: classes.next().is_some() })
}

/// What each node's placement is to hold now. Placements that are not named here are orphans.
pub(super) fn place(valid: &Valid, served: &Served, matched: &[Matched]) -> Vec<PlacedNode> {
    let existing: BTreeMap<&str, &VariantPlacement> =
        valid.placements.iter().map(|placement| (placement.spec.node_name.as_str(), placement)).collect();
    let told = told(valid, served, matched, &existing);
    let mut placed: Vec<_> = matched
        .iter()
        .filter_map(|m| {
            let placement = existing.get(m.node.name.as_str());
            let content = match placement {
                Some(placement) if !told.contains(&m.node.name) => {
                    Content::Kept(Box::new(placement.spec.clone()))
                }
                Some(_) | None => Content::Served {
                    class: m.class.clone(),
                    template_hash: served.template_hashes.get(&m.class)?.clone(),
                },
            };
            Some(PlacedNode { node: m.node.clone(), content })
        })
        .collect();
    placed.extend(classless(valid, matched, &existing));
    placed.sort_by(|a, b| a.node.name.cmp(&b.node.name));
    placed
}

/// The nodes whose placements may be told of what is served: those that hold it already, and those that the rollout comes to.
fn told(
    valid: &Valid,
    served: &Served,
    matched: &[Matched],
    existing: &BTreeMap<&str, &VariantPlacement>,
) -> BTreeSet<String> {
    let states: Vec<_> = matched
        .iter()
        .filter_map(|m| {
            let placement = existing.get(m.node.name.as_str())?;
            Some(NodeState {
                name: m.node.name.clone(),
                reachable: m.node.reachable,
                updated: holds(&placement.spec, served, &m.class),
                serving: serves(placement),
            })
        })
        .collect();
    let mut told = if served.provisional {
        let down = states.iter().filter(|state| state.reachable && !state.updated && !state.serving);
        down.map(|state| state.name.clone()).collect()
    } else {
        rollout::next(&states, valid.budget)
    };
    told.extend(states.into_iter().filter(|state| state.updated).map(|state| state.name));
    told
}

fn holds(spec: &VariantPlacementSpec, served: &Served, class: &str) -> bool {
    spec.revision == served.revision
        && spec.device_class_name == class
        && served.template_hashes.get(class) == Some(&spec.template_hash)
}

/// Whether the node serves what its placement holds.
pub(crate) fn serves(placement: &VariantPlacement) -> bool {
    placement.status.as_ref().is_some_and(|status| {
        is_true(&status.conditions, READY)
            && status.template_hash.as_ref() == Some(&placement.spec.template_hash)
    })
}

/// Nodes that were placed by a class which exists no more: they go on as they are.
fn classless<'a>(
    valid: &'a Valid,
    matched: &'a [Matched],
    existing: &'a BTreeMap<&str, &VariantPlacement>,
) -> impl Iterator<Item = PlacedNode> + 'a {
    let gone = |class: &String| valid.classes.iter().any(|(name, spec)| name == class && spec.is_none());
    valid.nodes.iter().filter(|node| !matched.iter().any(|m| m.node.name == node.name)).filter_map(
        move |node| {
            let placement = existing.get(node.name.as_str())?;
            gone(&placement.spec.device_class_name).then(|| PlacedNode {
                node: node.clone(),
                content: Content::Kept(Box::new(placement.spec.clone())),
            })
        },
    )
}
