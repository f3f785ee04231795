//! Which core runs what: the server has one to itself, and the clients have the other.
//!
//! The thread that measures is bound to the clients' core; what it starts inherits the core that it is bound to at that moment.

use std::{
    fs::File,
    io::{Read, Seek},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

const SERVER: usize = 0;
const CLIENTS: usize = 1;

/// Between two looks whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Binds the calling thread to the clients' core.
pub fn take_clients_core() -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores >= 2, "the server and its clients need a core each, but there is one");
    bind(CLIENTS)
}

/// Starts a process on the server's core.
pub(super) fn spawn(command: &mut Command) -> Result<Child> {
    let program = command.get_program().display().to_string();
    bind(SERVER)?;
    let child = command.spawn();
    bind(CLIENTS)?;
    child.with_context(|| format!("failed to start {program}"))
}

/// Runs a process on the server's core to its end, and gives what it printed. It is killed if it takes longer than `patience`.
pub(super) fn output(command: &mut Command, patience: Duration) -> Result<Output> {
    // Files, as nobody would read a pipe until the end.
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = spawn(command)?;
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("it did not end within {} s", patience.as_secs());
        }
        thread::sleep(LOOK);
    };
    Ok(Output { status, stdout: read(&mut stdout)?, stderr: read(&mut stderr)? })
}

fn read(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn bind(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("failed to bind to core {core}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(script: &str, patience: Duration) -> Result<Output> {
        output(Command::new("sh").args(["-c", script]), patience)
    }

    #[test]
    fn a_process_that_does_not_end_is_killed_and_one_that_does_is_heard() {
        let said = ended("echo out; echo err >&2", Duration::from_mins(1)).unwrap();
        assert_eq!((said.stdout.as_slice(), said.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        let refused = ended("while :; do :; done", Duration::ZERO).unwrap_err();
        assert_eq!(refused.to_string(), "it did not end within 0 s");
    }
}
