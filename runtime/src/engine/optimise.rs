//! Optimising a network once, into a file whose weights can be mapped.
//!
//! It is done by another process, of this same program: optimising takes four times the weights in memory, of which an
//! allocator gives back only a part, and a network that makes the engine crash must not end the process that serves.

use std::{
    path::Path,
    process::{Command, Stdio},
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

/// Optimises `network` for this machine, and writes it to `directory`. The work of the other process.
pub(crate) fn optimise(network: &Path, directory: &Path) -> Result<(), EngineError> {
    let most = Rlimit { current: Some(MOST_CPU_SECONDS), maximum: Some(MOST_CPU_SECONDS) };
    if let Err(error) = setrlimit(Resource::Cpu, most) {
        tracing::warn!(%error, "failed to limit the time of optimising");
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
    let ended = Command::new(program)
        .arg(COMMAND)
        .args([network, directory])
        .stdin(Stdio::null())
        .output()
        .map_err(|source| EngineError::Optimise { path: path(), source: source.into() })?;
    match ended.status.code() {
        Some(0) => Ok(()),
        Some(_) => {
            let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
            Err(EngineError::Optimise { path: path(), source: said.into() })
        }
        None => Err(EngineError::Died { path: path(), status: ended.status.to_string() }),
    }
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
}
