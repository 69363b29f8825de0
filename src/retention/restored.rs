//! What a restore brings back and what it loses. Two instances each keep the mark of how far the data has come, and each shows by
//! it when the other was restored; a server that was restored from an archive is on another timeline besides. Then a new epoch
//! begins with sending closed, what was erased is erased again, and the owner decides about the queue (`release`).
//!
//! A standby that took over is on another timeline too. Nothing was lost where commits waited for it; that it was running before
//! the last mark shows that it is a standby and no restored copy.
use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::PgPool;

use super::Error;
use crate::keyring::Keyring;
use crate::keyring::marks::Standing;
use crate::store::installation::{self, Found, Installation, Mark};

/// What has become of an instance since it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Same,
    /// Its synchronous standby took over.
    TakenOver,
    Restored,
}

impl Fate {
    /// `mark` is the newest that there is of it.
    fn of(behind: bool, confirmed: bool, since: Timestamp, synchronous: bool, mark: &Mark) -> Self {
        match (behind, confirmed) {
            (true, _) => Self::Restored,
            (false, true) => Self::Same,
            (false, false) if synchronous && since < mark.at => Self::TakenOver,
            (false, false) => Self::Restored,
        }
    }
}

/// The data's mark is written first, so it is ahead by one at most.
fn fates(data: &Installation, keyring: &Standing) -> (Fate, Fate) {
    let newest = if data.mark.n > keyring.mark.n { &data.mark } else { &keyring.mark };
    let behind = data.mark.n < keyring.mark.n;
    let of_data = Fate::of(behind, data.confirmed, data.since, keyring.mark.synchronous, newest);
    let behind = keyring.mark.n < data.mark.n - 1;
    let of_keyring = Fate::of(behind, keyring.confirmed, keyring.since, keyring.synchronous, newest);
    (of_data, of_keyring)
}

/// What was found, where either was restored.
fn found(data: &Installation, keyring: &Standing, newest_account: i64) -> Option<Found> {
    let what = match fates(data, keyring) {
        (Fate::Restored, Fate::Restored) => "both",
        (Fate::Restored, _) => "data",
        (_, Fate::Restored) => "keyring",
        _ => return None,
    };
    let (older, newer) =
        if data.mark.n < keyring.mark.n { (&data.mark, &keyring.mark) } else { (&keyring.mark, &data.mark) };
    // A keyring that was restored has lost none of either.
    let lost = |of: fn(&Mark) -> i64| (of(&keyring.mark) - of(&data.mark)).max(0);
    Some(Found {
        what,
        known_at: older.at,
        lost_until: newer.at,
        messages: lost(|mark| mark.accepted),
        entries: lost(|mark| mark.entry),
        newest_mark: newer.n,
        newest_account,
    })
}

/// The keyring first: a mark that is made in between is then in the data alone, as it may be.
async fn read(pool: &PgPool, keyring: &Keyring) -> Result<(Installation, Standing), Error> {
    let standing = keyring.standing().await?;
    Ok((installation::read(pool).await?, standing))
}

/// Compares both instances: closes sending where either was restored, and confirms a standby that took over. How the data
/// instance stands after it.
///
/// # Errors
/// When a database does not answer: a data instance that was restored stays closed by itself.
pub async fn look(pool: &PgPool, keyring: &Keyring) -> Result<Installation, Error> {
    let (mut data, mut standing) = read(pool, keyring).await?;
    if fates(&data, &standing) != (Fate::Same, Fate::Same) {
        // Marks may have been made between the two questions.
        (data, standing) = read(pool, keyring).await?;
    }
    let fates = fates(&data, &standing);
    if fates == (Fate::Same, Fate::Same) {
        return Ok(data);
    }
    if let Some(found) = found(&data, &standing, keyring.newest_account().await?) {
        // The data first: until the keyring is confirmed, asking again goes on.
        if installation::close(pool, data.epoch, &found).await?.is_some() {
            tracing::error!(
                restored = found.what,
                known_at = %found.known_at,
                lost_until = %found.lost_until,
                messages = found.messages,
                "a restore was found: sending is closed until `budstikke restored release` opens it"
            );
        }
        keyring.confirm(fates.1 == Fate::Restored, found.newest_mark).await?;
    } else {
        if fates.0 == Fate::TakenOver {
            installation::confirm(pool).await?;
            tracing::warn!("a synchronous standby of the data instance has taken over: nothing was lost");
        }
        if fates.1 == Fate::TakenOver {
            keyring.confirm(false, standing.mark.n).await?;
            tracing::warn!("a synchronous standby of the keyring has taken over: nothing was lost");
        }
    }
    Ok(installation::read(pool).await?)
}

