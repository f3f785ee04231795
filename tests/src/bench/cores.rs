//! Which core runs what: the server has one to itself, and the clients have the other.
//!
//! The thread that measures is bound to the clients' core; what it starts inherits the core that it is bound to at that moment.

use std::process::{Child, Command, Output};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

const SERVER: usize = 0;
const CLIENTS: usize = 1;

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

/// Runs a process on the server's core to its end, and gives what it printed.
pub(super) fn output(command: &mut Command) -> Result<Output> {
    use std::process::Stdio;
    let child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    Ok(child.wait_with_output()?)
}

fn bind(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("failed to bind to core {core}"))
}
