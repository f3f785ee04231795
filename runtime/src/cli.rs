//! The command line, and the environment that stands in for it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use dnnshifter_portfolio::VariantName;

use crate::server::TlsFiles;

/// Serves the variants of one model by the Open Inference Protocol v2, and switches between them without dropping a request.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to write logs.
    #[arg(long, env = "DNNSHIFTER_LOG_FORMAT", value_enum, global = true)]
    pub log_format: Option<LogFormat>,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line. The default of `node` and `prepare`.
    Json,
    /// For people. The default of `serve`.
    Text,
}

/// What the runtime can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a directory of variants, without Kubernetes.
    Serve(ServeArguments),
    /// Serve one portfolio on one node, as its placement in Kubernetes says: the command of the operator's pods.
    Node(NodeArguments),
    /// Measure a directory of variants under the limits of this process, as a node does when it starts.
    Profile(ProfileArguments),
    /// Optimise a directory of variants for this machine, and end: the command of the init container of the operator's pods.
    Prepare(PrepareArguments),
    /// Optimise a network for this machine: what the runtime has another process of its own do.
    #[command(hide = true)]
    Optimise(OptimiseArguments),
}

/// Of `serve`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Directory with a folder for each variant, which holds model.onnx and variant.json.
    pub directory: PathBuf,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Name of the model; by default that of the directory.
    #[arg(long)]
    pub name: Option<String>,
    /// The variant that serves at first; by default the largest.
    #[arg(long, value_parser = VariantName::parse)]
    pub variant: Option<VariantName>,
    /// Refuse requests (429) that would be answered later than this, in milliseconds; by default none is.
    #[arg(long, value_name = "MILLISECONDS")]
    pub latency_objective: Option<u64>,
    /// Threads.
    #[command(flatten)]
    pub threads: ThreadsArguments,
    /// Directory where networks are kept that were optimised for this machine, so that they start faster and take less memory, and what
    /// was measured of them; by default nothing is written.
    #[arg(long, env = "DNNSHIFTER_STORE")]
    pub store: Option<PathBuf>,
    /// Encryption.
    #[command(flatten)]
    pub tls: TlsArguments,
    /// Shutting down.
    #[command(flatten)]
    pub drain: DrainArguments,
}

/// Of `profile`.
#[derive(Debug, Args)]
pub struct ProfileArguments {
    /// Directory with a folder for each variant, which holds model.onnx and variant.json.
    pub directory: PathBuf,
    /// Print JSON: the fields of a placement's status that a node writes what it measured to.
    #[arg(long)]
    pub json: bool,
    /// Threads.
    #[command(flatten)]
    pub threads: ThreadsArguments,
    /// Directory where networks are kept that were optimised for this machine; by default nothing is written.
    #[arg(long, env = "DNNSHIFTER_STORE")]
    pub store: Option<PathBuf>,
}

/// Of threads.
#[derive(Clone, Copy, Debug, Args)]
pub struct ThreadsArguments {
    /// Compute an inference with so many threads. By default with as many as whole CPUs are granted by a quota; without one `serve` takes all
    /// processors that it may run on, and `profile` one, as a node does.
    #[arg(long = "threads", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) count: Option<u16>,
}

/// Of `prepare`.
#[derive(Debug, Args)]
pub struct PrepareArguments {
    /// Directory with a folder for each variant, which holds model.onnx and variant.json.
    #[arg(long, env = "DNNSHIFTER_MODELS", default_value = "/variants")]
    pub models: PathBuf,
    /// Directory where the optimised networks are kept.
    #[arg(long, env = "DNNSHIFTER_STORE")]
    pub store: PathBuf,
}

/// Of `optimise`.
#[derive(Debug, Args)]
pub struct OptimiseArguments {
    /// The network, as ONNX.
    pub network: PathBuf,
    /// Where the optimised network is written.
    pub directory: PathBuf,
}

