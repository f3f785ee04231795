//! Where everything lies: the cache that outlives clusters, and the one directory that a running cluster owns.
//!
//! Only paths and addresses, no I/O. Exactly one cluster exists on a machine, so its directory has a fixed name: whoever
//! comes next finds it, even after a crash.

use std::path::{Path, PathBuf};

use crate::config::HUB;

/// Address of the hub on the cluster's network: API server, registry, Prometheus and DNS.
pub const HUB_ADDRESS: &str = "172.30.0.1";
/// The registry, as pods and nodes call it.
pub const REGISTRY: &str = "registry.edge.test:5000";
/// The registry, as the hub's own processes reach it.
pub const REGISTRY_ADDRESS: &str = "172.30.0.1:5000";
/// A second registry, of the same content, that asks everybody for user and password; as pods and nodes call it.
pub const PRIVATE_REGISTRY: &str = "private.edge.test:5001";
/// The one user of [`PRIVATE_REGISTRY`].
pub const PRIVATE_REGISTRY_USER: &str = "edge";
/// The password of [`PRIVATE_REGISTRY_USER`].
pub const PRIVATE_REGISTRY_PASSWORD: &str = "not-a-secret";
/// Prometheus, as pods call it.
pub const PROMETHEUS: &str = "http://prometheus.edge.test:9090";
/// Prometheus, as the hub's own processes reach it.
pub const PROMETHEUS_ADDRESS: &str = "http://172.30.0.1:9090";

/// Short, because the path of a Unix socket below it may have 107 characters.
const RUN: &str = "/var/lib/dnnshifter-cluster";

/// Where a process runs: which network namespace it sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Beside the control plane, the registry and Prometheus.
    Hub,
    /// On the named edge node.
    Node(String),
}

impl Place {
    /// The place of a node's name, `hub` included.
    pub fn of(name: &str) -> Self {
        if name == HUB { Self::Hub } else { Self::Node(name.to_owned()) }
    }

    /// The name of its node in Kubernetes.
    pub fn node_name(&self) -> &str {
        match self {
            Self::Hub => HUB,
            Self::Node(name) => name,
        }
    }

    /// The name of its network namespace.
    pub(crate) fn namespace(&self) -> String {
        format!("{NAMESPACE_PREFIX}{}", self.node_name())
    }

    /// The file that stands for its network namespace.
    pub(crate) fn namespace_file(&self) -> PathBuf {
        Path::new(NAMESPACES).join(self.namespace())
    }
}

/// Where iproute2 keeps named network namespaces.
pub(crate) const NAMESPACES: &str = "/run/netns";
/// What our network namespaces' names begin with: `down` removes these and no others.
pub(crate) const NAMESPACE_PREFIX: &str = "dnnshifter-";

/// The directories of a cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Binaries, Debian files and images, kept between clusters.
    pub cache: PathBuf,
    /// What the running cluster owns; `down` removes it.
    pub run: PathBuf,
}

impl Layout {
    /// `$DNNSHIFTER_CACHE`, else `dnnshifter` below `$XDG_CACHE_HOME` or `~/.cache`; and the machine's one run directory.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = variable("DNNSHIFTER_CACHE").unwrap_or_else(|| {
            variable("XDG_CACHE_HOME")
                .or_else(|| variable("HOME").map(|home| home.join(".cache")))
                .unwrap_or_else(|| PathBuf::from("/var/cache"))
                .join("dnnshifter")
        });
        Self { cache, run: PathBuf::from(RUN) }
    }

    /// Client configuration with all rights.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("admin")
    }

    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.run.join(format!("{user}.kubeconfig"))
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.run.join("pki")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.run.join("log")
    }

    pub(crate) fn pids(&self) -> PathBuf {
        self.run.join("pid")
    }

    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.run.join("node").join(name)
    }

    /// How containerd finds the registry, in place of DNS.
    pub(crate) fn certs_d(&self) -> PathBuf {
        self.run.join("certs.d")
    }

    /// Written last by `up`: its presence means that the cluster was complete.
    pub(crate) fn state(&self) -> PathBuf {
        self.run.join("cluster.json")
    }
}
