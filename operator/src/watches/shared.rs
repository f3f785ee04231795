//! One watch of a kind for all who need it: a store to read, and streams that wake.
//!
//! Unlike kube's shared streams a subscriber may come late (it is first told of all objects that are known), never stalls the
//! watch, hears of deletions, those missed while the watch was broken included, and says itself what is worth waking for.
//! The store always knows an object before a subscriber hears of it.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{
    Stream, StreamExt,
    channel::mpsc::{UnboundedSender, unbounded},
};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use super::{note_watch_error, union::union, watch_config};
use crate::telemetry::Metrics;

/// A watched kind.
pub(crate) struct Shared<K>
where
    K: Resource + 'static,
    K::DynamicType: Hash + Eq,
{
    /// All objects of the kind, as last heard of.
    pub(crate) store: Store<K>,
    subscribers: Arc<Mutex<Vec<Subscriber<K>>>>,
}

impl<K> Clone for Shared<K>
where
    K: Resource + 'static,
    K::DynamicType: Hash + Eq,
{
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), subscribers: Arc::clone(&self.subscribers) }
    }
}

struct Subscriber<K: Resource> {
    sender: UnboundedSender<Arc<K>>,
    fingerprint: fn(&K) -> u64,
    told: HashMap<(Option<String>, String), u64>,
}

enum Change {
    Applied,
    Deleted,
}

impl<K: Resource> Subscriber<K> {
    fn tell(&mut self, object: &Arc<K>, change: &Change) {
        let key = (object.namespace(), object.name_any());
        let news = match change {
            Change::Applied => {
                let fingerprint = (self.fingerprint)(object);
                self.told.insert(key, fingerprint) != Some(fingerprint)
            }
            Change::Deleted => {
                self.told.remove(&key);
                true
            }
        };
        if news {
            // A subscriber that is gone is removed by the next change.
            let _gone = self.sender.unbounded_send(Arc::clone(object));
        }
    }
}

impl<K> Shared<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Makes the store of what `apis` list, and the future that keeps it current for as long as it is polled. `slim` takes away what
    /// nobody reads.
    pub(crate) fn new(
        apis: Vec<Api<K>>,
        metrics: &Metrics,
        slim: fn(&mut K),
    ) -> (Self, impl Future<Output = ()> + Send + use<K>) {
        let (store, writer) = reflector::store();
        let shared = Self { store, subscribers: Arc::default() };
        let watches =
            apis.into_iter().map(|api| watcher(api, watch_config()).default_backoff().modify(slim).boxed());
        let driver = drive(shared.clone(), writer, union(watches.collect()), metrics.clone());
        (shared, driver)
    }

    /// All objects, then each change that changes the fingerprint, and each deletion.
    pub(crate) fn subscribe(&self, fingerprint: fn(&K) -> u64) -> impl Stream<Item = Arc<K>> + Send + use<K> {
        let (sender, receiver) = unbounded();
        let mut subscriber = Subscriber { sender, fingerprint, told: HashMap::new() };
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        for object in self.store.state() {
            subscriber.tell(&object, &Change::Applied);
        }
        subscribers.push(subscriber);
        receiver
    }

    fn tell(&self, object: &Arc<K>, change: &Change) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| !subscriber.sender.is_closed());
        for subscriber in subscribers.iter_mut() {
            subscriber.tell(object, change);
        }
    }

    fn known(&self) -> HashMap<ObjectRef<K>, Arc<K>> {
        self.store.state().into_iter().map(|object| (ObjectRef::from_obj(object.as_ref()), object)).collect()
    }
}

async fn drive<K>(
    shared: Shared<K>,
    mut writer: Writer<K>,
    mut events: impl Stream<Item = watcher::Result<Event<K>>> + Unpin + Send,
    metrics: Metrics,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => follow(&shared, &mut writer, event),
            Err(error) => note_watch_error(&metrics, &K::kind(&()), &error),
        }
    }
}

fn follow<K>(shared: &Shared<K>, writer: &mut Writer<K>, event: Event<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let before = matches!(event, Event::InitDone).then(|| shared.known());
    writer.apply_watcher_event(&event);
    match event {
        Event::Apply(object) => shared.tell(&Arc::new(object), &Change::Applied),
        Event::Delete(object) => shared.tell(&Arc::new(object), &Change::Deleted),
        // The store changes when the list is complete, and so do we.
        Event::Init | Event::InitApply(_) => {}
        Event::InitDone => {
            let mut gone = before.unwrap_or_default();
            for (key, object) in shared.known() {
                gone.remove(&key);
                shared.tell(&object, &Change::Applied);
            }
            for object in gone.values() {
                shared.tell(object, &Change::Deleted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;
    use crate::watches::fingerprint;

    fn config_map(name: &str, value: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some("n".to_owned()),
                ..ObjectMeta::default()
            },
            data: Some([("key".to_owned(), value.to_owned())].into()),
            ..ConfigMap::default()
        }
    }

    fn shared() -> (Shared<ConfigMap>, Writer<ConfigMap>) {
        let (store, writer) = reflector::store();
        (Shared { store, subscribers: Arc::default() }, writer)
    }

    fn heard(stream: &mut (impl Stream<Item = Arc<ConfigMap>> + Unpin)) -> Vec<String> {
        std::iter::from_fn(|| stream.next().now_or_never().flatten())
            .map(|object| object.name_any())
            .collect()
    }

    fn by_data(object: &ConfigMap) -> u64 {
        fingerprint(&object.data)
    }

    #[test]
    fn a_late_subscriber_hears_of_all_that_is_known_then_of_changes_that_matter() {
        let (shared, mut writer) = shared();
        follow(&shared, &mut writer, Event::Apply(config_map("a", "1")));
        let mut stream = shared.subscribe(by_data);
        assert_eq!(heard(&mut stream), ["a"]);
        follow(&shared, &mut writer, Event::Apply(config_map("a", "1")));
        assert!(heard(&mut stream).is_empty());
        follow(&shared, &mut writer, Event::Apply(config_map("a", "2")));
        assert_eq!(heard(&mut stream), ["a"]);
        follow(&shared, &mut writer, Event::Delete(config_map("a", "2")));
        assert_eq!(heard(&mut stream), ["a"]);
    }

    #[test]
    fn what_was_deleted_while_the_watch_was_broken_is_told_by_the_next_list() {
        let (shared, mut writer) = shared();
        for name in ["a", "b"] {
            follow(&shared, &mut writer, Event::Apply(config_map(name, "1")));
        }
        let mut stream = shared.subscribe(by_data);
        assert_eq!(heard(&mut stream).len(), 2);
        for event in [Event::Init, Event::InitApply(config_map("b", "1")), Event::InitDone] {
            follow(&shared, &mut writer, event);
        }
        assert_eq!(heard(&mut stream), ["a"]);
        assert_eq!(shared.store.len(), 1);
    }
}
