//! Calendar arithmetic behind keys and partitions. Days and months are Copenhagen's.
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use super::{MessageId, copenhagen_day, copenhagen_midnight};

/// The day on which a key of `day` must be gone, when its class is kept `days` days (D2). It is the key's name:
/// "log/2026-04-01" is unreadable from that day's midnight on.
#[must_use]
pub fn gone_on(day: Date, days: u32) -> Date {
    day.saturating_add(i64::from(days).days())
}

/// The day on which the key of this name must be gone; `None` for a name that is not a day's key's.
#[must_use]
pub fn gone_by_name(name: &str) -> Option<Date> {
    name.split('/').nth(1)?.parse().ok()
}

/// How far ahead a message may be scheduled, days.
pub const MOST_AHEAD: i64 = 30;
/// How long a message may wait at most from then on, days: the schema's bound on `limits.validityMinutes`.
const LONGEST_VALIDITY: u32 = 7;
/// How many days before a queue key goes a message must have had its end: it is ended at the beginning of the day before, and the
/// validity may reach into a day.
const LAST_DAYS: u32 = 2;
/// How long a queue key of an account that logs nothing is kept: 30 days ahead, 7 days of validity, and the last two.
const LONGEST_QUEUE: u32 = 39;

/// For how many days the key of a day's queue is kept, where the log is kept `log_days`: as long as a message may live by
/// rights, and the whole text of none outlives the log much (D2).
#[must_use]
pub fn queue_days(log_days: u32) -> u32 {
    match log_days {
        0 => LONGEST_QUEUE,
        days => days.clamp(LONGEST_VALIDITY + LAST_DAYS, LONGEST_QUEUE),
    }
}

/// The moment at which a message is ended at the latest, whatever it waits for, when its queue key goes on `gone_on`: with the
/// beginning of the day before (D2).
#[must_use]
pub fn ended_by(gone_on: Date) -> Timestamp {
    copenhagen_midnight(gone_on.saturating_sub(1.day()))
}

/// What the destruction of an hour's keys may take, seconds: the run after the full hour, and what is kept in memory for a minute.
const DESTRUCTION_SECONDS: u32 = 600;

/// For how many hours from the beginning of an hour the key of its copies of mail is kept, which are promised to be unreadable
/// everywhere `keep_days` days after they were made, and at most an hour early (D3): so many hours less than the promise as the
/// keyring's backups and its write-ahead log may hold a key that is destroyed. 0: there is no such time, and nothing is kept.
#[must_use]
pub fn mail_hours(keep_days: u32, backup_hours: u32, wal_seconds: u32) -> u32 {
    let wal_hours = wal_seconds.saturating_add(DESTRUCTION_SECONDS).div_ceil(3600);
    (24 * keep_days).saturating_sub(backup_hours).saturating_sub(wal_hours)
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
    fn a_keys_name_says_when_it_is_gone() {
        assert_eq!(gone_by_name("queue/2026-04-08/2026-03-01"), Some(date(2026, 4, 8)));
        assert_eq!(gone_by_name("repeat"), None);
    }

    #[test]
    fn a_queue_key_outlives_every_message_and_the_log_by_little() {
        assert_eq!([0, 1, 9, 30, 89].map(queue_days), [39, 9, 9, 30, 39]);
        let longest = u32::try_from(MOST_AHEAD).expect("days") + LONGEST_VALIDITY;
        assert!(LONGEST_QUEUE > longest + 1, "scheduled as late as may be, and given up as late");
    }

    #[test]
    fn a_days_key_outlives_the_longest_validity_also_when_clocks_change() {
        let hours = |count: u32| jiff::SignedDuration::from_hours(count.into());
        for day in days() {
            let tomorrow = copenhagen_midnight(day.saturating_add(1.day()));
            // A message of the day's last moment, were it not for the hour that spring takes.
            let longest = tomorrow.saturating_add(hours(24 * LONGEST_VALIDITY)).expect("near");
            let gone_on = gone_on(day, queue_days(1));
            assert!(ended_by(gone_on).saturating_add(hours(1)).expect("near") >= longest, "{day}");
            assert!(ended_by(gone_on) < copenhagen_midnight(gone_on), "{day}");
        }
    }

    #[test]
    fn months_are_never_more_than_calendar_months() {
        // What `log.keep.months` counts as (the operator's `log_days`): the shortest that so many months can be.
        for (months, days) in [(1, 28), (2, 59), (3, 89)] {
            let lengths = self::days().map(|day| (day, day.saturating_add(i32::from(months as i8).months())));
            let lengths: Vec<u32> =
                lengths.map(|(day, end)| u32::try_from((end - day).get_days()).expect("days")).collect();
            assert_eq!(lengths.iter().min(), Some(&days), "{months} months");
        }
        for (day, three_months) in [
            (date(2026, 11, 30), date(2027, 2, 28)),
            (date(2027, 11, 30), date(2028, 2, 29)),
            (date(2028, 2, 29), date(2028, 5, 29)),
            (date(2026, 1, 31), date(2026, 4, 30)),
        ] {
            assert_eq!(day.saturating_add(3.months()), three_months);
            assert!(gone_on(day, 89) <= three_months, "{day}");
        }
    }

    #[test]
    fn an_hours_key_goes_so_early_that_its_copies_are_gone_in_time_and_at_most_an_hour_early() {
        for keep_days in 1..=3 {
            for backup_hours in 0..=71 {
                for wal_seconds in [0, 3_000, 3_001, 4_200, 79_200] {
                    let lives = mail_hours(keep_days, backup_hours, wal_seconds);
                    let unreadable = (lives + backup_hours) * 3600 + wal_seconds + DESTRUCTION_SECONDS;
                    let promise = 24 * 3600 * keep_days;
                    if lives > 0 {
                        assert!(
                            (promise - 3600 + 1..=promise).contains(&unreadable),
                            "{keep_days} {backup_hours} {wal_seconds}"
                        );
                    } else {
                        assert!(unreadable > promise - 3600, "{keep_days} {backup_hours} {wal_seconds}");
                    }
                }
            }
        }
        assert_eq!(mail_hours(3, 24, 4_200), 46);
        assert_eq!(mail_hours(0, 0, 0), 0);
    }

    /// Every day of nine years, two of them leap years.
    fn days() -> impl Iterator<Item = Date> {
        date(2024, 1, 1).series(1.day()).take_while(|day| *day < date(2033, 1, 1))
    }

    #[test]
    fn a_message_of_the_last_local_hour_is_billed_next_month() {
        let id = MessageId::new("2026-06-30T22:00:00Z".parse().expect("a timestamp"));
        assert_eq!(accepted_on(id), Some(date(2026, 7, 1)));
        assert_eq!(billed_in(id), Some(date(2026, 7, 1)));
    }
}
