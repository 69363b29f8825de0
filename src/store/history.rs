//! What a tenant can look up: its messages, whether they wait in the queue or are in the log, and what was received.
//!
//! Ids sort by time of accept, so an id is a place in the list: a page ends with an id and the next one begins below it.
//! Later messages have higher ids and a message keeps its id when it moves from queue to log, so pages neither skip nor
//! repeat a message while others come in. Where nothing is logged there is no history either (D4).
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{BatchId, MessageId, MessageState, MilliOre, TenantId, copenhagen_day};
use crate::store::asking::asking;

/// Days that a look-up reaches back at most: three months (D2).
const REACH: i32 = 93;

/// The look-up failed; the database is away.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Messages were not read.
    #[error("read messages: {0}")]
    Messages(#[source] sqlx::Error),
}

/// A message as history knows it, its entry still sealed.
#[derive(Debug)]
pub struct Record {
    /// Which; also says when it was accepted.
    pub id: MessageId,
    /// The call it came with.
    pub batch: BatchId,
    /// Where it stands.
    pub state: MessageState,
    /// The upstream's status or the receipt's error.
    pub error: Option<i32>,
    /// How many parts were counted.
    pub parts: i16,
    /// What one part costs.
    pub price: MilliOre,
    /// `sendAt`, while it waits for that.
    pub not_before: Option<Timestamp>,
    /// When the upstream took it.
    pub submitted_at: Option<Timestamp>,
    /// When it reached its final state.
    pub final_at: Option<Timestamp>,
    /// Name of the key that opens `entry`.
    pub log_key: String,
    /// The sealed [`crate::domain::Entry`].
    pub entry: Vec<u8>,
}

impl Record {
    /// What all parts cost together; `None` where it ended without being submitted.
    #[must_use]
    pub fn cost(&self) -> Option<MilliOre> {
        cost(self.price, self.parts, self.submitted_at.is_some() || !self.is_final())
    }

    /// Nothing more will happen to it: by its state, or because its route asks for no receipts.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.state.is_final() || self.final_at.is_some()
    }
}

/// What a message costs: every part that was counted, if it is submitted at all (B10).
#[must_use]
pub fn cost(price: MilliOre, parts: i16, submitted: bool) -> Option<MilliOre> {
    submitted.then(|| MilliOre(price.0.saturating_mul(parts.into())))
}

/// A record as the two tables give it.
struct Row {
    message_id: Uuid,
    batch_id: Uuid,
    state: i16,
    error: Option<i32>,
    parts: i16,
    amount: i64,
    not_before: Option<jiff_sqlx::Timestamp>,
    submitted_at: Option<jiff_sqlx::Timestamp>,
    final_at: Option<jiff_sqlx::Timestamp>,
    log_key: String,
    entry: Vec<u8>,
}

impl From<Row> for Record {
    fn from(row: Row) -> Self {
        Self {
            id: MessageId(row.message_id),
            batch: BatchId(row.batch_id),
            // A state of a later version says at least that there is one.
            state: MessageState::from_code(row.state).unwrap_or(MessageState::Unknown),
            error: row.error,
            parts: row.parts,
            price: MilliOre(row.amount),
            not_before: row.not_before.map(jiff_sqlx::Timestamp::to_jiff),
            submitted_at: row.submitted_at.map(jiff_sqlx::Timestamp::to_jiff),
            final_at: row.final_at.map(jiff_sqlx::Timestamp::to_jiff),
            log_key: row.log_key,
            entry: row.entry,
        }
    }
}

/// Which messages, newest first.
#[derive(Debug, Clone, Copy)]
pub struct Filter {
    /// Accepted at or after.
    pub from: Timestamp,
    /// Accepted before.
    pub until: Timestamp,
    /// The page begins below this id.
    pub below: Option<MessageId>,
    /// In this state.
    pub state: Option<MessageState>,
    /// Of this call.
    pub batch: Option<BatchId>,
}

impl Filter {
    /// Everything that a look-up at `now` may reach.
    #[must_use]
    pub fn everything(now: Timestamp) -> Self {
        let until = now.saturating_add(1.hour()).unwrap_or(now);
        let from = now.saturating_sub((i64::from(REACH) * 24).hours()).unwrap_or(Timestamp::UNIX_EPOCH);
        Self { from, until, below: None, state: None, batch: None }
    }

    /// The messages of one call: they were all made at its batch's millisecond.
    #[must_use]
    pub fn of(self, batch: BatchId) -> Self {
        let at = batch.at().unwrap_or(Timestamp::UNIX_EPOCH);
        let until = at.saturating_add(1.millisecond()).unwrap_or(at);
        Self { from: self.from.max(at), until: self.until.min(until), batch: Some(batch), ..self }
    }

    /// The ids between which the messages lie, the upper one excluded, and the days of those ids.
    fn bounds(&self) -> (Uuid, Uuid, Date, Date) {
        let upper = MessageId::lowest(self.until);
        let upper = self.below.map_or(upper, |below| below.min(upper));
        let last = upper.at().unwrap_or(self.until).min(self.until);
        (MessageId::lowest(self.from).0, upper.0, copenhagen_day(self.from), copenhagen_day(last))
    }
}

