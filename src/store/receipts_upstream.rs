//! Receipts as a connector stores them when their tenant's sender is away, and the parking of those whose message is
//! not known yet. Numbers are not among what is stored, only the keyed check of the destination.
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgPool;

use crate::domain::{MessageState, TenantId};
use crate::store::asking::asking;

/// A question to the database failed; nothing of the batch was stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Whose messages they are.
    #[error("find the owners of receipts: {0}")]
    FindOwners(#[source] sqlx::Error),
    /// What became of the messages.
    #[error("apply receipts: {0}")]
    Apply(#[source] sqlx::Error),
    /// To be tried again.
    #[error("park receipts: {0}")]
    Park(#[source] sqlx::Error),
    /// Those that were parked.
    #[error("retry parked receipts: {0}")]
    Retry(#[source] sqlx::Error),
    /// As many answers as receipts were expected.
    #[error("the database answered for {got} of {want} receipts")]
    Count {
        /// Receipts asked about.
        want: usize,
        /// Answers.
        got: usize,
    },
}

/// A final receipt of a message on the route whose login asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamReceipt {
    /// The connector's keyed hash of the upstream's id.
    pub upstream_id: String,
    /// The keyed check of the destination.
    pub tag: u32,
    /// What became of the message.
    pub state: MessageState,
    /// The network's or upstream's error.
    pub error: Option<i32>,
    /// When.
    pub done_at: Timestamp,
}

/// What applying a receipt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// No message is known for it, or more than one.
    Unknown,
    /// The message has its state now.
    Now,
    /// The message was final already.
    Before,
}

/// Columns of a batch, for `unnest`.
struct Columns {
    ids: Vec<String>,
    tags: Vec<i32>,
    states: Vec<i16>,
    errors: Vec<Option<i32>>,
    done_at: Vec<jiff_sqlx::Timestamp>,
}

impl Columns {
    fn of(receipts: &[UpstreamReceipt]) -> Self {
        Self {
            ids: receipts.iter().map(|receipt| receipt.upstream_id.clone()).collect(),
            tags: receipts.iter().map(|receipt| receipt.tag.cast_signed()).collect(),
            states: receipts.iter().map(|receipt| receipt.state.code()).collect(),
            errors: receipts.iter().map(|receipt| receipt.error).collect(),
            done_at: receipts.iter().map(|receipt| receipt.done_at.to_sqlx()).collect(),
        }
    }
}

/// Whose message each receipt (upstream id, tag) is about; `None` where none is known, or more than one.
///
/// # Errors
/// When the database does not answer.
pub async fn owners(pool: &PgPool, receipts: &[(String, u32)]) -> Result<Vec<Option<TenantId>>, Error> {
    let (ids, tags): (Vec<_>, Vec<_>) = receipts.iter().map(|(id, tag)| (id.clone(), tag.cast_signed())).unzip();
    let owners = sqlx::query_scalar!(r#"select receipt_owners($1, $2) as "owners!: Vec<Option<i64>>""#, &ids, &tags)
        .fetch_one(asking(pool))
        .await
        .map_err(Error::FindOwners)?;
    counted(receipts.len(), owners.into_iter().map(|owner| owner.map(TenantId)).collect())
}

/// Gives messages the states that their receipts tell, whoever owns them.
///
/// # Errors
/// When the database does not answer.
pub async fn apply(pool: &PgPool, receipts: &[UpstreamReceipt]) -> Result<Vec<Applied>, Error> {
    let Columns { ids, tags, states, errors, done_at } = Columns::of(receipts);
    let outcomes = sqlx::query_scalar!(
        r#"select receipts_apply($1, $2, $3, $4, $5) as "outcomes!""#,
        &ids,
        &tags,
        &states,
        &errors as &[Option<i32>],
        &done_at as &[jiff_sqlx::Timestamp],
    )
    .fetch_one(asking(pool))
    .await
    .map_err(Error::Apply)?;
    let outcome = |code| match code {
        1 => Applied::Now,
        2 => Applied::Before,
        _ => Applied::Unknown,
    };
    counted(receipts.len(), outcomes.into_iter().map(outcome).collect())
}

/// Keeps receipts whose message is not known yet. Tried again by [`retry`], for four days.
///
/// # Errors
/// When the database does not answer.
pub async fn park(pool: &PgPool, receipts: &[UpstreamReceipt]) -> Result<(), Error> {
    let Columns { ids, tags, states, errors, done_at } = Columns::of(receipts);
    sqlx::query!(
        "select receipts_park($1, $2, $3, $4, $5)",
        &ids,
        &tags,
        &states,
        &errors as &[Option<i32>],
        &done_at as &[jiff_sqlx::Timestamp],
    )
    .execute(asking(pool))
    .await
    .map_err(Error::Park)?;
    Ok(())
}

/// What became of the parked receipts that were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retried {
    /// Their messages have their states now, or had them before.
    pub applied: u64,
    /// To be tried again.
    pub kept: u64,
    /// Given up after four days.
    pub dropped: u64,
}

/// Tries at most `most` (and at most 1000) parked receipts that are due.
///
/// # Errors
/// When the database does not answer.
pub async fn retry(pool: &PgPool, most: u16) -> Result<Retried, Error> {
    let row = sqlx::query!(
        r#"select applied as "applied!", kept as "kept!", dropped as "dropped!" from receipts_retry($1)"#,
        i32::from(most)
    );
    let row = row.fetch_one(asking(pool)).await.map_err(Error::Retry)?;
    let count = |number: i64| number.max(0).unsigned_abs();
    Ok(Retried { applied: count(row.applied), kept: count(row.kept), dropped: count(row.dropped) })
}

fn counted<T>(want: usize, answers: Vec<T>) -> Result<Vec<T>, Error> {
    if answers.len() == want { Ok(answers) } else { Err(Error::Count { want, got: answers.len() }) }
}
