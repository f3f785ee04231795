//! `dnnshifter-bench`: `make bench-serving` and `make bench-pruning`. Measures on this machine, and writes a report and its page.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use dnnshifter_tests::bench::{
    Programs, cores, echo, page, pruning,
    serving::{self, Extent},
    sessions::{self, Pace},
};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// Measures the runtime and the pruner on this machine.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the programs beside this one, with clients on another core than the server's.
    Serving(Serving),
    /// Measure a part of `serving` alone, and print it as JSON: for who works on what it is about.
    Part(Part),
    /// Measure portfolios of a few seeds, conventional training beside them, the published method, Torch-Pruning and int8, and portfolios of a wider network.
    Pruning(Pruning),
    /// Write the pages of serving and pruning anew, from their reports.
    Page {
        /// Where serving.json and pruning.json are, and serving.md and pruning.md are written.
        #[arg(long, default_value = "docs/benchmarks")]
        output: PathBuf,
    },
    /// Open networks as plain sessions, and say what was seen: what `serving` has a process of its own do.
    #[command(hide = true)]
    Sessions(Sessions),
    /// Answer requests at once, with nothing: what `serving` compares with.
    #[command(hide = true)]
    Echo {
        /// Where to listen.
        address: std::net::SocketAddr,
    },
}

#[derive(Args)]
struct Serving {
    /// Where serving.json and serving.md are written.
    #[arg(long, default_value = "docs/benchmarks")]
    output: PathBuf,
    /// Swaps in all.
    #[arg(long, default_value_t = 10_000)]
    swaps: u64,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Seconds of each load.
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// A short run, to see that it works: its figures say little.
    #[arg(long, conflicts_with_all = ["swaps", "rounds", "seconds"])]
    quick: bool,
    /// Compare with other servers, which `make peers` installs in this folder.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// The library of ONNX Runtime.
    #[arg(long, env = "ORT_DYLIB_PATH", default_value = ".deps/onnxruntime/libonnxruntime.so.1")]
    onnxruntime: PathBuf,
}

#[derive(Args)]
struct Part {
    /// Which.
    name: serving::Part,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Seconds of each load.
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// Swaps in all.
    #[arg(long, default_value_t = 1_000)]
    swaps: u64,
    /// The library of ONNX Runtime.
    #[arg(long, env = "ORT_DYLIB_PATH", default_value = ".deps/onnxruntime/libonnxruntime.so.1")]
    onnxruntime: PathBuf,
}

#[derive(Args)]
struct Pruning {
    /// Where pruning.json and pruning.md are written.
    #[arg(long, default_value = "docs/benchmarks")]
    output: PathBuf,
    /// The folder of Fashion-MNIST.
    #[arg(long, default_value = "/usr/share/datasets/fashion-mnist")]
    dataset: PathBuf,
    /// Portfolios, each from another seed.
    #[arg(long, default_value_t = 5)]
    seeds: u32,
    /// For how many of them, the first, a portfolio of a wider network is made as well.
    #[arg(long, default_value_t = 3)]
    wider_seeds: u32,
    /// Images that are learnt from.
    #[arg(long, default_value_t = 10_000)]
    training_images: u32,
    /// Epochs of dense networks and of conventional training; levels of the published method have half of them.
    #[arg(long, default_value_t = 5)]
    epochs: u32,
    /// Epochs after each removal of channels.
    #[arg(long, default_value_t = 2)]
    fine_tuning_epochs: u32,
    /// A Python with onnxruntime and onnx, to quantise with [default: nothing is quantised].
    #[arg(long)]
    python: Option<PathBuf>,
    /// A Python with torch, torch-pruning and onnx, to compare with [default: nothing is compared].
    #[arg(long)]
    torch_python: Option<PathBuf>,
    /// The library of ONNX Runtime.
    #[arg(long, env = "ORT_DYLIB_PATH", default_value = ".deps/onnxruntime/libonnxruntime.so.1")]
    onnxruntime: PathBuf,
}

