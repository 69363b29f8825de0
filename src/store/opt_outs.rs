//! The list of those who want nothing more from a tenant, and what handsets have asked for by SMS until it is entered there. Numbers
//! are here as keyed hashes and ciphertexts only; who has the account's key makes and opens them.
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::domain::TenantId;
use crate::store::asking::asking;

mod waiting;

pub use waiting::{Unlogged, log_keys, logged, unlogged};

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The list was not read.
    #[error("read opt-outs: {0}")]
    Read(#[source] sqlx::Error),
    /// The list was not changed.
    #[error("change opt-outs: {0}")]
    Change(#[source] sqlx::Error),
    /// What was asked for by SMS was not read.
    #[error("read what was asked for by SMS: {0}")]
    ReadRequests(#[source] sqlx::Error),
    /// What waits to be sent was not read.
    #[error("read what waits for those who opted out: {0}")]
    ReadWaiting(#[source] sqlx::Error),
}

/// A number that nothing more is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOut {
    /// Which; version 7.
    pub id: Uuid,
    /// The sealed number.
    pub sealed: Vec<u8>,
    /// `api` or `keyword`.
    pub source: String,
    /// Since when.
    pub since: Timestamp,
}

/// At most `limit` of a tenant's list, newest first, below an id.
///
/// # Errors
/// When the database does not answer.
pub async fn list(pool: &PgPool, tenant: TenantId, below: Option<Uuid>, limit: i64) -> Result<Vec<OptOut>, Error> {
    let rows = sqlx::query!(
        "select opt_out_id, sealed, source, since from opt_out
         where tenant_id = $1 and ($2::uuid is null or opt_out_id < $2) order by opt_out_id desc limit $3",
        tenant.0,
        below,
        limit
    );
    let rows = rows.fetch_all(asking(pool)).await.map_err(Error::Read)?;
    let entry =
        |(id, sealed, source, since): (_, _, _, SqlTimestamp)| OptOut { id, sealed, source, since: since.to_jiff() };
    Ok(rows.into_iter().map(|row| entry((row.opt_out_id, row.sealed, row.source, row.since))).collect())
}

/// The entry of a number.
///
/// # Errors
/// When the database does not answer.
pub async fn find(pool: &PgPool, tenant: TenantId, number_hash: &[u8; 16]) -> Result<Option<OptOut>, Error> {
    let row = sqlx::query!(
        "select opt_out_id, sealed, source, since from opt_out where tenant_id = $1 and number_hash = $2",
        tenant.0,
        &number_hash[..],
    );
    let row = row.fetch_optional(asking(pool)).await.map_err(Error::Read)?;
    Ok(row.map(|row| OptOut { id: row.opt_out_id, sealed: row.sealed, source: row.source, since: row.since.to_jiff() }))
}

/// Whether a tenant has a list, or somebody has asked to be on it.
///
/// # Errors
/// When the database does not answer.
pub async fn any(pool: &PgPool, tenant: TenantId) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"select exists (select from opt_out where tenant_id = $1)
               or exists (select from opt_out_request where tenant_id = $1) as "any!""#,
        tenant.0
    );
    any.fetch_one(asking(pool)).await.map_err(Error::Read)
}

/// Which of these numbers are on a tenant's list, and by which entry.
///
/// # Errors
/// When the database does not answer.
pub async fn listed(pool: &PgPool, tenant: TenantId, hashes: &[[u8; 16]]) -> Result<HashMap<Vec<u8>, Uuid>, Error> {
    let mut connection = pool.acquire().await.map_err(Error::Read)?;
    listed_on(&mut connection, tenant, hashes).await.map_err(Error::Read)
}

async fn listed_on(
    db: &mut PgConnection,
    tenant: TenantId,
    hashes: &[[u8; 16]],
) -> sqlx::Result<HashMap<Vec<u8>, Uuid>> {
    let hashes: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
    let rows = sqlx::query!(
        "select number_hash, opt_out_id from opt_out where tenant_id = $1 and number_hash = any($2)",
        tenant.0,
        &hashes as &[&[u8]],
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(|row| (row.number_hash, row.opt_out_id)).collect())
}

