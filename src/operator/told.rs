//! What was written into statuses, until the watch has brought it. Two reconciliations in a row would else compare with a
//! status from before the first one: the second would move the times of conditions and tell the same event again.
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::{Resource, ResourceExt as _};

use super::controller::key;
use super::status::HasStatus;

/// The statuses that the watch has not brought yet, by object.
#[derive(Default)]
pub(super) struct Told(Mutex<HashMap<String, Entry>>);

struct Entry {
    uid: Option<String>,
    version: u64,
    status: Box<dyn Any + Send + Sync>,
}

impl Told {
    /// Keeps the status of an object as the API gave it back.
    pub(super) fn remember<K: Resource<DynamicType = ()> + HasStatus>(&self, written: &K) {
        let Some(version) = version(written) else { return };
        let entry = Entry { uid: written.uid(), version, status: Box::new(written.told().cloned()) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key(written), entry);
    }

    /// The object with the status that was written last.
    pub(super) fn newest<K: Resource<DynamicType = ()> + HasStatus + Clone>(&self, seen: Arc<K>) -> Arc<K> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(&*seen);
        let Some(entry) = all.get(&key) else { return seen };
        let behind = entry.uid == seen.uid() && version(&*seen).is_some_and(|version| version < entry.version);
        match entry.status.downcast_ref::<Option<K::Status>>().filter(|_| behind) {
            Some(status) => {
                let mut newest = K::clone(&seen);
                newest.tell(status.clone());
                Arc::new(newest)
            }
            None => {
                all.remove(&key);
                seen
            }
        }
    }

    /// The object is gone.
    pub(super) fn forget(&self, object: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

/// Versions of one object are compared only; the API counts them up.
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::RetentionPolicy;

    fn policy(uid: &str, version: &str, log: &str) -> RetentionPolicy {
        serde_json::from_value(json!({
            "metadata": {"name": "standard", "namespace": "sms", "uid": uid, "resourceVersion": version},
            "spec": {
                "log": {"keep": {"days": 3}, "textCharacters": 160}, "mail": {"keepDays": 3},
                "accounts": {"deleteAfterMonths": 3}, "invoices": {"keepYears": 5},
                "backups": {"keyringKeepHours": 24, "dataKeepDays": 14},
                "hosting": {"country": "DK", "location": "Aarhus", "provider": "Vert ApS"},
            },
            "status": {"observedGeneration": 1, "log": log},
        }))
        .expect("a policy")
    }

    fn log(told: &Told, seen: RetentionPolicy) -> String {
        told.newest(Arc::new(seen)).told().and_then(|status| status.log.clone()).expect("a status")
    }

    #[test]
    fn what_was_written_holds_until_the_watch_has_brought_it() {
        let told = Told::default();
        told.remember(&policy("a", "10", "new"));
        assert_eq!(log(&told, policy("a", "9", "old")), "new");
        assert_eq!(log(&told, policy("a", "9", "old")), "new", "as often as it is asked");
        assert_eq!(log(&told, policy("a", "11", "newer")), "newer");
        assert_eq!(log(&told, policy("a", "9", "old")), "old", "it has caught up");
        told.remember(&policy("a", "10", "new"));
        assert_eq!(log(&told, policy("b", "9", "another's")), "another's");
    }
}
