//! Keeps one store in step with the cluster and says whom each change concerns.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Resource, ResourceExt as _};

use super::{Target, World};

/// Changes with every write.
pub(super) fn version<K: Resource>(object: &K) -> Option<String> {
    object.meta().resource_version.clone()
}

/// Follows `events` for ever. `version` says what of an object matters to others: an event that leaves it alone
/// concerns nobody.
pub(super) async fn follow<K, V>(
    mut writer: Writer<K>,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    world: Arc<World>,
    concerned: fn(&World, &K) -> Vec<Target>,
    version: fn(&K) -> V,
) where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + Send + Sync + 'static,
    V: PartialEq,
{
    let store = writer.as_reader();
    let mut events = std::pin::pin!(events.default_backoff());
    let mut failing = false;
    while let Some(event) = events.next().await {
        let event = match event {
            // Nobody reads them, and they are most of an object's size.
            Ok(event) => event.modify(|object| object.managed_fields_mut().clear()),
            Err(error) => {
                // One line for an outage, not one a try.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(namespace = world.namespace, kind = %<K as Resource>::kind(&()), %error, "cannot watch");
                }
                continue;
            }
        };
        failing = false;
        let mut targets = HashSet::new();
        match &event {
            Event::Apply(object) => {
                let before = store.get(&ObjectRef::from_obj(object));
                writer.apply_watcher_event(&event);
                if before.as_deref().map(version) != Some(version(object)) {
                    targets.extend(before.iter().flat_map(|before| concerned(&world, before)));
                    targets.extend(concerned(&world, object));
                }
            }
            Event::Delete(object) => {
                writer.apply_watcher_event(&event);
                targets.extend(concerned(&world, object));
            }
            Event::Init | Event::InitApply(_) => writer.apply_watcher_event(&event),
            Event::InitDone => {
                let before = store.state();
                writer.apply_watcher_event(&event);
                targets.extend(changed(before, &store, version).iter().flat_map(|object| concerned(&world, object)));
            }
        }
        for target in targets {
            world.queues.push(&world.namespace, target).await;
        }
    }
}

/// What a new list changed: both forms of what differs, what is new, and what is gone.
fn changed<K, V>(before: Vec<Arc<K>>, store: &Store<K>, version: fn(&K) -> V) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + 'static,
    V: PartialEq,
{
    let mut old: HashMap<_, _> = before.into_iter().map(|object| (ObjectRef::from_obj(&*object), object)).collect();
    let mut changed = Vec::new();
    for object in store.state() {
        match old.remove(&ObjectRef::from_obj(&*object)) {
            Some(before) if version(&before) == version(&object) => {}
            before => changed.extend(before.into_iter().chain([object])),
        }
    }
    changed.extend(old.into_values());
    changed
}
