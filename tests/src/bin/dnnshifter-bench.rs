//! `dnnshifter-bench`: `make bench-serving`. Measures the runtime on this machine and writes the report and its page.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use dnnshifter_tests::bench::{
    Programs, page,
    serving::{self, Extent},
    sessions,
};

/// Measures the runtime on this machine.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Memory, swaps under load, start and overload, of the programs beside this one.
    Serving {
        /// Where serving.json and serving.md are written.
        #[arg(long, default_value = "docs/benchmarks")]
        output: PathBuf,
        /// Swaps in all.
        #[arg(long, default_value_t = 10_000)]
        swaps: u64,
        /// Rounds.
        #[arg(long, default_value_t = 5)]
        rounds: u64,
        /// Seconds of each load that is measured without swaps.
        #[arg(long, default_value_t = 8.0)]
        seconds: f64,
        /// The library of ONNX Runtime.
        #[arg(long, env = "ORT_DYLIB_PATH", default_value = ".deps/onnxruntime/libonnxruntime.so.1")]
        onnxruntime: PathBuf,
    },
    /// Open networks as plain sessions, and say what was seen: what `serving` has a process of its own do.
    #[command(hide = true)]
    Sessions {
        /// The networks.
        networks: Vec<PathBuf>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    dnnshifter_tests::install_crypto_provider();
    dnnshifter_tests::exit_code(run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Serving { output, swaps, rounds, seconds, onnxruntime } => {
            let program = std::env::current_exe().context("failed to find this program")?;
            let programs = Programs::beside(&program, &onnxruntime)?;
            let directory = tempfile::tempdir().context("failed to make a temporary directory")?;
            let extent = Extent { swaps, rounds: rounds.max(1), seconds };
            let say = |text: &str| drop(writeln!(std::io::stderr(), "{text}"));
            let report = serving::measure(&programs, directory.path(), extent, say).await?;
            fs::create_dir_all(&output)?;
            write(&output.join("serving.json"), &(serde_json::to_string_pretty(&report)? + "\n"))?;
            write(&output.join("serving.md"), &page::page(&report))
        }
        Command::Sessions { networks } => {
            let seen = sessions::look(&networks)?;
            Ok(serde_json::to_writer(std::io::stdout().lock(), &seen)?)
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
