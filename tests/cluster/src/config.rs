//! What a cluster looks like: its hub and its edge nodes, with labels and sizes. Read from YAML, or the default of three.
//!
//! Only data and its rules. What is made of it stands in `component` (processes), `settings` (their files) and `cgroup`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::layout::Place;

/// The name of the hub's own node, on which the operator and Jobs run.
pub const HUB: &str = "hub";
/// The label that tells the hub (`hub`) from edge nodes (`edge`).
pub const ROLE_LABEL: &str = "dnnshifter.io/role";
/// The label by which the default device classes select their nodes.
pub const KIND_LABEL: &str = "dnnshifter.io/kind";

/// `up-NAME` is the name of a network interface, which Linux limits to 15 characters.
const LONGEST_NAME: usize = 12;
/// Node I has the addresses 172.30.0.(10 + I) and 10.42.I.0/24.
const MOST_NODES: usize = 200;

/// A cluster, as a person describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The hub's own node, for the operator and Jobs.
    #[serde(default)]
    pub hub: Node,
    /// The edge nodes, each a machine of its own as far as Kubernetes can see.
    pub nodes: Vec<Node>,
}

/// A node: its labels, and the CPU and memory that it advertises and that its pods are together held to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// Name in Kubernetes: a DNS label of at most 12 characters. The hub's is `hub` and need not be given.
    #[serde(default = "hub_name")]
    pub name: String,
    /// Labels beside the role, which is always set.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// CPU in thousandths of a core; the whole machine and no limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millicores: Option<u64>,
    /// Memory in MiB; the whole machine and no limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mebibytes: Option<u64>,
}

fn hub_name() -> String {
    HUB.to_owned()
}

impl Default for Node {
    /// The hub's node: as large as the machine.
    fn default() -> Self {
        Self { name: hub_name(), labels: BTreeMap::new(), cpu_millicores: None, memory_mebibytes: None }
    }
}

/// Why a description of a cluster is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to parse {path}: see tests/cluster/README.md for its fields")]
    Parse { path: PathBuf, source: serde_yaml::Error },
    #[error(
        "node name {name:?}: use 1 to 12 of a-z, 0-9 and -, begin with a letter, end without -, and not `hub`"
    )]
    Name { name: String },
    #[error("the hub's node is named `hub`, not {name:?}")]
    Hub { name: String },
    #[error("node name {name:?} is used twice")]
    Duplicate { name: String },
    #[error("{count} nodes: 1 to 200 are possible")]
    Count { count: usize },
    #[error("node {name}: {what} of {value} is too small: at least {least} are needed for a pod to run")]
    TooSmall { name: String, what: &'static str, value: u64, least: u64 },
    #[error(
        "node {name}: label {label:?} is not a kubelet's to set: use a domain other than kubernetes.io or k8s.io"
    )]
    Label { name: String, label: String },
}

impl Default for Config {
    /// A hub and three edge nodes of two kinds, which together fit on two cores.
    fn default() -> Self {
        let node = |name: &str, kind: &str, cpu, memory| Node {
            name: name.to_owned(),
            labels: BTreeMap::from([(KIND_LABEL.to_owned(), kind.to_owned())]),
            cpu_millicores: Some(cpu),
            memory_mebibytes: Some(memory),
        };
        Self {
            hub: Node::default(),
            nodes: vec![
                node("edge-1", "large", 700, 1024),
                node("edge-2", "large", 700, 1024),
                node("edge-3", "small", 500, 512),
            ],
        }
    }
}

impl Config {
    /// Reads and checks a description in YAML.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = serde_yaml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source })?;
        config.check()?;
        Ok(config)
    }

    /// Every rule that a description must keep.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.nodes.is_empty() || self.nodes.len() > MOST_NODES {
            return Err(ConfigError::Count { count: self.nodes.len() });
        }
        if self.hub.name != HUB {
            return Err(ConfigError::Hub { name: self.hub.name.clone() });
        }
        let mut seen = BTreeSet::new();
        for node in &self.nodes {
            if !is_name(&node.name) || node.name == HUB {
                return Err(ConfigError::Name { name: node.name.clone() });
            }
            if !seen.insert(&node.name) {
                return Err(ConfigError::Duplicate { name: node.name.clone() });
            }
        }
        self.all().try_for_each(|(_, node)| node.check())
    }

    /// Every node with its number, by which it has its addresses: the hub is 0.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, &Node)> {
        std::iter::once(&self.hub).chain(&self.nodes).enumerate()
    }
}

impl Node {
    /// Where its processes run.
    pub fn place(&self) -> Place {
        Place::of(&self.name)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let name = || self.name.clone();
        for (what, value, least) in
            [("cpuMillicores", self.cpu_millicores, 50), ("memoryMebibytes", self.memory_mebibytes, 64)]
        {
            if let Some(value) = value.filter(|value| *value < least) {
                return Err(ConfigError::TooSmall { name: name(), what, value, least });
            }
        }
        let reserved = |label: &&String| {
            let domain = label.split('/').next().unwrap_or_default();
            domain.ends_with("kubernetes.io") || domain.ends_with("k8s.io")
        };
        match self.labels.keys().find(reserved) {
            Some(label) => Err(ConfigError::Label { name: name(), label: label.clone() }),
            None => Ok(()),
        }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(), String> {
        let config: Config = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_keeps_its_own_rules() {
        Config::default().check().unwrap();
    }

    #[test]
    fn a_description_survives_being_written_and_read() {
        let text = serde_yaml::to_string(&Config::default()).unwrap();
        assert_eq!(serde_yaml::from_str::<Config>(&text).unwrap(), Config::default());
    }

    #[test]
    fn a_node_needs_only_a_name() {
        parse("nodes: [{name: a}]").unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str, part: &str| {
            let message = parse(text).unwrap_err();
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        };
        refused("nodes: []", "1 to 200");
        refused("nodes: [{name: hub}]", "not `hub`");
        refused("nodes: [{name: a-very-long-name}]", "1 to 12");
        refused("nodes: [{name: a}, {name: a}]", "twice");
        refused("nodes: [{name: a, cpuMillicores: 1}]", "at least 50");
        refused("nodes: [{name: a, labels: {node.kubernetes.io/x: y}}]", "domain");
        refused("node: []", "unknown field");
    }
}
