//! When a delivery is tried again, and when it is given up: ten tries over three days, as Standard Webhooks proposes.
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// Seconds after each try but the last.
const DELAYS: [u64; 9] = [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
/// The longest that an endpoint may ask for.
const LONGEST: Duration = Duration::from_secs(24 * HOUR);

/// When to try again after the `tried`-th try, counted from 0; `None`: it was the last one. An endpoint that asks for more time gets
/// it, a day at most. A fifth more or less by chance, so that those that failed together do not all come back together.
pub(super) fn next(now: Timestamp, tried: i16, asked: Option<Duration>) -> Option<Timestamp> {
    let delay = Duration::from_secs(*DELAYS.get(usize::try_from(tried).ok()?)?);
    let delay = delay.mul_f64(rand::random_range(0.8..=1.2)).max(asked.unwrap_or_default().min(LONGEST));
    let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::from_hours(24));
    Some(now.saturating_add(delay).unwrap_or(now))
}

/// How long an endpoint asks to be left alone (`Retry-After`): seconds, or a date.
pub(super) fn asked(header: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = header.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(header.trim()).ok()?.timestamp();
    Duration::try_from(until.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn ten_tries_take_three_days() {
        let start = at("2026-11-27T12:00:00Z");
        let (mut now, mut tries) = (start, 0);
        while let Some(then) = next(now, tries, None) {
            assert!(then > now);
            (now, tries) = (then, tries + 1);
        }
        assert_eq!(tries, 9, "and the tenth is the last");
        let hours = now.duration_since(start).as_hours();
        assert!((60..=91).contains(&hours), "{hours}");
    }

    #[test]
    fn an_endpoint_may_ask_for_more_time_and_not_for_less() {
        let now = at("2026-11-27T12:00:00Z");
        let delay = |tried, asked| {
            next(now, tried, Some(Duration::from_secs(asked))).expect("again").duration_since(now).as_secs()
        };
        assert_eq!(delay(0, 120), 120);
        assert!((4..=6).contains(&delay(0, 1)));
        assert_eq!(delay(0, 1_000_000), 86_400, "a day at most");
        assert!(next(now, 9, Some(Duration::from_secs(5))).is_none(), "not for a further try");
        assert!(next(now, -1, None).is_none());
    }

    #[test]
    fn seconds_and_dates_are_read() {
        let now = at("2026-11-27T12:00:00Z");
        assert_eq!(asked("120", now), Some(Duration::from_secs(120)));
        assert_eq!(asked("Fri, 27 Nov 2026 12:01:00 GMT", now), Some(Duration::from_secs(60)));
        for nothing in ["", "-5", "soon", "Fri, 27 Nov 2026 11:00:00 GMT"] {
            assert_eq!(asked(nothing, now), None, "{nothing}");
        }
    }
}
