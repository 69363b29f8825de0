//! Receipts of a sender's own messages. How a receipt finds its message and what it may change is decided by the
//! database (`apply_receipts`), the same for senders and connectors.
use jiff_sqlx::{Timestamp, ToSqlx as _};
use sqlx::PgPool;

use crate::domain::{MessageState, RouteId, TenantId};
use crate::store::asking::asking;

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The receipts were not applied.
    #[error("apply receipts: {0}")]
    Apply(#[source] sqlx::Error),
    /// It is not known who may hear of them.
    #[error("ask whether a receipt may be told: {0}")]
    MayBeTold(#[source] sqlx::Error),
}

/// A final receipt, normalised by the connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The route it came by.
    pub route: RouteId,
    /// The connector's keyed hash of the upstream's id.
    pub upstream_id: Box<str>,
    /// The connector's check of the destination.
    pub tag: i32,
    /// What became of the message: a final state.
    pub state: MessageState,
    /// The network's error.
    pub error: Option<i32>,
    /// When the upstream was done with it.
    pub at: jiff::Timestamp,
}

/// What a receipt did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No message of ours is known for it, or more than one.
    Unknown,
    /// The message, or its part, has moved on.
    Applied,
    /// The message, or its part, was final already.
    Already,
}

/// Applies receipts, in order; returns what each did, once it is committed.
///
/// # Errors
/// When the database says no; whether they were applied is not known then, and applying them again is harmless.
pub async fn apply(pool: &PgPool, receipts: &[Receipt]) -> Result<Vec<Outcome>, Error> {
    let routes: Vec<i64> = receipts.iter().map(|receipt| receipt.route.0).collect();
    let upstream_ids: Vec<&str> = receipts.iter().map(|receipt| &*receipt.upstream_id).collect();
    let tags: Vec<i32> = receipts.iter().map(|receipt| receipt.tag).collect();
    let states: Vec<i16> = receipts.iter().map(|receipt| receipt.state.code()).collect();
    let errors: Vec<Option<i32>> = receipts.iter().map(|receipt| receipt.error).collect();
    let times: Vec<Timestamp> = receipts.iter().map(|receipt| receipt.at.to_sqlx()).collect();
    let outcomes = sqlx::query_scalar!(
        r#"select sender_receipts($1, $2, $3, $4, $5, $6) as "outcomes!""#,
        &routes,
        &upstream_ids as &[&str],
        &tags,
        &states,
        &errors as &[Option<i32>],
        &times as &[Timestamp]
    )
    .fetch_one(asking(pool))
    .await
    .map_err(Error::Apply)?;
    Ok(outcomes
        .into_iter()
        .map(|outcome| match outcome {
            1 => Outcome::Applied,
            2 => Outcome::Already,
            _ => Outcome::Unknown,
        })
        .collect())
}

/// Whether the tenant's webhooks may be told of a receipt on `today` (D4): where messages are logged always; where nothing is, only
/// if the tenant asked for it in writing and its policy allows it. For the transaction that writes the receipt and the job that
/// tells of it.
///
/// # Errors
/// When the database does not answer.
pub async fn may_be_told(
    db: impl sqlx::PgExecutor<'_>,
    tenant: TenantId,
    today: jiff::civil::Date,
) -> Result<bool, Error> {
    let may = sqlx::query_scalar!(
        r#"select receipt_may_be_told($1, $2) as "may!""#,
        tenant.0,
        today.to_sqlx() as jiff_sqlx::Date
    );
    may.fetch_one(db).await.map_err(Error::MayBeTold)
}
