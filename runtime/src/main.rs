//! The program `dnnshifter-runtime`: command line, logs, the asynchronous runtime; all else is in the library.

use anyhow::Context;
use clap::Parser;
use dnnshifter_runtime::cli::{Cli, LogFormat};
use tracing_subscriber::{
    filter::{LevelFilter, ParseError, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Most threads for the protocol: reading and writing small requests. Longer inferences have a thread of their own.
const MOST_PROTOCOL_THREADS: usize = 2;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let wanted = std::env::var("RUST_LOG").ok();
    let (filter, refused) = log_filter(wanted.as_deref());
    let logs = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    match cli.log_format() {
        LogFormat::Json => logs.with(lines.json().flatten_event(true).with_span_list(false)).init(),
        LogFormat::Text => logs.with(lines).init(),
    }
    if let Some(error) = refused {
        tracing::warn!(%error, "RUST_LOG is no level, nor levels by target such as info,kube=debug; the default holds");
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

/// What is logged, by default or as `RUST_LOG` wants it: a level, or levels by target; and why that cannot be. Not an `EnvFilter`: its
/// regular expressions take memory on every node.
fn log_filter(wanted: Option<&str>) -> (Targets, Option<ParseError>) {
    let parts = wanted.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    let wanted = parts.collect::<Vec<_>>().join(",");
    let default = Targets::new()
        .with_default(LevelFilter::INFO)
        // What goes wrong on the way to the API server is told once by us, not at each attempt by the client.
        .with_target("kube", LevelFilter::OFF);
    match wanted.parse() {
        _ if wanted.is_empty() => (default, None),
        Ok(filter) => (filter, None),
        Err(error) => (default, Some(error)),
    }
}

/// As many as there are processors for them, by affinity and quota: on a single one a second thread would be woken for nothing.
fn protocol_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_PROTOCOL_THREADS)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_is_logged_is_a_level_or_levels_by_target_and_else_the_default() {
        let logs = |wanted, target, level| log_filter(wanted).0.would_enable(target, &level);
        assert!(logs(None, "dnnshifter_runtime", Level::INFO) && !logs(None, "kube::client", Level::ERROR));
        assert!(logs(Some("debug,"), "dnnshifter_runtime", Level::DEBUG));
        assert!(logs(Some("warn, kube=debug"), "kube::client", Level::DEBUG));
        assert!(!logs(Some("warn, kube=debug"), "dnnshifter_runtime", Level::INFO));
        for empty in ["", " ,"] {
            assert!(logs(Some(empty), "dnnshifter_runtime", Level::INFO));
        }
        let (filter, refused) = log_filter(Some("info,a=b=c"));
        assert!(refused.is_some() && filter.would_enable("dnnshifter_runtime", &Level::INFO));
    }
}
