//! When pods may be replaced for a new version, where a route's owner has said so (`maintenance.rolloutWindow`).
use jiff::civil::Time;
use jiff::{Timestamp, ToSpan as _, Zoned};

use crate::crd::values::{Hours, TimeOfDay};
use crate::domain::copenhagen;

/// A week, and the same day of the next one: on one of these any window opens, but for an hour that a change of the clocks skips.
const LOOK_AHEAD: i64 = 14;

/// When the window opens next, in Copenhagen; `None` while it is open.
pub(super) fn opens_at(hours: &Hours, now: Timestamp) -> Option<Zoned> {
    let now = now.to_zoned(copenhagen());
    let (from, until) = (time(&hours.from)?, time(&hours.until)?);
    let is_open = |at: &Zoned| {
        let day = at.weekday().to_monday_zero_offset();
        let is_of_days = hours.days.is_empty() || hours.days.iter().any(|open| *open as i8 == day);
        is_of_days && (from..until).contains(&at.time())
    };
    if is_open(&now) {
        return None;
    }
    (0..=LOOK_AHEAD)
        .filter_map(|ahead| now.date().checked_add(ahead.days()).ok()?.to_datetime(from).to_zoned(copenhagen()).ok())
        .find(|start| *start > now && is_open(start))
}

/// The schema has seen to its form.
fn time(written: &TimeOfDay) -> Option<Time> {
    let (hour, minute) = written.split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// When a window opens next, seen from an instant.
    fn opens(days: &[&str], from: &str, until: &str, now: &str) -> Option<String> {
        let hours = serde_json::from_value(json!({"days": days, "from": from, "until": until})).expect("hours");
        let opens = opens_at(&hours, now.parse().expect("an instant"))?;
        Some(opens.timestamp().to_string())
    }

    #[test]
    fn it_is_open_from_its_first_minute_and_closed_from_its_last() {
        let at = |now| opens(&[], "02:00", "05:00", now);
        assert_eq!(at("2026-01-14T00:59:59Z").as_deref(), Some("2026-01-14T01:00:00Z"), "Copenhagen is an hour ahead");
        assert_eq!(at("2026-01-14T01:00:00Z"), None);
        assert_eq!(at("2026-01-14T03:59:59Z"), None);
        assert_eq!(at("2026-01-14T04:00:00Z").as_deref(), Some("2026-01-15T01:00:00Z"));
        assert_eq!(at("2026-07-14T04:00:00Z").as_deref(), Some("2026-07-15T00:00:00Z"), "in summer two");
    }

    #[test]
    fn days_are_those_of_copenhagen() {
        // A Wednesday, and in Copenhagen already Thursday.
        let late = "2026-01-14T23:30:00Z";
        assert_eq!(opens(&["thursday"], "00:00", "01:00", late), None);
        assert_eq!(opens(&["wednesday"], "00:00", "01:00", late).as_deref(), Some("2026-01-20T23:00:00Z"));
        assert_eq!(opens(&["sunday", "friday"], "02:00", "05:00", late).as_deref(), Some("2026-01-16T01:00:00Z"));
        // After the window of its only day.
        assert_eq!(
            opens(&["sunday"], "02:00", "05:00", "2026-01-18T12:00:00Z").as_deref(),
            Some("2026-01-25T01:00:00Z")
        );
    }

    #[test]
    fn an_hour_that_the_clocks_skip_opens_nothing() {
        // On 29 March 2026 two o'clock becomes three.
        let before = "2026-03-28T12:00:00Z";
        assert_eq!(opens(&["sunday"], "02:00", "03:00", before).as_deref(), Some("2026-04-05T00:00:00Z"));
        assert_eq!(opens(&["sunday"], "02:00", "05:00", before).as_deref(), Some("2026-03-29T01:00:00Z"));
        // On 25 October three becomes two, and the hour comes twice.
        assert_eq!(opens(&["sunday"], "02:00", "03:00", "2026-10-25T01:30:00Z"), None);
    }
}
