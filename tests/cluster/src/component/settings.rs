//! The text of every file that the cluster's processes read. Pure: `cluster/up.rs` writes them.

use std::path::PathBuf;

use super::cgroup_root;
use crate::config::{Config, Node};
use crate::layout::{HUB_ADDRESS, Layout, PRIVATE_REGISTRY, PRIVATE_REGISTRY_USER, REGISTRY};
use crate::network::pod_range;

/// The group of clients that may read services and pods: DNS and Prometheus.
pub(crate) const OBSERVERS: &str = "dnnshifter-cluster:observers";
/// bcrypt of [`crate::layout::PRIVATE_REGISTRY_PASSWORD`], which docker-registry takes in no other form.
const PASSWORD_HASH: &str = "$2y$05$abcdefghijklmnopqrstuuVPNOToLP9MHdthRCXkVoiIF0qNKnk2G";
/// Free memory of the machine, in MiB, below which kubelet evicts pods; it is taken from what a node advertises.
const EVICTION_MEBIBYTES: u64 = 50;

/// What the machine has, which every node sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) cpu_millicores: u64,
    pub(crate) memory_kibibytes: u64,
}

/// A file and its text.
#[derive(Debug)]
pub(crate) struct SettingsFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// The files of a cluster.
pub(crate) fn all(config: &Config, layout: &Layout, machine: Machine) -> Vec<SettingsFile> {
    let file = |path: PathBuf, text: String| SettingsFile { path, text };
    let run = &layout.run;
    let mut files = vec![
        file(layout.certs_d().join(REGISTRY).join("hosts.toml"), registry_hosts(REGISTRY)),
        file(layout.certs_d().join(PRIVATE_REGISTRY).join("hosts.toml"), registry_hosts(PRIVATE_REGISTRY)),
        file(run.join("registry.yml"), registry(layout, REGISTRY)),
        file(run.join("private-registry.yml"), private_registry(layout)),
        file(run.join("htpasswd"), format!("{PRIVATE_REGISTRY_USER}:{PASSWORD_HASH}\n")),
        file(run.join("Corefile"), corefile(layout)),
        file(run.join("prometheus.yml"), prometheus(layout)),
        file(run.join("bootstrap.yaml"), bootstrap()),
    ];
    for (index, node) in config.all() {
        let directory = layout.node(&node.name);
        files.push(file(directory.join("cni/10-cluster.conflist"), network(layout, index, node)));
        files.push(file(directory.join("containerd.toml"), containerd(layout, node)));
        files.push(file(directory.join("kubelet.yaml"), kubelet(layout, node, machine)));
    }
    files
}

fn registry_hosts(registry: &str) -> String {
    let server = format!("http://{}", on_hub(registry));
    format!("server = \"{server}\"\n[host.\"{server}\"]\n  capabilities = [\"pull\", \"resolve\"]\n")
}

/// Where a registry of that name listens.
fn on_hub(registry: &str) -> String {
    let port = registry.rsplit(':').next().unwrap_or_default();
    format!("{HUB_ADDRESS}:{port}")
}

fn private_registry(layout: &Layout) -> String {
    let passwords = layout.run.join("htpasswd").display().to_string();
    let settings = registry(layout, PRIVATE_REGISTRY);
    format!("{settings}auth: {{htpasswd: {{realm: cluster, path: {passwords}}}}}\n")
}

fn registry(layout: &Layout, name: &str) -> String {
    format!(
        "version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {}}}
  delete: {{enabled: true}}
http: {{addr: '{}'}}
",
        layout.run.join("registry").display(),
        on_hub(name)
    )
}

/// Names for pods: services, and the hub's own. Nodes know the registry by `certs.d`.
fn corefile(layout: &Layout) -> String {
    let name = |registry: &'static str| registry.split(':').next().unwrap_or(registry);
    let (registry, private) = (name(REGISTRY), name(PRIVATE_REGISTRY));
    format!(
        ".:53 {{
  bind {HUB_ADDRESS}
  errors
  hosts {{
    {HUB_ADDRESS} {registry} {private} prometheus.edge.test
    fallthrough
  }}
  kubernetes cluster.local {{
    kubeconfig {}
  }}
}}
",
        layout.kubeconfig("observer").display()
    )
}

