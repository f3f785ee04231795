//! The cluster's long-lived processes: started apart from us, found again by pid and start time, ended by pid.
//!
//! A pid alone does not name a process, as the machine gives it away again; with the time of its start it does.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::component::Component;
use crate::layout::Layout;

/// How long a process may take to end when asked: the API server drains its connections.
const GRACE: Duration = Duration::from_secs(5);
/// How long the kernel may take to end a killed process: its memory and mounts are released first.
const LAST_GRACE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// Why a process does not run, or still does.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("failed to start {name}")]
    Start { name: String, source: std::io::Error },
    #[error("failed to write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to end {name}: process {pid} does not go away")]
    Lasting { name: String, pid: u32 },
    #[error("failed to start {name}: it already runs as process {pid}")]
    Running { name: String, pid: u32 },
}

/// A process that was or is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Ticks since the machine's start.
    started: u64,
}

/// Starts a component in its namespace and session, with its output in its log.
pub(crate) fn start(
    layout: &Layout,
    component: &Component,
    path: &std::ffi::OsStr,
) -> Result<(), ProcessError> {
    let name = component.name.clone();
    if let Some(process) = find(layout, &name)? {
        return Err(ProcessError::Running { name, pid: process.pid });
    }
    let log = layout.logs().join(format!("{name}.log"));
    let output = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(|source| ProcessError::Write { path: log, source })?;
    let failed = |source| ProcessError::Start { name: name.clone(), source };
    let errors = output.try_clone().map_err(failed)?;
    let mut net = std::ffi::OsString::from("--net=");
    net.push(component.place.namespace_file());
    // Neither setsid nor nsenter forks here: the child's pid is the component's.
    let child = Command::new("setsid")
        .arg("nsenter")
        .arg(net)
        .arg("--")
        .arg(component.program)
        .args(&component.arguments)
        .envs(component.environment.iter().copied())
        .env("PATH", path)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(failed)?;
    let started = start_time(child.id()).unwrap_or_default();
    let file = pid_file(layout, &name);
    std::fs::write(&file, format!("{} {started}\n", child.id()))
        .map_err(|source| ProcessError::Write { path: file, source })
}

/// The component's process, if it lives.
pub(crate) fn find(layout: &Layout, name: &str) -> Result<Option<Process>, ProcessError> {
    let path = pid_file(layout, name);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| ProcessError::Read { path, source })?,
    };
    let mut numbers = text.split_whitespace();
    let pid = numbers.next().and_then(|word| word.parse().ok());
    let started = numbers.next().and_then(|word| word.parse().ok());
    Ok(pid.zip(started).map(|(pid, started)| Process { pid, started }).filter(|process| process.lives()))
}

/// Ends a component: asks if `gently`, waits, then insists. One that does not run is fine.
pub(crate) fn stop(layout: &Layout, name: &str, gently: bool) -> Result<(), ProcessError> {
    if let Some(process) = find(layout, name)? {
        process.end(name, gently)?;
    }
    let path = pid_file(layout, name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| ProcessError::Write { path, source }),
    }
}

/// The names of all components that were started and not stopped.
pub(crate) fn known(layout: &Layout) -> Vec<String> {
    let entries = std::fs::read_dir(layout.pids()).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Whether any component's process lives.
pub(crate) fn any_lives(layout: &Layout) -> Result<bool, ProcessError> {
    for name in known(layout) {
        if find(layout, &name)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Process {
    /// The process that has this pid now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        start_time(pid).map(|started| Self { pid, started })
    }

    pub(crate) fn lives(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Ends it: asks if `gently`, waits, then insists.
    pub(crate) fn end(self, name: &str, gently: bool) -> Result<(), ProcessError> {
        if gently {
            self.signal(Signal::TERM);
            if self.gone_within(GRACE) {
                return Ok(());
            }
        }
        self.signal(Signal::KILL);
        if self.gone_within(LAST_GRACE) {
            return Ok(());
        }
        Err(ProcessError::Lasting { name: name.to_owned(), pid: self.pid })
    }

    pub(crate) fn signal(self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw).filter(|_| self.lives()) {
            // One that has just ended needs no signal.
            let _ = kill_process(pid, signal);
        }
    }

    pub(crate) fn gone_within(self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while self.lives() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

/// When a living process started; none for one that is only waiting to be reaped.
fn start_time(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&text)
}

/// proc(5): the second field is a name in parentheses and may hold anything; state is the third, start the 22nd.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

fn pid_file(layout: &Layout, name: &str) -> PathBuf {
    let pids: &Path = &layout.pids();
    pids.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "12 (a) b) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        assert_eq!(parse_start_time(STAT), Some(4711));
    }

    #[test]
    fn a_zombie_does_not_live() {
        assert_eq!(parse_start_time(&STAT.replace(" S ", " Z ")), None);
    }

    #[test]
    fn a_process_is_ended_and_known_to_be_gone() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.lives());
        process.end("sleep", true).unwrap();
        assert!(!process.lives());
        child.wait().unwrap();
    }

    #[test]
    fn a_pid_that_was_given_away_again_is_another_process() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.lives());
        assert!(!Process { started: own.started + 1, ..own }.lives());
    }
}
