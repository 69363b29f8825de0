//! Where personal data turns into ciphertext, and back. Between here and a sender nobody can read a number or a text.
use jiff::Timestamp;

use super::problem::Problem;
use super::send::plan::Plan;
use crate::domain::inbound::Received;
use crate::domain::{Body, Entry, MessageId, TenantId, content, copenhagen_day};
use crate::keyring::received::Closed;
use crate::keyring::seal::Field;
use crate::keyring::{self, Keyring};
use crate::store::accept::{Logged, Message};
use crate::store::copy::Waiting;
use crate::store::credentials::Account;
use crate::store::history::Record;
use crate::store::received;

/// A call's messages, sealed.
#[derive(Debug)]
pub struct Sealed {
    /// Name of the key of the bodies.
    pub queue_key: String,
    /// Name of the key of the entries; `None` where nothing is logged (D4).
    pub log_key: Option<String>,
    /// In the order of the plan.
    pub messages: Vec<Message>,
}

/// Seals the messages of a call that is accepted at `now`.
///
/// # Errors
/// When a key cannot be had.
pub async fn seal(
    keyring: &Keyring,
    tenant: TenantId,
    now: Timestamp,
    account: &Account,
    plan: &Plan,
    ids: &[MessageId],
) -> Result<Sealed, Problem> {
    let today = copenhagen_day(now);
    let queue_key = keyring.queue_key(tenant, today).await.map_err(away)?;
    let log_key = match account.log_days {
        0 => None,
        _ => Some(keyring.log_key(tenant, today).await.map_err(away)?),
    };
    let mut messages = Vec::with_capacity(plan.accepted.len());
    for (recipient, id) in plan.accepted.iter().zip(ids) {
        let body = content::to_bytes(&recipient.body).map_err(Problem::internal)?;
        let logged = match &log_key {
            None => None,
            Some(key) => {
                let mut entry = recipient.body.entry(account.log_characters);
                entry.reference = recipient.reference.clone();
                let entry = content::to_bytes(&entry).map_err(Problem::internal)?;
                Some(Logged {
                    entry: key.seal(id.0, Field::Entry, entry.reveal()).map_err(Problem::internal)?,
                    number_hash: key.number_hash(&recipient.body.to),
                    reference_hash: recipient.reference.as_ref().map(|own| key.reference_hash(own)),
                })
            }
        };
        messages.push(Message {
            id: *id,
            parts: recipient.parts,
            price: recipient.price,
            body: queue_key.seal(id.0, Field::Body, body.reveal()).map_err(Problem::internal)?,
            logged,
        });
    }
    Ok(Sealed { queue_key: queue_key.name().to_owned(), log_key: log_key.map(|key| key.name().to_owned()), messages })
}

/// The entry of a message; `None` once its key is destroyed (D2).
///
/// # Errors
/// When the keyring is away, or the entry is not what was sealed.
pub async fn open_entry(keyring: &Keyring, tenant: TenantId, record: &Record) -> Result<Option<Entry>, Problem> {
    let key = match keyring.log_key_named(tenant, &record.log_key).await {
        Ok(key) => key,
        Err(keyring::Error::KeyMissing { .. }) => return Ok(None),
        Err(error) => return Err(away(error)),
    };
    let bytes = key.open(record.id.0, Field::Entry, &record.entry).map_err(Problem::internal)?;
    content::from_bytes(&bytes).map(Some).map_err(Problem::internal)
}

/// The whole of a message that waits; `None` once its key is destroyed (D2).
///
/// # Errors
/// When the keyring is away, or the body is not what was sealed.
pub async fn open_body(keyring: &Keyring, tenant: TenantId, waiting: &Waiting) -> Result<Option<Body>, Problem> {
    let key = match keyring.queue_key_named(tenant, &waiting.queue_key).await {
        Ok(key) => key,
        Err(keyring::Error::KeyMissing { .. }) => return Ok(None),
        Err(error) => return Err(away(error)),
    };
    let bytes = key.open(waiting.id, Field::Body, &waiting.body).map_err(Problem::internal)?;
    content::from_bytes(&bytes).map(Some).map_err(Problem::internal)
}

/// A received message, its parts put together; `None` once its key is destroyed (D3).
///
/// # Errors
/// When the keyring is away, or the message is not what was sealed.
pub async fn open_received(
    keyring: &Keyring,
    tenant: TenantId,
    message: &received::Message,
) -> Result<Option<Received>, Problem> {
    keyring.received(tenant, message).await.map_err(|error| match error {
        Closed::Key(error) => away(error),
        Closed::Open(_) | Closed::Form(_) => Problem::internal(error),
    })
}

/// The keyring does not answer.
pub(super) fn away(error: keyring::Error) -> Problem {
    Problem::Unavailable { part: "keys", source: Box::new(error) }
}
