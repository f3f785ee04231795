//! The program `dnnshifter-runtime`: command line, logs, the asynchronous runtime; all else is in the library.

use anyhow::Context;
use clap::Parser;
use dnnshifter_runtime::cli::{Cli, LogFormat};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Most threads for the protocol: reading and writing small requests. Longer inferences have a thread of their own.
const MOST_PROTOCOL_THREADS: usize = 2;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter = log_filter()?;
    let logs = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(std::io::stderr);
    match cli.log_format() {
        LogFormat::Json => {
            logs.json().flatten_event(true).with_span_list(false).finish().with(filter).init();
        }
        LogFormat::Text => logs.finish().with(filter).init(),
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("failed to install the crypto provider: there is one already"))?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(protocol_threads())
        .enable_all()
        .build()
        .context("failed to start the asynchronous runtime")?
        .block_on(dnnshifter_runtime::run(cli))
        .context("the runtime has ended")
}

/// What is logged: a level, or levels by target. Not an `EnvFilter`: its regular expressions take memory on every node.
fn log_filter() -> anyhow::Result<Targets> {
    let default = Targets::new()
        .with_default(LevelFilter::INFO)
        // What goes wrong on the way to the API server is told once by us, not at each attempt by the client.
        .with_target("kube", LevelFilter::OFF);
    match std::env::var("RUST_LOG") {
        Ok(wanted) => {
            let refused = || {
                format!("RUST_LOG is \"{wanted}\", which is no level, or levels by target: info,kube=debug")
            };
            wanted.parse().with_context(refused)
        }
        Err(_) => Ok(default),
    }
}

/// As many as there are processors for them, by affinity and quota: on a single one a second thread would be woken for nothing.
fn protocol_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_PROTOCOL_THREADS)
}
