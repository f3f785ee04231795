//! The runtime: what runs on every edge node. It loads the variants of one portfolio, answers the Open Inference Protocol v2,
//! and switches between variants without dropping a request.
//!
//! The way of a request: `server` reads it (`protocol`), the `lane` lets it in and computes it on whatever variant the
//! `switch` points to. The `keeper` loads, checks, measures and warms variants beside that, through an `engine`. Which
//! variant serves is decided elsewhere: by the placement in Kubernetes (`node`) or by clients (`standalone`).

mod assembly;
mod cgroup;
mod chain;
pub mod cli;
mod clock;
mod engine;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod keeper;
mod lane;
mod load;
mod metrics;
mod node;
mod objective;
mod prepare;
mod processor;
mod protocol;
mod replace;
mod server;
mod shutdown;
mod stamp;
mod standalone;
mod switch;
#[cfg(test)]
mod testing;
mod values;
mod variant;

use std::{io, net::SocketAddr};

use crate::cli::{Cli, Command};

/// Why the runtime does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(Box<dyn std::error::Error + Send + Sync>),
    /// The engine does not start.
    #[error(transparent)]
    Engine(Box<dyn std::error::Error + Send + Sync>),
    /// The variants cannot be listed.
    #[error(transparent)]
    Variants(Box<dyn std::error::Error + Send + Sync>),
    /// There are no variants.
    #[error(
        "failed to find a variant in {directory}: it must have a folder for each, with model.onnx and variant.json"
    )]
    NoVariants {
        /// The directory.
        directory: String,
    },
    /// The first variant is not there.
    #[error("failed to find the variant \"{name}\" in the directory")]
    NoSuchVariant {
        /// Its name.
        name: String,
    },
    /// A metric cannot be made.
    #[error("failed to make the metrics")]
    Metrics(#[from] prometheus::Error),
    /// A thread does not start.
    #[error("failed to start a thread")]
    Thread(#[source] io::Error),
    /// The thread that loads and measures variants has died.
    #[error("failed to measure the variants: the thread that does it has died, as the log says")]
    Keeper,
    /// The answer cannot be written.
    #[error("failed to write to standard output")]
    Print(#[source] io::Error),
    /// Serving ended by itself.
    #[error("failed to serve")]
    Serve(#[source] io::Error),
    /// There is no way to the API server.
    #[error("failed to find the API server")]
    Kubernetes(#[source] Box<kube::Error>),
    /// The configuration of the way to the API server cannot be found.
    #[error("failed to find a configuration for Kubernetes: neither a service account nor a kubeconfig")]
    KubernetesConfiguration(#[source] Box<kube::config::InferConfigError>),
}

impl From<engine::EngineError> for Error {
    fn from(error: engine::EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl From<server::TlsError> for Error {
    fn from(error: server::TlsError) -> Self {
        Self::Tls(Box::new(error))
    }
}

impl From<variant::VariantError> for Error {
    fn from(error: variant::VariantError) -> Self {
        Self::Variants(Box::new(error))
    }
}

/// Does what the command line says, until a signal comes.
pub async fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Serve(arguments) => standalone::serve(arguments).await,
        Command::Node(arguments) => Box::pin(node::serve(arguments)).await,
        Command::Profile(arguments) => standalone::profile::profile(arguments).await,
        Command::Prepare(arguments) => prepare::prepare(arguments).await,
        Command::Optimise(arguments) => Ok(engine::optimise(&arguments.network, &arguments.directory)?),
    }
}
