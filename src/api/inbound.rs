//! `GET /v1/inbound`: what was received.
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::auth::Caller;
use super::cursor::{self, PageQuery};
use super::extract::Parameters;
use super::problem::{Problem, ReadProblems};
use super::seal;
use crate::domain::inbound::{Content, Inbound, Segment};
use crate::domain::{Personal, Scope};
use crate::store::history;

/// A received message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InboundMessage {
    /// Its id.
    id: Uuid,
    /// When it came in.
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// Who sent it, as the network wrote it.
    #[schema(value_type = String, examples("4520123456"))]
    from: Personal<String>,
    /// The account's number that it came to.
    #[schema(value_type = String, examples("1231"))]
    to: Personal<String>,
    /// The text; absent where it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    text: Option<Personal<String>>,
    /// What is no text, or in an alphabet that is not known, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, content_encoding = "base64")]
    octets: Option<Personal<String>>,
    /// Which part of a longer message it is; absent where it is the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<Part>,
}

/// One part of a longer message: the same sender, number and reference make one message.
#[derive(Debug, Serialize, ToSchema)]
pub struct Part {
    /// What the parts of one message have in common.
    reference: u16,
    /// This part, from 1.
    number: u8,
    /// Of so many.
    count: u8,
}

impl InboundMessage {
    pub(super) fn new(record: &history::Inbound, inbound: Inbound) -> Self {
        let (text, octets) = match inbound.content {
            Content::Text(text) => (Some(text), None),
            Content::Octets(octets) => (None, Some(Personal::new(STANDARD.encode(octets.reveal())))),
        };
        let part = |Segment { reference, number, count }| Part { reference, number, count };
        Self {
            id: record.id,
            received_at: record.received_at,
            from: inbound.from,
            to: inbound.to,
            text,
            octets,
            part: inbound.segment.map(part),
        }
    }
}

/// A page of received messages, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct InboundPage {
    /// The messages.
    pub(super) messages: Vec<InboundMessage>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// List received messages, newest first
#[utoipa::path(
    get,
    path = "/v1/inbound",
    operation_id = "listInbound",
    tag = "inbound",
    params(PageQuery),
    responses(
        (status = 200, description = "A page.", body = InboundPage),
        ReadProblems,
    ),
    security(("apiKey" = ["inbound:read"])),
)]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Json<InboundPage>, Problem> {
    caller.may(Scope::InboundRead)?;
    let (place, now) = (query.place()?, shared.clock.now());
    let found = history::inbound(&shared.pool, caller.tenant(), now, place.below, place.rows()).await;
    let (records, next) = cursor::page(found.map_err(Problem::database)?, place, |record| record.id);
    let mut messages = Vec::with_capacity(records.len());
    for record in &records {
        if let Some(received) = seal::open_inbound(&shared.keyring, caller.tenant(), record).await? {
            messages.push(InboundMessage::new(record, received));
        }
    }
    Ok(Json(InboundPage { messages, next }))
}
