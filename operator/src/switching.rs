//! The switching loop: not a reconcile. Every `intervalSeconds` it asks Prometheus once for each portfolio, chooses a ceiling for
//! each of its nodes, and writes those that change. It holds whatever it does not know.
//!
//! Each portfolio has a task of its own, so that a Prometheus which does not answer delays nobody else.

mod apply;
mod decide;
mod load;
mod report;
mod samples;
mod tick;

use std::{collections::HashMap, sync::Arc, time::Duration};

use dnnshifter_crds::{ModelPortfolio, VariantPlacement, model_portfolio::Prometheus};
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span, warn};

use self::{
    report::suspended,
    tick::{Memory, tell, tick},
};
use crate::{reconcile::Context, watches::Guarded};

/// New portfolios are noticed within so long.
const CENSUS_PERIOD: Duration = Duration::from_secs(1);
/// Each part of a round (Secrets, the query, decisions, the report) is given up after so long, or after the interval if that is
/// shorter. The client by itself retries for minutes, and decisions that old are about a load that is past.
const STEP_DEADLINE: Duration = Duration::from_secs(5);

/// Runs until `shutdown`, and until the rounds in hand are done.
pub(crate) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<String, AbortHandle> = HashMap::new();
    let mut census = interval(CENSUS_PERIOD);
    census.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = census.tick() => {}
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    warn!(%error, "the switching of a portfolio ended, and is started anew");
                }
            }
        }
        running.retain(|_, task| !task.is_finished());
        for portfolio in context.stores.portfolios.store.state() {
            let (Ok(portfolio), Some(uid)) = (&portfolio.0, portfolio.meta().uid.clone()) else { continue };
            if !running.contains_key(&uid) && portfolio.metadata.deletion_timestamp.is_none() {
                let span = info_span!(
                    "switching",
                    namespace = portfolio.namespace(),
                    portfolio = portfolio.name_any()
                );
                let task =
                    follow(Arc::clone(&context), Identity::of(portfolio, uid.clone()), shutdown.clone());
                running.insert(uid, tasks.spawn(task.instrument(span)));
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

struct Identity {
    namespace: String,
    name: String,
    uid: String,
}

impl Identity {
    fn of(portfolio: &ModelPortfolio, uid: String) -> Self {
        Self { namespace: portfolio.namespace().unwrap_or_default(), name: portfolio.name_any(), uid }
    }

    fn find(&self, context: &Context) -> Option<ModelPortfolio> {
        let key = ObjectRef::<Guarded<ModelPortfolio>>::new(&self.name).within(&self.namespace);
        let found = context.stores.portfolios.store.get(&key)?;
        found.0.as_ref().ok().filter(|portfolio| portfolio.uid().as_ref() == Some(&self.uid)).cloned()
    }

    fn placements(&self, context: &Context) -> Vec<Arc<Guarded<VariantPlacement>>> {
        context.stores.placements.store.state_filter(|placement| {
            placement.0.as_ref().is_ok_and(|placement| {
                placement.spec.portfolio_name == self.name
                    && placement.namespace().as_ref() == Some(&self.namespace)
            })
        })
    }
}

/// Switches one portfolio for as long as it exists.
async fn follow(context: Arc<Context>, identity: Identity, shutdown: CancellationToken) {
    let mut memory = Memory::default();
    while let Some(portfolio) = identity.find(&context) {
        let began = Instant::now();
        if portfolio.spec.suspend {
            memory = Memory::default();
            tell(&context, &portfolio, suspended()).await;
        } else {
            tick(&context, &portfolio, &identity.placements(&context), &mut memory).await;
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sleep_until(began + round_interval(&portfolio.spec.switching.prometheus)) => {}
        }
    }
}

fn round_interval(prometheus: &Prometheus) -> Duration {
    Duration::from_secs(u64::try_from(prometheus.interval_seconds).unwrap_or(1).max(1))
}

fn step_deadline(prometheus: &Prometheus) -> Duration {
    round_interval(prometheus).min(STEP_DEADLINE)
}
