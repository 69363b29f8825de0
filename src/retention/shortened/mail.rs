//! Copies of mail that are to be kept shorter than was promised when they were made (D3): as with the log, what would go is shown for
//! a day first. After it no copy is kept longer than is said now, whatever the own time of its key is: the leading operator's next
//! runs see to that, hour by hour (`cut`).
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use sqlx::PgPool;

use super::{covers, was_shown};
use crate::domain::{Hour, TenantId, copenhagen_day};
use crate::keyring::Keyring;
use crate::retention::Error;
use crate::store::retention::Gone;
use crate::store::retention::mail::{self as store, Kept};

/// What is to hold for a tenant's copies of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Hours that each is kept; 0: none is.
    pub hours: u32,
    /// The tenant itself has confirmed that nothing is to be kept.
    pub opted_out: bool,
    /// The owner's word: what was made before this day may go now.
    pub confirmed_before: Option<Date>,
}

/// What becomes of the copies that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// They are kept for so long; nothing is asked.
    Keep(Kept),
    /// They wait for the day to pass, or for the owner's word.
    Wait(Kept),
    /// Those that are older go now, and the others in their turn.
    Erase(Kept),
}

/// The first hour whose copies are still kept at `now`, where each is kept so many hours.
#[must_use]
pub fn first_kept(now: Timestamp, hours: u32) -> Hour {
    let then = now.saturating_sub(SignedDuration::from_hours(hours.into())).unwrap_or(Timestamp::MIN);
    Hour::of(then).plus(1)
}

/// What is to be done now.
#[must_use]
pub fn step(before: Option<Kept>, wanted: Wanted, now: Timestamp) -> Step {
    let shorter_until = before.and_then(|before| before.shorter_until);
    let followed = Kept { hours: wanted.hours, shortened_at: None, shorter_until };
    let Some(before) = before.filter(|before| before.hours > wanted.hours) else { return Step::Keep(followed) };
    let since = before.shortened_at.unwrap_or(now);
    // The last moment that goes may be within a day: the word must reach beyond it.
    let last = first_kept(now, wanted.hours).begins().saturating_sub(SignedDuration::from_secs(1)).unwrap_or(now);
    let first = copenhagen_day(last).saturating_add(1.day());
    if wanted.opted_out || was_shown(since, now) || covers(wanted.confirmed_before, first) {
        let until = Hour::of(now).plus(before.hours.saturating_add(1)).begins();
        Step::Erase(Kept { shorter_until: shorter_until.max(Some(until)), ..followed })
    } else {
        Step::Wait(Kept { shortened_at: Some(since), ..before })
    }
}

/// Says for how long a tenant's copies are kept from now on, by what is wanted.
///
/// # Errors
/// When the database does not answer; asking again goes on.
pub async fn follow(pool: &PgPool, tenant: TenantId, wanted: Wanted, now: Timestamp) -> Result<Step, Error> {
    let before = store::kept(pool, tenant).await?;
    let step = step(before, wanted, now);
    let (Step::Keep(kept) | Step::Wait(kept) | Step::Erase(kept)) = step;
    if before != Some(kept) {
        store::keep(pool, tenant, kept).await?;
    }
    Ok(step)
}

