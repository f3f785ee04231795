//! A control group for one server at a time: CPU quota and memory limit, in both versions of cgroups.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

/// Where cgroups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// The period of a quota, in microseconds: the kernel's default, and Kubernetes'.
pub(super) const PERIOD_US: u64 = 100_000;
/// The kernel takes a dead process out of its group a moment later.
const ATTEMPTS_TO_REMOVE: u32 = 200;

/// The group; it is removed with this.
pub(super) struct Group {
    version: Version,
    cpu: PathBuf,
    memory: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// Makes the group `name`. It takes root, and cgroups that are not a container's.
    pub(super) fn create(name: &str) -> Result<Self> {
        let mount = Path::new(MOUNT);
        let group = if mount.join("cgroup.controllers").is_file() {
            let control = mount.join("cgroup.subtree_control");
            fs::write(&control, "+cpu +memory")
                .with_context(|| format!("failed to write {}", control.display()))?;
            let path = mount.join(name);
            Self { version: Version::Two, cpu: path.clone(), memory: path }
        } else {
            let path = |controller: &str| mount.join(controller).join(name);
            Self { version: Version::One, cpu: path("cpu"), memory: path("memory") }
        };
        for path in [&group.cpu, &group.memory] {
            fs::create_dir_all(path).with_context(|| format!("failed to make {}", path.display()))?;
        }
        Ok(group)
    }

    /// CPU time for each period, in microseconds; `None` is no limit.
    pub(super) fn limit_cpu(&self, quota_us: Option<u64>) -> Result<()> {
        match self.version {
            Version::One => {
                let quota = quota_us.map_or_else(|| "-1".to_owned(), |quota| quota.to_string());
                write(&self.cpu.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
                write(&self.cpu.join("cpu.cfs_quota_us"), &quota)
            }
            Version::Two => {
                let quota = quota_us.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
                write(&self.cpu.join("cpu.max"), &format!("{quota} {PERIOD_US}"))
            }
        }
    }

    /// All memory, pages of files that the group's processes were the first to read included.
    pub(super) fn limit_memory(&self, bytes: u64) -> Result<()> {
        let file = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        write(&self.memory.join(file), &bytes.to_string())
    }

    /// The periods in which its processes had to wait, so far.
    pub(super) fn throttled_periods(&self) -> Result<u64> {
        let path = self.cpu.join("cpu.stat");
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let count = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        count.and_then(|count| count.trim().parse().ok()).context("cpu.stat has no nr_throttled")
    }

    /// A command that runs `program` in the group from its first moment on.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        // The paths and the program are arguments, not text of the script.
        command.args(["-euc", "echo $$ > \"$1\"; echo $$ > \"$2\"; shift 2; exec \"$@\"", "sh"]);
        command.args([self.cpu.join("cgroup.procs"), self.memory.join("cgroup.procs")]).arg(program);
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for path in [&self.cpu, &self.memory] {
            for _ in 0..ATTEMPTS_TO_REMOVE {
                if fs::remove_dir(path).is_ok() || !path.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("failed to write {value} to {}", path.display()))
}
