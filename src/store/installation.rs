//! The installation as a whole: whether anybody may send, how far the facts have come, and which restores were found.
use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;

use crate::domain::TenantId;

/// Rows that are erased or ended at once.
const AT_ONCE: i32 = 5_000;

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not known how the installation stands.
    #[error("ask whether the database was restored: {0}")]
    Read(#[source] sqlx::Error),
    /// No mark was made.
    #[error("mark how far the data has come: {0}")]
    Mark(#[source] sqlx::Error),
    /// The restore was not noted; who sends is held up all the same.
    #[error("close sending after a restore: {0}")]
    Close(#[source] sqlx::Error),
    /// What was erased before is not erased again.
    #[error("erase again what was restored: {0}")]
    EraseAgain(#[source] sqlx::Error),
    /// Sending stays closed.
    #[error("release the queue: {0}")]
    Release(#[source] sqlx::Error),
}

/// How far the facts have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Counts up.
    pub n: i64,
    /// When, by the data instance's clock.
    pub at: Timestamp,
    /// Messages that were accepted since the installation began; a little more may be counted.
    pub accepted: i64,
    /// The journal's newest entry.
    pub entry: i64,
    /// Its hash.
    pub hash: Vec<u8>,
    /// Commits wait for a standby.
    pub synchronous: bool,
}

/// How the data instance stands.
#[derive(Debug, Clone)]
pub struct Installation {
    /// Counts restores, from 1.
    pub epoch: i32,
    /// The server and its timeline are those that nobody doubts.
    pub confirmed: bool,
    /// Since when the server has all that is committed: its start, or when it began to follow.
    pub since: Timestamp,
    /// Since when sending is closed.
    pub closed_since: Option<Timestamp>,
    /// What was erased before a restore is erased again.
    pub erased_again: bool,
    /// Its mark.
    pub mark: Mark,
}

/// How the data instance stands.
///
/// # Errors
/// When the database does not answer.
pub async fn read(pool: &PgPool) -> Result<Installation, Error> {
    let row = sqlx::query!(
        r#"select i.epoch, i.history = server_history() as "confirmed!", server_since() as "since!: SqlTimestamp",
                  i.closed_since as "closed_since: SqlTimestamp",
                  not exists (select from restore where erased_again_at is null) as "erased_again!",
                  m.n, m.at as "at: SqlTimestamp", m.accepted, m.entry, m.hash, m.synchronous
           from installation i cross join mark m"#
    );
    let row = row.fetch_one(pool).await.map_err(Error::Read)?;
    Ok(Installation {
        epoch: row.epoch,
        confirmed: row.confirmed,
        since: row.since.to_jiff(),
        closed_since: row.closed_since.map(SqlTimestamp::to_jiff),
        erased_again: row.erased_again,
        mark: Mark {
            n: row.n,
            at: row.at.to_jiff(),
            accepted: row.accepted,
            entry: row.entry,
            hash: row.hash,
            synchronous: row.synchronous,
        },
    })
}

/// Makes the mark after `expected`; `None`: another did.
///
/// # Errors
/// When the database says no.
pub async fn mark(pool: &PgPool, expected: i64) -> Result<Option<Mark>, Error> {
    let row = sqlx::query!(
        r#"select n as "n!", at as "at!: SqlTimestamp", accepted as "accepted!", entry as "entry!", hash as "hash!",
                  synchronous as "synchronous!"
           from mark_next($1)"#,
        expected
    );
    let row = row.fetch_optional(pool).await.map_err(Error::Mark)?;
    Ok(row.map(|row| Mark {
        n: row.n,
        at: row.at.to_jiff(),
        accepted: row.accepted,
        entry: row.entry,
        hash: row.hash,
        synchronous: row.synchronous,
    }))
}

/// The server's history has changed, and nothing was lost by it.
///
/// # Errors
/// When the database says no.
pub async fn confirm(pool: &PgPool) -> Result<(), Error> {
    sqlx::query!("select confirm_history()").execute(pool).await.map(|_| ()).map_err(Error::Close)
}

/// A restore, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `data`, `keyring` or `both`.
    pub what: &'static str,
    /// The newest mark that was restored.
    pub known_at: Timestamp,
    /// The newest one that there was.
    pub lost_until: Timestamp,
    /// Messages that were accepted between the two.
    pub messages: i64,
    /// Entries of the journal between the two.
    pub entries: i64,
    /// The number of the newest mark that there is.
    pub newest_mark: i64,
    /// The highest account id that was ever given.
    pub newest_account: i64,
}

/// Begins a new epoch, in which nobody sends until the owner releases it. The epoch; `None`: another did.
///
/// # Errors
/// When the database says no: then a data instance that was restored is closed all the same.
pub async fn close(pool: &PgPool, epoch: i32, found: &Found) -> Result<Option<i32>, Error> {
    let begun = sqlx::query_scalar!(
        "select close_sending($1, $2, $3, $4, $5, $6, $7, $8)",
        epoch,
        found.what,
        found.known_at.to_sqlx() as SqlTimestamp,
        found.lost_until.to_sqlx() as SqlTimestamp,
        found.messages,
        found.entries,
        found.newest_mark,
        found.newest_account
    );
    begun.fetch_one(pool).await.map_err(Error::Close)
}

/// Something that was erased other than by its date; both instances keep a list of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Erasure {
    /// Whose.
    pub tenant: TenantId,
    /// A class of keys, or `account`.
    pub class: String,
    /// What was accepted before this day; of an account, the day it was erased.
    pub before: Date,
    /// When it was.
    pub at: Timestamp,
}

/// An [`Erasure`], as both instances have it.
pub(crate) struct ErasureRow {
    pub(crate) tenant_id: i64,
    pub(crate) class: String,
    pub(crate) before: SqlDate,
    pub(crate) at: SqlTimestamp,
}

impl From<ErasureRow> for Erasure {
    fn from(ErasureRow { tenant_id, class, before, at }: ErasureRow) -> Self {
        Self { tenant: TenantId(tenant_id), class, before: before.to_jiff(), at: at.to_jiff() }
    }
}

/// What was erased other than by its date, as the data instance has it.
///
/// # Errors
/// When the database does not answer.
pub async fn erasures(pool: &PgPool) -> Result<Vec<Erasure>, Error> {
    let rows = sqlx::query_as!(
        ErasureRow,
        r#"select tenant_id, class, before as "before: SqlDate", at as "at: SqlTimestamp" from erasure order by at, tenant_id"#
    );
    Ok(rows.fetch_all(pool).await.map_err(Error::EraseAgain)?.into_iter().map(Erasure::from).collect())
}

/// Notes one; one that is noted changes nothing.
///
/// # Errors
/// When the database says no.
pub async fn note(pool: &PgPool, erasure: &Erasure) -> Result<(), Error> {
    sqlx::query!(
        "insert into erasure (tenant_id, class, before, at) values ($1, $2, $3, $4) on conflict do nothing",
        erasure.tenant.0,
        erasure.class,
        erasure.before.to_sqlx() as SqlDate,
        erasure.at.to_sqlx() as SqlTimestamp
    )
    .execute(pool)
    .await
    .map(|_| ())
    .map_err(Error::EraseAgain)
}

/// Erases the rows of it once more, its keys being gone. How many.
///
/// # Errors
/// When the database says no; what went stays so.
pub async fn erase_again(pool: &PgPool, erasure: &Erasure) -> Result<i64, Error> {
    let mut all = 0;
    loop {
        let gone = sqlx::query_scalar!(
            r#"select erase_again($1, $2, $3, $4) as "gone!""#,
            erasure.tenant.0,
            erasure.class,
            erasure.before.to_sqlx() as SqlDate,
            AT_ONCE
        );
        let gone = gone.fetch_one(pool).await.map_err(Error::EraseAgain)?;
        all += gone;
        if gone < i64::from(AT_ONCE) || erasure.class == "account" {
            return Ok(all);
        }
    }
}

/// Everything on both lists is erased again.
///
/// # Errors
/// When the database says no.
pub async fn erased_again(pool: &PgPool) -> Result<(), Error> {
    sqlx::query!("select erased_again()").execute(pool).await.map(|_| ()).map_err(Error::EraseAgain)
}

/// A restore that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The epoch that it began.
    pub epoch: i32,
    /// When it was found.
    pub found_at: Timestamp,
    /// `data`, `keyring` or `both`.
    pub what: String,
    /// The newest mark that was restored.
    pub known_at: Timestamp,
    /// The newest one that there was.
    pub lost_until: Timestamp,
    /// Messages that were accepted between the two.
    pub messages: i64,
    /// Entries of the journal between the two.
    pub entries: i64,
}

