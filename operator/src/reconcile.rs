//! What every controller has in common: a deadline, its own backoff for each object, metrics, a span; and the end.

use std::{fmt::Debug, future::Future, hash::Hash, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use kube::{
    Client, Resource, ResourceExt,
    runtime::{
        controller::{self, Action},
        events::{Recorder, Reporter},
        reflector::ObjectRef,
        watcher,
    },
};
use tracing::{Instrument, info_span, warn};

use crate::{
    backoff::Backoff,
    settings::Settings,
    stores::Stores,
    telemetry::{Metrics, chain, timed},
    watches::{Guarded, Scope},
};

/// The client retries by itself for minutes; a reconcile that takes longer than this is given up and tried again later.
const RECONCILE_DEADLINE: Duration = Duration::from_secs(30);
/// A watch brings what we wrote ourselves well within this.
const SECOND_LOOK_DELAY: Duration = Duration::from_secs(5);
/// Whatever was missed is mended after so long.
const RESYNC_PERIOD: Duration = Duration::from_mins(10);

/// What a controller works with.
pub(crate) struct Context {
    pub(crate) controller: &'static str,
    pub(crate) client: Client,
    pub(crate) settings: Arc<Settings>,
    pub(crate) stores: Stores,
    pub(crate) metrics: Metrics,
    pub(crate) recorder: Recorder,
    backoff: Backoff,
}

impl Context {
    pub(crate) fn new(
        controller: &'static str,
        client: &Client,
        settings: &Arc<Settings>,
        stores: &Stores,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let reporter =
            Reporter { controller: "dnnshifter-operator".to_owned(), instance: Some(settings.identity()) };
        Arc::new(Self {
            controller,
            client: client.clone(),
            settings: Arc::clone(settings),
            stores: stores.clone(),
            metrics: metrics.clone(),
            recorder: Recorder::new(client.clone(), reporter),
            backoff: Backoff::default(),
        })
    }

    /// Where namespaced objects are watched.
    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope { client: &self.client, namespaces: &self.settings.watch_namespaces }
    }
}

/// An error that says in one word, of a bounded set, what kind it is.
pub(crate) trait ErrorKind: std::error::Error {
    fn kind(&self) -> &'static str;
}

/// What became of a reconcile that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError<E: std::error::Error + 'static> {
    #[error("failed to finish within {} seconds", RECONCILE_DEADLINE.as_secs())]
    Deadline,
    #[error(transparent)]
    Failed(#[from] E),
}

/// The name of an object for logs and the backoff: `namespace/name`.
fn key(object: &impl ResourceExt) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

/// Runs one reconcile within its deadline, and notes what became of it.
async fn supervised<E>(
    context: Arc<Context>,
    key: String,
    work: impl Future<Output = Result<Action, E>>,
) -> Result<Action, ReconcileError<E>>
where
    E: ErrorKind + 'static,
{
    let span = info_span!("reconcile", controller = context.controller, object = key);
    let (result, duration) =
        timed(tokio::time::timeout(RECONCILE_DEADLINE, work)).instrument(span.clone()).await;
    let result =
        result.map_or(Err(ReconcileError::Deadline), |result| result.map_err(ReconcileError::Failed));
    let outcome = match &result {
        Ok(_) => "ok",
        Err(ReconcileError::Deadline) => "deadline",
        Err(ReconcileError::Failed(_)) => "error",
    };
    let metrics = &context.metrics;
    metrics.reconciles.with_label_values(&[context.controller, outcome]).inc();
    metrics.reconcile_seconds.with_label_values(&[context.controller]).observe(duration.as_secs_f64());
    match &result {
        Ok(_) => context.backoff.succeeded(&key),
        Err(ReconcileError::Deadline) => {
            span.in_scope(|| warn!("reconcile did not finish in time, will be tried again"));
        }
        Err(ReconcileError::Failed(error)) => {
            metrics.errors.with_label_values(&[context.controller, error.kind()]).inc();
            span.in_scope(|| {
                warn!(kind = error.kind(), error = chain(error), "reconcile failed, will be tried again");
            });
        }
    }
    result
}

/// Runs `work` on an object that is there and can be read. The children of one that is being deleted go by owner reference.
pub(crate) async fn supervised_object<K, E, W>(
    object: Arc<Guarded<K>>,
    context: Arc<Context>,
    work: impl FnOnce(Arc<K>, Arc<Context>) -> W,
) -> Result<Action, ReconcileError<E>>
where
    K: Resource<DynamicType = ()> + Clone,
    Guarded<K>: ResourceExt,
    E: ErrorKind + 'static,
    W: Future<Output = Result<Action, E>>,
{
    let name = key(object.as_ref());
    match &object.0 {
        Ok(object) if object.meta().deletion_timestamp.is_none() => {
            let work = Box::pin(work(Arc::new(object.clone()), Arc::clone(&context)));
            supervised(context, name, work).await
        }
        Ok(_) => Ok(Action::await_change()),
        Err(invalid) => {
            let kind = K::kind(&());
            warn!(object = name, error = invalid.error, %kind, "an object cannot be read: are the CRDs of this release installed?");
            Ok(Action::await_change())
        }
    }
}

/// When to try again after an error.
#[expect(clippy::needless_pass_by_value, reason = "the signature that `Controller::run` asks for")]
pub(crate) fn after_error<K: ResourceExt, E: std::error::Error>(
    object: Arc<K>,
    _error: &ReconcileError<E>,
    context: Arc<Context>,
) -> Action {
    Action::requeue(context.backoff.failed(&key(object.as_ref())))
}

/// What a report did to the object's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    Written,
    Unchanged,
}

/// Nothing more to do until something changes.
///
/// Until a status that was just written is in the cache, the one before it is taken for the present one: an object that goes back
/// to it meanwhile would seem to be told already. So it is looked at once more.
pub(crate) fn settled(reported: Reported) -> Action {
    Action::requeue(match reported {
        Reported::Written => SECOND_LOOK_DELAY,
        Reported::Unchanged => RESYNC_PERIOD,
    })
}

/// Follows a controller to its end. Errors of reconciles were noted by [`supervised`].
pub(crate) async fn to_the_end<K, E>(
    stream: impl Stream<
        Item = Result<(ObjectRef<K>, Action), controller::Error<ReconcileError<E>, watcher::Error>>,
    >,
) where
    K: Resource,
    K::DynamicType: Debug + Hash + Eq + Clone,
    E: std::error::Error + 'static,
{
    stream
        .for_each(|outcome| async {
            match outcome {
                // Gone between its event and its turn: its children go by owner reference.
                Ok(_)
                | Err(controller::Error::ObjectNotFound(_) | controller::Error::ReconcilerFailed(..)) => {}
                Err(controller::Error::QueueError(error)) => warn!(error = chain(&error), "a watch failed"),
                Err(controller::Error::RunnerError(error)) => {
                    warn!(error = chain(&error), "the controller failed");
                }
            }
        })
        .await;
}
