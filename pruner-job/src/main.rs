//! The batch job of DNNShifter: a model and data in; trained, pruned, verified and published variants out. It knows nothing
//! of Kubernetes: a plan comes as a file, the outcome goes into a file.
//!
//! [`command`] is the command line. What the commands are made of, in the order of the data: [`architecture`],
//! [`interpreter`], [`engine`], [`latency`], [`describe`], [`variant`], [`publish`], [`failure`].

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;

use command::{Command, CommandLine, LogFormat};
use failure::{Failure, explain};

mod architecture;
mod command;
mod describe;
mod engine;
mod failure;
mod interpreter;
mod latency;
mod publish;
mod variant;

#[tokio::main]
async fn main() -> ExitCode {
    let line = CommandLine::parse();
    start_log(line.log_format);
    // Of the two crypto providers that rustls knows, this one; a second call would only say that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match execute(line.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{}", explain(&failure));
            ExitCode::from(failure.class() as u8)
        }
    }
}

async fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Model(arguments) => blocking(move || command::model::execute(&arguments)).await,
        Command::Describe(arguments) => blocking(move || command::describe::execute(&arguments)).await,
        Command::Publish(arguments) => command::publish::execute(&arguments).await,
    }
}

/// Computes where it does not hold up the registry's connections and signals.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(Failure::Stopped)?
}

fn start_log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,ort=warn,oci_client=warn"));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => log.compact().init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
