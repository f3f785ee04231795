//! `dnnshifter-operator`: command line, log, crypto provider; everything else is in the library.

use clap::{Parser, Subcommand};
use dnnshifter_operator::{run, settings::Settings, telemetry};

/// The control plane of DNNShifter.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watches portfolios and makes them so, until a signal.
    Run(Box<Settings>),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Command::Run(settings) = Cli::parse().command;
    telemetry::init_logging();
    // One provider only: with a second one in the process the client of the API server panics.
    let installed = rustls::crypto::ring::default_provider().install_default();
    anyhow::ensure!(installed.is_ok(), "another crypto provider is installed already");
    run::run(*settings).await?;
    Ok(())
}