/// The restores whose queue is not released, oldest first.
///
/// # Errors
/// When the database does not answer.
pub async fn unreleased(pool: &PgPool) -> Result<Vec<Restore>, Error> {
    let rows = sqlx::query!(
        r#"select epoch, found_at as "found_at: SqlTimestamp", what, known_at as "known_at: SqlTimestamp",
                  lost_until as "lost_until: SqlTimestamp", messages, entries
           from restore where released_at is null order by epoch"#
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Read)?;
    let restores = rows.into_iter().map(|row| Restore {
        epoch: row.epoch,
        found_at: row.found_at.to_jiff(),
        what: row.what,
        known_at: row.known_at.to_jiff(),
        lost_until: row.lost_until.to_jiff(),
        messages: row.messages,
        entries: row.entries,
    });
    Ok(restores.collect())
}

/// How many restores were ever found.
///
/// # Errors
/// When the database does not answer.
pub async fn restores(pool: &PgPool) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(r#"select count(*) as "count!" from restore"#);
    count.fetch_one(pool).await.map_err(Error::Read)
}

/// What waits for the owner's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Messages that were restored with the queue; none where the keyring alone was restored.
    pub before: i64,
    /// Of all that wait, those that are in a flight: a sender had begun to submit them.
    pub in_flight: i64,
    /// Messages that were accepted since, or were not restored.
    pub since: i64,
}

