//! What an endpoint is told: put together when it is told, of what is logged or received then. Where nothing is logged, or no more, it
//! is ids, states and times (D4). The text of a message that was sent is not told: its tenant knows it.
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Shared;
use crate::domain::inbound::Received as Letter;
use crate::domain::webhook::WebhookEvent;
use crate::domain::{Entry, MessageId, MessageState, MilliOre, Personal, TenantId, content};
use crate::keyring;
use crate::keyring::received::Closed;
use crate::keyring::seal::{Field, Refused};
use crate::store::webhooks::claims::{self, Claimed, Job};
use crate::store::{history, received, webhooks};

/// Something of ours is away, or broken: the endpoint is not to blame.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A key.
    #[error(transparent)]
    Key(keyring::Error),
    /// The database.
    #[error(transparent)]
    Read(webhooks::Error),
    /// What was received, in the database.
    #[error(transparent)]
    ReadReceived(received::Error),
    /// What was received.
    #[error(transparent)]
    Received(Closed),
    /// What was sealed.
    #[error("open what a webhook is told of: {0}")]
    Open(#[source] Refused),
    /// What was opened.
    #[error("read what a webhook is told of: {0}")]
    Form(#[source] content::UnknownForm),
    /// The body.
    #[error("write what a webhook is told: {0}")]
    Write(#[source] serde_json::Error),
}

#[derive(Serialize)]
struct Told<'a, Data> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: Data,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    id: Uuid,
    state: Option<MessageState>,
    r#final: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Code>,
    accepted_at: Option<Timestamp>,
    #[serde(flatten)]
    logged: Option<Logged>,
}

#[derive(Serialize)]
struct Code {
    code: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Logged {
    batch_id: Uuid,
    parts: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    submitted_at: Option<Timestamp>,
    #[serde(flatten)]
    entry: Option<Named>,
}

/// Who wrote to whom, and what the tenant calls it.
#[derive(Serialize)]
struct Named {
    to: Personal<String>,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<Personal<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    id: Uuid,
    received_at: Timestamp,
    #[serde(flatten)]
    content: Option<Written>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    from: Personal<String>,
    to: Personal<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Personal<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    octets: Option<Personal<String>>,
    parts: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_parts: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trial {
    webhook_id: Uuid,
}

/// The body that tells of a job.
pub(super) async fn of(shared: &Shared, to: &Claimed, job: &Job, event: WebhookEvent) -> Result<Bytes, Error> {
    let (tenant, subject) = (to.tenant, job.subject.unwrap_or_default());
    match event {
        WebhookEvent::MessageSent | WebhookEvent::MessageFinal => {
            let logged = if job.is_logged { logged(shared, tenant, subject).await? } else { None };
            let message = Message {
                id: subject,
                state: job.state.and_then(MessageState::from_code),
                r#final: event == WebhookEvent::MessageFinal,
                error: job.error.filter(|code| *code != 0).map(|code| Code { code }),
                accepted_at: MessageId(subject).at(),
                logged,
            };
            written(job, event, message)
        }
        WebhookEvent::MessageReceived => {
            let content = if job.is_logged { received(shared, tenant, subject, job.at).await? } else { None };
            written(job, event, Received { id: subject, received_at: job.at, content })
        }
        WebhookEvent::Test => written(job, event, Trial { webhook_id: to.id }),
    }
}

fn written(job: &Job, event: WebhookEvent, data: impl Serialize) -> Result<Bytes, Error> {
    let told = Told { r#type: event.as_str(), timestamp: job.at, data };
    let body = serde_json::to_vec(&told).map(Zeroizing::new).map_err(Error::Write)?;
    Ok(Bytes::from_owner(body))
}

/// `None` once it is erased.
async fn logged(shared: &Shared, tenant: TenantId, id: Uuid) -> Result<Option<Logged>, Error> {
    let Some(row) = claims::message(&shared.pool, tenant, id).await.map_err(Error::Read)? else { return Ok(None) };
    let entry = match row.entry {
        Some((key, sealed)) => entry(shared, tenant, id, &key, &sealed).await?,
        None => None,
    };
    let price = history::cost(row.price, row.parts, row.submitted_at.is_some()).map(MilliOre::decimal);
    Ok(Some(Logged { batch_id: row.batch, parts: row.parts, price, submitted_at: row.submitted_at, entry }))
}

/// `None` once its key is destroyed (D2).
async fn entry(shared: &Shared, tenant: TenantId, id: Uuid, key: &str, sealed: &[u8]) -> Result<Option<Named>, Error> {
    let key = match shared.keyring.log_key_named(tenant, key).await {
        Ok(key) => key,
        Err(keyring::Error::KeyMissing { .. }) => return Ok(None),
        Err(error) => return Err(Error::Key(error)),
    };
    let plain = key.open(id, Field::Entry, sealed).map_err(Error::Open)?;
    let entry: Entry = content::from_bytes(&plain).map_err(Error::Form)?;
    Ok(Some(Named { to: entry.to.international(), from: entry.from.into(), reference: entry.reference }))
}

/// `None` once it is erased, or its key is destroyed (D2).
async fn received(shared: &Shared, tenant: TenantId, id: Uuid, at: Timestamp) -> Result<Option<Written>, Error> {
    let Some(message) = received::one(&shared.pool, tenant, id, at).await.map_err(Error::ReadReceived)? else {
        return Ok(None);
    };
    let opened = shared.keyring.received(tenant, &message).await.map_err(Error::Received)?;
    Ok(opened.map(|Letter { from, to, text, octets, parts, missing }| Written {
        from,
        to,
        text,
        octets: octets.map(|octets| Personal::new(BASE64_STANDARD.encode(octets.reveal()))),
        parts,
        missing_parts: missing,
    }))
}
