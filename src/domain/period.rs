//! Calendar arithmetic behind keys and partitions. Days and months are Copenhagen's.
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::{MessageId, copenhagen_day};

/// The day on which a key of `day` must be gone, when its class is kept `days` days (D2). It is the key's name:
/// "log/2026-04-01" is unreadable from that day's midnight on.
#[must_use]
pub fn gone_on(day: Date, days: u16) -> Date {
    day.saturating_add(i32::from(days).days())
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
    fn a_message_of_the_last_local_hour_is_billed_next_month() {
        let id = MessageId::new("2026-06-30T22:00:00Z".parse().expect("a timestamp"));
        assert_eq!(accepted_on(id), Some(date(2026, 7, 1)));
        assert_eq!(billed_in(id), Some(date(2026, 7, 1)));
    }
}
