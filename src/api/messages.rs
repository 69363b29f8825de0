//! `GET /v1/messages/{id}`, `GET /v1/messages` and `GET /v1/batches/{id}`: history and delivery reports (D1, D2).
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Shared;
use super::auth::Caller;
use super::cursor;
use super::extract::{self, Parameters};
use super::problem::{Problem, ReadProblems};
use super::seal;
use super::view::Message;
use crate::domain::{BatchId, MessageId, MessageState, Scope};
use crate::store::history::{self, Filter};

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Messages on a page, 50 without it.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// In this state only.
    #[param(value_type = Option<super::view::State>, inline)]
    state: Option<MessageState>,
    /// Accepted at or after this instant.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Accepted before this instant, which is after `from`.
    #[param(format = DateTime)]
    until: Option<String>,
    /// Of this call only.
    batch: Option<Uuid>,
}

impl ListQuery {
    pub(super) fn place(&self) -> Result<cursor::Place, Problem> {
        cursor::place(self.limit, self.cursor.as_deref())
    }

    pub(super) fn filter(&self, now: Timestamp, place: cursor::Place) -> Result<Filter, Problem> {
        let (from, until) =
            (extract::instant("from", self.from.as_deref())?, extract::instant("until", self.until.as_deref())?);
        let mut filter = Filter::everything(now);
        // Clocks of callers may be a little ahead, as far as the filter looks.
        if from.is_some_and(|from| from > filter.until) {
            return Err(extract::in_the_future("from"));
        }
        if from.zip(until).is_some_and(|(from, until)| from > until) {
            return Err(extract::reversed("from", "until"));
        }
        filter.from = from.map_or(filter.from, |from| from.max(filter.from));
        filter.until = until.map_or(filter.until, |until| until.min(filter.until));
        filter.below = place.below.map(MessageId);
        filter.state = self.state;
        Ok(match self.batch {
            Some(batch) => filter.of(BatchId(batch)),
            None => filter,
        })
    }
}

/// A page of messages, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessagePage {
    /// The messages.
    pub(super) messages: Vec<Message>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

impl MessagePage {
    /// How many messages are on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// None is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// The messages of one call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Its id.
    id: Uuid,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Option<Timestamp>,
    /// How many messages it has.
    messages: i64,
    /// How many of them are in which state; states without messages are left out.
    states: BTreeMap<String, i64>,
    /// All of them are final.
    r#final: bool,
}

/// Read a message and its delivery report
#[utoipa::path(
    get,
    path = "/v1/messages/{id}",
    operation_id = "readMessage",
    tag = "messages",
    params(("id" = Uuid, Path, description = "The message's id.")),
    responses(
        (status = 200, description = "The message.", body = Message),
        ReadProblems,
    ),
    security(("apiKey" = ["messages:read"])),
)]
pub async fn read(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    id: Result<Path<Uuid>, axum::extract::rejection::PathRejection>,
) -> Result<Json<Message>, Problem> {
    caller.may(Scope::MessagesRead)?;
    // What is no id is no message's id.
    let Some(Path(id)) = id.ok().filter(|_| caller.has_history()) else { return Err(Problem::NotFound("message")) };
    let record = history::find(&shared.pool, caller.tenant(), MessageId(id)).await.map_err(Problem::database)?;
    let record = record.ok_or(Problem::NotFound("message"))?;
    let entry = seal::open_entry(&shared.keyring, caller.tenant(), &record).await?;
    Ok(Json(Message::new(&record, entry.ok_or(Problem::NotFound("message"))?)))
}

/// List messages, newest first
///
/// Messages that are accepted while the pages are read appear on none of them; no message is skipped or repeated.
#[utoipa::path(
    get,
    path = "/v1/messages",
    operation_id = "listMessages",
    tag = "messages",
    params(ListQuery),
    responses(
        (status = 200, description = "A page.", body = MessagePage),
        ReadProblems,
    ),
    security(("apiKey" = ["messages:read"])),
)]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<MessagePage>, Problem> {
    caller.may(Scope::MessagesRead)?;
    let place = query.place()?;
    let filter = query.filter(shared.clock.now(), place)?;
    if !caller.has_history() {
        return Ok(Json(MessagePage { messages: Vec::new(), next: None }));
    }
    let found = history::list(&shared.pool, caller.tenant(), filter, place.rows()).await;
    let (records, next) = cursor::page(found.map_err(Problem::database)?, place, |record| record.id.0);
    let mut messages = Vec::with_capacity(records.len());
    for record in &records {
        // An entry whose key is gone has left history, a little before its row does.
        if let Some(entry) = seal::open_entry(&shared.keyring, caller.tenant(), record).await? {
            messages.push(Message::new(record, entry));
        }
    }
    Ok(Json(MessagePage { messages, next }))
}

/// Read how the messages of one call stand
#[utoipa::path(
    get,
    path = "/v1/batches/{id}",
    operation_id = "readBatch",
    tag = "messages",
    params(("id" = Uuid, Path, description = "The batch's id.")),
    responses(
        (status = 200, description = "The batch; its messages are listed by /v1/messages?batch=….", body = Batch),
        ReadProblems,
    ),
    security(("apiKey" = ["messages:read"])),
)]
pub async fn batch(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    id: Result<Path<Uuid>, axum::extract::rejection::PathRejection>,
) -> Result<Json<Batch>, Problem> {
    caller.may(Scope::MessagesRead)?;
    let Some(Path(id)) = id.ok().filter(|_| caller.has_history()) else { return Err(Problem::NotFound("batch")) };
    let id = BatchId(id);
    let counts = history::count(&shared.pool, caller.tenant(), id).await.map_err(Problem::database)?;
    if counts.is_empty() {
        return Err(Problem::NotFound("batch"));
    }
    let name = |state: MessageState| format!("{state:?}").to_lowercase();
    Ok(Json(Batch {
        id: id.0,
        accepted_at: id.at(),
        messages: counts.iter().map(|count| count.messages).sum(),
        r#final: counts.iter().all(|count| count.are_final),
        states: counts.into_iter().map(|count| (name(count.state), count.messages)).collect(),
    }))
}
