//! What became of submitted messages: one function (`sender_settle`) moves a batch of the asking tenant's from the queue to
//! the log, writes its usage, and clears the flights that it completes. All of it is idempotent: a batch whose commit is in
//! doubt is stored again.
use jiff_sqlx::{Timestamp, ToSqlx as _};
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{MessageId, MessageState, RouteId};
use crate::store::asking::asking;

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The batch was not stored, or it is not known.
    #[error("store results: {0}")]
    Settle(#[source] sqlx::Error),
}

/// A message that is done with, as far as submitting goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub id: MessageId,
    /// Where it stands: sent, or final. [`MessageState::Held`] leaves it in the queue.
    pub state: MessageState,
    /// The upstream's status, or the receipt's error.
    pub error: Option<i32>,
    /// The route that took it; `None` when none did.
    pub route: Option<RouteId>,
    /// The parts that the upstream took, in order: each is billed, once.
    pub parts: Vec<SentPart>,
    /// When it came to an end; `None` while a receipt is awaited.
    pub final_at: Option<jiff::Timestamp>,
    /// It is in several parts, whether or not all were taken.
    pub several: bool,
}

/// A part that the upstream took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentPart {
    /// Which, from 1.
    pub part: u8,
    /// Where it stands.
    pub state: MessageState,
    /// The receipt's error.
    pub error: Option<i32>,
    /// The upstream's id, normalised.
    pub upstream_id: Box<str>,
    /// The connector's check of the destination.
    pub tag: i32,
    /// When the upstream took it.
    pub at: jiff::Timestamp,
}

/// Stores a batch and clears `flights`. Returns once it is committed.
///
/// # Errors
/// When the database says no; whether it was stored is not known then.
pub async fn settle(pool: &PgPool, batch: &[Settled], flights: &[Uuid]) -> Result<(), Error> {
    let mut rows = Rows::default();
    for settled in batch {
        rows.push(settled);
    }
    sqlx::query!(
        "select sender_settle($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        &rows.ids,
        &rows.states,
        &rows.errors as &[Option<i32>],
        &rows.routes as &[Option<i64>],
        &rows.upstream_ids as &[Option<&str>],
        &rows.tags as &[Option<i32>],
        &rows.submitted as &[Option<Timestamp>],
        &rows.finals as &[Option<Timestamp>],
        &rows.part_of,
        &rows.part_numbers,
        &rows.part_states,
        &rows.part_errors as &[Option<i32>],
        &rows.part_upstream_ids as &[&str],
        &rows.part_tags,
        &rows.part_times as &[Timestamp],
        flights
    )
    .execute(asking(pool))
    .await
    .map_err(Error::Settle)?;
    Ok(())
}

/// A batch as the statement's arrays.
#[derive(Default)]
struct Rows<'a> {
    ids: Vec<Uuid>,
    states: Vec<i16>,
    errors: Vec<Option<i32>>,
    routes: Vec<Option<i64>>,
    upstream_ids: Vec<Option<&'a str>>,
    tags: Vec<Option<i32>>,
    submitted: Vec<Option<Timestamp>>,
    finals: Vec<Option<Timestamp>>,
    part_of: Vec<i32>,
    part_numbers: Vec<i16>,
    part_states: Vec<i16>,
    part_errors: Vec<Option<i32>>,
    part_upstream_ids: Vec<&'a str>,
    part_tags: Vec<i32>,
    part_times: Vec<Timestamp>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, settled: &'a Settled) {
        // The log finds a receipt by it; a message in several parts is found by its parts.
        let whole = settled.parts.first().filter(|_| !settled.several);
        self.ids.push(settled.id.0);
        self.states.push(settled.state.code());
        self.errors.push(settled.error);
        self.routes.push(settled.route.map(|route| route.0));
        self.upstream_ids.push(whole.map(|part| &*part.upstream_id));
        self.tags.push(whole.map(|part| part.tag));
        self.submitted.push(settled.parts.first().map(|part| part.at.to_sqlx()));
        self.finals.push(settled.final_at.map(|at| at.to_sqlx()));
        // Arrays begin at 1: this message's place. What was taken as one is told by that alone.
        let place = i32::try_from(self.ids.len()).unwrap_or(i32::MAX);
        for part in settled.parts.iter().filter(|_| settled.several) {
            self.part_of.push(place);
            self.part_numbers.push(i16::from(part.part));
            self.part_states.push(part.state.code());
            self.part_errors.push(part.error);
            self.part_upstream_ids.push(&part.upstream_id);
            self.part_tags.push(part.tag);
            self.part_times.push(part.at.to_sqlx());
        }
    }
}