/// Has the copies go that were to be kept longer than they are now, keys first: how many keys, and how many rows.
///
/// # Errors
/// When a database does not answer: then the next run goes on.
pub(in crate::retention) async fn cut(pool: &PgPool, keyring: &Keyring, now: Timestamp) -> Result<(Gone, Gone), Error> {
    let mut keys = Gone::default();
    let mut before = Vec::new();
    for (tenant, hours) in store::cut(pool, now).await? {
        let first = first_kept(now, hours);
        let went = keyring.erase_mail_before(tenant, first).await?;
        keys = Gone { items: keys.items + went, tenants: keys.tenants + i64::from(went > 0) };
        before.push((tenant, first));
    }
    let rows = if before.is_empty() { Gone::default() } else { store::purge(pool, &before).await? };
    Ok((keys, rows))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn wanted(hours: u32) -> Wanted {
        Wanted { hours, opted_out: false, confirmed_before: None }
    }

    fn kept(hours: u32) -> Kept {
        Kept { hours, shortened_at: None, shorter_until: None }
    }

    #[test]
    fn the_hour_that_ends_its_time_now_is_kept_no_longer() {
        let now = at("2026-03-30T10:35:00Z");
        // 46 hours after its beginning, 12Z of the 28th is gone at 10Z of the 30th.
        assert_eq!(first_kept(now, 46).to_string(), "2026-03-28T13Z");
        assert_eq!(first_kept(now, 0).to_string(), "2026-03-30T11Z", "nor is this hour");
    }

    #[test]
    fn a_longer_time_counts_forward_and_the_same_changes_nothing() {
        let now = at("2026-03-30T10:00:00Z");
        for (before, hours) in [(None, 46), (Some(kept(22)), 46), (Some(kept(46)), 46)] {
            assert_eq!(step(before, wanted(hours), now), Step::Keep(kept(hours)));
        }
        let taken_back = Kept { shortened_at: Some(now), ..kept(46) };
        assert_eq!(step(Some(taken_back), wanted(46), now), Step::Keep(kept(46)), "the owner thought again");
    }

    #[test]
    fn a_shorter_time_waits_a_day_and_then_cuts_until_the_old_one_has_passed() {
        let begun = at("2026-03-29T00:30:00Z");
        let waits = Kept { shortened_at: Some(begun), ..kept(46) };
        assert_eq!(step(Some(kept(46)), wanted(22), begun), Step::Wait(waits));
        assert_eq!(step(Some(waits), wanted(22), at("2026-03-30T00:29:59Z")), Step::Wait(waits));
        let until = Some(at("2026-03-31T23:00:00Z"));
        let cut = Kept { shorter_until: until, ..kept(22) };
        assert_eq!(step(Some(waits), wanted(22), at("2026-03-30T00:30:00Z")), Step::Erase(cut));
        assert_eq!(step(Some(cut), wanted(22), at("2026-03-30T00:40:00Z")), Step::Keep(cut), "and it goes on");
        assert_eq!(step(Some(cut), wanted(46), at("2026-03-30T00:50:00Z")), Step::Keep(Kept { hours: 46, ..cut }));
    }

    #[test]
    fn the_owners_word_must_reach_beyond_the_last_moment_that_goes() {
        let now = at("2026-03-30T10:35:00Z");
        let word = |hours, day| step(Some(kept(46)), Wanted { confirmed_before: Some(day), ..wanted(hours) }, now);
        // What was made before 13Z of the 29th.
        assert!(matches!(word(22, date(2026, 3, 29)), Step::Wait(_)), "it was given for something else");
        assert!(matches!(word(22, date(2026, 3, 30)), Step::Erase(_)));
        assert!(matches!(word(0, date(2026, 3, 30)), Step::Wait(_)), "today's go too");
        assert!(matches!(word(0, date(2026, 3, 31)), Step::Erase(_)));
        // Midnight is at 23Z: nothing of the new day goes.
        let midnight = step(Some(kept(46)), Wanted { confirmed_before: Some(date(2026, 3, 29)), ..wanted(36) }, now);
        assert!(matches!(midnight, Step::Erase(_)), "what goes was made before 23Z of the 28th");
    }

    #[test]
    fn who_opts_out_waits_for_nobody() {
        let out = Wanted { opted_out: true, ..wanted(0) };
        assert!(matches!(step(Some(kept(46)), out, at("2026-03-30T10:00:00Z")), Step::Erase(Kept { hours: 0, .. })));
        assert!(matches!(step(Some(kept(46)), wanted(0), at("2026-03-30T10:00:00Z")), Step::Wait(_)));
    }
}
