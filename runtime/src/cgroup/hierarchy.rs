//! Where the control groups of this process are: from `/proc/self/cgroup` and `/proc/self/mountinfo` to directories.

use std::path::{Component, Path, PathBuf};

/// A controller that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Cpu,
    Memory,
}

/// The version of the hierarchy that a controller is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The directories of one controller, from that of this process up to the mount point.
pub(super) struct Directories {
    pub(super) version: Version,
    pub(super) paths: Vec<PathBuf>,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

/// A mounted hierarchy: which part of it (`root`) is seen where (`point`).
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
}

/// Finds the directories of `controller` below `root`, by the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
pub(super) fn directories(
    root: &Path,
    controller: Controller,
    membership: &str,
    mounts: &str,
) -> Directories {
    if let Some(mount) = mounted(mounts, |kind, options| kind == "cgroup" && lists(options, controller)) {
        let path = member(membership, |controllers| lists(controllers, controller));
        return Directories { version: Version::One, paths: paths(root, &mount, path) };
    }
    let unified = mounted(mounts, |kind, _| kind == "cgroup2");
    let path = member(membership, str::is_empty);
    let paths = unified.map(|mount| paths(root, &mount, path)).unwrap_or_default();
    Directories { version: Version::Two, paths }
}

fn lists(names: &str, controller: Controller) -> bool {
    names.split(',').any(|name| name == controller.name())
}

/// A line of `proc_pid_mountinfo(5)`: `36 35 98:0 ROOT POINT OPTIONS [TAG]... - TYPE SOURCE SUPER_OPTIONS`.
fn mounted(mounts: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<Mount<'_>> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut kind_and_options = after.split(' ');
        let (kind, options) = (kind_and_options.next()?, kind_and_options.nth(1)?);
        let mut fields = before.split(' ').skip(3);
        let mount = Mount { root: fields.next()?, point: fields.next()? };
        wanted(kind, options).then_some(mount)
    })
}

/// A line of `/proc/self/cgroup`: `ID:CONTROLLERS:PATH`, without controllers for the unified hierarchy.
fn member(membership: &str, wanted: impl Fn(&str) -> bool) -> &str {
    let path = membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        wanted(controllers).then_some(path)
    });
    path.unwrap_or("/")
}

fn paths(root: &Path, mount: &Mount<'_>, path: &str) -> Vec<PathBuf> {
    let point = root.join(mount.point.trim_start_matches('/'));
    // In a container the mount shows our own group as its root, whatever path the host has for it.
    let below = Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new(""));
    let names: Vec<_> = below.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    (0..=names.len())
        .rev()
        .map(|depth| names.iter().take(depth).fold(point.clone(), |path, name| path.join(name)))
        .filter(|path| path.is_dir())
        .collect()
}
