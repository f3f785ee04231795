//! What the machine brings: its size, the rights we run with, and the programs from Debian packages.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::component::settings::Machine;
use crate::config::Config;

/// Programs that are used, and the Debian packages that bring them (`debian-packages.txt`).
const PROGRAMS: [(&str, &str); 15] = [
    ("apt-get", "apt"),
    ("buildah", "buildah"),
    ("conntrack", "conntrack"),
    ("docker-registry", "docker-registry"),
    ("dpkg-deb", "dpkg"),
    ("gcc", "build-essential"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("runc", "runc"),
    ("setsid", "util-linux"),
    ("sysctl", "procps"),
    ("/usr/lib/cni/portmap", "containernetworking-plugins"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
];

/// Inotify instances that one node's kubelet, containerd and shims hold: nine were seen.
const INOTIFY_OF_A_NODE: u64 = 10;
/// Those that the hub and the machine's other programs may hold.
const INOTIFY_OF_OTHERS: u64 = 16;

/// Why this machine cannot carry a cluster.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("a cluster needs root: namespaces, mounts and cgroups are made")]
    NotRoot,
    #[error("these programs are missing: {programs}; `make deps` or `apt-get install {packages}`")]
    Programs { programs: String, packages: String },
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "{nodes} nodes need {wanted} inotify instances, of {has}: `sysctl fs.inotify.max_user_instances={wanted}`"
    )]
    Inotify { nodes: u64, wanted: u64, has: u64 },
    #[error("failed to read a number in {path}")]
    Number { path: PathBuf },
    #[error("node {node} wants {wanted} of {what}, but the machine has {has}")]
    TooSmall { node: String, what: &'static str, wanted: u64, has: u64 },
}

/// Checks that a cluster can be started, before anything is changed.
pub(crate) fn check(config: &Config) -> Result<Machine, MachineError> {
    if !rustix::process::geteuid().is_root() {
        return Err(MachineError::NotRoot);
    }
    check_programs()?;
    check_inotify(config.all().count() as u64)?;
    let machine = measure()?;
    for (_, node) in config.all() {
        let cpu = (node.cpu_millicores, machine.cpu_millicores, "thousandths of a core");
        let memory = (node.memory_mebibytes, machine.memory_kibibytes / 1024, "MiB of memory");
        for (wanted, has, what) in [cpu, memory] {
            if let Some(wanted) = wanted.filter(|wanted| *wanted > has) {
                return Err(MachineError::TooSmall { node: node.name.clone(), what, wanted, has });
            }
        }
    }
    Ok(machine)
}

/// `PATH` for the cluster's processes: our binaries, then the caller's, then where Debian keeps administrators' programs.
pub(crate) fn search_path(binaries: &[PathBuf]) -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let all = binaries
        .iter()
        .cloned()
        .chain(std::env::split_paths(&inherited))
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
    // Fails only on a folder with a colon in its name, which then could not be named in PATH by anyone.
    std::env::join_paths(all).unwrap_or(inherited)
}

fn check_programs() -> Result<(), MachineError> {
    let path = search_path(&[]);
    let exists = |program: &str| {
        Path::new(program).is_absolute() && Path::new(program).exists()
            || std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|(program, _)| !exists(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = |words: Vec<&str>| words.join(" ");
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let programs = list(missing.iter().map(|(program, _)| *program).collect());
    Err(MachineError::Programs { programs, packages: list(packages) })
}

/// Without enough of them kubelets and containerds end at start with "too many open files".
fn check_inotify(nodes: u64) -> Result<(), MachineError> {
    let path = PathBuf::from("/proc/sys/fs/inotify/max_user_instances");
    let text =
        std::fs::read_to_string(&path).map_err(|source| MachineError::Read { path: path.clone(), source })?;
    let has = text.trim().parse().map_err(|_| MachineError::Number { path })?;
    let wanted = nodes * INOTIFY_OF_A_NODE + INOTIFY_OF_OTHERS;
    if has < wanted { Err(MachineError::Inotify { nodes, wanted, has }) } else { Ok(()) }
}

fn measure() -> Result<Machine, MachineError> {
    let path = PathBuf::from("/proc/meminfo");
    let text =
        std::fs::read_to_string(&path).map_err(|source| MachineError::Read { path: path.clone(), source })?;
    let total = |line: &str| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok();
    let memory_kibibytes = text.lines().find_map(total).ok_or(MachineError::Number { path })?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    Ok(Machine { cpu_millicores: cores * 1000, memory_kibibytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_comes_from_a_package_that_is_essential_or_listed() {
        let listed = include_str!("../debian-packages.txt");
        for (program, package) in PROGRAMS {
            let essential = ["apt", "dpkg", "procps", "util-linux"].contains(&package);
            assert!(essential || listed.lines().any(|line| line == package), "{program} of {package}");
        }
    }
}
