//! Endpoints of tenants' webhooks. What they were told is in [`jobs`], how they are told in [`claims`], what of them is sealed in
//! [`sealed`].
use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::domain::TenantId;
use crate::domain::webhook::WebhookEvent;

pub mod claims;
pub mod jobs;
pub mod sealed;

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Endpoints were not read.
    #[error("read webhooks: {0}")]
    Read(#[source] sqlx::Error),
    /// An endpoint was not stored, changed or removed.
    #[error("change a webhook: {0}")]
    Change(#[source] sqlx::Error),
    /// What was told was not read.
    #[error("read what webhooks were told: {0}")]
    ReadJobs(#[source] sqlx::Error),
    /// A job was not written.
    #[error("write a job of a webhook: {0}")]
    WriteJob(#[source] sqlx::Error),
    /// No job was taken up.
    #[error("take up jobs of webhooks: {0}")]
    Claim(#[source] sqlx::Error),
    /// What a job is about was not read.
    #[error("read what a webhook is told of: {0}")]
    ReadSubject(#[source] sqlx::Error),
}

/// An endpoint; where it is, is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Which; version 7.
    pub id: Uuid,
    /// What it is told of. Events of a later version are left out.
    pub events: Vec<WebhookEvent>,
    /// The sealed [`crate::domain::webhook::WebhookTarget`].
    pub sealed: Vec<u8>,
    /// Until then the secret before signs too.
    pub old_until: Option<Timestamp>,
    /// Why it is told nothing: a word of [`crate::domain::webhook::Disabled`].
    pub disabled: Option<String>,
    /// Since when.
    pub disabled_at: Option<Timestamp>,
    /// When it was set up.
    pub created_at: Timestamp,
}

struct Row {
    webhook_id: Uuid,
    events: Vec<String>,
    sealed: Vec<u8>,
    old_until: Option<SqlTimestamp>,
    disabled: Option<String>,
    disabled_at: Option<SqlTimestamp>,
    created_at: SqlTimestamp,
}

impl From<Row> for Webhook {
    fn from(row: Row) -> Self {
        Self {
            id: row.webhook_id,
            events: row.events.iter().filter_map(|word| WebhookEvent::from_word(word)).collect(),
            sealed: row.sealed,
            old_until: row.old_until.map(SqlTimestamp::to_jiff),
            disabled: row.disabled,
            disabled_at: row.disabled_at.map(SqlTimestamp::to_jiff),
            created_at: row.created_at.to_jiff(),
        }
    }
}

/// An endpoint that is to be stored.
#[derive(Debug)]
pub struct New<'a> {
    /// Which.
    pub id: Uuid,
    /// What it is told of.
    pub events: &'a [WebhookEvent],
    /// The sealed target.
    pub sealed: &'a [u8],
    /// The sealed secret.
    pub secret: &'a [u8],
    /// When.
    pub at: Timestamp,
}

fn words(events: &[WebhookEvent]) -> Vec<String> {
    events.iter().map(|event| event.as_str().to_owned()).collect()
}

/// Stores an endpoint, unless the tenant has `most` already: whether it did.
///
/// # Errors
/// When the database does not answer.
pub async fn add(pool: &PgPool, tenant: TenantId, new: &New<'_>, most: i64) -> Result<bool, Error> {
    let mut transaction = pool.begin().await.map_err(Error::Change)?;
    // One at a time, or two would both be the last one.
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('budstikke.webhook', $1))", tenant.0)
        .execute(&mut *transaction)
        .await
        .map_err(Error::Change)?;
    let added = sqlx::query!(
        "insert into webhook (tenant_id, webhook_id, events, sealed, secret, created_at)
         select $1, $2, $3, $4, $5, $6 where (select count(*) from webhook where tenant_id = $1) < $7",
        tenant.0,
        new.id,
        &words(new.events),
        new.sealed,
        new.secret,
        new.at.to_sqlx() as SqlTimestamp,
        most
    )
    .execute(&mut *transaction)
    .await
    .map_err(Error::Change)?;
    transaction.commit().await.map_err(Error::Change)?;
    Ok(added.rows_affected() > 0)
}

/// A tenant's endpoints, oldest first.
///
/// # Errors
/// When the database does not answer.
pub async fn list(pool: &PgPool, tenant: TenantId) -> Result<Vec<Webhook>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "select webhook_id, events, sealed, old_until, disabled, disabled_at, created_at from webhook
         where tenant_id = $1 order by webhook_id",
        tenant.0
    );
    Ok(rows.fetch_all(pool).await.map_err(Error::Read)?.into_iter().map(Webhook::from).collect())
}

