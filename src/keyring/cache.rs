//! Keys in memory: a bounded number, for a bounded time.
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a key is used before it is looked up again: a destroyed one is out of memory after that.
pub(super) const KEEP: Duration = Duration::from_secs(60);
/// As [`KEEP`], of the keys around a tenant's others where a server is asked to unwrap them: so long its absence is not felt. Used only as
/// long as the row that it came from stands.
pub(super) const KEEP_ASKED: Duration = Duration::from_secs(900);
/// Keys of one sort. At most a few hundred bytes each.
pub(super) const MOST: usize = 4096;

/// The keys looked up last. Handing one out never waits for the keyring.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    entries: Mutex<Entries<K, V>>,
    keep: Duration,
    most: usize,
}

#[derive(Debug)]
struct Entries<K, V> {
    found: HashMap<K, (Instant, Arc<V>)>,
    /// In order of look-up, which is the order of expiry. An entry that was looked up again is in it twice; the time
    /// tells which is meant.
    order: VecDeque<(Instant, K)>,
}

impl<K: Clone + Eq + Hash, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self::new(KEEP, MOST)
    }
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    pub(super) fn new(keep: Duration, most: usize) -> Self {
        Self { entries: Mutex::new(Entries { found: HashMap::new(), order: VecDeque::new() }), keep, most }
    }

    /// What was put there, unless that is too long ago.
    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.expire(self.keep, self.most);
        entries.found.get(key).map(|(_, value)| Arc::clone(value))
    }

    /// Keeps it, at the cost of the oldest where there is no room; gives it back.
    pub(super) fn put(&self, key: K, value: Arc<V>) -> Arc<V> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        entries.order.push_back((now, key.clone()));
        entries.found.insert(key, (now, Arc::clone(&value)));
        entries.expire(self.keep, self.most);
        value
    }
}

impl<K: Clone + Eq + Hash, V> Entries<K, V> {
    fn expire(&mut self, keep: Duration, most: usize) {
        while let Some((at, key)) = self.order.front() {
            if at.elapsed() < keep && self.order.len() <= most {
                break;
            }
            if self.found.get(key).is_some_and(|(put, _)| put == at) {
                self.found.remove(key);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let cache = Cache::new(KEEP, 2);
        for number in 0..3 {
            cache.put(number, Arc::new(number));
        }
        assert!(cache.get(&0).is_none());
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(Arc::new(1)), Some(Arc::new(2))));
    }

    #[test]
    fn what_is_too_old_is_gone() {
        let cache = Cache::new(Duration::ZERO, 2);
        cache.put(1, Arc::new(1));
        assert!(cache.get(&1).is_none());
        assert!(cache.entries.lock().expect("no panic before").found.is_empty());
    }

    #[test]
    fn putting_again_keeps_the_newer() {
        let cache = Cache::new(KEEP, 2);
        cache.put(1, Arc::new(1));
        cache.put(1, Arc::new(2));
        cache.put(2, Arc::new(3));
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(Arc::new(2)), Some(Arc::new(3))));
    }
}