/// What waits for the owner's word.
///
/// # Errors
/// When the database does not answer.
pub async fn waiting(pool: &PgPool) -> Result<Waiting, Error> {
    let row = sqlx::query!(
        r#"select before as "before!", in_flight as "in_flight!", since as "since!" from queued_at_restore()"#
    );
    let row = row.fetch_one(pool).await.map_err(Error::Read)?;
    Ok(Waiting { before: row.before, in_flight: row.in_flight, since: row.since })
}

/// A key that messages of the queue are sealed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub key: String,
    /// How many messages.
    pub messages: i64,
}

/// The keys that the queue needs.
///
/// # Errors
/// When the database does not answer.
pub async fn needed_keys(pool: &PgPool) -> Result<Vec<Needed>, Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant_id!", key_name as "key_name!", messages as "messages!" from queue_keys()"#
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Read)?;
    let needed = |tenant_id, key, messages| Needed { tenant: TenantId(tenant_id), key, messages };
    Ok(rows.into_iter().map(|row| needed(row.tenant_id, row.key_name, row.messages)).collect())
}

/// What becomes of the messages that were restored with the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Queued {
    /// They are sent: again, where they were sent after the backup.
    Send,
    /// They are ended: not sent, where they were not sent after the backup.
    Fail,
}

impl Queued {
    fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Fail => "fail",
        }
    }
}

/// Ends what is not to be sent, and opens sending. How many messages were ended; `None`: sending was open.
///
/// # Errors
/// When the database says no: then sending stays closed, and asking again goes on.
pub async fn release(pool: &PgPool, queued: Queued, lost: &[Needed]) -> Result<Option<i64>, Error> {
    let tenants: Vec<i64> = lost.iter().map(|lost| lost.tenant.0).collect();
    let keys: Vec<String> = lost.iter().map(|lost| lost.key.clone()).collect();
    let mut ended = 0;
    loop {
        let step = sqlx::query_scalar!(
            r#"select end_restored($1, $2, $3, $4) as "ended!""#,
            queued.as_str(),
            &tenants,
            &keys,
            AT_ONCE
        );
        let step = step.fetch_one(pool).await.map_err(Error::Release)?;
        ended += step;
        if step == 0 {
            break;
        }
    }
    let opened = sqlx::query_scalar!(r#"select release_sending($1, $2) as "opened!""#, queued.as_str(), ended);
    Ok(opened.fetch_one(pool).await.map_err(Error::Release)?.then_some(ended))
}
