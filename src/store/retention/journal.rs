//! The erasure journal: what was erased, without a word of whose or what it was. Each entry's hash is over the one before it,
//! so one that is changed or taken out is seen; that the last ones are missing is seen by who has noted the newest hash.
use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;

use super::{Error, Gone};

/// Entries that are read at once.
const AT_ONCE: i64 = 5_000;

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Keys, with which everything sealed under them is unreadable.
    Keys,
    /// The partition of a day.
    Partition,
    /// Entries of tenants whose log is kept shorter than others'.
    Entries,
    /// Messages that waited longer than their key may live.
    Messages,
    /// An account.
    Account,
    /// Nothing: a database was restored, and with it the journal lost entries.
    Restore,
    /// Messages that were in a queue that was restored.
    Release,
}

impl What {
    /// As the journal has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Partition => "partition",
            Self::Entries => "entries",
            Self::Messages => "messages",
            Self::Account => "account",
            Self::Restore => "restore",
            Self::Release => "release",
        }
    }
}

/// Adds an entry: what was erased of which class, due on which day.
///
/// # Errors
/// When the database says no.
pub async fn append(pool: &PgPool, what: What, class: &str, due: Date, gone: Gone) -> Result<(), Error> {
    sqlx::query!(
        "select journal_append($1, $2, $3, $4, $5)",
        what.as_str(),
        class,
        due.to_sqlx() as SqlDate,
        gone.items,
        gone.tenants
    )
    .execute(pool)
    .await
    .map(|_| ())
    .map_err(Error::Journal)
}

/// How many items were ever erased, by what they were.
///
/// # Errors
/// When the database does not answer.
pub async fn totals(pool: &PgPool) -> Result<Vec<(String, i64)>, Error> {
    let rows = sqlx::query!(
        r#"select what, case when what in ('partition', 'account') then count(*) else sum(items)::bigint end as "items!"
           from erasure_journal group by what"#
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Journal)?;
    Ok(rows.into_iter().map(|row| (row.what, row.items)).collect())
}

/// What the journal tells of restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restores {
    /// How many.
    pub times: i64,
    /// How many entries were lost by them, at least.
    pub entries: i64,
}

/// What the journal tells of restores.
///
/// # Errors
/// When the database does not answer.
pub async fn restores(pool: &PgPool) -> Result<Restores, Error> {
    let row = sqlx::query!(
        r#"select count(*) as "times!", coalesce(sum(items), 0)::bigint as "entries!" from erasure_journal where what = 'restore'"#
    );
    let row = row.fetch_one(pool).await.map_err(Error::Journal)?;
    Ok(Restores { times: row.times, entries: row.entries })
}

/// What came of checking the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Every entry follows from the one before.
    Whole {
        /// How many there are.
        entries: i64,
        /// The hash of the newest, in hexadecimal; empty without any.
        newest: String,
    },
    /// This entry, or one right before it, was changed, added or taken out.
    Broken {
        /// Its number.
        entry: i64,
    },
}

/// Checks every entry against the one before it.
///
/// # Errors
/// When the database does not answer.
pub async fn check(pool: &PgPool) -> Result<Checked, Error> {
    let (mut last, mut hash) = (0, Vec::new());
    loop {
        let rows = sqlx::query!(
            r#"select entry, at as "at: SqlTimestamp", what, class, due as "due: SqlDate", items, tenants, previous, hash
               from erasure_journal where entry > $1 order by entry limit $2"#,
            last,
            AT_ONCE
        );
        let rows = rows.fetch_all(pool).await.map_err(Error::Journal)?;
        if rows.is_empty() {
            let newest = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok(Checked::Whole { entries: last, newest });
        }
        for row in rows {
            let entry = row.entry;
            let words =
                words(entry, row.at.to_jiff(), &row.what, &row.class, row.due.to_jiff(), row.items, row.tenants);
            let expected = digest(&SHA256, &[&hash, words.as_bytes()].concat());
            if entry != last + 1 || row.previous != hash || row.hash != expected.as_ref() {
                return Ok(Checked::Broken { entry });
            }
            (last, hash) = (entry, row.hash);
        }
    }
}

/// What an entry's hash is over, beside the hash before it. The same words as in `journal_append`.
fn words(entry: i64, at: Timestamp, what: &str, class: &str, due: Date, items: i64, tenants: i64) -> String {
    format!("{entry}|{}|{what}|{class}|{due}|{items}|{tenants}", at.as_millisecond())
}
