//! Several watches of one kind, one for each namespace, told as one. Pure.
//!
//! A list replaces all that a store knows, so the list of one namespace is told as a list of all of them; and nothing is told before
//! each was listed, since until then nobody knows what there is.

use std::hash::Hash;

use futures::{StreamExt, stream, stream::BoxStream};
use kube::{
    Resource,
    runtime::{
        reflector::{self, Store, store::Writer},
        watcher::{self, Event},
    },
};

type Watch<K> = BoxStream<'static, watcher::Result<Event<K>>>;

/// The events of all watches, as those of one.
pub(super) fn union<K>(watches: Vec<Watch<K>>) -> Watch<K>
where
    K: Resource + Clone + Send + Sync + 'static,
    K::DynamicType: Hash + Eq + Clone + Default + Send + Sync,
{
    let watches = match <[Watch<K>; 1]>::try_from(watches) {
        Ok([only]) => return only,
        Err(watches) => watches,
    };
    let mut parts: Vec<_> = watches.iter().map(|_| Part::new()).collect();
    let numbered = watches.into_iter().enumerate();
    let numbered = numbered.map(|(number, watch)| watch.map(move |event| (number, event)).boxed());
    stream::select_all(numbered)
        .flat_map(move |(number, event)| match event {
            Ok(event) => stream::iter(told(&mut parts, number, event)).map(Ok).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        })
        .boxed()
}

/// What one watch knows.
struct Part<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    store: Store<K>,
    writer: Writer<K>,
    listed: bool,
}

impl<K> Part<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Hash + Eq + Clone + Default,
{
    fn new() -> Self {
        let (store, writer) = reflector::store();
        Self { store, writer, listed: false }
    }
}

/// What is told of an event of one part.
fn told<K>(parts: &mut [Part<K>], number: usize, event: Event<K>) -> Vec<Event<K>>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Hash + Eq + Clone + Default,
{
    let Some(part) = parts.get_mut(number) else { return Vec::new() };
    part.writer.apply_watcher_event(&event);
    part.listed |= matches!(event, Event::InitDone);
    if !parts.iter().all(|part| part.listed) {
        return Vec::new();
    }
    match event {
        Event::Apply(_) | Event::Delete(_) => vec![event],
        Event::Init | Event::InitApply(_) => Vec::new(),
        Event::InitDone => {
            let objects = parts.iter().flat_map(|part| part.store.state());
            let listed = objects.map(|object| Event::InitApply(object.as_ref().clone()));
            [Event::Init].into_iter().chain(listed).chain([Event::InitDone]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{ResourceExt, core::ObjectMeta};

    use super::*;

    fn object(namespace: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some("object".to_owned()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    /// The namespaces of the objects that are listed, each list apart from the next.
    fn lists(events: &[Event<ConfigMap>]) -> Vec<Vec<String>> {
        let mut lists = Vec::new();
        for event in events {
            match event {
                Event::Init => lists.push(Vec::new()),
                Event::InitApply(object) => lists.last_mut().unwrap().push(object.namespace().unwrap()),
                Event::InitDone | Event::Apply(_) | Event::Delete(_) => {}
            }
        }
        lists
    }

    fn tell(
        parts: &mut [Part<ConfigMap>],
        number: usize,
        events: Vec<Event<ConfigMap>>,
    ) -> Vec<Event<ConfigMap>> {
        events.into_iter().flat_map(|event| told(parts, number, event)).collect()
    }

    fn list(objects: &[&str]) -> Vec<Event<ConfigMap>> {
        let listed = objects.iter().map(|namespace| Event::InitApply(object(namespace)));
        [Event::Init].into_iter().chain(listed).chain([Event::InitDone]).collect()
    }

    #[test]
    fn nothing_is_told_before_every_namespace_was_listed_then_all_at_once() {
        let mut parts = [Part::new(), Part::new()];
        assert!(tell(&mut parts, 0, list(&["a"])).is_empty());
        assert!(tell(&mut parts, 0, vec![Event::Apply(object("a"))]).is_empty());
        assert_eq!(lists(&tell(&mut parts, 1, list(&["b"]))), [["a", "b"]]);
    }

    #[test]
    fn a_namespace_that_is_listed_anew_takes_nothing_from_the_others() {
        let mut parts = [Part::new(), Part::new()];
        tell(&mut parts, 0, list(&["a"]));
        tell(&mut parts, 1, list(&["b"]));
        assert_eq!(lists(&tell(&mut parts, 0, list(&[]))), [["b"]]);
    }

    #[test]
    fn once_all_are_listed_changes_are_told_as_they_come() {
        let mut parts = [Part::new(), Part::new()];
        tell(&mut parts, 0, list(&[]));
        tell(&mut parts, 1, list(&[]));
        let changes = tell(&mut parts, 1, vec![Event::Apply(object("b")), Event::Delete(object("b"))]);
        assert!(matches!(changes.as_slice(), [Event::Apply(_), Event::Delete(_)]));
    }
}
