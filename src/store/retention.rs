//! The end of what was kept, and the journal of it (D1 to D4). Keys go first, by the keyring; what is removed here is
//! unreadable already.
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;
use tokio::time::sleep;

use super::is_lock_timeout;
use crate::domain::TenantId;

pub mod journal;
pub mod mail;

/// Rows that are erased at once.
const AT_ONCE: i32 = 5_000;
/// How often a day is asked for in one run, and how long whoever waited behind that has in between.
const DETACH_TRIES: u32 = 40;
const DETACH_PAUSE: Duration = Duration::from_millis(250);

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The clock was not read.
    #[error("ask the database for the time: {0}")]
    Clock(#[source] sqlx::Error),
    /// What there is of copies was not read.
    #[error("look at the backups and the standby: {0}")]
    Copies(#[source] sqlx::Error),
    /// The run was not noted.
    #[error("note the run: {0}")]
    Note(#[source] sqlx::Error),
    /// Days are left.
    #[error("drop days that nothing can read any more: {0}")]
    Drop(#[source] sqlx::Error),
    /// Rows are left.
    #[error("erase what is kept no longer: {0}")]
    Purge(#[source] sqlx::Error),
    /// Messages wait on whose key must go.
    #[error("end messages whose key must be gone: {0}")]
    Expire(#[source] sqlx::Error),
    /// How long a tenant's log is kept was not read or written.
    #[error("say how long a log is kept: {0}")]
    Keep(#[source] sqlx::Error),
    /// An account was not erased.
    #[error("erase an account that has ended: {0}")]
    Account(#[source] sqlx::Error),
    /// Jobs of webhooks are left.
    #[error("remove jobs of webhooks after their time: {0}")]
    Jobs(#[source] sqlx::Error),
    /// The journal was not read or written.
    #[error("keep the erasure journal: {0}")]
    Journal(#[source] sqlx::Error),
}

/// What went at once, and of how many tenants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    /// Rows.
    pub items: i64,
    /// Tenants; of several steps, the most of one.
    pub tenants: i64,
}

impl Gone {
    /// Counts a step; whether anything went in it.
    fn add(&mut self, step: Self) -> bool {
        *self = Self { items: self.items + step.items, tenants: self.tenants.max(step.tenants) };
        step.items > 0
    }
}

/// What the data instance's server takes the time to be.
///
/// # Errors
/// When the database does not answer.
pub async fn clock(pool: &PgPool) -> Result<Timestamp, Error> {
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!: SqlTimestamp""#);
    now.fetch_one(pool).await.map(SqlTimestamp::to_jiff).map_err(Error::Clock)
}

/// Notes that a run begins. False where the last one was later than now: time has gone back.
///
/// # Errors
/// When the database says no.
pub async fn begins(pool: &PgPool, now: Timestamp) -> Result<bool, Error> {
    let begun = sqlx::query_scalar!(r#"select retention_begins($1) as "forward!""#, now.to_sqlx() as SqlTimestamp);
    begun.fetch_one(pool).await.map_err(Error::Note)
}

/// Notes that a run has done all it had to; how many turns of the day it has caught up.
///
/// # Errors
/// When the database says no.
pub async fn done(pool: &PgPool, now: Timestamp) -> Result<i32, Error> {
    let caught_up = sqlx::query_scalar!(r#"select retention_done($1) as "caught_up!""#, now.to_sqlx() as SqlTimestamp);
    caught_up.fetch_one(pool).await.map_err(Error::Note)
}

/// Days that were missed, and done later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaughtUp {
    /// How many turns of the day came late.
    pub days: i32,
    /// When they were caught up.
    pub at: Timestamp,
}

/// The days that were missed last; `None`: there never were any.
///
/// # Errors
/// When the database does not answer.
pub async fn caught_up(pool: &PgPool) -> Result<Option<CaughtUp>, Error> {
    let row = sqlx::query!(
        r#"select caught_up, caught_up_at as "at!: SqlTimestamp" from retention_run where caught_up_at is not null"#
    );
    let row = row.fetch_optional(pool).await.map_err(Error::Note)?;
    Ok(row.map(|row| CaughtUp { days: row.caught_up, at: row.at.to_jiff() }))
}

/// A partition, of a day, an hour or a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// Of which table.
    pub parent: String,
    /// The partition.
    pub name: String,
    /// The day; of an hour or a month the day on which it must be gone.
    pub day: Date,
}

/// The partitions that can go: of days before `living`, the first that has a key left, with nothing under way.
///
/// # Errors
/// When the database does not answer.
pub async fn expirable(pool: &PgPool, living: Date, today: Date) -> Result<Vec<Day>, Error> {
    let rows = sqlx::query!(
        r#"select parent as "parent!", name as "name!", day as "day!: SqlDate" from expirable_days($1, $2)"#,
        living.to_sqlx() as SqlDate,
        today.to_sqlx() as SqlDate
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Drop)?;
    Ok(rows.into_iter().map(|row| Day { parent: row.parent, name: row.name, day: row.day.to_jiff() }).collect())
}

/// The partitions of copies of mail whose keys are destroyed by `now`, and those of usage that no invoice needs any more `today`.
///
/// # Errors
/// When the database does not answer.
pub async fn expirable_whole(pool: &PgPool, now: Timestamp, today: Date) -> Result<Vec<Day>, Error> {
    let rows = sqlx::query!(
        r#"select 'mail_copy' as "parent!", name as "name!", day as "day!: SqlDate" from expirable_hours($1)
           union all select 'usage', name, day from expirable_months($2)"#,
        now.to_sqlx() as SqlTimestamp,
        today.to_sqlx() as SqlDate
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Drop)?;
    Ok(rows.into_iter().map(|row| Day { parent: row.parent, name: row.name, day: row.day.to_jiff() }).collect())
}

/// Takes a day out of its table; nobody waits for a vacuum of it. Where somebody is at work in the table for longer than a moment it is
/// tried again, so that nobody has to wait behind this.
///
/// # Errors
/// When the database says no: then it goes by the next run.
pub async fn detach_day(pool: &PgPool, day: &Day) -> Result<(), Error> {
    sqlx::query!("select settle_day($1)", day.name).execute(pool).await.map_err(Error::Drop)?;
    let mut tries = 1;
    loop {
        match sqlx::query!("select detach_day($1)", day.name).execute(pool).await {
            Err(error) if is_lock_timeout(&error) && tries < DETACH_TRIES => sleep(DETACH_PAUSE).await,
            tried => return tried.map(|_| ()).map_err(Error::Drop),
        }
        tries += 1;
    }
}

/// Drops a day that is in no table any more; its files go after every lock is released. How many rows it had, as the planner
/// believed.
///
/// # Errors
/// When the database says no: then it goes by the next run.
pub async fn drop_day(pool: &PgPool, day: &Day) -> Result<i64, Error> {
    let rows = sqlx::query_scalar!("select drop_day($1)", day.name).fetch_one(pool).await.map_err(Error::Drop)?;
    Ok(rows.unwrap_or_default())
}

/// Erases what is logged of tenants whose log is kept shorter than others'.
///
/// # Errors
/// When the database says no; what was erased until then stays so.
pub async fn purge(pool: &PgPool, today: Date) -> Result<Gone, Error> {
    let mut all = Gone::default();
    loop {
        let gone = sqlx::query_as!(
            Gone,
            r#"select removed as "items!", tenants as "tenants!" from purge_kept($1, $2)"#,
            today.to_sqlx() as SqlDate,
            AT_ONCE
        );
        if !all.add(gone.fetch_one(pool).await.map_err(Error::Purge)?) {
            return Ok(all);
        }
    }
}

/// Removes jobs of webhooks, so long after their last try as the policy of their tenant says, and secrets that sign no more (D12).
///
/// # Errors
/// When the database says no; what was removed until then stays so.
pub async fn purge_jobs(pool: &PgPool, now: Timestamp) -> Result<Gone, Error> {
    let mut all = Gone::default();
    loop {
        let gone = sqlx::query_as!(
            Gone,
            r#"select removed as "items!", tenants as "tenants!" from purge_jobs($1, $2)"#,
            now.to_sqlx() as SqlTimestamp,
            AT_ONCE
        );
        if !all.add(gone.fetch_one(pool).await.map_err(Error::Jobs)?) {
            return Ok(all);
        }
    }
}

/// Of these queue keys, how many messages wait under each.
///
/// # Errors
/// When the database does not answer.
pub async fn waiting_under(pool: &PgPool, keys: &[(TenantId, &str)]) -> Result<Vec<i64>, Error> {
    let tenants: Vec<i64> = keys.iter().map(|(tenant, _)| tenant.0).collect();
    let names: Vec<&str> = keys.iter().map(|(_, name)| *name).collect();
    let waiting = sqlx::query_scalar!(
        r#"select (select count(*) from queue q where q.tenant_id = k.tenant_id and q.queue_key = k.name) as "waiting!"
           from unnest($1::bigint[], $2::text[]) with ordinality as k (tenant_id, name, place) order by place"#,
        &tenants,
        &names as &[&str]
    );
    waiting.fetch_all(pool).await.map_err(Error::Expire)
}

/// How many messages still wait although their key must be gone tomorrow: they are in a flight that nobody has ended.
///
/// # Errors
/// When the database does not answer.
pub async fn waiting_late(pool: &PgPool, today: Date) -> Result<i64, Error> {
    let late = sqlx::query_scalar!(
        r#"select count(*) as "late!" from queue
           where queue_key ~ '^queue/[0-9]{4}-[0-9]{2}-[0-9]{2}/'
             and split_part(queue_key, '/', 2) <= to_char($1::date + 1, 'YYYY-MM-DD')"#,
        today.to_sqlx() as SqlDate
    );
    late.fetch_one(pool).await.map_err(Error::Expire)
}

/// Ends messages that wait although their key must be gone tomorrow.
///
/// # Errors
/// When the database says no; those that have ended stay so.
pub async fn expire_queue(pool: &PgPool, today: Date) -> Result<Gone, Error> {
    let mut all = Gone::default();
    loop {
        let gone = sqlx::query_as!(
            Gone,
            r#"select removed as "items!", tenants as "tenants!" from expire_queue($1, $2)"#,
            today.to_sqlx() as SqlDate,
            AT_ONCE
        );
        if !all.add(gone.fetch_one(pool).await.map_err(Error::Expire)?) {
            return Ok(all);
        }
    }
}

/// For how long what a tenant has logged already is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Days.
    pub days: i32,
    /// Since when a shorter time is asked for.
    pub shortened_at: Option<Timestamp>,
}

/// For how long what a tenant has logged already is kept; `None` before it was ever said.
///
/// # Errors
/// When the database does not answer.
pub async fn kept(pool: &PgPool, tenant: TenantId) -> Result<Option<Kept>, Error> {
    let row = sqlx::query!(
        r#"select kept_days, shortened_at as "shortened_at: SqlTimestamp" from retention where tenant_id = $1"#,
        tenant.0
    );
    let row = row.fetch_optional(pool).await.map_err(Error::Keep)?;
    Ok(row.map(|row| Kept { days: row.kept_days, shortened_at: row.shortened_at.map(SqlTimestamp::to_jiff) }))
}

/// For how many days what each tenant has logged already is kept, where that was ever said.
///
/// # Errors
/// When the database does not answer.
pub async fn all_kept(pool: &PgPool) -> Result<Vec<(TenantId, u32)>, Error> {
    let rows = sqlx::query!("select tenant_id, kept_days from retention");
    let rows = rows.fetch_all(pool).await.map_err(Error::Keep)?;
    Ok(rows.into_iter().map(|row| (TenantId(row.tenant_id), row.kept_days.unsigned_abs())).collect())
}

/// Says for how long what a tenant has logged already is kept.
///
/// # Errors
/// When the database says no.
pub async fn keep(pool: &PgPool, tenant: TenantId, kept: Kept) -> Result<(), Error> {
    sqlx::query!(
        "insert into retention (tenant_id, kept_days, shortened_at) values ($1, $2, $3)
         on conflict (tenant_id) do update set kept_days = $2, shortened_at = $3
         where (retention.kept_days, retention.shortened_at) is distinct from ($2, $3)",
        tenant.0,
        kept.days,
        kept.shortened_at.map(|at| at.to_sqlx()) as Option<SqlTimestamp>
    )
    .execute(pool)
    .await
    .map(|_| ())
    .map_err(Error::Keep)
}

/// Accounts whose day has come (A6).
///
/// # Errors
/// When the database does not answer.
pub async fn erasable(pool: &PgPool, today: Date) -> Result<Vec<TenantId>, Error> {
    let ids = sqlx::query_scalar!(
        "select tenant_id from tenant where erase_on <= $1 and erased_at is null",
        today.to_sqlx() as SqlDate
    );
    Ok(ids.fetch_all(pool).await.map_err(Error::Account)?.into_iter().map(TenantId).collect())
}

/// Erases an account whose keys are destroyed; how many rows. `None`: its day has not come, or it was done before.
///
/// # Errors
/// When the database says no; nothing is erased then.
pub async fn erase_account(pool: &PgPool, tenant: TenantId, today: Date) -> Result<Option<i64>, Error> {
    let erased = sqlx::query_scalar!("select erase_account($1, $2)", tenant.0, today.to_sqlx() as SqlDate);
    erased.fetch_one(pool).await.map_err(Error::Account)
}

/// Says on which day a living account is erased; `None`: it has not ended.
///
/// # Errors
/// When the database says no.
pub async fn erase_on(pool: &PgPool, tenant: TenantId, day: Option<Date>) -> Result<(), Error> {
    sqlx::query!(
        "update tenant set erase_on = $2 where tenant_id = $1 and vanished_at is null and erase_on is distinct from $2",
        tenant.0,
        day.map(|day| day.to_sqlx()) as Option<SqlDate>
    )
    .execute(pool)
    .await
    .map(|_| ())
    .map_err(Error::Account)
}

/// What would be erased of tenants whose log is to be kept shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// How many tenants.
    pub tenants: i64,
    /// How many log entries.
    pub entries: i64,
    /// Since when it is shown, of the one that has waited longest.
    pub since: Timestamp,
}

/// What waits to be erased of these tenants; `None`: nothing. `wanted` is how many days their logs are to be kept.
///
/// # Errors
/// When the database does not answer.
pub async fn pending(pool: &PgPool, tenants: &[TenantId], wanted: i32, today: Date) -> Result<Option<Pending>, Error> {
    let ids: Vec<i64> = tenants.iter().map(|tenant| tenant.0).collect();
    let row = sqlx::query!(
        r#"select count(*) as "tenants!", min(shortened_at) as "since: SqlTimestamp",
             coalesce(sum((select count(*) from message_log l where l.tenant_id = r.tenant_id and l.day > $3::date - r.kept_days
                           and l.day <= $3::date - $2::integer and l.entry is not null)), 0)::bigint as "entries!"
           from retention r where tenant_id = any($1) and shortened_at is not null"#,
        &ids,
        wanted,
        today.to_sqlx() as SqlDate
    );
    let row = row.fetch_one(pool).await.map_err(Error::Keep)?;
    Ok(row.since.map(|since| Pending { tenants: row.tenants, entries: row.entries, since: since.to_jiff() }))
}