/// One endpoint of a tenant's.
///
/// # Errors
/// When the database does not answer.
pub async fn find(pool: &PgPool, tenant: TenantId, id: Uuid) -> Result<Option<Webhook>, Error> {
    let row = sqlx::query_as!(
        Row,
        "select webhook_id, events, sealed, old_until, disabled, disabled_at, created_at from webhook
         where tenant_id = $1 and webhook_id = $2",
        tenant.0,
        id
    );
    Ok(row.fetch_optional(pool).await.map_err(Error::Read)?.map(Webhook::from))
}

/// What is to be changed of an endpoint; `None` stays.
#[derive(Debug, Default)]
pub struct Change {
    /// What it is told of.
    pub events: Option<Vec<WebhookEvent>>,
    /// The sealed target: its next try comes at once.
    pub sealed: Option<Vec<u8>>,
    /// Whether it is told anything. What waits when it is switched off is cancelled.
    pub enabled: Option<bool>,
}

/// Changes an endpoint; false where there is none.
///
/// # Errors
/// When the database does not answer; then it is as it was.
pub async fn change(pool: &PgPool, tenant: TenantId, id: Uuid, change: &Change, now: Timestamp) -> Result<bool, Error> {
    let mut transaction = pool.begin().await.map_err(Error::Change)?;
    let was_on = sqlx::query_scalar!(
        r#"select disabled is null as "on!" from webhook where tenant_id = $1 and webhook_id = $2 for update"#,
        tenant.0,
        id
    );
    let Some(was_on) = was_on.fetch_optional(&mut *transaction).await.map_err(Error::Change)? else { return Ok(false) };
    let events = change.events.as_deref().map(words);
    sqlx::query!(
        "update webhook set events = coalesce($3, events), sealed = coalesce($4, sealed),
             next_at = case when $4::bytea is not null or $5 then '-infinity' else next_at end,
             disabled = case when $5 then null when not $5 then coalesce(disabled, 'asked') else disabled end,
             disabled_at = case when $5 then null when not $5 then coalesce(disabled_at, $6) else disabled_at end
         where tenant_id = $1 and webhook_id = $2",
        tenant.0,
        id,
        events.as_deref() as Option<&[String]>,
        change.sealed.as_deref(),
        change.enabled as Option<bool>,
        now.to_sqlx() as SqlTimestamp,
    )
    .execute(&mut *transaction)
    .await
    .map_err(Error::Change)?;
    // Also where it is switched on: what was written while it was switched off.
    if change.enabled.is_some_and(|on| !on || !was_on) {
        cancel_waiting(&mut transaction, tenant, id, now).await.map_err(Error::Change)?;
    }
    transaction.commit().await.map_err(Error::Change)?;
    Ok(true)
}

/// Nothing of what waits for an endpoint is delivered any more.
async fn cancel_waiting(db: &mut PgConnection, tenant: TenantId, id: Uuid, now: Timestamp) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_job set outcome = 'cancelled', done_at = $3
         where tenant_id = $1 and webhook_id = $2 and outcome = 'waiting'",
        tenant.0,
        id,
        now.to_sqlx() as SqlTimestamp
    )
    .execute(db)
    .await
    .map(|_| ())
}

/// Gives an endpoint another secret; the one before signs too until `old_until`. False where there is none.
///
/// # Errors
/// When the database does not answer.
pub async fn rotate(
    pool: &PgPool,
    tenant: TenantId,
    id: Uuid,
    secret: &[u8],
    old_until: Timestamp,
) -> Result<bool, Error> {
    let rotated = sqlx::query!(
        "update webhook set old_secret = secret, secret = $3, old_until = $4 where tenant_id = $1 and webhook_id = $2",
        tenant.0,
        id,
        secret,
        old_until.to_sqlx() as SqlTimestamp
    );
    Ok(rotated.execute(pool).await.map_err(Error::Change)?.rows_affected() > 0)
}

/// Removes an endpoint, and what it was told; false where there is none.
///
/// # Errors
/// When the database does not answer; then it is as it was.
pub async fn remove(pool: &PgPool, tenant: TenantId, id: Uuid) -> Result<bool, Error> {
    let mut transaction = pool.begin().await.map_err(Error::Change)?;
    let removed = sqlx::query!("delete from webhook where tenant_id = $1 and webhook_id = $2", tenant.0, id)
        .execute(&mut *transaction)
        .await
        .map_err(Error::Change)?;
    sqlx::query!("delete from webhook_job where tenant_id = $1 and webhook_id = $2", tenant.0, id)
        .execute(&mut *transaction)
        .await
        .map_err(Error::Change)?;
    transaction.commit().await.map_err(Error::Change)?;
    Ok(removed.rows_affected() > 0)
}
