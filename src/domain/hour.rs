//! Hours of absolute time, which copies of mail are sealed by (D3). A night on which clocks are set back has one more of them and
//! none twice, unlike the hours of a wall clock.
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

/// Seconds of an hour.
const SECONDS: i64 = 3600;

/// An hour of absolute time, from its beginning up to the next one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

/// Not the name of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write an hour as in 2026-11-24T15Z")]
pub struct NotAnHour;

impl Hour {
    /// The hour that holds `at`.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(SECONDS))
    }

    /// Its first moment.
    #[must_use]
    pub fn begins(self) -> Timestamp {
        Timestamp::from_second(self.0.saturating_mul(SECONDS)).unwrap_or(Timestamp::MAX)
    }

    /// The one so many hours later.
    #[must_use]
    pub fn plus(self, hours: u32) -> Self {
        Self(self.0.saturating_add(hours.into()))
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.begins().strftime("%Y-%m-%dT%HZ"))
    }
}

impl FromStr for Hour {
    type Err = NotAnHour;

    fn from_str(text: &str) -> Result<Self, NotAnHour> {
        let hour = text.strip_suffix('Z').ok_or(NotAnHour)?;
        let hour = Self::of(format!("{hour}:00:00Z").parse().map_err(|_| NotAnHour)?);
        (hour.to_string() == text).then_some(hour).ok_or(NotAnHour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(text: &str) -> Hour {
        Hour::of(text.parse().expect("a timestamp"))
    }

    #[test]
    fn an_hour_is_read_as_it_is_written() {
        let it = hour("2026-11-24T15:59:59.9Z");
        assert_eq!(it.to_string(), "2026-11-24T15Z");
        assert_eq!("2026-11-24T15Z".parse(), Ok(it));
        assert_eq!(it.begins().to_string(), "2026-11-24T15:00:00Z");
        assert_eq!(it.plus(10).to_string(), "2026-11-25T01Z");
        for text in ["2026-11-24T15", "2026-11-24T15:30Z", "2026-11-24T24Z", "", "Z"] {
            assert_eq!(text.parse::<Hour>(), Err(NotAnHour), "{text}");
        }
    }

    #[test]
    fn the_hour_that_clocks_show_twice_is_two_hours_and_the_one_they_skip_is_none() {
        let [first, second] = [hour("2026-10-25T02:30:00+02:00"), hour("2026-10-25T02:30:00+01:00")];
        assert_eq!((first.to_string().as_str(), second), ("2026-10-25T00Z", first.plus(1)));
        let [before, after] = [hour("2026-03-29T01:59:59+01:00"), hour("2026-03-29T03:00:00+02:00")];
        assert_eq!(after, before.plus(1));
    }
}
