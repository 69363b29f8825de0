//! How long an object waits after it failed: exponentially longer each time, with jitter, so that many that fail at
//! once do not come back at once.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Failures in a row, by object.
#[derive(Debug, Default)]
pub(super) struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// How long to wait after one more failure.
    pub(super) fn failed(&self, object: String) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(object).or_default();
        let wait = FIRST.saturating_mul(1 << (*count).min(16)).min(LONGEST);
        *count = count.saturating_add(1);
        jittered(wait)
    }

    /// How often in a row it failed.
    pub(super) fn failures(&self, object: &str) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(object).copied().unwrap_or(0)
    }

    /// The object is well, or gone.
    pub(super) fn forget(&self, object: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

/// Between three quarters and five quarters of it.
pub(super) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew() {
        let backoff = Backoff::default();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.failed("a".to_owned())).collect();
        assert!(waits[0] < Duration::from_secs(2));
        assert!(waits[4] > Duration::from_secs(10));
        assert!(waits.iter().all(|wait| *wait <= LONGEST.mul_f64(1.25)));
        assert!(backoff.failed("b".to_owned()) < Duration::from_secs(2), "each object has its own");
        assert_eq!((backoff.failures("a"), backoff.failures("c")), (20, 0));
        backoff.forget("a");
        assert!(backoff.failed("a".to_owned()) < Duration::from_secs(2));
    }
}
