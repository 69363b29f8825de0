//! The certificate that the API shows, renewed while it is served.
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::config;
use crate::domain::Secret;
use crate::pki;

pub use crate::web::{Line, serve};

/// The server's certificate and key, as they are in their directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Certificate {
    chain: String,
    key: Secret,
}

impl config::Load for Certificate {
    fn load(dir: &Path) -> Result<Self, config::Error> {
        let read =
            |name| std::fs::read_to_string(dir.join(name)).map_err(|source| config::Error::Read { name, source });
        Ok(Self { chain: read(config::names::CERTIFICATE)?, key: Secret::new(read(config::names::KEY)?) })
    }
}

impl Certificate {
    /// Settings for a server that shows this certificate.
    ///
    /// # Errors
    /// When it is no certificate, or the key is not its key.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, pki::Error> {
        pki::server_config(&self.chain, &self.key, &[b"h2", b"http/1.1"])
    }
}

/// Follows a certificate that is renewed while it is served; one that cannot be used is logged, and the one before stays.
pub fn renew(
    mut certificates: watch::Receiver<Arc<Certificate>>,
    first: Arc<ServerConfig>,
) -> watch::Receiver<Arc<ServerConfig>> {
    let (sender, settings) = watch::channel(first);
    tokio::spawn(async move {
        while certificates.changed().await.is_ok() {
            let renewed = certificates.borrow_and_update().server_config();
            match renewed {
                Ok(renewed) => {
                    if sender.send(renewed).is_err() {
                        return;
                    }
                    tracing::info!("serving a renewed certificate");
                }
                Err(error) => tracing::error!(%error, "the renewed certificate cannot be used; the one before stays"),
            }
        }
    });
    settings
}
