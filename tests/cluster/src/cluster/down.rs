//! Everything that a cluster has made on the machine, whole or after a crash: found, and removed.
//!
//! A process is ours if it is in our cgroups, in our network namespaces, has a pid file of ours, or is a containerd shim of
//! our containerd. Nothing else is touched.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use super::ClusterError;
use super::up::CGROUPS;
use crate::cgroup::Cgroups;
use crate::layout::{Layout, NAMESPACES};
use crate::network;
use crate::process::{self, Process, ProcessError};
use crate::progress::Step;

/// Places outside our directory where programs that we run leave files that name it, whatever their settings.
const SHARED: [&str; 2] = ["/var/log/containers", "/var/lib/cni/results"];
/// Where kubelet listens for device plugins, whatever its settings.
const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";
const KILLED_DEADLINE: Duration = Duration::from_secs(20);
/// How often processes may be found that the ones just killed have started.
const ROUNDS: usize = 10;

/// What of a cluster is there, in words.
pub(crate) fn left_over(layout: &Layout) -> Result<Vec<String>, ClusterError> {
    let mut left = Vec::new();
    let mut note = |count: usize, what: &str| {
        if count > 0 {
            left.push(format!("{count} {what}"));
        }
    };
    note(processes(layout)?.len(), "processes");
    note(network::namespaces()?.len(), "network namespaces");
    note(mounts(layout)?.len(), "mounts");
    note(cgroups().map_or(0, |cgroups| cgroups.groups().len()), "cgroups");
    if layout.run.exists() {
        left.push(layout.run.display().to_string());
    }
    Ok(left)
}

/// Whether any process of a cluster is left.
pub(crate) fn lives(layout: &Layout) -> Result<bool, ClusterError> {
    Ok(!processes(layout)?.is_empty())
}

/// Removes a cluster. One that is not there is fine.
pub(crate) fn down(layout: &Layout) -> Result<(), ClusterError> {
    if left_over(layout)?.is_empty() {
        return Ok(());
    }
    let step = Step::begin("removing the cluster");
    end_processes(layout)?;
    for path in mounts(layout)? {
        unmount(&path, UnmountFlags::DETACH)
            .map_err(|error| ClusterError::Unmount { path, source: error.into() })?;
    }
    for namespace in network::namespaces()? {
        network::remove(&namespace)?;
    }
    if let Some(cgroups) = cgroups() {
        cgroups.remove()?;
    }
    remove_shared(&layout.run)?;
    match std::fs::remove_dir_all(&layout.run) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        other => other.map_err(|source| ClusterError::File { path: layout.run.clone(), source })?,
    }
    step.done();
    Ok(())
}

fn cgroups() -> Option<Cgroups> {
    Cgroups::detect(Path::new(CGROUPS)).ok()
}

/// Nothing of a cluster outlives it, so nothing is asked to end well. Kubelets go first, as they start what else is ended.
fn end_processes(layout: &Layout) -> Result<(), ClusterError> {
    let known = process::known(layout);
    for name in known.iter().filter(|name| name.starts_with("kubelet@")) {
        process::stop(layout, name, false)?;
    }
    for _ in 0..ROUNDS {
        let found = processes(layout)?;
        if found.is_empty() {
            break;
        }
        kill_all(&found)?;
    }
    Ok(())
}

/// Kills all of them at once, then waits for each.
fn kill_all(processes: &[Process]) -> Result<(), ClusterError> {
    for process in processes {
        process.signal(Signal::KILL);
    }
    match processes.iter().find(|process| !process.gone_within(KILLED_DEADLINE)) {
        Some(process) => {
            Err(ProcessError::Lasting { name: "a process of the cluster".to_owned(), pid: process.pid }
                .into())
        }
        None => Ok(()),
    }
}

fn in_cgroups() -> Vec<Process> {
    let pids = cgroups().map(|cgroups| cgroups.processes()).unwrap_or_default();
    pids.into_iter().filter_map(Process::of).collect()
}

/// All processes of a cluster, but never this one.
fn processes(layout: &Layout) -> Result<Vec<Process>, ClusterError> {
    let namespaces: Vec<u64> = network::namespaces()?
        .iter()
        .filter_map(|name| std::fs::metadata(Path::new(NAMESPACES).join(name)).ok())
        .map(|file| file.ino())
        .collect();
    let mut found = in_cgroups();
    for name in process::known(layout) {
        found.extend(process::find(layout, &name)?);
    }
    let path = PathBuf::from("/proc");
    let entries = std::fs::read_dir(&path).map_err(|source| ClusterError::File { path, source })?;
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let lives_in = std::fs::metadata(format!("/proc/{pid}/ns/net")).map(|file| file.ino());
        if lives_in.is_ok_and(|namespace| namespaces.contains(&namespace)) || is_shim(layout, pid) {
            found.extend(Process::of(pid));
        }
    }
    found.retain(|process| process.pid != std::process::id());
    found.sort_by_key(|process| process.pid);
    found.dedup();
    Ok(found)
}

/// Containers' supervisors outlive containerd and stay in the machine's namespace and cgroup.
fn is_shim(layout: &Layout, pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let run = layout.run.as_os_str().as_encoded_bytes();
    words.first().is_some_and(|program| program.ends_with(b"containerd-shim-runc-v2"))
        && words.iter().any(|word| word.starts_with(run))
}

/// Mounts below the run directory, the innermost first.
fn mounts(layout: &Layout) -> Result<Vec<PathBuf>, ClusterError> {
    let path = PathBuf::from("/proc/self/mounts");
    let text =
        std::fs::read_to_string(&path).map_err(|source| ClusterError::File { path: path.clone(), source })?;
    let mut found: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(&layout.run))
        .collect();
    found.reverse();
    Ok(found)
}

/// Removes what lies in folders of the machine's own, and those of them that this leaves empty.
fn remove_shared(run: &Path) -> Result<(), ClusterError> {
    SHARED.iter().try_for_each(|directory| remove_naming(Path::new(directory), run))?;
    let socket = Path::new(DEVICE_PLUGINS).join("kubelet.sock");
    // A kubelet that answers is not one of ours: those have ended.
    if socket.exists() && UnixStream::connect(&socket).is_err() {
        std::fs::remove_file(&socket).map_err(|source| ClusterError::File { path: socket, source })?;
    }
    let made =
        ["/var/log/containers", "/var/lib/cni/results", "/var/lib/cni", DEVICE_PLUGINS, "/var/lib/kubelet"];
    for directory in made {
        // Refused where somebody else has something in it.
        let _ = std::fs::remove_dir(directory);
    }
    Ok(())
}

/// Removes from `directory` the links into, and the files that name, the run directory.
fn remove_naming(directory: &Path, run: &Path) -> Result<(), ClusterError> {
    let name = run.as_os_str().as_encoded_bytes();
    for path in std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let ours = match std::fs::read_link(&path) {
            Ok(target) => target.starts_with(run),
            Err(_) => {
                std::fs::read(&path).is_ok_and(|text| text.windows(name.len()).any(|part| part == name))
            }
        };
        if ours {
            std::fs::remove_file(&path).map_err(|source| ClusterError::File { path, source })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_name_the_run_directory_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let run = Path::new("/run/of-a-test");
        std::os::unix::fs::symlink(run.join("log"), root.path().join("link")).unwrap();
        std::fs::write(root.path().join("ours"), "{\"ns\": \"/run/of-a-test/ns\"}").unwrap();
        std::fs::write(root.path().join("theirs"), "{\"ns\": \"/run/elsewhere\"}").unwrap();
        remove_naming(root.path(), run).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["theirs"]);
    }
}
