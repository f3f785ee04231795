//! Optimising a network once, into a file whose weights can be mapped.
//!
//! It is done by another process, of this same program: optimising takes four times the weights in memory, of which an
//! allocator gives back only a part, and a network that makes the engine crash must not end the process that serves.

use std::{
    io::{self, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use ort::{
    environment::Environment,
    session::{Session, builder::GraphOptimizationLevel},
};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::{
    EngineError,
    optimised::{NETWORK_FILE, WEIGHTS_FILE},
};

/// The subcommand of this program that optimises.
pub(crate) const COMMAND: &str = "optimise";

/// Weights of fewer bytes stay in the network's file.
const LEAST_MAPPED_BYTES: &str = "1024";

/// The other process ends after so much CPU time: optimising takes seconds, and what never ends would keep a pod from starting.
const MOST_CPU_SECONDS: u64 = 600;

/// The same on the clock, for what waits and never computes; so long, since a small quota stretches the time on the CPU.
const MOST_TIME: Duration = Duration::from_hours(1);

/// So much of what the other process says is kept.
const MOST_SAID: u64 = 16 * 1024;

/// Optimises `network` for this machine, and writes it to `directory`. The work of the other process.
pub(crate) fn optimise(network: &Path, directory: &Path) -> Result<(), EngineError> {
    let most = Rlimit { current: Some(MOST_CPU_SECONDS), maximum: Some(MOST_CPU_SECONDS) };
    if let Err(error) = setrlimit(Resource::Cpu, most) {
        tracing::warn!(%error, "failed to limit the time of optimising");
    }
    let end = || {
        thread::sleep(MOST_TIME);
        tracing::error!(seconds = MOST_TIME.as_secs(), "optimising does not end");
        std::process::abort();
    };
    if let Err(error) = thread::Builder::new().spawn(end) {
        tracing::warn!(%error, "failed to limit the time of optimising on the clock");
    }
    here(&super::onnx::environment(1)?, network, directory)
}

/// The same in this process.
pub(super) fn here(environment: &Environment, network: &Path, directory: &Path) -> Result<(), EngineError> {
    write(environment, network, directory)
        .map(drop)
        .map_err(|source| EngineError::Open { path: network.display().to_string(), source: source.into() })
}

fn write(environment: &Environment, network: &Path, directory: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_optimized_model_path(directory.join(NETWORK_FILE))?
        .with_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS_FILE)?
        .with_config_entry(
            "session.optimized_model_external_initializers_min_size_in_bytes",
            LEAST_MAPPED_BYTES,
        )?
        .commit_from_file(network)
}

/// Has `program` do it, and waits. `Died` if that process did not end by itself; any other failure is the engine's word.
pub(super) fn in_another_process(
    program: &Path,
    network: &Path,
    directory: &Path,
) -> Result<(), EngineError> {
    let path = || network.display().to_string();
    let failed = |source: io::Error| EngineError::Optimise { path: path(), source: source.into() };
    let child = Command::new(program)
        .arg(COMMAND)
        .args([network, directory])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (status, said) = ended(child).map_err(failed)?;
    match status.code() {
        Some(0) => Ok(()),
        Some(_) => Err(EngineError::Optimise { path: path(), source: said.into() }),
        None => Err(EngineError::Died { path: path(), status: format!("{status} {said}").trim().to_owned() }),
    }
}

/// How it ended, and the beginning of what it said; the rest is read and thrown away.
fn ended(mut child: Child) -> io::Result<(ExitStatus, String)> {
    let mut said = Vec::new();
    if let Some(mut errors) = child.stderr.take() {
        let mut read = || {
            errors.by_ref().take(MOST_SAID).read_to_end(&mut said)?;
            io::copy(&mut errors, &mut io::sink())
        };
        if let Err(error) = read() {
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
    }
    Ok((child.wait()?, String::from_utf8_lossy(&said).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_says_no_or_cannot_be_started_is_no_crash() {
        for program in ["/bin/false", "/nowhere"] {
            let failed = in_another_process(program.as_ref(), "n".as_ref(), "d".as_ref()).unwrap_err();
            assert!(matches!(failed, EngineError::Optimise { .. }), "{failed}");
        }
    }

    #[test]
    fn of_a_process_that_says_too_much_the_beginning_is_kept() {
        let talks = "yes begin | head -c 4000000 >&2; exit 3";
        let child = Command::new("/bin/sh").args(["-c", talks]).stderr(Stdio::piped()).spawn().unwrap();
        let (status, said) = ended(child).unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(said.starts_with("begin\nbegin"));
        assert!(said.len() as u64 <= MOST_SAID);
    }
}