/// Marks how far the data has come, in the data first.
///
/// # Errors
/// When a database says no: then the next mark makes up for it.
pub async fn mark(pool: &PgPool, keyring: &Keyring) -> Result<(), Error> {
    let (data, standing) = read(pool, keyring).await?;
    if !data.confirmed || !standing.confirmed {
        return Ok(());
    }
    if standing.mark.n + 1 == data.mark.n {
        keyring.keep_mark(&data.mark).await?;
    } else if standing.mark.n != data.mark.n {
        return Ok(());
    }
    if let Some(mark) = installation::mark(pool, data.mark.n).await? {
        keyring.keep_mark(&mark).await?;
    }
    Ok(())
}

/// Erases again what either instance knows to have been erased other than by its date, keys first, wherever a restore has
/// brought it back. How many keys and rows.
///
/// # Errors
/// When a database says no: then the queue cannot be released yet.
pub async fn erase_again(pool: &PgPool, keyring: &Keyring) -> Result<(i64, i64), Error> {
    let (ours, theirs) = (installation::erasures(pool).await?, keyring.erasures().await?);
    let (mut keys, mut rows) = (0, 0);
    let mut seen = HashSet::new();
    for erasure in ours.iter().chain(&theirs) {
        if seen.insert((erasure.tenant, erasure.class.as_str(), erasure.before)) {
            keyring.note(erasure).await?;
            keys += keyring.erase_again(erasure).await?;
            installation::note(pool, erasure).await?;
            rows += installation::erase_again(pool, erasure).await?;
        }
    }
    installation::erased_again(pool).await?;
    Ok((keys, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn mark(n: i64, minute: &str) -> Mark {
        let at = at(&format!("2026-03-30T10:{minute}:00Z"));
        Mark { n, at, accepted: n * 10, entry: n, hash: Vec::new(), synchronous: true }
    }

    fn stand(data: Mark, keyring: Mark) -> (Installation, Standing) {
        let since = at("2026-03-01T00:00:00Z");
        let data =
            Installation { epoch: 1, confirmed: true, since, closed_since: None, erased_again: true, mark: data };
        (data, Standing { confirmed: true, since, synchronous: true, mark: keyring })
    }

    #[test]
    fn a_mark_that_only_the_data_has_yet_is_no_restore() {
        let (data, keyring) = stand(mark(8, "08"), mark(7, "07"));
        assert_eq!(fates(&data, &keyring), (Fate::Same, Fate::Same));
        let (data, keyring) = stand(mark(8, "08"), mark(6, "06"));
        assert_eq!(fates(&data, &keyring), (Fate::Same, Fate::Restored));
    }

    #[test]
    fn what_was_lost_is_what_the_other_knows_more() {
        let (data, keyring) = stand(mark(3, "03"), mark(7, "07"));
        let found = found(&data, &keyring, 9).expect("the data was restored");
        assert_eq!((found.what, found.messages, found.entries, found.newest_mark), ("data", 40, 4, 7));
        assert_eq!((found.known_at, found.lost_until), (data.mark.at, keyring.mark.at));
    }

    #[test]
    fn who_takes_over_was_running_before_and_was_waited_for() {
        let (mut data, mut keyring) = stand(mark(7, "07"), mark(7, "07"));
        data.confirmed = false;
        assert_eq!(fates(&data, &keyring).0, Fate::TakenOver);
        keyring.mark.synchronous = false;
        assert_eq!(fates(&data, &keyring).0, Fate::Restored, "nobody waited for it");
        keyring.mark.synchronous = true;
        data.since = at("2026-03-30T10:07:30Z");
        assert_eq!(fates(&data, &keyring).0, Fate::Restored, "it came up after the last mark");
    }
}
