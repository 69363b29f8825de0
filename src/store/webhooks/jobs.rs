//! What endpoints were told, as their tenant reads it; and what it may ask for: one more time, or a trial.
use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;
use uuid::Uuid;

use super::Error;
use crate::domain::TenantId;
use crate::domain::webhook::WebhookEvent;

/// One event to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which; version 7, the same at every try.
    pub id: Uuid,
    /// The event's word.
    pub event: String,
    /// The message, or what was received.
    pub subject: Option<Uuid>,
    /// When the event took place.
    pub at: Timestamp,
    /// When the job was written.
    pub made_at: Timestamp,
    /// `waiting`, `delivered`, `failed` or `cancelled`.
    pub outcome: String,
    /// How often it was tried.
    pub attempts: i16,
    /// When last.
    pub tried_at: Option<Timestamp>,
    /// What was answered then.
    pub status: Option<i16>,
    /// What failed then: a word of [`super::claims::Failure`].
    pub failure: Option<String>,
    /// When it is tried next, where it failed before and waits.
    pub next_at: Option<Timestamp>,
}

/// At most `limit` deliveries of an endpoint, newest first, below an id.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    pool: &PgPool,
    tenant: TenantId,
    webhook: Uuid,
    below: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Delivery>, Error> {
    let rows = sqlx::query!(
        r#"select job_id, event, subject, at, made_at, outcome, attempts, tried_at, status, failure,
             case when outcome = 'waiting' and attempts > 0 then nullif(next_at, '-infinity') end as "next_at: SqlTimestamp"
           from webhook_job join webhook using (tenant_id, webhook_id)
           where tenant_id = $1 and webhook_id = $2 and ($3::uuid is null or job_id < $3)
           order by job_id desc limit $4"#,
        tenant.0,
        webhook,
        below,
        limit
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::ReadJobs)?;
    Ok(rows
        .into_iter()
        .map(|row| Delivery {
            id: row.job_id,
            event: row.event,
            subject: row.subject,
            at: row.at.to_jiff(),
            made_at: row.made_at.to_jiff(),
            outcome: row.outcome,
            attempts: row.attempts,
            tried_at: row.tried_at.map(SqlTimestamp::to_jiff),
            status: row.status,
            failure: row.failure,
            next_at: row.next_at.map(SqlTimestamp::to_jiff),
        })
        .collect())
}

/// What became of what a tenant asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It is on its way.
    Waits,
    /// The endpoint is switched off.
    Disabled,
    /// There is no such endpoint or delivery.
    Nothing,
}

/// Delivers something once more, behind what waits already; the same id goes with it. What still waits stays where it is.
///
/// # Errors
/// When the database does not answer.
pub async fn replay(pool: &PgPool, tenant: TenantId, webhook: Uuid, job: Uuid) -> Result<Asked, Error> {
    let mut transaction = pool.begin().await.map_err(Error::WriteJob)?;
    let found = sqlx::query!(
        r#"select w.disabled is null as "on!", j.outcome from webhook w join webhook_job j using (tenant_id, webhook_id)
           where w.tenant_id = $1 and w.webhook_id = $2 and j.job_id = $3 for update of w"#,
        tenant.0,
        webhook,
        job
    );
    let Some(found) = found.fetch_optional(&mut *transaction).await.map_err(Error::WriteJob)? else {
        return Ok(Asked::Nothing);
    };
    if !found.on {
        return Ok(Asked::Disabled);
    }
    sqlx::query!(
        "update webhook_job set outcome = 'waiting', attempts = 0, done_at = null, place = default
         where tenant_id = $1 and job_id = $2 and outcome <> 'waiting'",
        tenant.0,
        job
    )
    .execute(&mut *transaction)
    .await
    .map_err(Error::WriteJob)?;
    transaction.commit().await.map_err(Error::WriteJob)?;
    Ok(Asked::Waits)
}

/// Has an endpoint told of a trial.
///
/// # Errors
/// When the database does not answer.
pub async fn test(pool: &PgPool, tenant: TenantId, webhook: Uuid, job: Uuid, now: Timestamp) -> Result<Asked, Error> {
    let mut transaction = pool.begin().await.map_err(Error::WriteJob)?;
    let on = sqlx::query_scalar!(
        r#"select disabled is null as "on!" from webhook where tenant_id = $1 and webhook_id = $2 for update"#,
        tenant.0,
        webhook
    );
    match on.fetch_optional(&mut *transaction).await.map_err(Error::WriteJob)? {
        None => return Ok(Asked::Nothing),
        Some(false) => return Ok(Asked::Disabled),
        Some(true) => {}
    }
    sqlx::query!(
        "insert into webhook_job (tenant_id, job_id, webhook_id, event, at) values ($1, $2, $3, $4, $5)",
        tenant.0,
        job,
        webhook,
        WebhookEvent::Test.as_str(),
        now.to_sqlx() as SqlTimestamp
    )
    .execute(&mut *transaction)
    .await
    .map_err(Error::WriteJob)?;
    transaction.commit().await.map_err(Error::WriteJob)?;
    Ok(Asked::Waits)
}