/// Of `node`.
#[derive(Debug, Args)]
pub struct NodeArguments {
    /// Name of the portfolio, and of the model that clients ask for.
    #[arg(long, env = "DNNSHIFTER_PORTFOLIO")]
    pub portfolio: String,
    /// Namespace of the portfolio.
    #[arg(long, env = "DNNSHIFTER_NAMESPACE")]
    pub namespace: String,
    /// Name of the placement (kind `VariantPlacement`).
    #[arg(long, env = "DNNSHIFTER_PLACEMENT")]
    pub placement: String,
    /// Name of the node.
    #[arg(long, env = "DNNSHIFTER_NODE_NAME")]
    pub node_name: String,
    /// UID of the pod, to be named in status.
    #[arg(long, env = "DNNSHIFTER_POD_UID")]
    pub pod_uid: Option<String>,
    /// Hash of the pod's template: status is written only while the placement asks for the same.
    #[arg(long, env = "DNNSHIFTER_TEMPLATE_HASH")]
    pub template_hash: Option<String>,
    /// Directory with a folder for each variant, which holds model.onnx and variant.json.
    #[arg(long, env = "DNNSHIFTER_MODELS", default_value = "/variants")]
    pub models: PathBuf,
    /// Directory that is kept while the pod lives: the last placement is remembered there, what was measured, and networks that were
    /// optimised.
    #[arg(long, env = "DNNSHIFTER_STORE")]
    pub store: Option<PathBuf>,
    /// Address to listen on, for requests, metrics and probes.
    #[arg(long, env = "DNNSHIFTER_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Encryption.
    #[command(flatten)]
    pub tls: TlsArguments,
    /// Shutting down.
    #[command(flatten)]
    pub drain: DrainArguments,
}

/// Of encryption. Files that change are read again within seconds.
#[derive(Clone, Debug, Args)]
pub struct TlsArguments {
    /// PEM file with the certificate of this server, and then those that it was signed with: all is served by TLS, and only so.
    #[arg(long = "tls-certificate", env = "DNNSHIFTER_TLS_CERTIFICATE", requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file with the private key of this certificate.
    #[arg(long = "tls-key", env = "DNNSHIFTER_TLS_KEY", requires = "certificate")]
    key: Option<PathBuf>,
    /// PEM file with certificate authorities: only clients with a certificate of one of them are served. Probes need none.
    #[arg(long = "tls-client-ca", env = "DNNSHIFTER_TLS_CLIENT_CA", requires = "certificate")]
    client_ca: Option<PathBuf>,
}

impl TlsArguments {
    /// The files, if all is to be encrypted.
    pub(crate) fn files(self) -> Option<TlsFiles> {
        let (certificate, key) = self.certificate.zip(self.key)?;
        Some(TlsFiles { certificate, key, client_ca: self.client_ca })
    }
}

/// Of shutting down.
#[derive(Clone, Copy, Debug, Args)]
pub struct DrainArguments {
    /// After SIGTERM requests are served for so many seconds, while readiness says no.
    #[arg(long, env = "DNNSHIFTER_DRAIN_SECONDS", default_value_t = 5)]
    drain_seconds: u64,
}

impl DrainArguments {
    /// The time.
    pub(crate) fn duration(self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

impl Cli {
    /// How logs are to be written.
    pub fn log_format(&self) -> LogFormat {
        let default = match self.command {
            Command::Serve(_) | Command::Profile(_) | Command::Optimise(_) => LogFormat::Text,
            Command::Node(_) | Command::Prepare(_) => LogFormat::Json,
        };
        self.log_format.unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_directory_is_all_that_serving_needs() {
        let cli = Cli::try_parse_from(["dnnshifter-runtime", "serve", "variants"]).unwrap();
        let Command::Serve(serve) = cli.command else { panic!("not serve") };
        assert_eq!(serve.listen.to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn a_certificate_needs_its_key_and_a_client_authority_a_certificate() {
        let parse =
            |rest: &[&str]| Cli::try_parse_from([&["dnnshifter-runtime", "serve", "d"], rest].concat());
        for rest in [&["--tls-certificate", "c"][..], &["--tls-key", "k"], &["--tls-client-ca", "a"]] {
            assert!(parse(rest).unwrap_err().to_string().contains("required arguments were not provided"));
        }
        let cli = parse(&["--tls-certificate", "c", "--tls-key", "k", "--tls-client-ca", "a"]).unwrap();
        let Command::Serve(serve) = cli.command else { panic!("not serve") };
        assert_eq!(serve.tls.files().unwrap().client_ca, Some("a".into()));
        assert!(parse(&[]).is_ok());
    }

    #[test]
    fn threads_are_at_least_one() {
        let parse = |count: &str| {
            Cli::try_parse_from(["dnnshifter-runtime", "serve", "d", "--threads", count])
                .map(|cli| cli.command)
        };
        let Command::Serve(serve) = parse("4").unwrap() else { panic!("not serve") };
        assert_eq!(serve.threads.count, Some(4));
        assert!(parse("0").is_err() && parse("-1").is_err() && parse("many").is_err());
    }

    #[test]
    fn a_variant_that_is_no_name_is_refused_with_the_rule() {
        let refused =
            Cli::try_parse_from(["dnnshifter-runtime", "serve", "d", "--variant", "A/b"]).unwrap_err();
        assert!(refused.to_string().contains("use 1 to 20 lower-case letters"), "{refused}");
    }
}
