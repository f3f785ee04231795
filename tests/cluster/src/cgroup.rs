//! Where nodes live in the machine's cgroups, and what holds their pods to the nodes' sizes. cgroup v1 and v2.
//!
//! Only pods are held: kubelet and containerd of a node stay outside, as their share of a real machine is reserved.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::Node;

/// Our root in every hierarchy.
const ROOT: &str = "dnnshifter-cluster";
/// The length of a scheduling period in microseconds: the kernel's and kubelet's default.
const PERIOD_US: u64 = 100_000;
/// The v1 hierarchies in which kubelet and runc look for a container's parent.
const CONTROLLERS: [&str; 9] =
    ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];
/// What runc wants to set on v2, where the machine has it.
const V2_CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];

/// Why the machine's cgroups are not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("failed to find cgroups below {root}: mount cgroup2 there")]
    None { root: PathBuf },
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "failed to write {value:?} to {path}: on cgroup v2 the root must be the machine's own, not a container's"
    )]
    Write { path: PathBuf, value: String, source: std::io::Error },
    #[error("failed to create {path}")]
    Create { path: PathBuf, source: std::io::Error },
    #[error("failed to remove {path}: a process is still in it")]
    Remove { path: PathBuf, source: std::io::Error },
}

/// The kernel takes a dead process out of its group a moment after it is gone from `/proc`.
const EMPTY_DEADLINE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// The machine's cgroups.
#[derive(Clone, Debug)]
pub(crate) struct Cgroups {
    mount: PathBuf,
    hierarchy: Hierarchy,
}

/// One tree for all, or a tree for each controller.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hierarchy {
    V1 { controllers: Vec<&'static str> },
    V2 { controllers: Vec<&'static str> },
}

/// A value for a cgroup's file.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    path: PathBuf,
    value: String,
}

impl Cgroups {
    /// What is mounted at `mount`, which is `/sys/fs/cgroup` but in tests.
    pub(crate) fn detect(mount: &Path) -> Result<Self, CgroupError> {
        let unified = mount.join("cgroup.controllers");
        let hierarchy = if unified.is_file() {
            let text = read(&unified)?;
            let has = |controller: &&str| text.split_whitespace().any(|word| word == *controller);
            Hierarchy::V2 { controllers: V2_CONTROLLERS.into_iter().filter(has).collect() }
        } else {
            let has = |controller: &&str| mount.join(controller).is_dir();
            Hierarchy::V1 { controllers: CONTROLLERS.into_iter().filter(has).collect() }
        };
        let (Hierarchy::V1 { controllers } | Hierarchy::V2 { controllers }) = &hierarchy;
        if !["cpu", "memory"].iter().all(|needed| controllers.contains(needed)) {
            return Err(CgroupError::None { root: mount.to_owned() });
        }
        Ok(Self { mount: mount.to_owned(), hierarchy })
    }

    /// The parent of a node's pods, as kubelet names it.
    pub(crate) fn kubelet_root(node: &str) -> String {
        format!("/{ROOT}/{node}")
    }

    /// Creates a node's cgroup in every hierarchy and sets its limits.
    pub(crate) fn create(&self, node: &Node) -> Result<(), CgroupError> {
        for root in self.roots() {
            let path = root.join(&node.name);
            std::fs::create_dir_all(&path).map_err(|source| CgroupError::Create { path, source })?;
        }
        let mut settings = match &self.hierarchy {
            Hierarchy::V1 { .. } => self.cpusets(node)?,
            Hierarchy::V2 { controllers } => self.delegation(node, controllers),
        };
        settings.extend(self.limits(node));
        settings.iter().try_for_each(Setting::write)
    }

