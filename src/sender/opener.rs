//! Opens what the queue holds. The sender has its tenant's queue keys and no other; they change while it runs.
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::sender::SenderConfig;
use crate::domain::{Body, content};
use crate::keyring::seal::{Field, QueueKey};
use crate::store::claim::Queued;

/// Why a message cannot be opened. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Its key is not here, or not yet.
    #[error("find the queue key {0}")]
    FindKey(String),
    /// It is not what was sealed.
    #[error("open the message's body")]
    Open,
    /// What was sealed is no message.
    #[error("read the message's body")]
    Read,
}

impl Error {
    /// Another time it may be opened.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::FindKey(_))
    }
}

/// Opens messages with the keys of the moment.
#[derive(Debug)]
pub(super) struct Opener {
    config: watch::Receiver<Arc<SenderConfig>>,
    keys: Vec<QueueKey>,
}

impl Opener {
    pub(super) fn new(mut config: watch::Receiver<Arc<SenderConfig>>) -> Self {
        config.mark_changed();
        Self { config, keys: Vec::new() }
    }

    pub(super) fn open(&mut self, queued: &Queued) -> Result<Body, Error> {
        if self.config.has_changed().unwrap_or(false) {
            self.keys = import(&self.config.borrow_and_update());
        }
        let key = self.keys.iter().find(|key| key.name() == queued.queue_key);
        let key = key.ok_or_else(|| Error::FindKey(queued.queue_key.clone()))?;
        let plain = key.open(queued.id.0, Field::Body, &queued.body).map_err(|_| Error::Open)?;
        content::from_bytes(&plain).map_err(|_| Error::Read)
    }
}

fn import(config: &SenderConfig) -> Vec<QueueKey> {
    let tenant = config.settings.tenant_id;
    let import = |key: &crate::config::NamedKey| match QueueKey::import(tenant, &key.name, &key.key) {
        Ok(key) => Some(key),
        Err(_) => {
            tracing::error!(key = key.name, "a queue key is not 32 bytes in base64");
            None
        }
    };
    config.queue_keys.iter().filter_map(import).collect()
}
