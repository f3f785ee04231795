//! The batch job of DNNShifter: a model and data in; trained, pruned, verified and published variants out. It knows nothing
//! of Kubernetes: a plan comes as a file, the outcome goes into a file.
//!
//! [`command`] is the command line. What the commands are made of, in the order of the data: [`plan`], [`architecture`] and
//! [`data`]; [`interpreter`] and [`training`]; [`engine`] and [`latency`]; [`structured`], [`magnitude`], [`selection`] and [`describe`],
//! which [`study`] puts together, while [`checkpoint`] keeps what is finished; [`variant`], [`report`], [`publish`], [`outcome`], [`failure`]; [`durable`]
//! writes files that survive a power cut; [`external`] reads weights that are beside a model.
//! [`verify`] compares two networks by what they compute.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use clap::Parser;
use signal_hook::consts::SIGTERM;

use command::{Command, CommandLine, LogFormat, RunArguments};
use failure::{Failure, explain};

mod architecture;
mod checkpoint;
mod command;
mod data;
mod describe;
mod durable;
mod engine;
mod external;
mod failure;
mod interpreter;
mod latency;
mod magnitude;
mod mapped;
mod outcome;
mod plan;
mod publish;
mod report;
mod selection;
mod structured;
mod study;
mod training;
mod variant;
mod verify;

/// 128 and the number of SIGTERM, as shells write it.
const STOPPED: i32 = 143;

#[tokio::main]
async fn main() -> ExitCode {
    let line = CommandLine::parse();
    start_log(line.log_format);
    // Of the two crypto providers that rustls knows, this one; a second call would only say that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The first process of a container does not die of SIGTERM by itself. Everything that is written is whole at any moment.
    let stop = Arc::new(AtomicBool::new(true));
    if let Err(error) = signal_hook::flag::register_conditional_shutdown(SIGTERM, STOPPED, stop) {
        tracing::warn!(%error, "SIGTERM will not stop this process");
    }
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
        Command::Run(arguments) => run(&arguments).await,
        Command::Model(arguments) => blocking(move || command::model::execute(&arguments)).await,
        Command::Describe(arguments) => blocking(move || command::describe::execute(&arguments)).await,
        Command::Compact(arguments) => blocking(move || command::compact::execute(&arguments)).await,
        Command::Verify(arguments) => blocking(move || command::verify::execute(&arguments)).await,
        Command::Publish(arguments) => command::publish::execute(&arguments).await,
    }
}

/// Runs a plan and says how it ended: on standard output, and where Kubernetes looks for it.
async fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let file = outcome::termination_file(arguments.termination_message.as_deref());
    let ended = command::run::execute(arguments).await;
    let text = match &ended {
        Ok(None) => return Ok(()),
        Ok(Some(outcome)) => serde_json::to_string(outcome).map_err(Failure::Serialize)?,
        Err(failure) => explain(failure),
    };
    if let Some(path) = file {
        outcome::write(&path, &text).map_err(|source| Failure::Write { path, source })?;
    }
    ended?;
    writeln!(std::io::stdout(), "{text}").map_err(Failure::Print)
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
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match format {
        LogFormat::Text => log.compact().init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
