//! What a cluster looks like now.

use std::path::PathBuf;

use serde::Serialize;

use super::{Cluster, ClusterError};
use crate::layout::Layout;
use crate::network;
use crate::process;

/// A cluster's processes and links.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Every process, in the order of starting.
    pub components: Vec<ComponentStatus>,
    /// Every edge node's link.
    pub links: Vec<LinkStatus>,
}

/// One process of the cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Its name, as `start` and `stop` take it.
    pub name: String,
    /// Its process, if it lives.
    pub pid: Option<u32>,
}

/// One edge node's link to the hub.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// The edge node.
    pub node: String,
    /// Whether it is in service.
    pub up: bool,
}

impl Cluster {
    /// Looks at every process and link.
    pub fn status(&self) -> Result<Status, ClusterError> {
        let component = |name: String| {
            let pid = process::find(&self.layout, &name)?.map(|process| process.pid);
            Ok(ComponentStatus { name, pid })
        };
        let components = self
            .components()
            .into_iter()
            .map(|one| component(one.name))
            .collect::<Result<_, ClusterError>>()?;
        let link = |node: &str| LinkStatus { node: node.to_owned(), up: network::has_link(node) };
        let links = self.config.nodes.iter().map(|node| link(&node.name)).collect();
        Ok(Status { components, links })
    }
}

/// How much of each log is shown where all are.
const LAST_LINES: usize = 12;

/// A component's log, or the ends of all logs.
pub(crate) fn logs(layout: &Layout, component: Option<&str>) -> Result<String, ClusterError> {
    let directory = layout.logs();
    let read = |path: PathBuf| {
        std::fs::read(&path)
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .map_err(|source| ClusterError::File { path, source })
    };
    if let Some(name) = component {
        return read(directory.join(format!("{name}.log")));
    }
    let entries = std::fs::read_dir(&directory)
        .map_err(|source| ClusterError::File { path: directory.clone(), source })?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut all = String::new();
    for path in paths {
        let text = read(path.clone())?;
        let lines: Vec<_> = text.lines().collect();
        let title = format!("==== {}", path.display());
        let shown = lines.iter().skip(lines.len().saturating_sub(LAST_LINES)).copied();
        all.extend(std::iter::once(title.as_str()).chain(shown).flat_map(|line| [line, "\n"]));
    }
    Ok(all)
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for component in &self.components {
            match component.pid {
                Some(pid) => writeln!(f, "{:<24} running as {pid}", component.name)?,
                None => writeln!(f, "{:<24} NOT RUNNING", component.name)?,
            }
        }
        for link in &self.links {
            writeln!(f, "{:<24} {}", format!("link of {}", link.node), if link.up { "up" } else { "CUT" })?;
        }
        Ok(())
    }
}
