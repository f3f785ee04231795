//! The program `dnnshifter-runtime`: command line, logs, the asynchronous runtime; all else is in the library.

use anyhow::Context;
use clap::Parser;
use dnnshifter_runtime::cli::{Cli, LogFormat};
use tracing_subscriber::EnvFilter;

/// Most threads for the protocol: reading and writing small requests. Longer inferences have a thread of their own.
const MOST_PROTOCOL_THREADS: usize = 2;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // What goes wrong on the way to the API server is told once by us, not at each attempt by the client.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube=off"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match cli.log_format() {
        LogFormat::Json => logs.json().flatten_event(true).with_span_list(false).init(),
        LogFormat::Text => logs.init(),
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

/// As many as there are processors for them, by affinity and quota: on a single one a second thread would be woken for nothing.
fn protocol_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_PROTOCOL_THREADS)
}