    /// The processes that are in our cgroups.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        for group in self.groups() {
            // A group may end while we look: then nothing is in it.
            let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// All groups of ours, parents after their children.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        // Beside the trees of v1 there may be one of v2 without controllers, in which runc makes groups too.
        let beside = self.mount.join("unified").join(ROOT);
        let mut pending: Vec<PathBuf> =
            self.roots().into_iter().chain([beside]).filter(|root| root.is_dir()).collect();
        while let Some(group) = pending.pop() {
            for entry in std::fs::read_dir(&group).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    pending.push(entry.path());
                }
            }
            found.push(group);
        }
        found.reverse();
        found
    }

    /// Removes all groups of ours, which must be empty.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        for path in self.groups() {
            remove_group(&path).map_err(|source| CgroupError::Remove { path, source })?;
        }
        Ok(())
    }

    fn roots(&self) -> Vec<PathBuf> {
        match &self.hierarchy {
            Hierarchy::V1 { controllers } => {
                controllers.iter().map(|controller| self.mount.join(controller).join(ROOT)).collect()
            }
            Hierarchy::V2 { .. } => vec![self.mount.join(ROOT)],
        }
    }

    /// On v1 a new group may use no CPU and no memory node until it is told which.
    fn cpusets(&self, node: &Node) -> Result<Vec<Setting>, CgroupError> {
        let top = self.mount.join("cpuset");
        if !top.is_dir() {
            return Ok(Vec::new());
        }
        let mut settings = Vec::new();
        for group in [top.join(ROOT), top.join(ROOT).join(&node.name)] {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = read(&top.join(file))?.trim().to_owned();
                settings.push(Setting { path: group.join(file), value });
            }
        }
        Ok(settings)
    }

    /// On v2 a group's children have the controllers that it hands down.
    fn delegation(&self, node: &Node, controllers: &[&str]) -> Vec<Setting> {
        let ours = self.mount.join(ROOT);
        let all = controllers.iter().map(|controller| format!("+{controller}")).collect::<Vec<_>>().join(" ");
        [self.mount.clone(), ours.clone(), ours.join(&node.name)]
            .map(|group| Setting { path: group.join("cgroup.subtree_control"), value: all.clone() })
            .into()
    }

    fn limits(&self, node: &Node) -> Vec<Setting> {
        let cpu = node.cpu_millicores.map(|millicores| millicores * PERIOD_US / 1000);
        let memory = node.memory_mebibytes.map(|mebibytes| mebibytes * 1024 * 1024);
        let setting = |path: PathBuf, value: String| Setting { path, value };
        match &self.hierarchy {
            Hierarchy::V1 { .. } => {
                let file = |controller: &str, file: &str| {
                    self.mount.join(controller).join(ROOT).join(&node.name).join(file)
                };
                let cpu = cpu.map(|us| setting(file("cpu", "cpu.cfs_quota_us"), us.to_string()));
                let memory =
                    memory.map(|bytes| setting(file("memory", "memory.limit_in_bytes"), bytes.to_string()));
                cpu.into_iter().chain(memory).collect()
            }
            Hierarchy::V2 { .. } => {
                let file = |file: &str| self.mount.join(ROOT).join(&node.name).join(file);
                let cpu = cpu.map(|us| setting(file("cpu.max"), format!("{us} {PERIOD_US}")));
                let memory = memory.map(|bytes| setting(file("memory.max"), bytes.to_string()));
                cpu.into_iter().chain(memory).collect()
            }
        }
    }
}

impl Setting {
    fn write(&self) -> Result<(), CgroupError> {
        std::fs::write(&self.path, &self.value).map_err(|source| CgroupError::Write {
            path: self.path.clone(),
            value: self.value.clone(),
            source,
        })
    }
}

fn read(path: &Path) -> Result<String, CgroupError> {
    std::fs::read_to_string(path).map_err(|source| CgroupError::Read { path: path.to_owned(), source })
}

fn remove_group(path: &Path) -> std::io::Result<()> {
    let deadline = Instant::now() + EMPTY_DEADLINE;
    loop {
        match std::fs::remove_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(POLL);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node { name: "a".into(), cpu_millicores: Some(700), memory_mebibytes: Some(512), ..Node::default() }
    }

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn v1() -> tempfile::TempDir {
        machine(&[
            ("cpu/tasks", ""),
            ("memory/tasks", ""),
            ("cpuset/cpuset.cpus", "0-1\n"),
            ("cpuset/cpuset.mems", "0\n"),
        ])
    }

    fn read_below(root: &tempfile::TempDir, path: &str) -> String {
        std::fs::read_to_string(root.path().join(path)).unwrap()
    }

    #[test]
    fn v1_holds_each_controller_in_its_own_tree() {
        let root = v1();
        Cgroups::detect(root.path()).unwrap().create(&node()).unwrap();
        assert_eq!(read_below(&root, "cpu/dnnshifter-cluster/a/cpu.cfs_quota_us"), "70000");
        assert_eq!(read_below(&root, "memory/dnnshifter-cluster/a/memory.limit_in_bytes"), "536870912");
        assert_eq!(read_below(&root, "cpuset/dnnshifter-cluster/a/cpuset.cpus"), "0-1");
        assert_eq!(read_below(&root, "cpuset/dnnshifter-cluster/cpuset.mems"), "0");
    }

    #[test]
    fn v2_hands_controllers_down_and_holds_the_node() {
        let root = machine(&[("cgroup.controllers", "cpuset cpu io memory pids rdma")]);
        Cgroups::detect(root.path()).unwrap().create(&node()).unwrap();
        assert_eq!(read_below(&root, "dnnshifter-cluster/a/cpu.max"), "70000 100000");
        assert_eq!(read_below(&root, "dnnshifter-cluster/a/memory.max"), "536870912");
        for group in ["", "dnnshifter-cluster/", "dnnshifter-cluster/a/"] {
            let handed_down = read_below(&root, &format!("{group}cgroup.subtree_control"));
            assert_eq!(handed_down, "+cpu +cpuset +memory +pids +io");
        }
    }

    #[test]
    fn a_node_without_a_size_is_not_held() {
        let root = v1();
        let cgroups = Cgroups::detect(root.path()).unwrap();
        assert_eq!(cgroups.limits(&Node::default()), Vec::new());
    }

    #[test]
    fn a_unified_tree_without_controllers_is_refused() {
        let root = machine(&[("cgroup.controllers", "")]);
        assert!(matches!(Cgroups::detect(root.path()), Err(CgroupError::None { .. })));
    }

    #[test]
    fn groups_list_children_before_parents() {
        let root = machine(&[("cpu/dnnshifter-cluster/a/b/cgroup.procs", "12\n7\n"), ("memory/tasks", "")]);
        let cgroups = Cgroups::detect(root.path()).unwrap();
        let names: Vec<_> =
            cgroups.groups().into_iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["b", "a", "dnnshifter-cluster"]);
        assert_eq!(cgroups.processes(), [7, 12]);
    }
}
