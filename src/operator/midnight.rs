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

/// To the beginning of the next hour, at which keys of the hour are due, and at midnight those of the day.
pub(super) fn until_hour(now: Timestamp) -> Duration {
    const HOUR: i64 = 3600;
    Duration::from_secs((HOUR - now.as_second().rem_euclid(HOUR)).unsigned_abs())
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

    #[test]
    fn every_hour_is_awaited_and_every_midnight_with_it() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a timestamp");
        assert_eq!(until_hour(at("2026-03-29T00:59:59.9Z")), Duration::from_secs(1), "not a moment early");
        assert_eq!(until_hour(at("2026-03-29T01:00:00Z")), Duration::from_secs(3600));
        for day in ["2026-03-29T22:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"] {
            let midnight = at(day);
            let before = midnight.saturating_sub(jiff::SignedDuration::from_secs(90)).expect("near");
            assert_ne!(copenhagen_day(before), copenhagen_day(midnight));
            assert_eq!(until_hour(before), Duration::from_secs(90));
        }
    }
}
