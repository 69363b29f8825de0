//! How the worker takes up what is due. An endpoint is claimed as a whole, for a while: so one delivery at a time goes to it, in order,
//! whichever pods there are; and when its worker dies, another one delivers the same again.
use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;
use uuid::Uuid;

use super::Error;
use crate::domain::webhook::{Disabled, WebhookEvent};
use crate::domain::{MessageId, MilliOre, TenantId, copenhagen_day};

/// An endpoint that is ours for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub id: Uuid,
    /// The claim itself: of no account once another worker has it.
    pub claim: Uuid,
    /// The sealed target.
    pub sealed: Vec<u8>,
    /// The sealed secret.
    pub secret: Vec<u8>,
    /// The one before, while it signs too.
    pub old_secret: Option<Vec<u8>>,
}

/// Takes up at most `most` endpoints that something waits for, until `until`; longest due first.
///
/// # Errors
/// When the database does not answer.
pub async fn claim(pool: &PgPool, now: Timestamp, until: Timestamp, most: i64) -> Result<Vec<Claimed>, Error> {
    let claim = Uuid::from_u128(rand::random());
    let rows = sqlx::query!(
        r#"with due as (
               select w.tenant_id, w.webhook_id from webhook w
               where w.disabled is null and w.next_at <= $1 and (w.claimed_until is null or w.claimed_until <= $1)
                 and exists (select from webhook_job j where j.tenant_id = w.tenant_id and j.webhook_id = w.webhook_id
                                                        and j.outcome = 'waiting')
               order by w.next_at limit $4 for update of w skip locked
           )
           update webhook w set claim_id = $2, claimed_until = $3 from due
           where w.tenant_id = due.tenant_id and w.webhook_id = due.webhook_id
           returning w.tenant_id, w.webhook_id, w.sealed, w.secret, case when w.old_until > $1 then w.old_secret end as old_secret"#,
        now.to_sqlx() as SqlTimestamp,
        claim,
        until.to_sqlx() as SqlTimestamp,
        most
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Claim)?;
    Ok(rows
        .into_iter()
        .map(|row| Claimed {
            tenant: TenantId(row.tenant_id),
            id: row.webhook_id,
            claim,
            sealed: row.sealed,
            secret: row.secret,
            old_secret: row.old_secret,
        })
        .collect())
}

/// What an endpoint is to be told next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Which.
    pub id: Uuid,
    /// Of what; `None`: an event of a later version.
    pub event: Option<WebhookEvent>,
    /// The message, or what was received.
    pub subject: Option<Uuid>,
    /// The message's state then.
    pub state: Option<i16>,
    /// And its error.
    pub error: Option<i32>,
    /// When that was.
    pub at: Timestamp,
    /// How often it was tried.
    pub attempts: i16,
    /// Messages of the tenant are logged.
    pub is_logged: bool,
    /// The tenant's webhooks may be told of messages (D4).
    pub may_be_told: bool,
}

/// The oldest that waits for an endpoint.
///
/// # Errors
/// When the database does not answer.
pub async fn head(pool: &PgPool, of: &Claimed, today: Date) -> Result<Option<Job>, Error> {
    let row = sqlx::query!(
        r#"select j.job_id, j.event, j.subject, j.state, j.error, j.at, j.attempts,
             coalesce(e.log_days > 0, false) as "is_logged!", receipt_may_be_told(j.tenant_id, $3) as "may_be_told!"
           from webhook_job j left join enforcement e using (tenant_id)
           where j.tenant_id = $1 and j.webhook_id = $2 and j.outcome = 'waiting' order by j.place limit 1"#,
        of.tenant.0,
        of.id,
        today.to_sqlx() as SqlDate
    );
    let row = row.fetch_optional(pool).await.map_err(Error::ReadJobs)?;
    Ok(row.map(|row| Job {
        id: row.job_id,
        event: WebhookEvent::from_word(&row.event),
        subject: row.subject,
        state: row.state,
        error: row.error,
        at: row.at.to_jiff(),
        attempts: row.attempts,
        is_logged: row.is_logged,
        may_be_told: row.may_be_told,
    }))
}

/// Why a try failed: never what the endpoint wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Its name is not known, or leads to no public address.
    Address,
    /// It took no connection.
    Connect,
    /// Its certificate is not good for its name.
    Tls,
    /// It did not answer in time.
    Timeout,
    /// It answered with something that is not HTTP, or broke off.
    Answer,
    /// It answered with another status than 2xx.
    Status,
}

impl Failure {
    /// As the database and the API write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Answer => "answer",
            Self::Status => "status",
        }
    }
}

/// What a try came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is delivered.
    Delivered,
    /// It is tried again then, and nothing behind it before.
    Again(Timestamp),
    /// It is given up; the endpoint is switched off, and what waits for it cancelled.
    GivenUp(Disabled),
}

/// A try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// What it came to.
    pub outcome: Outcome,
    /// What was answered.
    pub status: Option<u16>,
    /// What failed.
    pub failure: Option<Failure>,
}

