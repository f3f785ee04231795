//! How the operator was told to run: command line and environment, parsed once.

use std::{net::SocketAddr, time::Duration};

use clap::{ArgAction, Args};

/// The operator's settings; see `--help`.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Image of the runtime that runs on each node, by digest: its digest is part of every revision that is pruned here.
    #[arg(long, env = "DNNSHIFTER_RUNTIME_IMAGE", value_parser = image_by_digest)]
    pub runtime_image: String,

    /// Image of the pruning Job.
    #[arg(long, env = "DNNSHIFTER_PRUNER_IMAGE")]
    pub pruner_image: String,

    /// Prometheus that knows the load, for portfolios that name none: `http://prometheus.monitoring:9090`.
    #[arg(long, env = "DNNSHIFTER_PROMETHEUS_URL")]
    pub prometheus_url: Option<String>,

    /// A registry (`HOST:PORT`) that is spoken to in plain HTTP. May be given several times, or separated by commas.
    #[arg(long = "plain-http-registry", env = "DNNSHIFTER_PLAIN_HTTP_REGISTRIES", value_delimiter = ',')]
    pub plain_http_registries: Vec<String>,

    /// A namespace whose portfolios are worked on. May be given several times, or separated by commas; if never, all namespaces are.
    #[arg(long = "watch-namespace", env = "DNNSHIFTER_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// `ClusterRole` that is bound to the runtime's `ServiceAccount` in each namespace with a portfolio.
    #[arg(long, env = "DNNSHIFTER_RUNTIME_CLUSTER_ROLE", default_value = "dnnshifter-runtime")]
    pub runtime_cluster_role: String,

    /// The operator's own namespace, where its Lease is.
    #[arg(long, env = "DNNSHIFTER_NAMESPACE", default_value = "dnnshifter")]
    pub namespace: String,

    /// Name of this process among its replicas.
    #[arg(long, env = "DNNSHIFTER_IDENTITY")]
    pub identity: Option<String>,

    /// Let one of several replicas work at a time.
    #[arg(long, env = "DNNSHIFTER_LEADER_ELECTION", default_value_t = true, action = ArgAction::Set)]
    pub leader_election: bool,

    /// Where `/livez`, `/readyz` and `/metrics` answer.
    #[arg(long, env = "DNNSHIFTER_METRICS_LISTEN", default_value = "0.0.0.0:8080")]
    pub metrics_listen: SocketAddr,

    /// On a signal the work in hand is finished, but not longer than so many seconds.
    #[arg(long, env = "DNNSHIFTER_SHUTDOWN_DEADLINE_SECONDS", default_value_t = 20)]
    pub shutdown_deadline_seconds: u64,
}

impl Settings {
    /// How long work in hand may go on after a signal.
    pub fn shutdown_deadline(&self) -> Duration {
        Duration::from_secs(self.shutdown_deadline_seconds)
    }

    /// The name of this process: as given, or the host's.
    pub fn identity(&self) -> String {
        self.identity
            .clone()
            .or_else(|| std::env::var("HOSTNAME").ok())
            .unwrap_or_else(|| "dnnshifter-operator".to_owned())
    }
}

fn image_by_digest(reference: &str) -> Result<String, String> {
    let digest = reference.split_once('@').map(|(_, digest)| dnnshifter_portfolio::Digest::parse(digest));
    match digest {
        Some(Ok(_)) => Ok(reference.to_owned()),
        _ => Err("name the image by digest: registry.example.com/runtime@sha256:...".to_owned()),
    }
}