fn prometheus(layout: &Layout) -> String {
    let kubeconfig = layout.kubeconfig("observer");
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
scrape_configs:
- job_name: pods
  honor_labels: false
  # For a server that does not say what its answer is.
  fallback_scrape_protocol: PrometheusText0.0.4
  kubernetes_sd_configs: [{{role: pod, kubeconfig_file: {}}}]
  # Certificates are for names of Services; pods are asked by their addresses.
  tls_config: {{insecure_skip_verify: true}}
  relabel_configs:
  - {{action: keep, source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], regex: 'true'}}
  - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scheme]
    regex: (https?)
    target_label: __scheme__
  - {{action: drop, source_labels: [__meta_kubernetes_pod_phase], regex: Pending|Succeeded|Failed}}
  - action: replace
    source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port]
    separator: ':'
    regex: (.+:[0-9]+)
    target_label: __address__
  - action: replace
    source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path]
    regex: (.+)
    target_label: __metrics_path__
  - {{action: replace, source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
  - {{action: replace, source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
  - {{action: replace, source_labels: [__meta_kubernetes_pod_node_name], target_label: node}}
",
        kubeconfig.display()
    )
}

/// What the API server is told first.
fn bootstrap() -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: dnnshifter-cluster-observers}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: Group, name: '{OBSERVERS}'}}]
"
    )
}

/// `ptp` and not `bridge`: every packet between pods is routed, so the rules of services hold on one node too.
fn network(layout: &Layout, index: usize, node: &Node) -> String {
    let addresses = layout.node(&node.name).join("ipam");
    let settings = serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "cluster",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": pod_range(index)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": addresses,
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{settings:#}\n")
}

/// `restrict_oom_score_adj`: without `CAP_SYS_RESOURCE` a negative `oom_score_adj` is refused, and runc ends with
/// "can't get final child's PID from pipe". NRI, `opt`, shims' sockets and runc's state would otherwise lie in the
/// machine's own folders; the sockets are together because their path must be short.
fn containerd(layout: &Layout, node: &Node) -> String {
    let directory = layout.node(&node.name).display().to_string();
    let certs = layout.certs_d().display().to_string();
    let shims = layout.run.join("s").display().to_string();
    format!(
        r#"version = 3
root = "{directory}/containerd"
state = "{directory}/containerd-state"
[grpc]
  address = "{directory}/containerd.sock"
[ttrpc]
  address = "{directory}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.shim.v1.manager"]
  socket_dir = "{shims}"
[plugins."io.containerd.cri.v1.images"]
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{REGISTRY}/pause:1"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{certs}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        Root = "{directory}/runc"
"#
    )
}

/// `failCgroupV1`: kubelet refuses a cgroup v1 machine since 1.35 unless told not to; harmless on v2.
fn kubelet(layout: &Layout, node: &Node, machine: Machine) -> String {
    let directory = layout.node(&node.name).display().to_string();
    let pki = layout.pki().display().to_string();
    let (name, root, reserved) = (&node.name, cgroup_root(node), reserved(node, machine));
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: {root}
containerRuntimeEndpoint: unix://{directory}/containerd.sock
podLogsDir: {directory}/pod-logs
tlsCertFile: {pki}/{name}.crt
tlsPrivateKeyFile: {pki}/{name}.key
authentication: {{anonymous: {{enabled: false}}, x509: {{clientCAFile: {pki}/ca.crt}}, webhook: {{enabled: true}}}}
authorization: {{mode: Webhook}}
failSwapOn: false
systemReserved: {reserved}
evictionHard: {{memory.available: {EVICTION_MEBIBYTES}Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}}
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
clusterDNS: [{HUB_ADDRESS}]
clusterDomain: cluster.local
resolvConf: ""
maxPods: 60
nodeStatusUpdateFrequency: 4s
nodeLeaseDurationSeconds: 16
"#
    )
}

/// What a node must keep from its pods, so that it advertises no more than its size.
fn reserved(node: &Node, machine: Machine) -> String {
    let cpu =
        node.cpu_millicores.map(|wanted| format!("cpu: {}m", machine.cpu_millicores.saturating_sub(wanted)));
    let memory = node.memory_mebibytes.map(|wanted| {
        let kept = machine.memory_kibibytes.saturating_sub((wanted + EVICTION_MEBIBYTES) * 1024);
        format!("memory: {kept}Ki")
    });
    format!("{{{}}}", cpu.into_iter().chain(memory).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::golden::assert_golden;

    const MACHINE: Machine = Machine { cpu_millicores: 2000, memory_kibibytes: 24 << 20 };

    #[test]
    fn the_default_cluster_reads_these_files() {
        let layout = Layout { cache: "/cache".into(), run: "/run/x".into() };
        let mut text = String::new();
        for file in all(&Config::default(), &layout, MACHINE) {
            writeln!(text, "==== {}\n{}", file.path.display(), file.text).unwrap();
        }
        assert_golden("settings.txt", &text);
    }

    #[test]
    fn a_node_advertises_its_size() {
        let node = Node { cpu_millicores: Some(700), memory_mebibytes: Some(1024), ..Node::default() };
        assert_eq!(
            reserved(&node, MACHINE),
            format!("{{cpu: 1300m, memory: {}Ki}}", (24 << 20) - 1074 * 1024)
        );
        assert_eq!(reserved(&Node::default(), MACHINE), "{}");
    }
}