/// Notes what a try came to, and keeps the endpoint until `until`; false where it is ours no longer, and nothing was noted.
///
/// # Errors
/// When the database does not answer: then it may be delivered once more.
pub async fn note(
    pool: &PgPool,
    of: &Claimed,
    job: Uuid,
    attempt: &Attempt,
    (now, until): (Timestamp, Timestamp),
) -> Result<bool, Error> {
    let (word, next, disabled) = match attempt.outcome {
        Outcome::Delivered => ("delivered", now, None),
        Outcome::Again(at) => ("waiting", at, None),
        Outcome::GivenUp(why) => ("failed", now, Some(why)),
    };
    let mut transaction = pool.begin().await.map_err(Error::WriteJob)?;
    let ours = sqlx::query!(
        "update webhook set next_at = $4, claimed_until = $5, disabled = coalesce($6, disabled),
             disabled_at = case when $6::text is null then disabled_at else $7 end
         where tenant_id = $1 and webhook_id = $2 and claim_id = $3",
        of.tenant.0,
        of.id,
        of.claim,
        next.to_sqlx() as SqlTimestamp,
        until.to_sqlx() as SqlTimestamp,
        disabled.map(Disabled::as_str),
        now.to_sqlx() as SqlTimestamp
    );
    if ours.execute(&mut *transaction).await.map_err(Error::WriteJob)?.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "update webhook_job set attempts = attempts + 1, tried_at = $4, status = $5, failure = $6,
             outcome = case when $3 = 'waiting' then outcome else $3 end,
             done_at = case when $3 = 'waiting' then done_at else $4::timestamptz end
         where tenant_id = $1 and job_id = $2",
        of.tenant.0,
        job,
        word,
        now.to_sqlx() as SqlTimestamp,
        attempt.status.and_then(|status| i16::try_from(status).ok()),
        attempt.failure.map(Failure::as_str)
    )
    .execute(&mut *transaction)
    .await
    .map_err(Error::WriteJob)?;
    if disabled.is_some() {
        super::cancel_waiting(&mut transaction, of.tenant, of.id, now).await.map_err(Error::WriteJob)?;
    }
    transaction.commit().await.map_err(Error::WriteJob)?;
    Ok(true)
}

/// A job that may not be told any more (D4).
///
/// # Errors
/// When the database does not answer.
pub async fn cancel(pool: &PgPool, of: &Claimed, job: Uuid, now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        "update webhook_job set outcome = 'cancelled', done_at = $3 where tenant_id = $1 and job_id = $2",
        of.tenant.0,
        job,
        now.to_sqlx() as SqlTimestamp
    )
    .execute(pool)
    .await
    .map(|_| ())
    .map_err(Error::WriteJob)
}

/// Gives an endpoint back: the next worker may take it up, but not before `next`, where there is such a time.
///
/// # Errors
/// When the database does not answer: then it is free when the claim has run out.
pub async fn release(pool: &PgPool, of: &Claimed, next: Option<Timestamp>) -> Result<(), Error> {
    sqlx::query!(
        "update webhook set claim_id = null, claimed_until = null, next_at = greatest(next_at, $4)
         where tenant_id = $1 and webhook_id = $2 and claim_id = $3",
        of.tenant.0,
        of.id,
        of.claim,
        next.map(|next| next.to_sqlx()) as Option<SqlTimestamp>
    )
    .execute(pool)
    .await
    .map(|_| ())
    .map_err(Error::Claim)
}

/// Since when the one that has waited longest is due; `None`: nothing is. What a worker has taken up is not counted.
///
/// # Errors
/// When the database does not answer.
pub async fn oldest_due(pool: &PgPool, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let oldest = sqlx::query_scalar!(
        r#"select min(greatest(w.next_at, j.made_at)) as "oldest: SqlTimestamp"
           from webhook w cross join lateral (
               select made_at from webhook_job j
               where j.tenant_id = w.tenant_id and j.webhook_id = w.webhook_id and j.outcome = 'waiting' order by j.place limit 1
           ) as j
           where w.disabled is null and w.next_at <= $1 and (w.claimed_until is null or w.claimed_until <= $1)"#,
        now.to_sqlx() as SqlTimestamp
    );
    Ok(oldest.fetch_one(pool).await.map_err(Error::Claim)?.map(SqlTimestamp::to_jiff))
}

/// What is logged of a message, its entry still sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The call it came with.
    pub batch: Uuid,
    /// How many parts it takes.
    pub parts: i16,
    /// What one part costs.
    pub price: MilliOre,
    /// When the upstream took it.
    pub submitted_at: Option<Timestamp>,
    /// Name of the key that opens the entry, and the sealed [`crate::domain::Entry`].
    pub entry: Option<(String, Vec<u8>)>,
}

/// What is logged of a message; `None` once that is erased.
///
/// # Errors
/// When the database does not answer.
pub async fn message(pool: &PgPool, tenant: TenantId, id: Uuid) -> Result<Option<Logged>, Error> {
    let Some(at) = MessageId(id).at() else { return Ok(None) };
    let row = sqlx::query!(
        "select batch_id, parts, amount, submitted_at, log_key, entry from message_log
         where tenant_id = $1 and message_id = $2 and day = $3",
        tenant.0,
        id,
        copenhagen_day(at).to_sqlx() as SqlDate
    );
    let row = row.fetch_optional(pool).await.map_err(Error::ReadSubject)?;
    Ok(row.map(|row| Logged {
        batch: row.batch_id,
        parts: row.parts,
        price: MilliOre(row.amount),
        submitted_at: row.submitted_at.map(SqlTimestamp::to_jiff),
        entry: row.log_key.zip(row.entry),
    }))
}
