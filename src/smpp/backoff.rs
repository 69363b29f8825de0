//! When to try again: delays that double up to a bound, spread by chance so that many clients of one upstream that
//! came back do not all arrive in the same second.
use std::time::Duration;

use super::chance;

/// The delays between attempts. Start anew with [`Backoff::reset`] once an attempt has held.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays of about `first`, doubling up to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first.min(most) }
    }

    /// How long to wait before the next attempt: between half and all of this step's delay.
    pub fn delay(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.most);
        chance::between(step / 2, step)
    }

    /// Begins again with the first delay.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_within_their_bounds_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for most in [100, 200, 350, 350] {
            let delay = backoff.delay();
            assert!(delay <= Duration::from_millis(most), "{delay:?} is above {most} ms");
            assert!(delay >= Duration::from_millis(most / 2), "{delay:?} is below half of {most} ms");
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_millis(100));
    }

    #[test]
    fn two_clients_do_not_come_back_together() {
        let delays: Vec<_> =
            (0..50).map(|_| Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).delay()).collect();
        assert!(delays.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
