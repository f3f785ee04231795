//! From nothing to a cluster whose nodes are Ready.
//!
//! It changes nothing until the machine is known to carry it, and leaves what has failed in place to be looked at.

use std::path::Path;
use std::time::Duration;

use super::{Cluster, ClusterError, down, wait_for};
use crate::cgroup::Cgroups;
use crate::command::tail;
use crate::component::settings::{self, OBSERVERS};
use crate::component::{self, Component, SERVICES_FIRST};
use crate::config::{Config, Node};
use crate::image;
use crate::layout::{HUB_ADDRESS, Layout, Place};
use crate::machine;
use crate::module;
use crate::network::{self, node_address};
use crate::pki::{self, Identity};
use crate::process;
use crate::progress::Step;

/// Where the machine's cgroups are.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";
const API_SERVER_DEADLINE: Duration = Duration::from_mins(1);
const CONTAINERD_DEADLINE: Duration = Duration::from_secs(20);
const NODES_DEADLINE: Duration = Duration::from_secs(90);

pub(super) fn up(config: &Config) -> Result<Cluster, ClusterError> {
    config.check()?;
    if let Some(running) = already_up(config)? {
        return Ok(running);
    }
    let layout = Layout::from_environment();
    let machine = machine::check(config)?;
    module::build_all(&layout)?;
    let cluster = Cluster::of(layout, config.clone())?;

    let step = Step::begin(format!("starting a hub and {} edge nodes", config.nodes.len()));
    cluster.create_directories()?;
    for file in settings::all(config, &cluster.layout, machine) {
        write(&file.path, &file.text)?;
    }
    cluster.issue_certificates()?;
    cluster.start_hub_and_containerds()?;
    image::push_pause(&cluster).map_err(Box::new)?;
    cluster.start_control_plane()?;
    for (index, node) in config.all() {
        cluster.join_node(index, node)?;
    }
    cluster.wait_for_nodes()?;
    let state = serde_json::to_string_pretty(config)
        .map_err(|source| ClusterError::State { path: cluster.layout.state(), source })?;
    write(&cluster.layout.state(), &state)?;
    step.done();
    Ok(cluster)
}

/// The cluster that is up with the same nodes. None if there is none; what one left that has died is removed. All else is for a
/// person to decide on.
fn already_up(config: &Config) -> Result<Option<Cluster>, ClusterError> {
    match Cluster::attach() {
        Ok(running) if running.config != *config => Err(ClusterError::Other),
        Ok(running) => {
            let stopped = running.status()?.components.into_iter().find(|component| component.pid.is_none());
            match stopped {
                Some(component) => Err(ClusterError::Incomplete { component: component.name }),
                None => Ok(Some(running)),
            }
        }
        Err(error) => {
            let layout = Layout::from_environment();
            if !matches!(error, ClusterError::Dead) && down::lives(&layout)? {
                let what = down::left_over(&layout)?.join(", ");
                return Err(ClusterError::LeftOver { what });
            }
            down::down(&layout)?;
            Ok(None)
        }
    }
}

impl Cluster {
    /// What needs no API server: networks, cgroups, the registry, and every node's containerd.
    fn start_hub_and_containerds(&self) -> Result<(), ClusterError> {
        network::create_hub()?;
        self.launch(&[
            component::registry,
            component::private_registry,
            component::etcd,
            component::api_server,
        ])?;
        let cgroups = Cgroups::detect(Path::new(CGROUPS))?;
        for (index, node) in self.config.all() {
            if let Place::Node(name) = node.place() {
                network::create_node(&name, index)?;
            }
            cgroups.create(node)?;
            let [containerd, ..] = component::of_node(&self.layout, index, node);
            process::start(&self.layout, &containerd, &self.search_path)?;
        }
        Ok(())
    }

    /// What needs the API server.
    fn start_control_plane(&self) -> Result<(), ClusterError> {
        self.wait_for_api_server()?;
        let bootstrap = self.layout.run.join("bootstrap.yaml").display().to_string();
        self.kubectl(&["apply", "-f", &bootstrap])?;
        self.launch(&[
            component::controller_manager,
            component::scheduler,
            component::coredns,
            component::prometheus,
        ])
    }

