//! Dated prices, terms and notices turn at midnight in Copenhagen.
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};

use crate::domain::copenhagen_day;

/// The longest step with which the turn of the day is sought.
const STEP_MINUTES: i64 = 10;

/// A short while: to the next turn of the day if it is near, else as long as an object may wait anyway.
pub(super) fn until_next(now: Timestamp) -> Duration {
    let today = copenhagen_day(now);
    let minute = |minutes: i64| now.saturating_add(minutes.minutes()).map_or(now, |at| at);
    let near = (1..=STEP_MINUTES).find(|minutes| copenhagen_day(minute(*minutes)) != today);
    Duration::from_secs(near.unwrap_or(STEP_MINUTES).unsigned_abs() * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turn_of_the_day_is_not_slept_through() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a timestamp");
        assert_eq!(until_next(at("2026-01-31T22:57:30Z")), Duration::from_secs(180));
        assert_eq!(until_next(at("2026-01-31T12:00:00Z")), Duration::from_secs(600));
    }
}
