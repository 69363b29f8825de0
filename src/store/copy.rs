//! Everything that is registered about a tenant, for its copy (D7): which table is told in which section, and which is not, and why.
//! A test compares this with the inventory, so that no later table is forgotten.
//!
//! Rows are told as they stand, without what only recognises or opens something. Messages and what was received are opened
//! by who makes the copy: they are in [`super::history`], and what still waits is [`waiting`]. Copies of mail are in [`super::mail`],
//! webhooks in [`super::webhooks`],
//! those who opted out in [`super::opt_outs`].
use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{MessageState, TenantId};

/// Tables that have rows of a tenant, and the section in which a copy tells them.
pub const TOLD: &[(&str, &str)] = &[
    ("tenant", "account"),
    ("enforcement", "enforcement"),
    ("in_force", "terms"),
    ("price", "prices"),
    ("api_key", "apiKeys"),
    ("route_share", "routes"),
    ("inbound_number", "inboundNumbers"),
    ("quota", "quota"),
    ("retention", "retention"),
    ("idempotency", "repeatedCalls"),
    ("disclosure", "disclosures"),
    ("usage", "usage"),
    ("queue", "waiting"),
    ("message_log", "messages"),
    ("message_part", "parts"),
    ("inbound", "inbound"),
    ("mail_copy", "mailCopies"),
    ("webhook", "webhooks"),
    ("webhook_job", "webhookDeliveries"),
    ("opt_out", "optOuts"),
];

/// Tables that have rows of a tenant and are not told, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    (
        "duplicate_guard",
        "keyed hashes that only recognise a text that was sent already, for as long as the account's interval",
    ),
    ("flight", "ids alone, of messages that the section `waiting` tells, for seconds"),
    ("login", "a database login of the sender's: nothing about the tenant"),
    ("sender_epoch", "how often the sender has started: nothing about the tenant"),
    (
        "erasure",
        "days before which something was erased, to erase it again after a restore: nothing that is still there",
    ),
    ("opt_out_request", "who asked by SMS to be on the list that the section `optOuts` tells, for seconds"),
    ("opt_out_key", "a key that such requests are sealed to: nothing about the tenant"),
    ("public_key", "keys that received messages are sealed to, for two days: nothing about the tenant"),
];