/// A number that is to be on the list.
#[derive(Debug, Clone)]
pub struct New {
    /// Its id, should it be new there; version 7.
    pub id: Uuid,
    /// Finds it.
    pub number_hash: [u8; 16],
    /// Shows it.
    pub sealed: Vec<u8>,
    /// Since when.
    pub since: Timestamp,
}

/// Puts numbers on the list, by the tenant's own word; those that are there stay as they are. The entry of each number.
///
/// From its commit on no call is accepted to them, and all that was accepted before is committed: what waits can be found.
///
/// # Errors
/// When the database does not answer.
pub async fn add(pool: &PgPool, tenant: TenantId, new: &[New]) -> Result<HashMap<Vec<u8>, Uuid>, Error> {
    let mut transaction = pool.begin().await.map_err(Error::Change)?;
    let hashes: Vec<[u8; 16]> = new.iter().map(|new| new.number_hash).collect();
    lock(&mut transaction, tenant).await.map_err(Error::Change)?;
    insert(&mut transaction, tenant, "api", &new.iter().collect::<Vec<_>>()).await.map_err(Error::Change)?;
    let entries = listed_on(&mut transaction, tenant, &hashes).await.map_err(Error::Change)?;
    transaction.commit().await.map_err(Error::Change)?;
    Ok(entries)
}

async fn lock(db: &mut PgConnection, tenant: TenantId) -> sqlx::Result<()> {
    sqlx::query!("select opt_out_lock($1)", tenant.0).execute(db).await.map(|_| ())
}

async fn insert(db: &mut PgConnection, tenant: TenantId, source: &str, new: &[&New]) -> sqlx::Result<()> {
    let ids: Vec<Uuid> = new.iter().map(|new| new.id).collect();
    let hashes: Vec<&[u8]> = new.iter().map(|new| &new.number_hash[..]).collect();
    let sealed: Vec<&[u8]> = new.iter().map(|new| &new.sealed[..]).collect();
    let since: Vec<SqlTimestamp> = new.iter().map(|new| new.since.to_sqlx()).collect();
    sqlx::query!(
        "insert into opt_out (tenant_id, opt_out_id, number_hash, sealed, source, since)
         select $1, n.id, n.number_hash, n.sealed, $2, n.since
         from unnest($3::uuid[], $4::bytea[], $5::bytea[], $6::timestamptz[]) as n (id, number_hash, sealed, since)
         on conflict do nothing",
        tenant.0,
        source,
        &ids,
        &hashes as &[&[u8]],
        &sealed as &[&[u8]],
        &since as &[SqlTimestamp],
    )
    .execute(db)
    .await
    .map(|_| ())
}

/// Takes a number off the list: whether it was there.
///
/// # Errors
/// When the database does not answer.
pub async fn remove(pool: &PgPool, tenant: TenantId, id: Uuid) -> Result<bool, Error> {
    let removed = sqlx::query!("delete from opt_out where tenant_id = $1 and opt_out_id = $2", tenant.0, id);
    removed.execute(asking(pool)).await.map(|done| done.rows_affected() > 0).map_err(Error::Change)
}

/// What somebody asked for by SMS.
#[derive(Debug, Clone)]
pub struct Request {
    /// The SMS.
    pub id: Uuid,
    /// To get nothing more; else to get something again.
    pub stops: bool,
    /// Who, sealed.
    pub sealed: Vec<u8>,
    /// When.
    pub asked_at: Timestamp,
}

/// Tenants of which somebody has asked for something, at most `limit`, those who wait longest first.
///
/// # Errors
/// When the database does not answer.
pub async fn tenants_asked(pool: &PgPool, limit: i64) -> Result<Vec<TenantId>, Error> {
    let rows = sqlx::query_scalar!(
        "select tenant_id from opt_out_request group by tenant_id order by min(asked_at) limit $1",
        limit
    );
    let rows = rows.fetch_all(asking(pool)).await.map_err(Error::ReadRequests)?;
    Ok(rows.into_iter().map(TenantId).collect())
}