/// At most `limit` messages of a tenant.
///
/// # Errors
/// When the database does not answer.
pub async fn list(pool: &PgPool, tenant: TenantId, filter: Filter, limit: i64) -> Result<Vec<Record>, Error> {
    let (lowest, below, first, last) = filter.bounds();
    let rows = sqlx::query_as!(
        Row,
        r#"select message_id as "message_id!", batch_id as "batch_id!", state as "state!", error, parts as "parts!",
             amount as "amount!", not_before, submitted_at, final_at, log_key as "log_key!", entry as "entry!"
         from (
             (select message_id, batch_id, state, null::integer as error, parts, amount, not_before,
                  null::timestamptz as submitted_at, null::timestamptz as final_at, log_key, entry
              from queue
              where tenant_id = $1 and message_id >= $2 and message_id < $3 and entry is not null
                and ($6::smallint is null or state = $6) and ($7::uuid is null or batch_id = $7)
              order by message_id desc limit $8)
             union all
             (select message_id, batch_id, state, error, parts, amount, null, submitted_at, final_at, log_key, entry
              from message_log
              where tenant_id = $1 and message_id >= $2 and message_id < $3 and entry is not null
                and day between $4 and $5
                and ($6::smallint is null or state = $6) and ($7::uuid is null or batch_id = $7)
              order by message_id desc limit $8)
         ) as both_tables
         order by message_id desc limit $8"#,
        tenant.0,
        lowest,
        below,
        first.to_sqlx() as jiff_sqlx::Date,
        last.to_sqlx() as jiff_sqlx::Date,
        filter.state.map(MessageState::code),
        filter.batch.map(|batch| batch.0),
        limit,
    )
    .fetch_all(asking(pool))
    .await
    .map_err(Error::Messages)?;
    Ok(rows.into_iter().map(Record::from).collect())
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The recipient's number.
    Number,
    /// The tenant's own reference.
    Reference,
}

/// At most `limit` messages of a tenant to one number or under one reference, newest first, below an id. What is looked for is known
/// by another hash each day (D7).
///
/// # Errors
/// When the database does not answer.
pub async fn search(
    pool: &PgPool,
    tenant: TenantId,
    by: By,
    hashes: &[(Date, [u8; 16])],
    below: MessageId,
    limit: i64,
) -> Result<Vec<Record>, Error> {
    let days: Vec<jiff_sqlx::Date> = hashes.iter().map(|(day, _)| day.to_sqlx()).collect();
    let hashes: Vec<&[u8]> = hashes.iter().map(|(_, hash)| hash.as_slice()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select message_id as "message_id!", batch_id as "batch_id!", state as "state!", error, parts as "parts!",
             amount as "amount!", not_before, submitted_at, final_at, log_key as "log_key!", entry as "entry!"
         from (
             (select message_id, batch_id, state, null::integer as error, parts, amount, not_before,
                  null::timestamptz as submitted_at, null::timestamptz as final_at, log_key, entry
              from queue
              where tenant_id = $1 and message_id < $4 and case when $6 then reference_hash else number_hash end = any($3)
              order by message_id desc limit $5)
             union all
             select message_id, batch_id, state, error, parts, amount, null, submitted_at, final_at, log_key, entry
             from search_log($1, $6, $2, $3, $4, $5)
         ) as both_tables
         order by message_id desc limit $5"#,
        tenant.0,
        &days as &[jiff_sqlx::Date],
        &hashes as &[&[u8]],
        below.0,
        limit,
        by == By::Reference,
    )
    .fetch_all(asking(pool))
    .await
    .map_err(Error::Messages)?;
    Ok(rows.into_iter().map(Record::from).collect())
}

/// One message of a tenant.
///
/// # Errors
/// When the database does not answer.
pub async fn find(pool: &PgPool, tenant: TenantId, id: MessageId) -> Result<Option<Record>, Error> {
    let Some(at) = id.at() else { return Ok(None) };
    let until = at.saturating_add(1.millisecond()).unwrap_or(at);
    // The page that begins right above it, cut to one.
    let above = MessageId(Uuid::from_u128(id.0.as_u128().saturating_add(1)));
    let filter = Filter { from: at, until, below: Some(above), state: None, batch: None };
    let found = list(pool, tenant, filter, 1).await?;
    Ok(found.into_iter().find(|record| record.id == id))
}

/// How many messages of a call are in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Which.
    pub state: MessageState,
    /// How many.
    pub messages: i64,
    /// Nothing more will happen to them.
    pub are_final: bool,
}

/// How many messages of a call are in which state; empty when the tenant has no such call.
///
/// # Errors
/// When the database does not answer.
pub async fn count(pool: &PgPool, tenant: TenantId, batch: BatchId) -> Result<Vec<Count>, Error> {
    let Some(at) = batch.at() else { return Ok(Vec::new()) };
    let (lowest, below, first, last) = Filter::everything(at).of(batch).bounds();
    let rows = sqlx::query!(
        r#"select state as "state!", count(*) as "messages!", bool_and(over) as "over!"
         from (
             select state, false as over from queue
             where tenant_id = $1 and message_id >= $2 and message_id < $3 and batch_id = $6 and entry is not null
             union all
             select state, final_at is not null from message_log
             where tenant_id = $1 and message_id >= $2 and message_id < $3 and batch_id = $6 and entry is not null
               and day between $4 and $5
         ) as both_tables
         group by state order by state"#,
        tenant.0,
        lowest,
        below,
        first.to_sqlx() as jiff_sqlx::Date,
        last.to_sqlx() as jiff_sqlx::Date,
        batch.0,
    )
    .fetch_all(asking(pool))
    .await
    .map_err(Error::Messages)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let state = MessageState::from_code(row.state).unwrap_or(MessageState::Unknown);
            Count { state, messages: row.messages, are_final: row.over || state.is_final() }
        })
        .collect())
}
