//! What a tenant decides of its messages that wait: one decision for many of them, in one transaction.
use jiff::ToSpan as _;
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{BatchId, MessageId, TenantId};
use crate::store::asking::asking;

/// The decision was not carried out; the database is away.
#[derive(Debug, thiserror::Error)]
#[error("decide what becomes of messages: {0}")]
pub struct Error(#[source] pub sqlx::Error);

/// What is to become of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// What is queued and not on its way is not sent.
    Cancel,
    /// What is held is sent.
    Release,
    /// What is held is not sent again: it ends as of unknown fate.
    Fail,
    /// What is queued or held is not sent: its recipient wants nothing more.
    OptOut,
}

impl Decision {
    fn word(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Release => "release",
            Self::Fail => "fail",
            Self::OptOut => "opt_out",
        }
    }
}

/// Of which messages.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// These.
    These(&'a [Uuid]),
    /// All of one call.
    Batch(BatchId),
}

/// Decides; of these messages it was done, in their order. Of the others it could not be, or not any more.
///
/// # Errors
/// When the database says no; then nothing was done.
pub async fn decide(
    pool: &PgPool,
    tenant: TenantId,
    decision: Decision,
    which: Which<'_>,
) -> Result<Vec<MessageId>, Error> {
    // The messages of one call were all made at its batch's millisecond.
    let (these, batch, lowest, below) = match which {
        Which::These(ids) => (Some(ids), None, None, None),
        Which::Batch(batch) => {
            let Some(at) = batch.at() else { return Ok(Vec::new()) };
            let until = at.saturating_add(1.millisecond()).unwrap_or(at);
            (None, Some(batch.0), Some(MessageId::lowest(at).0), Some(MessageId::lowest(until).0))
        }
    };
    let done = sqlx::query_scalar!(
        r#"select decide($1, $2, $3, $4, $5, $6) as "done!""#,
        tenant.0,
        decision.word(),
        these,
        batch,
        lowest,
        below
    );
    let done = done.fetch_one(asking(pool)).await.map_err(Error)?;
    Ok(done.into_iter().map(MessageId).collect())
}
