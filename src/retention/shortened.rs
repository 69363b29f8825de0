//! A log that is to be kept shorter than what is in it was promised: what would go is shown for a day first, unless the owner
//! has given the word. A tenant that opts out has given its own (D4).
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use sqlx::PgPool;

use super::Error;
use crate::domain::TenantId;
use crate::keyring::{Class, Keyring};
use crate::store::installation::{self, Erasure};
use crate::store::retention::journal::{self, What};
use crate::store::retention::{self as store, Gone, Kept};

pub mod mail;

/// How long what would go is shown.
const SHOWN: SignedDuration = SignedDuration::from_hours(24);

/// What is to hold for a tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Days that it is kept; 0: nothing is logged.
    pub days: i32,
    /// The tenant itself has confirmed that nothing is to be kept.
    pub opted_out: bool,
    /// The owner's word: what was accepted before this day may go now.
    pub confirmed_before: Option<Date>,
}

/// What becomes of what is logged already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is kept for so long; nothing is asked.
    Keep(Kept),
    /// It waits for the day to pass, or for the owner's word.
    Wait(Kept),
    /// What was accepted before this day goes now.
    Erase(Kept, Date),
}

/// What is to be done now.
#[must_use]
pub fn step(before: Option<Kept>, wanted: Wanted, now: Timestamp, today: Date) -> Step {
    let followed = Kept { days: wanted.days, shortened_at: None };
    let Some(before) = before.filter(|before| before.days > wanted.days) else { return Step::Keep(followed) };
    // The first day that is still kept.
    let first = today.saturating_sub((i64::from(wanted.days) - 1).days());
    let since = before.shortened_at.unwrap_or(now);
    if wanted.opted_out || was_shown(since, now) || covers(wanted.confirmed_before, first) {
        Step::Erase(followed, first)
    } else {
        Step::Wait(Kept { shortened_at: Some(since), ..before })
    }
}

/// What would go was shown for long enough.
fn was_shown(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) >= SHOWN
}

/// The owner's word is for all that was accepted before this day.
fn covers(word: Option<Date>, first: Date) -> bool {
    word.is_some_and(|word| word >= first)
}

/// Brings what is logged already in line with what is wanted. Keys go before it is said that they need not be kept, so that a
/// crash in between leaves nothing behind.
///
/// # Errors
/// When a database does not answer; asking again goes on.
pub async fn follow(
    pool: &PgPool,
    keyring: &Keyring,
    tenant: TenantId,
    wanted: Wanted,
    now: Timestamp,
    today: Date,
) -> Result<Step, Error> {
    let before = store::kept(pool, tenant).await?;
    let step = step(before, wanted, now, today);
    let kept = match step {
        Step::Keep(kept) | Step::Wait(kept) => kept,
        Step::Erase(kept, first) => {
            for class in [Class::Log, Class::Inbound] {
                // Today's inbound comes in under a key of today.
                let until = if class == Class::Inbound { first.min(today) } else { first };
                let keys = keyring.erase(tenant, class, until).await?;
                // The keyring has noted it with the keys; it is in both for the day on which either is restored.
                let erased = Erasure { tenant, class: class.as_str().to_owned(), before: until, at: now };
                installation::note(pool, &erased).await?;
                if keys > 0 {
                    let gone = Gone { items: keys, tenants: 1 };
                    journal::append(pool, What::Keys, class.as_str(), today, gone).await?;
                }
            }
            kept
        }
    };
    if before != Some(kept) {
        store::keep(pool, tenant, kept).await?;
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TODAY: Date = date(2026, 3, 30);

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn wanted(days: i32) -> Wanted {
        Wanted { days, opted_out: false, confirmed_before: None }
    }

    fn kept(days: i32) -> Kept {
        Kept { days, shortened_at: None }
    }

    #[test]
    fn a_longer_log_counts_forward_and_the_same_changes_nothing() {
        let now = at("2026-03-30T10:00:00Z");
        for (before, days) in [(None, 89), (Some(kept(28)), 89), (Some(kept(89)), 89)] {
            assert_eq!(step(before, wanted(days), now, TODAY), Step::Keep(kept(days)));
        }
        let taken_back = Kept { days: 89, shortened_at: Some(now) };
        assert_eq!(step(Some(taken_back), wanted(89), now, TODAY), Step::Keep(kept(89)), "the owner thought again");
    }

    #[test]
    fn a_shorter_log_waits_a_day_and_no_longer() {
        let begun = at("2026-03-29T00:30:00Z");
        let waits = Kept { days: 89, shortened_at: Some(begun) };
        assert_eq!(step(Some(kept(89)), wanted(28), begun, TODAY), Step::Wait(waits));
        // A day of 23 hours by the calendar is a day of 24 here.
        assert_eq!(step(Some(waits), wanted(28), at("2026-03-30T00:29:59Z"), TODAY), Step::Wait(waits));
        let erase = Step::Erase(kept(28), date(2026, 3, 3));
        assert_eq!(step(Some(waits), wanted(28), at("2026-03-30T00:30:00Z"), TODAY), erase);
    }

    #[test]
    fn the_owners_word_must_reach_far_enough() {
        let now = at("2026-03-30T10:00:00Z");
        let word = |day| Wanted { confirmed_before: Some(day), ..wanted(28) };
        let old = step(Some(kept(89)), word(date(2026, 3, 2)), now, TODAY);
        assert!(matches!(old, Step::Wait(_)), "it was given for something else");
        assert_eq!(step(Some(kept(89)), word(date(2026, 3, 3)), now, TODAY), Step::Erase(kept(28), date(2026, 3, 3)));
    }

    #[test]
    fn who_opts_out_loses_the_log_at_once_todays_included() {
        let now = at("2026-03-30T10:00:00Z");
        let out = Wanted { opted_out: true, ..wanted(0) };
        assert_eq!(step(Some(kept(89)), out, now, TODAY), Step::Erase(kept(0), date(2026, 3, 31)));
        let by_policy = step(Some(kept(89)), wanted(0), now, TODAY);
        assert!(matches!(by_policy, Step::Wait(_)), "the owner's own decision waits");
    }
}
