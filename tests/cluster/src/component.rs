//! The processes that make up a cluster: which program, where, with what arguments. Pure: `process` runs them.
//!
//! `component/settings.rs` holds the files that they read.

pub(crate) mod settings;

use std::path::Path;

use crate::cgroup::Cgroups;
use crate::config::{Config, Node, ROLE_LABEL};
use crate::layout::{HUB_ADDRESS, Layout, Place};
use crate::network::node_address;

/// Addresses of services, of which `SERVICES_FIRST` is the API server's.
pub(crate) const SERVICES: &str = "10.43.0.0/16";
pub(crate) const SERVICES_FIRST: &str = "10.43.0.1";
const PODS: &str = "10.42.0.0/16";

/// A connection that a cut link has broken is noticed in ten seconds instead of 45, and so is the link's return.
const QUICK_TO_NOTICE: [(&str, &str); 2] =
    [("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "5"), ("HTTP2_PING_TIMEOUT_SECONDS", "5")];

/// A long-lived process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Component {
    /// Its name: the program's role, and `@NODE` for those that every node has.
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) program: &'static str,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

/// Every process of a cluster, in the order of starting.
pub(crate) fn all(config: &Config, layout: &Layout) -> Vec<Component> {
    let hub =
        [registry, private_registry, etcd, api_server, controller_manager, scheduler, coredns, prometheus];
    let of_nodes = config.all().flat_map(|(index, node)| of_node(layout, index, node));
    hub.into_iter().map(|component| component(layout)).chain(of_nodes).collect()
}

/// The processes of one node, in the order of starting.
pub(crate) fn of_node(layout: &Layout, index: usize, node: &Node) -> [Component; 3] {
    [containerd(layout, node), kubelet(layout, index, node), kube_proxy(layout, node)]
}

fn on_hub(name: &str, program: &'static str, arguments: Vec<String>) -> Component {
    Component { name: name.to_owned(), place: Place::Hub, program, arguments, environment: Vec::new() }
}

fn on_node(role: &str, program: &'static str, node: &Node, arguments: Vec<String>) -> Component {
    let name = format!("{role}@{}", node.name);
    Component { name, place: node.place(), program, arguments, environment: QUICK_TO_NOTICE.to_vec() }
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn file(name: &str, path: &Path) -> String {
    flag(name, path.display())
}

pub(crate) fn registry(layout: &Layout) -> Component {
    registry_of("registry", layout)
}

/// Serves what the registry holds, to who has the password.
pub(crate) fn private_registry(layout: &Layout) -> Component {
    registry_of("private-registry", layout)
}

fn registry_of(name: &str, layout: &Layout) -> Component {
    let settings = layout.run.join(format!("{name}.yml")).display().to_string();
    on_hub(name, "docker-registry", vec!["serve".to_owned(), settings])
}

pub(crate) fn etcd(layout: &Layout) -> Component {
    let arguments = vec![
        file("data-dir", &layout.run.join("etcd")),
        flag("listen-client-urls", "http://127.0.0.1:2379"),
        flag("advertise-client-urls", "http://127.0.0.1:2379"),
        flag("listen-peer-urls", "http://127.0.0.1:2380"),
        flag("log-level", "warn"),
        // Nothing here has to survive the machine.
        "--unsafe-no-fsync".to_owned(),
    ];
    on_hub("etcd", "etcd", arguments)
}

pub(crate) fn api_server(layout: &Layout) -> Component {
    let pki = layout.pki();
    let arguments = vec![
        flag("etcd-servers", "http://127.0.0.1:2379"),
        flag("advertise-address", HUB_ADDRESS),
        flag("secure-port", "6443"),
        file("tls-cert-file", &pki.join("apiserver.crt")),
        file("tls-private-key-file", &pki.join("apiserver.key")),
        file("client-ca-file", &pki.join("ca.crt")),
        file("service-account-key-file", &pki.join("sa.key")),
        file("service-account-signing-key-file", &pki.join("sa.key")),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("service-cluster-ip-range", SERVICES),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("kubelet-preferred-address-types", "InternalIP"),
        file("kubelet-client-certificate", &pki.join("admin.crt")),
        file("kubelet-client-key", &pki.join("admin.key")),
        flag("allow-privileged", "true"),
        flag("profiling", "false"),
    ];
    on_hub("apiserver", "kube-apiserver", arguments)
}

pub(crate) fn controller_manager(layout: &Layout) -> Component {
    let arguments = vec![
        file("kubeconfig", &layout.kubeconfig("controller-manager")),
        file("service-account-private-key-file", &layout.pki().join("sa.key")),
        file("root-ca-file", &layout.pki().join("ca.crt")),
        flag("use-service-account-credentials", "true"),
        flag("leader-elect", "false"),
        // Four of kubelet's reports: a cut node is NotReady in 16 s instead of 50.
        flag("node-monitor-grace-period", "16s"),
        flag("node-monitor-period", "2s"),
        flag("profiling", "false"),
    ];
    on_hub("controller-manager", "kube-controller-manager", arguments)
}

pub(crate) fn scheduler(layout: &Layout) -> Component {
    let kubeconfig = file("kubeconfig", &layout.kubeconfig("scheduler"));
    on_hub("scheduler", "kube-scheduler", vec![kubeconfig, flag("leader-elect", "false")])
}

pub(crate) fn coredns(layout: &Layout) -> Component {
    let corefile = layout.run.join("Corefile").display().to_string();
    on_hub("coredns", "coredns", vec!["-conf".to_owned(), corefile])
}

pub(crate) fn prometheus(layout: &Layout) -> Component {
    let arguments = vec![
        file("config.file", &layout.run.join("prometheus.yml")),
        file("storage.tsdb.path", &layout.run.join("prometheus")),
        flag("storage.tsdb.retention.time", "1d"),
        flag("web.listen-address", format!("{HUB_ADDRESS}:9090")),
        "--web.enable-lifecycle".to_owned(),
        flag("log.level", "warn"),
    ];
    on_hub("prometheus", "prometheus", arguments)
}

fn containerd(layout: &Layout, node: &Node) -> Component {
    let settings = layout.node(&node.name).join("containerd.toml");
    on_node("containerd", "containerd", node, vec!["--config".to_owned(), settings.display().to_string()])
}

fn kubelet(layout: &Layout, index: usize, node: &Node) -> Component {
    let directory = layout.node(&node.name);
    let role = match node.place() {
        Place::Hub => "hub",
        Place::Node(_) => "edge",
    };
    let labels = std::iter::once((ROLE_LABEL, role))
        .chain(node.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",");
    let arguments = vec![
        file("config", &directory.join("kubelet.yaml")),
        file("kubeconfig", &layout.kubeconfig(&node.name)),
        flag("hostname-override", &node.name),
        flag("node-ip", node_address(index)),
        flag("node-labels", labels),
        file("root-dir", &directory.join("kubelet")),
        file("cert-dir", &directory.join("kubelet-certs")),
    ];
    on_node("kubelet", "kubelet", node, arguments)
}

fn kube_proxy(layout: &Layout, node: &Node) -> Component {
    let arguments = vec![
        file("kubeconfig", &layout.kubeconfig("proxy")),
        flag("hostname-override", &node.name),
        flag("proxy-mode", "iptables"),
        flag("cluster-cidr", PODS),
        // The table of connections is the machine's: not a node's to resize.
        flag("conntrack-max-per-core", "0"),
        flag("metrics-bind-address", "127.0.0.1:10249"),
    ];
    on_node("kube-proxy", "kube-proxy", node, arguments)
}

/// The parent of a node's pods in every hierarchy of cgroups.
pub(crate) fn cgroup_root(node: &Node) -> String {
    Cgroups::kubelet_root(&node.name)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::golden::assert_golden;

    #[test]
    fn the_default_cluster_starts_these_processes() {
        let layout = Layout { cache: "/cache".into(), run: "/run/x".into() };
        let mut text = String::new();
        for component in all(&Config::default(), &layout) {
            writeln!(text, "{} in {}: {}", component.name, component.place.namespace(), component.program)
                .unwrap();
            for argument in &component.arguments {
                writeln!(text, "  {argument}").unwrap();
            }
        }
        assert_golden("components.txt", &text);
    }
}
