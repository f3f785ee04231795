//! A real Kubernetes on one Linux machine, for whole-system tests: build it, start it, break it, remove it.
//!
//! The hub (etcd, control plane, registry, Prometheus, DNS) and every edge node live in network namespaces of their own; a
//! veth pair for each edge node is its uplink, and cutting it is a network partition. Every node runs its own containerd,
//! kubelet and kube-proxy, and its pods are together held to the size that it advertises. Nothing is reachable from the
//! machine's own network namespace. `README.md` shows the commands.
//!
//! Nothing here knows what is tested on it.

mod cgroup;
mod cluster;
mod command;
mod component;
mod config;
mod fingerprint;
mod image;
mod layout;
mod machine;
mod module;
mod network;
mod pki;
mod process;
mod progress;

#[cfg(test)]
mod golden;

pub use cgroup::CgroupError;
pub use cluster::status::{ComponentStatus, LinkStatus, Status};
pub use cluster::{Cluster, ClusterError, build, logs, remove, search_path};
pub use command::CommandError;
pub use config::{Config, ConfigError, HUB, KIND_LABEL, Node, ROLE_LABEL};
pub use image::{
    Destination, ImageBuild, ImageError, ImageFile, ImageSize, ProjectImage, project_image_size,
    publish_project_image,
};
pub use layout::{
    HUB_ADDRESS, Layout, PRIVATE_REGISTRY, PRIVATE_REGISTRY_PASSWORD, PRIVATE_REGISTRY_USER, PROMETHEUS,
    PROMETHEUS_ADDRESS, Place, REGISTRY, REGISTRY_ADDRESS,
};
pub use machine::MachineError;
pub use module::ModuleError;
pub use network::NetworkError;
pub use pki::PkiError;
pub use process::ProcessError;