    fn create_directories(&self) -> Result<(), ClusterError> {
        let layout = &self.layout;
        for path in [layout.pki(), layout.logs(), layout.pids()] {
            std::fs::create_dir_all(&path).map_err(|source| ClusterError::File { path, source })?;
        }
        // Keys with all rights lie below it.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&layout.run, mode)
            .map_err(|source| ClusterError::File { path: layout.run.clone(), source })
    }

    fn issue_certificates(&self) -> Result<(), ClusterError> {
        pki::create_authority(&self.layout)?;
        let api_server =
            format!("IP:{HUB_ADDRESS},IP:127.0.0.1,IP:{SERVICES_FIRST},DNS:kubernetes.default.svc");
        let observer = format!("/O={OBSERVERS}/CN=observer");
        let members = [
            ("apiserver", "/CN=kube-apiserver", api_server.as_str()),
            ("admin", "/O=system:masters/CN=admin", ""),
            ("controller-manager", "/CN=system:kube-controller-manager", ""),
            ("scheduler", "/CN=system:kube-scheduler", ""),
            ("proxy", "/CN=system:kube-proxy", ""),
            ("observer", observer.as_str(), ""),
        ];
        for (file, subject, serves) in members {
            pki::issue(&self.layout, &Identity { file, subject, serves })?;
        }
        for (index, node) in self.config.all() {
            let name = &node.name;
            let subject = format!("/O=system:nodes/CN=system:node:{name}");
            let serves = format!("IP:{},DNS:{name}", node_address(index));
            pki::issue(&self.layout, &Identity { file: name, subject: &subject, serves: &serves })?;
        }
        Ok(())
    }

    fn launch(&self, components: &[fn(&Layout) -> Component]) -> Result<(), ClusterError> {
        for component in components {
            process::start(&self.layout, &component(&self.layout), &self.search_path)?;
        }
        Ok(())
    }

    /// A node's kubelet and kube-proxy.
    fn join_node(&self, index: usize, node: &Node) -> Result<(), ClusterError> {
        let [containerd, kubelet, kube_proxy] = component::of_node(&self.layout, index, node);
        let socket = self.layout.node(&node.name).join("containerd.sock");
        // Kubelet ends if it is not there.
        wait_for("containerd's socket", CONTAINERD_DEADLINE, || {
            self.expect_alive(&containerd.name)?;
            Ok(socket.exists())
        })?;
        process::start(&self.layout, &kubelet, &self.search_path)?;
        Ok(process::start(&self.layout, &kube_proxy, &self.search_path)?)
    }

    fn wait_for_api_server(&self) -> Result<(), ClusterError> {
        wait_for("the API server", API_SERVER_DEADLINE, || {
            self.expect_alive("etcd")?;
            self.expect_alive("apiserver")?;
            Ok(self.kubectl(&["get", "--raw", "/readyz"]).is_ok())
        })
    }

    fn wait_for_nodes(&self) -> Result<(), ClusterError> {
        let wanted = self.config.all().count();
        wait_for("all nodes to be Ready", NODES_DEADLINE, || {
            for component in self.components() {
                self.expect_alive(&component.name)?;
            }
            Ok(self.ready_nodes()? == wanted)
        })?;
        // Pods are refused until the controller manager has made the default service account.
        wait_for("the default service account", NODES_DEADLINE, || {
            Ok(self.kubectl(&["get", "serviceaccount", "default"]).is_ok())
        })
    }

    /// How many nodes say that they are Ready.
    pub(crate) fn ready_nodes(&self) -> Result<usize, ClusterError> {
        let path =
            "jsonpath={range .items[*].status.conditions[?(@.type==\"Ready\")]}{.status}{\"\\n\"}{end}";
        Ok(self.kubectl(&["get", "nodes", "-o", path])?.lines().filter(|line| *line == "True").count())
    }

    fn expect_alive(&self, component: &str) -> Result<(), ClusterError> {
        if process::find(&self.layout, component)?.is_some() {
            return Ok(());
        }
        let log = self.log_file(component);
        let said = tail(std::fs::read_to_string(&log).unwrap_or_default().trim());
        Err(ClusterError::Ended { component: component.to_owned(), log, said })
    }
}

fn write(path: &Path, text: &str) -> Result<(), ClusterError> {
    let failed = |source| ClusterError::File { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}
