//! Network namespaces and the cables between them: a bridge on the hub, a veth pair for each edge node.
//!
//! Taking a node's cable out of service is a network partition. Nothing here touches the machine's own namespace.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{CommandError, run};
use crate::component::SERVICES;
use crate::layout::{HUB_ADDRESS, NAMESPACE_PREFIX, NAMESPACES, Place};

/// The hub's bridge, into which every node's cable is plugged.
const BRIDGE: &str = "edge0";

/// Why the network is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("failed to set up the network of {place}")]
    SetUp { place: String, source: CommandError },
    #[error("failed to change the link of node {node}: is there such a node?")]
    Link { node: String, source: CommandError },
    #[error("the hub has no link that could be cut: name an edge node")]
    HubLink,
    #[error("failed to list {path}")]
    List { path: PathBuf, source: std::io::Error },
    #[error("failed to remove network namespace {name}")]
    Remove { name: String, source: CommandError },
}

/// The address of node number `index` (0 is the hub) on the cluster's network.
pub(crate) fn node_address(index: usize) -> String {
    if index == 0 { HUB_ADDRESS.to_owned() } else { format!("172.30.0.{}", 10 + index) }
}

/// The addresses of the pods of node number `index`.
pub(crate) fn pod_range(index: usize) -> String {
    format!("10.42.{index}.0/24")
}

/// A program that runs with the network of `place`.
///
/// `nsenter` and not `ip netns exec`: the latter remounts `/sys` and hides the cgroup mounts, and kubelet finds none.
pub(crate) fn enter(place: &Place, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    let mut net = std::ffi::OsString::from("--net=");
    net.push(place.namespace_file());
    command.arg(net).arg("--").arg(program);
    command
}

/// Creates the hub's namespace and bridge.
pub(crate) fn create_hub() -> Result<(), NetworkError> {
    let hub = Place::Hub;
    let namespace = hub.namespace();
    let within = |words: &str| ip(&format!("-n {namespace} {words}"));
    let steps = || {
        ip(&format!("netns add {namespace}"))?;
        within("link set lo up")?;
        within(&format!("link add {BRIDGE} type bridge"))?;
        within(&format!("address add {HUB_ADDRESS}/24 dev {BRIDGE}"))?;
        within(&format!("link set {BRIDGE} up"))?;
        // kube-proxy translates a service's address only for a packet that has some way to go.
        within(&format!("route add {SERVICES} dev {BRIDGE}"))?;
        forward(&hub)
    };
    steps().map_err(|source| NetworkError::SetUp { place: namespace.clone(), source })
}

/// Creates the namespace of edge node number `index`, and its cable to the hub.
pub(crate) fn create_node(name: &str, index: usize) -> Result<(), NetworkError> {
    let place = Place::of(name);
    let (hub, namespace) = (Place::Hub.namespace(), place.namespace());
    let (link, address) = (link(name), node_address(index));
    let within = |words: &str| ip(&format!("-n {namespace} {words}"));
    let steps = || {
        ip(&format!("netns add {namespace}"))?;
        ip(&format!("-n {hub} link add {link} type veth peer name eth0 netns {namespace}"))?;
        ip(&format!("-n {hub} link set {link} master {BRIDGE} up"))?;
        within("link set lo up")?;
        within(&format!("address add {address}/24 dev eth0"))?;
        within("link set eth0 up")?;
        within(&format!("route add default via {HUB_ADDRESS}"))?;
        ip(&format!("-n {hub} route replace {} via {address}", pod_range(index)))?;
        forward(&place)
    };
    steps().map_err(|source| NetworkError::SetUp { place: namespace.clone(), source })
}

/// Takes a node's cable out of service, or puts it back.
pub(crate) fn set_link(place: &Place, up: bool) -> Result<(), NetworkError> {
    let Place::Node(node) = place else { return Err(NetworkError::HubLink) };
    let state = if up { "up" } else { "down" };
    ip(&format!("-n {} link set {} {state}", Place::Hub.namespace(), link(node)))
        .map_err(|source| NetworkError::Link { node: node.clone(), source })
}

/// Whether a node's cable is in service.
pub(crate) fn has_link(node: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(["-n", &Place::Hub.namespace(), "link", "show", "up", "dev", &link(node)]);
    run(&mut command).is_ok_and(|shown| !shown.trim().is_empty())
}

/// The names of all network namespaces that are ours.
pub(crate) fn namespaces() -> Result<Vec<String>, NetworkError> {
    let directory = Path::new(NAMESPACES);
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let names = || {
        let entries: Vec<_> = std::fs::read_dir(directory)?.collect::<Result<_, _>>()?;
        Ok(entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>())
    };
    let mut names = names().map_err(|source| NetworkError::List { path: directory.to_owned(), source })?;
    names.retain(|name| name.starts_with(NAMESPACE_PREFIX));
    names.sort();
    Ok(names)
}

/// Removes a network namespace; its interfaces go with it.
pub(crate) fn remove(namespace: &str) -> Result<(), NetworkError> {
    ip(&format!("netns delete {namespace}"))
        .map_err(|source| NetworkError::Remove { name: namespace.to_owned(), source })
}

fn link(node: &str) -> String {
    format!("up-{node}")
}

fn forward(place: &Place) -> Result<(), CommandError> {
    run(enter(place, "sysctl").args(["-qw", "net.ipv4.ip_forward=1"])).map(|_| ())
}

fn ip(words: &str) -> Result<(), CommandError> {
    run(Command::new("ip").args(words.split_whitespace())).map(|_| ())
}
