//! The order of a rollout: which nodes may get a new template now, so that never more than the budget are out of service.

use std::collections::BTreeSet;

/// How many of the nodes may be out of service at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// So many.
    Nodes(u32),
    /// This percentage of the reachable nodes, rounded down, but at least one: a rollout must be able to begin.
    Percent(u32),
}

impl Budget {
    fn nodes(self, reachable: usize) -> usize {
        match self {
            Self::Nodes(count) => (count as usize).max(1),
            Self::Percent(percent) => (reachable * percent as usize / 100).max(1),
        }
    }
}

/// What the rollout knows of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// The node's name.
    pub name: String,
    /// Whether the node answers its control plane. One that does not is left alone, does not count, and catches up later.
    pub reachable: bool,
    /// Whether the node was told of the wanted revision and template already.
    pub updated: bool,
    /// Whether the node serves, by whatever revision.
    pub serving: bool,
}

/// The nodes that may be told of the wanted revision now, in order of name.
///
/// A node that does not serve counts against the budget, updated or not; so a revision that does not come up on its first
/// nodes goes no further. A node that serves nothing at all, and was not updated, is always told: it has nothing to lose.
pub fn next(nodes: &[NodeState], budget: Budget) -> BTreeSet<String> {
    let reachable: Vec<_> = nodes.iter().filter(|node| node.reachable).collect();
    let out_of_service = reachable.iter().filter(|node| !node.serving).count();
    let left = budget.nodes(reachable.len()).saturating_sub(out_of_service);
    let mut waiting: Vec<_> =
        reachable.iter().filter(|node| !node.updated && node.serving).map(|node| &node.name).collect();
    waiting.sort();
    let down = reachable.iter().filter(|node| !node.updated && !node.serving).map(|node| &node.name);
    waiting.iter().copied().take(left).chain(down).cloned().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `text` has a word a node: `u` updated, `s` serving, `x` unreachable, `-` none of them.
    fn nodes(text: &str) -> Vec<NodeState> {
        let state = |(i, word): (usize, &str)| NodeState {
            name: format!("n{i}"),
            reachable: !word.contains('x'),
            updated: word.contains('u'),
            serving: word.contains('s'),
        };
        text.split_whitespace().enumerate().map(state).collect()
    }

    fn chosen(text: &str, budget: Budget) -> Vec<String> {
        next(&nodes(text), budget).into_iter().collect()
    }

    #[test]
    fn nodes_are_updated_within_the_budget() {
        assert_eq!(chosen("s s s s", Budget::Nodes(2)), ["n0", "n1"]);
        assert_eq!(chosen("us us s s", Budget::Nodes(1)), ["n2"]);
        assert_eq!(chosen("s s s", Budget::Percent(10)), ["n0"]);
    }

    #[test]
    fn a_revision_that_does_not_come_up_goes_no_further() {
        assert!(chosen("u s s s", Budget::Nodes(1)).is_empty());
        assert!(chosen("u s s s", Budget::Percent(25)).is_empty());
    }

    #[test]
    fn unreachable_nodes_neither_count_nor_change() {
        assert_eq!(chosen("x xs s s", Budget::Nodes(1)), ["n2"]);
        assert_eq!(chosen("xu s", Budget::Nodes(1)), ["n1"]);
    }

    #[test]
    fn a_node_that_serves_nothing_is_always_told() {
        assert_eq!(chosen("- s", Budget::Nodes(1)), ["n0"]);
    }

    proptest! {
        #[test]
        fn never_more_out_of_service_than_the_budget_or_than_already(words in proptest::collection::vec("[usx]{0,3}", 0..12), budget in 1_u32..6) {
            let nodes = nodes(&words.iter().map(|word| format!("-{word}")).collect::<Vec<_>>().join(" "));
            let told = next(&nodes, Budget::Nodes(budget));
            let down = |node: &&NodeState| node.reachable && (!node.serving || told.contains(&node.name));
            let before = nodes.iter().filter(|node| node.reachable && !node.serving).count();
            prop_assert!(nodes.iter().filter(down).count() <= before.max(budget as usize));
        }
    }
}