/// The database was not read.
#[derive(Debug, thiserror::Error)]
#[error("read what is registered: {0}")]
pub struct Error(#[source] sqlx::Error);

/// Sections that are small: each with its rows.
///
/// # Errors
/// When the database does not answer.
pub async fn settings(pool: &PgPool, tenant: TenantId) -> Result<Vec<(&'static str, Vec<Value>)>, Error> {
    macro_rules! rows {
        ($query:literal) => {
            sqlx::query_scalar!($query, tenant.0).fetch_all(pool).await.map_err(Error)?
        };
    }
    Ok(vec![
        ("account", rows!(r#"select to_jsonb(t) as "row!" from tenant t where tenant_id = $1"#)),
        ("enforcement", rows!(r#"select to_jsonb(e) as "row!" from enforcement e where tenant_id = $1"#)),
        ("terms", rows!(r#"select to_jsonb(f) as "row!" from in_force f where tenant_id = $1 order by kind"#)),
        ("prices", rows!(r#"select to_jsonb(p) as "row!" from price p where tenant_id = $1 order by prefix"#)),
        (
            "apiKeys",
            rows!(r#"select to_jsonb(k) - 'hash' as "row!" from api_key k where tenant_id = $1 order by created_at"#),
        ),
        (
            "routes",
            rows!(
                r#"select to_jsonb(s) || jsonb_build_object('name', r.name) as "row!"
                   from route_share s join route r using (route_id) where s.tenant_id = $1 order by r.name"#
            ),
        ),
        (
            "inboundNumbers",
            rows!(
                r#"select to_jsonb(n) || jsonb_build_object('name', r.name) as "row!"
                   from inbound_number n join route r using (route_id) where n.tenant_id = $1 order by n.number, n.keyword"#
            ),
        ),
        ("quota", rows!(r#"select to_jsonb(q) as "row!" from quota q where tenant_id = $1 order by day, hour"#)),
        ("retention", rows!(r#"select to_jsonb(r) as "row!" from retention r where tenant_id = $1"#)),
    ])
}

/// Answers that are kept for repeated calls, at most `limit` above a batch.
///
/// # Errors
/// When the database does not answer.
pub async fn repeated_calls(
    pool: &PgPool,
    tenant: TenantId,
    above: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, Value)>, Error> {
    let rows = sqlx::query!(
        r#"select batch_id, to_jsonb(i) - 'key_hash' - 'body_hash' as "row!" from idempotency i
           where tenant_id = $1 and batch_id > $2 order by batch_id limit $3"#,
        tenant.0,
        above,
        limit
    );
    let rows = rows.fetch_all(pool).await.map_err(Error)?;
    Ok(rows.into_iter().map(|row| (row.batch_id, row.row)).collect())
}

/// The month in which the account began.
///
/// # Errors
/// When the database does not answer.
pub async fn first_month(pool: &PgPool, tenant: TenantId) -> Result<Date, Error> {
    let first = sqlx::query_scalar!(
        r#"select date_trunc('month', created_at at time zone 'Europe/Copenhagen')::date as "month!" from tenant where tenant_id = $1"#,
        tenant.0
    );
    first.fetch_one(pool).await.map(SqlDate::to_jiff).map_err(Error)
}

/// A message that is not sent yet, its body still sealed.
#[derive(Debug)]
pub struct Waiting {
    /// Which.
    pub id: Uuid,
    /// The call it came with.
    pub batch: Uuid,
    /// `Queued` or `Held`.
    pub state: MessageState,
    /// Not before.
    pub not_before: Option<Timestamp>,
    /// When it is too late.
    pub expires_at: Timestamp,
    /// Name of the key that opens `body`.
    pub queue_key: String,
    /// The sealed [`crate::domain::Body`].
    pub body: Vec<u8>,
}

/// At most `limit` messages that wait, above an id.
///
/// # Errors
/// When the database does not answer.
pub async fn waiting(pool: &PgPool, tenant: TenantId, above: Uuid, limit: i64) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query!(
        "select message_id, batch_id, state, not_before, expires_at, queue_key, body from queue
         where tenant_id = $1 and message_id > $2 order by message_id limit $3",
        tenant.0,
        above,
        limit
    );
    let rows = rows.fetch_all(pool).await.map_err(Error)?;
    Ok(rows
        .into_iter()
        .map(|row| Waiting {
            id: row.message_id,
            batch: row.batch_id,
            state: MessageState::from_code(row.state).unwrap_or(MessageState::Unknown),
            not_before: row.not_before.map(jiff_sqlx::Timestamp::to_jiff),
            expires_at: row.expires_at.to_jiff(),
            queue_key: row.queue_key,
            body: row.body,
        })
        .collect())
}

/// The parts of these messages, which were accepted on the days from `first` to `last`; without what recognises receipts.
///
/// # Errors
/// When the database does not answer.
pub async fn parts(
    pool: &PgPool,
    tenant: TenantId,
    messages: &[Uuid],
    (first, last): (Date, Date),
) -> Result<Vec<Value>, Error> {
    let rows = sqlx::query_scalar!(
        r#"select to_jsonb(p) - 'upstream_id' - 'tag' as "row!" from message_part p
           where tenant_id = $1 and message_id = any($2) and day between $3 and $4 order by message_id, part"#,
        tenant.0,
        messages,
        first.to_sqlx() as SqlDate,
        last.to_sqlx() as SqlDate,
    );
    rows.fetch_all(pool).await.map_err(Error)
}
