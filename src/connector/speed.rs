//! How many submits a second were given to the binds lately, out of a count that only grows.
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Over so long.
const SPAN: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Speed(VecDeque<(Instant, u64)>);

impl Speed {
    /// Takes the count in as it is now; gives the rate since [`SPAN`] ago, or since the first look.
    pub(super) fn look(&mut self, count: u64, now: Instant) -> f64 {
        // The newest that is old enough stays, to count from.
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= SPAN) {
            self.0.pop_front();
        }
        self.0.push_back((now, count));
        let Some((at, before)) = self.0.front() else { return 0.0 };
        let seconds = now.saturating_duration_since(*at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds are far below 2^52")]
        let submits = count.saturating_sub(*before) as f64;
        if seconds > 0.0 { submits / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_happened_lately() {
        let (mut speed, begin) = (Speed::default(), Instant::now());
        let mut count = 0;
        let mut look = |quarters: std::ops::Range<u32>, each: u64| {
            let mut rate = 0.0;
            for quarter in quarters {
                rate = speed.look(count, begin + Duration::from_millis(250) * quarter);
                count += each;
            }
            rate
        };
        assert!((look(0..41, 5) - 20.0).abs() < 0.01, "twenty a second");
        assert!((look(41..62, 0) - 0.0).abs() < 0.3, "nothing any more");
        assert!((look(62..63, 0) - 0.0).abs() < 0.01);
        assert!(speed.0.len() <= 22, "{}", speed.0.len());
    }
}
