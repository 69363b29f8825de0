//! `GET /v1/inbound`: what was received. Longer messages are whole: their parts are put together where they are opened.
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
use crate::domain::inbound::Received;
use crate::domain::{Personal, Scope};
use crate::store::received::{self, Awaited};

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
    /// As how many SMS it was sent.
    #[schema(minimum = 1, maximum = 255)]
    parts: u8,
    /// Those of them that never came, from 1; absent where it is whole. Their place in the text is not marked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<u16>>)]
    missing_parts: Vec<u8>,
}

impl InboundMessage {
    pub(super) fn new(message: &received::Message, received: Received) -> Self {
        let Received { from, to, text, octets, parts, missing } = received;
        let octets = octets.map(|octets| Personal::new(STANDARD.encode(octets.reveal())));
        let (id, received_at) = (message.id, message.received_at);
        Self { id, received_at, from, to, text, octets, parts, missing_parts: missing }
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
///
/// A message that was sent in several parts is here once all of them have come. Where one has not come an hour after the first, what
/// there is appears at the place of its first part, with `missingParts`.
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
    let (pool, tenant) = (&shared.pool, caller.tenant());
    let found = received::list(pool, tenant, now, place.below, place.rows(), Awaited::Left).await;
    let (sealed, next) = cursor::page(found.map_err(Problem::database)?, place, |message| message.id);
    let mut messages = Vec::with_capacity(sealed.len());
    for message in &sealed {
        if let Some(received) = seal::open_received(&shared.keyring, tenant, message).await? {
            messages.push(InboundMessage::new(message, received));
        }
    }
    Ok(Json(InboundPage { messages, next }))
}
