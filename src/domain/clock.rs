//! Time comes in from outside, so that tests can close months and lapse retention.
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{self, TimeZone};

/// Where the present comes from.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// The present, as wall-clock time.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The calendar day in Europe/Copenhagen that holds `at`: "day" in every promise.
#[must_use]
pub fn copenhagen_day(at: Timestamp) -> Date {
    at.to_zoned(copenhagen()).date()
}

/// The first moment of a day in Europe/Copenhagen.
#[must_use]
pub fn copenhagen_midnight(day: Date) -> Timestamp {
    day.to_zoned(copenhagen()).map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

/// The zone of every day and hour that is promised or set.
#[must_use]
pub fn copenhagen() -> TimeZone {
    // The bundled database has this zone; a build without it would be caught by the test below.
    tz::db().get("Europe/Copenhagen").unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn the_day_turns_at_copenhagen_midnight_in_winter_and_summer() {
        let day = |text: &str| copenhagen_day(text.parse().expect("a timestamp")).to_string();
        assert_eq!(day("2026-01-31T22:59:59Z"), "2026-01-31");
        assert_eq!(day("2026-01-31T23:00:00Z"), "2026-02-01");
        assert_eq!(day("2026-07-01T21:59:59Z"), "2026-07-01");
        assert_eq!(day("2026-07-01T22:00:00Z"), "2026-07-02");
    }

    #[test]
    fn every_day_begins_with_its_midnight_also_when_clocks_change() {
        for (day, midnight) in [
            (date(2026, 3, 29), "2026-03-28T23:00:00Z"),
            (date(2026, 3, 30), "2026-03-29T22:00:00Z"),
            (date(2026, 10, 25), "2026-10-24T22:00:00Z"),
            (date(2026, 10, 26), "2026-10-25T23:00:00Z"),
        ] {
            assert_eq!(copenhagen_midnight(day).to_string(), midnight);
            assert_eq!(copenhagen_day(copenhagen_midnight(day)), day);
        }
    }
}