/// What was asked of a tenant, oldest first, at most `limit`: what is entered in the list and not done with, or what is not entered yet.
///
/// # Errors
/// When the database does not answer.
pub async fn requests(pool: &PgPool, tenant: TenantId, entered: bool, limit: i64) -> Result<Vec<Request>, Error> {
    let rows = sqlx::query!(
        "select request_id, stops, sealed, asked_at from opt_out_request
         where tenant_id = $1 and (entered_at is not null) = $2 order by request_id limit $3",
        tenant.0,
        entered,
        limit
    );
    let rows = rows.fetch_all(asking(pool)).await.map_err(Error::ReadRequests)?;
    let request = |(id, stops, sealed, asked_at): (_, _, _, SqlTimestamp)| Request {
        id,
        stops,
        sealed,
        asked_at: asked_at.to_jiff(),
    };
    Ok(rows.into_iter().map(|row| request((row.request_id, row.stops, row.sealed, row.asked_at))).collect())
}

/// The country whose national numbers a tenant may write without its code, ISO 3166-1.
///
/// # Errors
/// When the database does not answer.
pub async fn region(pool: &PgPool, tenant: TenantId) -> Result<Option<String>, Error> {
    let region = sqlx::query_scalar!("select default_region from enforcement where tenant_id = $1", tenant.0);
    region.fetch_optional(asking(pool)).await.map_err(Error::ReadRequests)
}

/// A request, opened: `new.id` is the request's.
#[derive(Debug, Clone)]
pub struct Opened {
    /// To get nothing more; else to get something again.
    pub stops: bool,
    /// The entry that it makes, or whose number it takes off the list.
    pub new: New,
}

/// Enters requests in the list, in the order of their ids; of several by one number the last one counts. What another process has
/// entered meanwhile is passed over. As with [`add`], what waits can be found from then on.
///
/// # Errors
/// When the database does not answer.
pub async fn enter(pool: &PgPool, tenant: TenantId, opened: &[Opened], at: Timestamp) -> Result<(), Error> {
    let ids: Vec<Uuid> = opened.iter().map(|opened| opened.new.id).collect();
    let mut transaction = pool.begin().await.map_err(Error::Change)?;
    lock(&mut transaction, tenant).await.map_err(Error::Change)?;
    let taken = sqlx::query_scalar!(
        "update opt_out_request set entered_at = $3 where tenant_id = $1 and request_id = any($2) and entered_at is null
         returning request_id",
        tenant.0,
        &ids,
        at.to_sqlx() as SqlTimestamp,
    );
    let taken: HashSet<Uuid> = taken.fetch_all(&mut *transaction).await.map_err(Error::Change)?.into_iter().collect();
    let mut last: HashMap<[u8; 16], &Opened> = HashMap::new();
    for opened in opened.iter().filter(|opened| taken.contains(&opened.new.id)) {
        let known = last.entry(opened.new.number_hash).or_insert(opened);
        if known.new.id < opened.new.id {
            *known = opened;
        }
    }
    let started: Vec<&[u8]> =
        last.values().filter(|opened| !opened.stops).map(|opened| &opened.new.number_hash[..]).collect();
    sqlx::query!("delete from opt_out where tenant_id = $1 and number_hash = any($2)", tenant.0, &started as &[&[u8]])
        .execute(&mut *transaction)
        .await
        .map_err(Error::Change)?;
    let stopped: Vec<&New> = last.values().filter(|opened| opened.stops).map(|opened| &opened.new).collect();
    insert(&mut transaction, tenant, "keyword", &stopped).await.map_err(Error::Change)?;
    transaction.commit().await.map_err(Error::Change)
}

/// Removes requests that are done with, or that nobody can be known from.
///
/// # Errors
/// When the database does not answer.
pub async fn done(pool: &PgPool, tenant: TenantId, requests: &[Uuid]) -> Result<(), Error> {
    sqlx::query!("delete from opt_out_request where tenant_id = $1 and request_id = any($2)", tenant.0, requests)
        .execute(asking(pool))
        .await
        .map(|_| ())
        .map_err(Error::Change)
}
