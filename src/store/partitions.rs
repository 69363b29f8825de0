//! Partitions of the coming days: `migrate` makes the first ones, the operator those that follow. And the rows that have
//! done their work and are in no partition.
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgPool;

use crate::domain::Hour;

/// Partitions are made this many days ahead: how long the operator may be away before results cannot be stored. Far longer
/// than keys are made ahead, so that accepting stops first.
pub const DAYS_AHEAD: i64 = 35;
/// Partitions of copies of mail are made this many hours ahead: as long as their keys are made ahead, and live after that.
pub const HOURS_AHEAD: u32 = crate::keyring::HOURS_AHEAD + 72;
/// Rows that [`purge`] removes from a table at once.
const AT_ONCE: i32 = 10_000;

/// The housekeeping could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Partitions are missing.
    #[error("make partitions: {0}")]
    Make(#[source] sqlx::Error),
    /// Rows are left.
    #[error("remove what has done its work: {0}")]
    Purge(#[source] sqlx::Error),
}

/// Makes the partitions from yesterday until [`DAYS_AHEAD`] after `today`, where they are missing; those that were.
///
/// # Errors
/// When the database says no.
pub async fn ensure(pool: &PgPool, today: Date) -> Result<Vec<String>, Error> {
    let made = sqlx::query_scalar!(
        r#"select ensure_partitions($1, $2) as "name!""#,
        today.saturating_sub(1.day()).to_sqlx() as jiff_sqlx::Date,
        today.saturating_add(DAYS_AHEAD.days()).to_sqlx() as jiff_sqlx::Date,
    );
    made.fetch_all(pool).await.map_err(Error::Make)
}

/// Makes the partitions of copies of mail for the next [`HOURS_AHEAD`] full hours, where they are missing; how many.
///
/// # Errors
/// When the database says no.
pub async fn ensure_mail(pool: &PgPool, now: Timestamp) -> Result<i64, Error> {
    let made = sqlx::query_scalar!(
        r#"select ensure_mail_partitions($1, $2) as "made!""#,
        Hour::of(now).plus(1).begins().to_sqlx() as jiff_sqlx::Timestamp,
        Hour::of(now).plus(HOURS_AHEAD).begins().to_sqlx() as jiff_sqlx::Timestamp,
    );
    made.fetch_one(pool).await.map_err(Error::Make)
}

/// Removes answers to repeated calls after the hours that their account's policy says, and quotas and public keys of days gone by; how many rows.
///
/// # Errors
/// When the database says no; what was removed until then stays so.
pub async fn purge(pool: &PgPool) -> Result<u64, Error> {
    let mut all = 0;
    loop {
        let removed = sqlx::query_scalar!(r#"select purge_working($1) as "removed!""#, AT_ONCE);
        match removed.fetch_one(pool).await.map_err(Error::Purge)? {
            0 => return Ok(all),
            removed => all += removed.unsigned_abs(),
        }
    }
}
