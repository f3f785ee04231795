//! How the operator watches: every kind by one stream with a backoff of its own, so that a kind which cannot be listed
//! (403, a missing CRD) delays nothing else. The unstable stream API of kube is used here, in [`shared`] and in the set-up
//! of each controller, nowhere else.
//!
//! kube's `Controller` merges its streams and backs off from all of them together when one fails; therefore errors are logged,
//! counted and dropped here, before a controller sees them.

pub(crate) mod shared;
mod union;

use std::{
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
};

use futures::{Stream, StreamExt, stream};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta},
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::telemetry::{Metrics, chain};
use dnnshifter_crds::names::{MANAGED_BY_LABEL, OPERATOR_FIELD_MANAGER};

/// An object of ours that may not be readable: one such object must not blind us to all others.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// Load balancers drop quiet connections silently after 240 s: ask for an end before that.
const WATCH_TIMEOUT_SECONDS: u32 = 180;
/// Pages keep the memory of the first list low.
const PAGE_SIZE: u32 = 100;

/// The hash of some properties: a change of any other property is not worth waking for.
pub(crate) fn fingerprint(properties: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    properties.hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn watch_config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_TIMEOUT_SECONDS).page_size(PAGE_SIZE)
}

/// Logs and counts an error of a watch, which is then dropped: the watch goes on after its backoff.
pub(crate) fn note_watch_error(metrics: &Metrics, kind: &str, error: &watcher::Error) {
    metrics.watch_errors.with_label_values(&[kind]).inc();
    warn!(kind, error = chain(error), "watch failed, will be tried again");
}

/// Where namespaced objects are watched: in these namespaces, or everywhere if none is named.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespaces: &'a [String],
}

impl Scope<'_> {
    pub(crate) fn apis<K>(self) -> Vec<Api<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        if self.namespaces.is_empty() {
            return vec![Api::all(self.client.clone())];
        }
        let namespaces = self.namespaces.iter();
        namespaces.map(|namespace| Api::namespaced(self.client.clone(), namespace)).collect()
    }
}

/// Every change of objects of a kind that we made, deletions included, by metadata only.
pub(crate) fn touched_children<K>(
    scope: Scope<'_>,
    metrics: &Metrics,
) -> impl Stream<Item = PartialObjectMeta<K>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
{
    touched(scope, metrics, &format!("{MANAGED_BY_LABEL}={OPERATOR_FIELD_MANAGER}"))
}

/// Every change of objects with these labels, deletions included, by metadata only.
pub(crate) fn touched<K>(
    scope: Scope<'_>,
    metrics: &Metrics,
    labels: &str,
) -> impl Stream<Item = PartialObjectMeta<K>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
{
    let metrics = metrics.clone();
    let kind = K::kind(&()).into_owned();
    let watches = scope.apis::<PartialObjectMeta<K>>().into_iter().map(|api| {
        watcher(api, watch_config().labels(labels))
            .default_backoff()
            .modify(|object| object.managed_fields_mut().clear())
            .touched_objects()
            .boxed()
    });
    stream::select_all(watches).filter_map(move |object| {
        let object = object.inspect_err(|error| note_watch_error(&metrics, &kind, error)).ok();
        std::future::ready(object)
    })
}

/// A stream as controllers want it, of which all errors were dropped already.
pub(crate) fn infallible<K>(
    stream: impl Stream<Item = K> + Send,
) -> impl Stream<Item = watcher::Result<K>> + Send {
    stream.map(Ok)
}