#[derive(Args)]
struct Sessions {
    /// The networks.
    networks: Vec<PathBuf>,
    /// Inferences to be timed.
    #[arg(long, default_value_t = 0)]
    count: u32,
    /// So many on one network before the next.
    #[arg(long, default_value_t = 1)]
    in_a_row: u32,
    /// From the beginning of one to the next, in microseconds.
    #[arg(long, default_value_t = 0)]
    period_us: u64,
    /// Poll between them, instead of sleeping.
    #[arg(long)]
    polling: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    dnnshifter_tests::install_crypto_provider();
    dnnshifter_tests::exit_code(run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Serving(arguments) => serving(arguments).await,
        Command::Part(arguments) => part(arguments).await,
        Command::Pruning(arguments) => pruning(arguments),
        Command::Page { output } => {
            let serving = page::page(&report(&output.join("serving.json"))?);
            let pruning = pruning::page::page(&report(&output.join("pruning.json"))?);
            write(&output.join("serving.md"), &serving)?;
            write(&output.join("pruning.md"), &pruning)
        }
        Command::Sessions(Sessions { networks, count, in_a_row, period_us, polling }) => {
            let pace = Pace { count, in_a_row, period: Duration::from_micros(period_us), polling };
            let seen = sessions::look(&networks, pace)?;
            Ok(serde_json::to_writer(std::io::stdout().lock(), &seen)?)
        }
        Command::Echo { address } => echo::serve(address),
    }
}

async fn serving(arguments: Serving) -> Result<()> {
    let Serving { output, swaps, rounds, seconds, quick, peers, onnxruntime } = arguments;
    let (programs, directory) = stage(&onnxruntime)?;
    let extent = if quick {
        Extent { swaps: 1_000, rounds: 2, seconds: 2.0 }
    } else {
        Extent { swaps, rounds: rounds.max(1), seconds }
    };
    cores::take_clients_core()?;
    let report = serving::measure(&programs, directory.path(), extent, peers.as_deref(), &say).await?;
    fs::create_dir_all(&output)?;
    write(&output.join("serving.json"), &(serde_json::to_string_pretty(&report)? + "\n"))?;
    write(&output.join("serving.md"), &page::page(&report))
}

async fn part(arguments: Part) -> Result<()> {
    let Part { name, rounds, seconds, swaps, onnxruntime } = arguments;
    let (programs, directory) = stage(&onnxruntime)?;
    let extent = Extent { swaps, rounds: rounds.max(1), seconds };
    cores::take_clients_core()?;
    let report = serving::measure_part(&programs, directory.path(), extent, name, &say).await?;
    Ok(writeln!(std::io::stdout(), "{report:#}")?)
}

fn report<R: DeserializeOwned>(path: &Path) -> Result<R> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is of another version", path.display()))
}

/// The programs beside this one, and a directory for what they write.
fn stage(onnxruntime: &Path) -> Result<(Programs, TempDir)> {
    let program = std::env::current_exe().context("failed to find this program")?;
    let programs = Programs::beside(&program, onnxruntime)?;
    let directory = tempfile::tempdir().context("failed to make a temporary directory")?;
    Ok((programs, directory))
}

/// What is being done.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn pruning(arguments: Pruning) -> Result<()> {
    let Pruning {
        output,
        dataset,
        seeds,
        wider_seeds,
        training_images,
        epochs,
        fine_tuning_epochs,
        python,
        torch_python,
        onnxruntime,
    } = arguments;
    let (programs, directory) = stage(&onnxruntime)?;
    let seeds = seeds.max(1);
    let wider_seeds = wider_seeds.min(seeds);
    let extent = pruning::Extent { seeds, wider_seeds, training_images, epochs, fine_tuning_epochs };
    let tools = pruning::Tools { programs: &programs, dataset: &dataset, python, torch_python };
    let report = pruning::measure(&tools, directory.path(), extent, say)?;
    fs::create_dir_all(&output)?;
    write(&output.join("pruning.json"), &(serde_json::to_string_pretty(&report)? + "\n"))?;
    write(&output.join("pruning.md"), &pruning::page::page(&report))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
