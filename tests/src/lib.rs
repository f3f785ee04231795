//! What whole-system tests, the demo and the benchmarks share: an open-loop load generator and what it measures.
//!
//! Nothing of the product depends on this crate. The cluster itself is `dnnshifter-cluster`, in the folder beside.

use std::{io::Write, process::ExitCode};

pub mod bench;
pub mod demo;
pub mod images;
pub mod load;
pub mod process;

/// Installs the process' crypto provider, without which no HTTP client can be built. To be called first in `main`.
pub fn install_crypto_provider() {
    // It fails only where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What a program ends with: an error is printed with its causes, in one line.
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed terminal cannot be told.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
