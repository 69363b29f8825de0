//! Calendar arithmetic behind keys and partitions. Days and months are Copenhagen's.
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::{MessageId, copenhagen_day};

/// The day on which a key of `day` must be gone, when its class is kept `days` days (D2). It is the key's name:
/// "log/2026-04-01" is unreadable from that day's midnight on.
#[must_use]
pub fn gone_on(day: Date, days: u32) -> Date {
    day.saturating_add(i64::from(days).days())
}

/// How far ahead a message may be scheduled, days.
pub const MOST_AHEAD: i64 = 30;
/// How long a message may wait at most from then on, days: the schema's bound on `limits.validityMinutes`.
const LONGEST_VALIDITY: u32 = 7;
/// How long a queue key of an account that logs nothing is kept.
const LONGEST_QUEUE: u32 = 38;

/// For how many days the key of a day's queue is kept, where the log is kept `log_days`: as long as a message may live by
/// rights, and the whole text of none outlives the log much (D2).
#[must_use]
pub fn queue_days(log_days: u32) -> u32 {
    match log_days {
        0 => LONGEST_QUEUE,
        days => days.clamp(LONGEST_VALIDITY + 1, LONGEST_QUEUE),
    }
}

/// The day on which a message was accepted: the partition of its log. `None` for an id that is not ours.
#[must_use]
pub fn accepted_on(message: MessageId) -> Option<Date> {
    message.at().map(copenhagen_day)
}

/// The first day of the month in which a message is billed: its partition of usage. It follows from the id alone, so
/// that a message cannot be billed in two months (B10). `None` for an id that is not ours.
#[must_use]
pub fn billed_in(message: MessageId) -> Option<Date> {
    accepted_on(message).map(Date::first_of_month)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_key_is_gone_after_its_days() {
        assert_eq!(gone_on(date(2026, 1, 31), 30), date(2026, 3, 2));
        assert_eq!(gone_on(date(2028, 2, 28), 1), date(2028, 2, 29));
        assert_eq!(gone_on(date(2026, 5, 5), 0), date(2026, 5, 5));
    }

    #[test]
    fn a_queue_key_outlives_every_message_and_the_log_by_little() {
        assert_eq!([0, 1, 8, 30, 89].map(queue_days), [38, 8, 8, 30, 38]);
        let longest = u32::try_from(MOST_AHEAD).expect("days") + LONGEST_VALIDITY;
        assert!(LONGEST_QUEUE > longest, "scheduled as late as may be, and given up as late");
    }

    #[test]
    fn a_message_of_the_last_local_hour_is_billed_next_month() {
        let id = MessageId::new("2026-06-30T22:00:00Z".parse().expect("a timestamp"));
        assert_eq!(accepted_on(id), Some(date(2026, 7, 1)));
        assert_eq!(billed_in(id), Some(date(2026, 7, 1)));
    }
}
