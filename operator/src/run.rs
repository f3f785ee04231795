//! The process: starts the parts in order, and ends them in order.
//!
//! The admin server and the watches start at once; controllers and the switching loop only when this replica leads. Losing the
//! Lease ends the process. A signal ends the controllers, then the Lease is given back; a hard deadline stands over that, since
//! a controller whose first list never succeeded would never end.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Client, Config};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    admin::{self, AdminError, Health},
    device_class,
    lease::{Candidate, LeadershipLost},
    placement, portfolio,
    reconcile::Context,
    settings::Settings,
    stores::{Stores, StoresError},
    switching,
    telemetry::Metrics,
    watches::Scope,
};

/// Name of the Lease.
const LEASE_NAME: &str = "dnnshifter-operator";
/// The first lists of all kinds may take so long.
const FIRST_LIST_DEADLINE: Duration = Duration::from_mins(2);
/// Giving back the Lease may take so long.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);

/// Why the operator ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no usable configuration for the API server.
    #[error("failed to find out how to reach the API server")]
    Config(#[from] kube::config::InferConfigError),
    /// The client cannot be made.
    #[error("failed to set up the client of the API server")]
    Client(#[from] kube::Error),
    /// A metric cannot be registered.
    #[error("failed to set up metrics")]
    Metrics(#[from] prometheus::Error),
    /// Signals cannot be listened for.
    #[error("failed to listen for signals")]
    Signals(#[from] std::io::Error),
    /// The admin server ended.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The watches could not be filled.
    #[error(transparent)]
    Stores(#[from] StoresError),
    /// Another replica leads, or might.
    #[error(transparent)]
    Lost(#[from] LeadershipLost),
    /// A part ended that never should.
    #[error("{part} ended by itself")]
    Ended {
        /// The part.
        part: &'static str,
    },
}

/// Runs until a signal, or until going on would be wrong.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    let config = Config::infer().await?;
    let client = Client::try_from(config.clone())?;
    let metrics = Metrics::new()?;
    let scope = Scope { client: &client, namespaces: &settings.watch_namespaces };
    let (stores, watches) = Stores::new(scope, &metrics);
    let operator = Operator {
        settings: Arc::new(settings),
        client,
        stores,
        metrics,
        shutdown: CancellationToken::new(),
    };
    let candidate = operator.candidate(config)?;
    let health = Health::new(operator.metrics.clone());
    let mut background = operator.background(&health, watches);
    let mut signal = pin!(signalled());
    let lease = tokio::select! {
        signal = &mut signal => {
            info!(signal = signal?, "ending before leading");
            return Ok(());
        }
        ended = background.join_next() => return Err(background_error(ended)),
        lease = operator.acquire(candidate.as_ref(), &health) => lease?,
    };
    operator.metrics.leader.set(1);
    let mut held = pin!(hold(candidate.as_ref(), lease));
    let mut controllers = operator.controllers();
    let outcome = tokio::select! {
        signal = &mut signal => signal.map(|signal| info!(signal, "ending: the work in hand is finished first")).map_err(RunError::from),
        ended = background.join_next() => Err(background_error(ended)),
        _ = controllers.join_next() => Err(RunError::Ended { part: "a controller" }),
        // Another replica may work already: nothing more is written.
        lost = &mut held => return Err(lost.into()),
    };
    operator.shutdown.cancel();
    let drained = timeout(operator.settings.shutdown_deadline(), async {
        while controllers.join_next().await.is_some() {}
    });
    tokio::select! {
        drained = drained => if drained.is_err() {
            warn!("the work in hand is given up: it did not end in time");
        },
        lost = &mut held => return Err(lost.into()),
    }
    release(candidate.as_ref()).await;
    outcome
}

struct Operator {
    settings: Arc<Settings>,
    client: Client,
    stores: Stores,
    metrics: Metrics,
    shutdown: CancellationToken,
}

impl Operator {
    fn candidate(&self, mut config: Config) -> Result<Option<Candidate>, RunError> {
        if !self.settings.leader_election {
            return Ok(None);
        }
        // A late answer is worth nothing in an election.
        config.default_retry = false;
        let client = Client::try_from(config)?;
        Ok(Some(Candidate::new(client, &self.settings.namespace, LEASE_NAME, self.settings.identity())))
    }

    fn background(
        &self,
        health: &Health,
        watches: Vec<BoxFuture<'static, ()>>,
    ) -> JoinSet<Result<(), AdminError>> {
        let mut background = JoinSet::new();
        background.spawn(admin::serve(self.settings.metrics_listen, health.clone(), self.shutdown.clone()));
        for watch in watches {
            background.spawn(async move {
                watch.await;
                Ok(())
            });
        }
        background
    }

    /// Ready, as far as probes ask, is also who stands by.
    async fn acquire(
        &self,
        candidate: Option<&Candidate>,
        health: &Health,
    ) -> Result<Option<Lease>, RunError> {
        self.stores.wait_until_ready(FIRST_LIST_DEADLINE).await?;
        health.ready();
        Ok(match candidate {
            Some(candidate) => Some(candidate.acquire().await),
            None => None,
        })
    }

    fn controllers(&self) -> JoinSet<()> {
        let context = |name| Context::new(name, &self.client, &self.settings, &self.stores, &self.metrics);
        let mut controllers = JoinSet::new();
        controllers.spawn(portfolio::run(context("portfolio"), self.shutdown.clone()));
        controllers.spawn(placement::run(context("placement"), self.shutdown.clone()));
        controllers.spawn(device_class::run(context("device_class"), self.shutdown.clone()));
        controllers.spawn(switching::run(context("switching"), self.shutdown.clone()));
        controllers
    }
}

async fn hold(candidate: Option<&Candidate>, lease: Option<Lease>) -> LeadershipLost {
    match (candidate, lease) {
        (Some(candidate), Some(lease)) => candidate.hold(lease).await,
        _ => std::future::pending().await,
    }
}

async fn release(candidate: Option<&Candidate>) {
    if let Some(candidate) = candidate
        && timeout(RELEASE_DEADLINE, candidate.release()).await.is_err()
    {
        warn!("failed to release the lease in time: it will expire");
    }
}

fn background_error(ended: Option<Result<Result<(), AdminError>, JoinError>>) -> RunError {
    match ended {
        Some(Ok(Err(error))) => error.into(),
        Some(Ok(Ok(())) | Err(_)) | None => RunError::Ended { part: "a watch or the admin server" },
    }
}

async fn signalled() -> Result<&'static str, std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
