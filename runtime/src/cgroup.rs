//! What this process may use, as Linux' control groups say: CPU quota, memory limit, and how often it was throttled.
//!
//! Both versions of cgroups are read, also mixed (`cgroups(7)`): a controller that is mounted as version 1 is there, and all
//! others are in the unified hierarchy. A limit may be set on any ancestor, so the tightest one counts. Everything is read
//! below a given root, so that tests can bring files of their own. Nothing here is decided.

mod hierarchy;

use std::{fs, path::Path};

use dnnshifter_portfolio::CpuQuota;

use self::hierarchy::{Controller, Directories, Version};

/// Memory limits from here on mean "none": version 1 writes the largest multiple of a page instead of a word.
const UNLIMITED_BYTES: u64 = 1 << 62;

/// The control groups of this process.
pub(crate) struct Cgroup {
    cpu: Directories,
    memory: Directories,
}

/// What the process may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// CPU time per period, if there is a limit.
    pub(crate) quota: Option<CpuQuota>,
    /// Memory in bytes, if there is a limit.
    pub(crate) memory_bytes: Option<u64>,
}

impl Cgroup {
    /// Finds the control groups of this process; without any, it is without limits.
    pub(crate) fn of_this_process(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let (membership, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
        let directories = |controller| hierarchy::directories(root, controller, &membership, &mounts);
        Self { cpu: directories(Controller::Cpu), memory: directories(Controller::Memory) }
    }

    /// The limits now.
    pub(crate) fn limits(&self) -> Limits {
        let quota = self.cpu.paths.iter().filter_map(|path| quota(self.cpu.version, path));
        let memory = self.memory.paths.iter().filter_map(|path| memory_limit(self.memory.version, path));
        Limits { quota: quota.min_by(|a, b| share(*a).total_cmp(&share(*b))), memory_bytes: memory.min() }
    }

    /// How many periods this process was throttled in so far.
    pub(crate) fn throttled_periods(&self) -> u64 {
        let read = |path: &std::path::PathBuf| fs::read_to_string(path.join("cpu.stat")).ok();
        self.cpu.paths.iter().filter_map(read).filter_map(|stat| throttled(&stat)).sum()
    }
}

/// The part of one CPU that a quota grants.
pub(crate) fn share(quota: CpuQuota) -> f64 {
    quota.quota_us as f64 / quota.period_us.max(1) as f64
}

fn quota(version: Version, directory: &Path) -> Option<CpuQuota> {
    let read = |file: &str| fs::read_to_string(directory.join(file)).ok();
    let (quota, period) = match version {
        Version::One => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
        Version::Two => {
            let text = read("cpu.max")?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        }
    };
    // "max" (version 2) and "-1" (version 1) are no unsigned numbers, and mean that there is no limit.
    let quota_us = quota.trim().parse().ok()?;
    let period_us = period.trim().parse().ok().filter(|period| *period > 0)?;
    Some(CpuQuota { quota_us, period_us })
}

fn memory_limit(version: Version, directory: &Path) -> Option<u64> {
    let file = match version {
        Version::One => "memory.limit_in_bytes",
        Version::Two => "memory.max",
    };
    let text = fs::read_to_string(directory.join(file)).ok()?;
    text.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED_BYTES)
}

fn throttled(stat: &str) -> Option<u64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("nr_throttled "))
        .and_then(|count| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn limits(files: &[(&str, &str)]) -> Limits {
        Cgroup::of_this_process(root(files).path()).limits()
    }

    const V2_MOUNT: &str = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n";

    #[test]
    fn version_two_in_a_container_is_read() {
        let found = limits(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/memory.max", "268435456\n"),
        ]);
        assert_eq!(
            found,
            Limits {
                quota: Some(CpuQuota { quota_us: 50_000, period_us: 100_000 }),
                memory_bytes: Some(256 << 20)
            }
        );
    }

    #[test]
    fn version_one_in_a_container_is_read_though_the_path_is_that_of_the_host() {
        let found = limits(&[
            ("proc/self/cgroup", "4:memory:/kubepods/pod1/c1\n1:cpu,cpuacct:/kubepods/pod1/c1\n0::/\n"),
            (
                "proc/self/mountinfo",
                "31 20 0:27 /kubepods/pod1/c1 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
                 32 20 0:28 /kubepods/pod1/c1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n"),
        ]);
        assert_eq!(
            found,
            Limits {
                quota: Some(CpuQuota { quota_us: 150_000, period_us: 100_000 }),
                memory_bytes: Some(128 << 20)
            }
        );
    }

    #[test]
    fn the_tightest_limit_of_all_ancestors_counts() {
        let found = limits(&[
            ("proc/self/cgroup", "0::/pod/container\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/pod/container/cpu.max", "200000 100000"),
            ("sys/fs/cgroup/pod/cpu.max", "10000 20000"),
            ("sys/fs/cgroup/pod/container/memory.max", "max"),
            ("sys/fs/cgroup/pod/memory.max", "1000"),
        ]);
        assert_eq!(
            found,
            Limits {
                quota: Some(CpuQuota { quota_us: 10_000, period_us: 20_000 }),
                memory_bytes: Some(1000)
            }
        );
    }

    #[test]
    fn no_limit_is_told_apart_from_a_limit() {
        let two = [
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
        ];
        let one = [
            ("proc/self/cgroup", "2:cpu:/\n4:memory:/\n"),
            (
                "proc/self/mountinfo",
                "31 20 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n32 20 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limits(&two), Limits::default());
        assert_eq!(limits(&one), Limits::default());
        assert_eq!(limits(&[]), Limits::default());
    }

    #[test]
    fn throttled_periods_are_counted_in_both_versions() {
        let root = root(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/cpu.stat", "usage_usec 5\nnr_periods 100\nnr_throttled 7\nthrottled_usec 9\n"),
        ]);
        assert_eq!(Cgroup::of_this_process(root.path()).throttled_periods(), 7);
    }
}
