//! Messages whose receipts never came: after as many hours as their route says they are final as unknown. A receipt that comes all
//! the same still counts.
//!
//! No index leads to them: one would have to be written again with every receipt. So a day of the log is read as a whole, and each
//! hour only those in which most of them lie that have become due.
use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use jiff_sqlx::{Date as SqlDate, Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;

use crate::domain::copenhagen_day;

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// After how many hours routes give up.
    #[error("read for how long receipts are awaited: {0}")]
    Read(#[source] sqlx::Error),
    /// Messages were not given up.
    #[error("give up receipts that never came: {0}")]
    GiveUp(#[source] sqlx::Error),
}

/// Which days of the log are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// Those on which what has become due in the last hour was accepted, unless it was scheduled for later.
    Due,
    /// All on which anything may wait for a receipt.
    All,
}

/// Days between accept and the last receipt: what is scheduled, held and tried for the longest.
const LONGEST: i64 = 48;
/// Messages that are given up in one statement.
const AT_ONCE: i32 = 1_000;

/// Gives up what was submitted so long before `now` as its route says; how many messages.
///
/// # Errors
/// When the database does not answer; what was given up until then stays so.
pub async fn give_up(pool: &PgPool, now: Timestamp, days: Days) -> Result<i64, Error> {
    let mut all = 0;
    for day in match days {
        Days::Due => due(pool, now).await?,
        Days::All => {
            let today = copenhagen_day(now);
            (0..=LONGEST).map(|back| today.saturating_sub(back.days())).collect()
        }
    } {
        loop {
            let query = sqlx::query_scalar!(
                r#"select give_up_unheard($1, $2, $3) as "given_up!""#,
                day.to_sqlx() as SqlDate,
                now.to_sqlx() as SqlTimestamp,
                AT_ONCE
            );
            let given_up = query.fetch_one(pool).await.map_err(Error::GiveUp)?;
            all += given_up;
            if given_up < i64::from(AT_ONCE) {
                break;
            }
        }
    }
    Ok(all)
}

async fn due(pool: &PgPool, now: Timestamp) -> Result<BTreeSet<Date>, Error> {
    let hours = sqlx::query_scalar!("select distinct give_up_hours from route");
    let hours = hours.fetch_all(pool).await.map_err(Error::Read)?;
    let day = |hours| copenhagen_day(now.saturating_sub(SignedDuration::from_hours(hours)).unwrap_or(now));
    // An hour before, and a little longer: what was accepted at the end of a day is submitted on the next.
    Ok(hours.into_iter().flat_map(|hours| [day(i64::from(hours)), day(i64::from(hours) + 2)]).collect())
}
