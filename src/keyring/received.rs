//! Opens received messages for those who hand them to their tenant: the API, and the worker for webhooks.
use super::seal::{Field, Refused};
use super::{Error, Keyring};
use crate::domain::inbound::{Inbound, Received};
use crate::domain::{TenantId, content};
use crate::store::received::Message;

/// Why a received message was not opened.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// A key.
    #[error(transparent)]
    Key(Error),
    /// It is not what was sealed.
    #[error("open a received message: {0}")]
    Open(#[source] Refused),
    /// What was opened.
    #[error("read a received message: {0}")]
    Form(#[source] content::UnknownForm),
}

impl Keyring {
    /// A received message, of its parts put together; `None` once a key of it is destroyed (D2, D3).
    ///
    /// # Errors
    /// When the keyring does not answer, or a part is not what was sealed.
    pub async fn received(&self, tenant: TenantId, message: &Message) -> Result<Option<Received>, Closed> {
        let mut opened = Vec::with_capacity(message.parts.len());
        for part in &message.parts {
            let key = match self.inbound_private(tenant, &part.key_name).await {
                Ok(key) => key,
                Err(Error::KeyMissing { .. }) => return Ok(None),
                Err(error) => return Err(Closed::Key(error)),
            };
            let plain = key.open(part.id, Field::Inbound, &part.sealed).map_err(Closed::Open)?;
            opened.push(content::from_bytes::<Inbound>(&plain).map_err(Closed::Form)?);
        }
        Ok(Received::of(opened))
    }
}
