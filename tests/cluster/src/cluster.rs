//! A cluster that is up: how tests and people use it and break it.
//!
//! `cluster/up.rs` starts it, `cluster/down.rs` removes it and what a crash has left, `cluster/status.rs` looks at it.

pub(crate) mod down;
pub(crate) mod status;
pub(crate) mod up;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cgroup::CgroupError;
use crate::command::{CommandError, run, run_with_input};
use crate::component::{self, Component};
use crate::config::{Config, ConfigError};
use crate::image::ImageError;
use crate::layout::{Layout, Place};
use crate::machine::{self, MachineError};
use crate::module::{self, ModuleError};
use crate::network::{self, NetworkError};
use crate::pki::PkiError;
use crate::process::{self, ProcessError};

/// A running cluster. Dropping it leaves it running; `down` ends it.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) layout: Layout,
    pub(crate) config: Config,
    /// `PATH` with kubectl, helm, ctr and the rest.
    pub(crate) search_path: OsString,
}

/// Why a cluster is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("no cluster is up: `dnnshifter-cluster up` starts one")]
    NotUp,
    #[error(
        "every process of the cluster has ended: `dnnshifter-cluster up` removes what it left and starts it anew"
    )]
    Dead,
    #[error("another cluster is up, with other nodes: `dnnshifter-cluster down` removes it")]
    Other,
    #[error("an earlier cluster has left {what}: `dnnshifter-cluster down` removes it")]
    LeftOver { what: String },
    #[error(
        "the cluster is up, but {component} does not run: `dnnshifter-cluster start {component}`, or `down`"
    )]
    Incomplete { component: String },
    #[error("failed to enter the network of {place}")]
    Enter { place: String, source: std::io::Error },
    #[error("{module} is not built: `dnnshifter-cluster build`")]
    NotBuilt { module: &'static str },
    #[error("no component {name:?}; there are {known}")]
    NoComponent { name: String, known: String },
    #[error("no node {name:?}; there are {known}")]
    NoNode { name: String, known: String },
    #[error("{component} has ended; {log} ends with:\n{said}")]
    Ended { component: String, log: PathBuf, said: String },
    #[error("waited {seconds} s in vain for {what}; see `dnnshifter-cluster logs`")]
    TimedOut { what: String, seconds: u64 },
    #[error("failed to read or write {path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("failed to understand {path}: `dnnshifter-cluster down` removes the cluster that wrote it")]
    State { path: PathBuf, source: serde_json::Error },
    #[error("failed to unmount {path}")]
    Unmount { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Module(#[from] ModuleError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Image(#[from] Box<ImageError>),
}

/// Builds all binaries that the cache does not have.
pub fn build() -> Result<(), ClusterError> {
    module::build_all(&Layout::from_environment())?;
    Ok(())
}

/// `PATH` with kubectl, helm and the rest, for what needs no cluster.
pub fn search_path() -> Result<OsString, ClusterError> {
    search_path_in(&Layout::from_environment())
}

fn search_path_in(layout: &Layout) -> Result<OsString, ClusterError> {
    let binaries = module::built(layout).map_err(|module| ClusterError::NotBuilt { module })?;
    Ok(machine::search_path(&binaries))
}

/// Removes the cluster, or what a crash has left of one.
pub fn remove() -> Result<(), ClusterError> {
    down::down(&Layout::from_environment())
}

/// A component's log, or the ends of all logs. For a cluster that did not come up too.
pub fn logs(component: Option<&str>) -> Result<String, ClusterError> {
    status::logs(&Layout::from_environment(), component)
}

impl Cluster {
    /// Starts a cluster and waits until its nodes are Ready. One that is up with the same nodes is taken as it is; what is left
    /// of one whose processes have all ended, as after a restart of the machine, is removed first.
    pub fn up(config: &Config) -> Result<Self, ClusterError> {
        up::up(config)
    }

    /// The cluster that is up.
    pub fn attach() -> Result<Self, ClusterError> {
        Self::attach_to(Layout::from_environment())
    }

    fn attach_to(layout: Layout) -> Result<Self, ClusterError> {
        let path = layout.state();
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ClusterError::NotUp),
            other => other.map_err(|source| ClusterError::File { path: path.clone(), source })?,
        };
        let config = serde_json::from_slice(&text).map_err(|source| ClusterError::State { path, source })?;
        if !process::any_lives(&layout)? {
            return Err(ClusterError::Dead);
        }
        Self::of(layout, config)
    }

    pub(crate) fn of(layout: Layout, config: Config) -> Result<Self, ClusterError> {
        let search_path = search_path_in(&layout)?;
        Ok(Self { layout, config, search_path })
    }

    /// Its nodes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its directories.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Runs kubectl with all rights and returns what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        Ok(run(self.command_in(&Place::Hub, "kubectl").args(arguments))?)
    }

    /// Applies YAML on the server's side.
    pub fn apply(&self, yaml: &str) -> Result<String, ClusterError> {
        let mut command = self.command_in(&Place::Hub, "kubectl");
        Ok(run_with_input(command.args(["apply", "--server-side", "-f", "-"]), yaml)?)
    }

    /// A program with a place's network, the cluster's programs in `PATH`, and `KUBECONFIG` with all rights.
    ///
    /// From the hub, pods and services answer; a node's own clients are programs in that node's place.
    pub fn command_in(&self, place: &Place, program: impl AsRef<OsStr>) -> Command {
        let mut command = network::enter(place, program);
        command.env("PATH", &self.search_path).env("KUBECONFIG", self.layout.admin_kubeconfig());
        if let Place::Node(node) = place {
            command.env("CONTAINERD_ADDRESS", self.layout.node(node).join("containerd.sock"));
        }
        command
    }

    /// Moves the calling thread into a place's network, and with it every thread that it starts from then on: a client in
    /// this program instead of a program of its own. Call it before a runtime starts its threads.
    pub fn enter(&self, place: &Place) -> Result<(), ClusterError> {
        let failed = |source| ClusterError::Enter { place: place.node_name().to_owned(), source };
        let namespace = File::open(place.namespace_file()).map_err(failed)?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| failed(error.into()))
    }

    /// Pulls a node's cable: a network partition.
    pub fn cut(&self, node: &str) -> Result<(), ClusterError> {
        Ok(network::set_link(&self.place(node)?, false)?)
    }

    /// Puts a node's cable back.
    pub fn mend(&self, node: &str) -> Result<(), ClusterError> {
        Ok(network::set_link(&self.place(node)?, true)?)
    }

    /// Starts a component that was stopped.
    pub fn start(&self, component: &str) -> Result<(), ClusterError> {
        let component = self.component(component)?;
        Ok(process::start(&self.layout, &component, &self.search_path)?)
    }

    /// Asks a component to end, and waits until it has.
    pub fn stop(&self, component: &str) -> Result<(), ClusterError> {
        Ok(process::stop(&self.layout, &self.component(component)?.name, true)?)
    }

    /// Ends a component without warning.
    pub fn kill(&self, component: &str) -> Result<(), ClusterError> {
        Ok(process::stop(&self.layout, &self.component(component)?.name, false)?)
    }

    /// Whether a component's process lives.
    pub fn runs(&self, component: &str) -> Result<bool, ClusterError> {
        Ok(process::find(&self.layout, &self.component(component)?.name)?.is_some())
    }

    /// The file to which a component writes what it has to say.
    pub fn log(&self, component: &str) -> Result<PathBuf, ClusterError> {
        Ok(self.log_file(&self.component(component)?.name))
    }

    /// Removes it and everything that it made on the machine; what is cached stays.
    pub fn down(self) -> Result<(), ClusterError> {
        down::down(&self.layout)
    }

    /// The place of a node of this cluster.
    pub fn place(&self, node: &str) -> Result<Place, ClusterError> {
        if self.config.all().any(|(_, known)| known.name == node) {
            return Ok(Place::of(node));
        }
        let known = self.config.all().map(|(_, node)| node.name.as_str()).collect::<Vec<_>>().join(", ");
        Err(ClusterError::NoNode { name: node.to_owned(), known })
    }

    pub(crate) fn components(&self) -> Vec<Component> {
        component::all(&self.config, &self.layout)
    }

    pub(crate) fn log_file(&self, component: &str) -> PathBuf {
        self.layout.logs().join(format!("{component}.log"))
    }

    fn component(&self, name: &str) -> Result<Component, ClusterError> {
        let mut all = self.components();
        let Some(index) = all.iter().position(|component| component.name == name) else {
            let known = all.iter().map(|component| component.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(ClusterError::NoComponent { name: name.to_owned(), known });
        };
        Ok(all.swap_remove(index))
    }
}

/// Waits until `ready` says so.
pub(crate) fn wait_for(
    what: &str,
    longest: Duration,
    mut ready: impl FnMut() -> Result<bool, ClusterError>,
) -> Result<(), ClusterError> {
    let deadline = Instant::now() + longest;
    while !ready()? {
        if Instant::now() > deadline {
            return Err(ClusterError::TimedOut { what: what.to_owned(), seconds: longest.as_secs() });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_whose_processes_have_all_ended_is_not_up() {
        let run = tempfile::tempdir().unwrap();
        let layout = Layout { cache: run.path().join("cache"), run: run.path().to_owned() };
        std::fs::write(layout.state(), serde_json::to_vec(&Config::default()).unwrap()).unwrap();
        std::fs::create_dir(layout.pids()).unwrap();
        // As a machine that has restarted since: the pid is another process's now.
        std::fs::write(layout.pids().join("registry"), format!("{} 0\n", std::process::id())).unwrap();
        assert!(matches!(Cluster::attach_to(layout), Err(ClusterError::Dead)));
    }
}
