//! Whose a message is, remembered for a while from its submit's answer, so that most receipts need no database to find
//! their owner. Bounded; what was forgotten is asked of the database.
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::domain::TenantId;
use crate::smpp::vendor::DestinationTag;

/// Entries of one generation. With two of them and some 100 octets each the memory is within 20 MiB.
const GENERATION: usize = 100_000;

/// The upstream's name of a message: its id in one spelling, and the check of the destination.
pub(super) type Key = (String, DestinationTag);

/// The owners of things of one kind, in two generations: when the young one is full the old one is dropped and the young
/// one grows old.
#[derive(Debug)]
pub(super) struct Owners<K> {
    young: HashMap<K, TenantId>,
    old: HashMap<K, TenantId>,
    generation: usize,
}

impl<K> Default for Owners<K> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation: GENERATION }
    }
}

impl<K: Eq + Hash> Owners<K> {
    /// Remembers whose `key` is.
    pub(super) fn put(&mut self, key: K, tenant: TenantId) {
        if self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, tenant);
    }

    /// Whose `key` is, if that is remembered.
    pub(super) fn get(&self, key: &K) -> Option<TenantId> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    /// Forgets `key`: its final receipt has come.
    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

/// The owners, shared by who reads the submits' answers and who reads receipts.
#[derive(Debug, Default)]
pub(super) struct Memory {
    owners: Mutex<Owners<Key>>,
    under_way: AtomicUsize,
    news: Notify,
}

impl Memory {
    fn owners(&self) -> MutexGuard<'_, Owners<Key>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A submit goes upstream; it is under way until this is dropped, once its answer is put here.
    pub(super) fn depart(self: &Arc<Self>) -> Departed {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Departed(Arc::clone(self))
    }

    /// Submits that wait for their answer.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// See [`Owners::put`].
    pub(super) fn put(&self, key: Key, tenant: TenantId) {
        self.owners().put(key, tenant);
        self.news.notify_waiters();
    }

    /// See [`Owners::get`].
    pub(super) fn get(&self, key: &Key) -> Option<TenantId> {
        self.owners().get(key)
    }

    /// See [`Owners::remove`].
    pub(super) fn remove(&self, key: &Key) {
        self.owners().remove(key);
    }

    /// Waits up to `patience` for the answer that tells whose `key` is, if one is due: a receipt may overtake it.
    pub(super) async fn wait(&self, key: &Key, patience: Duration) -> Option<TenantId> {
        let told = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if let Some(owner) = self.get(key) {
                    return Some(owner);
                }
                if self.under_way() == 0 {
                    // The last answer may have come between the two looks.
                    return self.get(key);
                }
                news.await;
            }
        };
        timeout(patience, told).await.ok().flatten()
    }
}

/// A submit that is under way.
#[derive(Debug)]
pub(super) struct Departed(Arc<Memory>);

impl Drop for Departed {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        (number.to_string(), DestinationTag(0))
    }

    #[test]
    fn the_newest_are_remembered_and_the_memory_is_bounded() {
        let mut owners = Owners { generation: 10, ..Owners::default() };
        for number in 0..35 {
            owners.put(key(number), TenantId(1));
        }
        assert!((25..35).all(|number| owners.get(&key(number)).is_some()));
        assert!(owners.young.len() + owners.old.len() <= 20);
    }

    #[tokio::test]
    async fn a_receipt_that_overtook_its_answer_waits_for_it() {
        let memory = Arc::new(Memory::default());
        let early = key(1);
        assert_eq!(memory.wait(&early, Duration::from_secs(60)).await, None, "no answer is due");
        let departed = memory.depart();
        let waiting = tokio::spawn({
            let (memory, early) = (Arc::clone(&memory), early.clone());
            async move { memory.wait(&early, Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        memory.put(key(2), TenantId(2));
        memory.put(early, TenantId(1));
        drop(departed);
        assert_eq!(waiting.await.expect("no panic"), Some(TenantId(1)));
    }

    #[test]
    fn the_same_id_with_another_destination_is_another_message() {
        let mut owners = Owners::<Key>::default();
        owners.put(("1".into(), DestinationTag(1)), TenantId(1));
        assert_eq!(owners.get(&("1".into(), DestinationTag(2))), None);
        owners.put(("1".into(), DestinationTag(2)), TenantId(2));
        owners.remove(&("1".into(), DestinationTag(1)));
        assert_eq!(owners.get(&("1".into(), DestinationTag(1))), None);
        assert_eq!(owners.get(&("1".into(), DestinationTag(2))), Some(TenantId(2)));
    }
}
