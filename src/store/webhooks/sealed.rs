//! What of an endpoint is stored sealed: where it is, and its secrets, under the account's key. Both ends are here, since the API
//! seals what the worker opens.
use uuid::Uuid;

use crate::domain::content;
use crate::domain::webhook::{NotASecret, WebhookSecret, WebhookTarget};
use crate::keyring::seal::{AccountKey, Field, Refused};

/// It was not sealed, or does not open.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cipher refused.
    #[error("a webhook's secrets: {0}")]
    Cipher(#[source] Refused),
    /// It is of a form of a later version.
    #[error("a webhook's address: {0}")]
    Target(#[source] content::UnknownForm),
    /// What was sealed is no secret.
    #[error("a webhook's secret: {0}")]
    Secret(#[source] NotASecret),
}

/// Seals where an endpoint is.
///
/// # Errors
/// When the machine gives no random bytes.
pub fn seal_target(key: &AccountKey, id: Uuid, target: &WebhookTarget) -> Result<Vec<u8>, Error> {
    let plain = content::to_bytes(target).map_err(Error::Target)?;
    key.seal(id, Field::WebhookTarget, plain.reveal()).map_err(Error::Cipher)
}

/// Where an endpoint is.
///
/// # Errors
/// When it was sealed for another place or with another key, or was changed.
pub fn open_target(key: &AccountKey, id: Uuid, sealed: &[u8]) -> Result<WebhookTarget, Error> {
    let plain = key.open(id, Field::WebhookTarget, sealed).map_err(Error::Cipher)?;
    content::from_bytes(&plain).map_err(Error::Target)
}

/// Seals a secret.
///
/// # Errors
/// When the machine gives no random bytes.
pub fn seal_secret(key: &AccountKey, id: Uuid, secret: &WebhookSecret) -> Result<Vec<u8>, Error> {
    key.seal(id, Field::WebhookSecret, secret.reveal().as_bytes()).map_err(Error::Cipher)
}

/// A secret.
///
/// # Errors
/// When it was sealed for another place or with another key, or was changed.
pub fn open_secret(key: &AccountKey, id: Uuid, sealed: &[u8]) -> Result<WebhookSecret, Error> {
    let plain = key.open(id, Field::WebhookSecret, sealed).map_err(Error::Cipher)?;
    let text = std::str::from_utf8(&plain).map_err(|_| Error::Secret(NotASecret))?;
    WebhookSecret::parse(text).map_err(Error::Secret)
}
