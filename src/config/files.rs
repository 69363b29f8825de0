//! The files of a pod's directory.
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::domain::Secret;
use crate::pki::Identity;

/// Names of the files, which are the keys of the Secret.
pub mod names {
    /// Settings without secrets, JSON.
    pub const CONFIG: &str = "config.json";
    /// URL of the data instance, with the pod's own login.
    pub const DATABASE_URL: &str = "database-url";
    /// The authority that the data instance's certificate comes from, PEM.
    pub const DATABASE_CA: &str = "database-ca.crt";
    /// The tenant's queue keys, JSON.
    pub const QUEUE_KEYS: &str = "queue-keys.json";
    /// Key of the connector's check of a receipt's destination, base64 of 32 bytes.
    pub const TAG_KEY: &str = "tag-key";
    /// The upstream's user name, or over HTTPS the service plan.
    pub const SYSTEM_ID: &str = "system-id";
    /// The upstream's password, or over HTTPS its token.
    pub const PASSWORD: &str = "password";
    /// What an upstream over HTTPS signs its callbacks with; absent: it makes none that is believed.
    pub const CALLBACK_SECRET: &str = "callback-secret";
    /// The authority that the upstream's certificate must come from, PEM; absent: the public ones.
    pub const UPSTREAM_CA: &str = "upstream-ca.crt";
    /// The pod's own certificate, PEM.
    pub const CERTIFICATE: &str = "tls.crt";
    /// Its private key, PEM.
    pub const KEY: &str = "tls.key";
    /// The installation's authority, PEM.
    pub const AUTHORITY: &str = "ca.crt";
}

/// Why a pod's directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing or cannot be read.
    #[error("read {name}: {source}")]
    Read {
        /// The file.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should. The content is not told: it may be secret.
    #[error("parse {name} at line {line}, column {column}")]
    Parse {
        /// The file.
        name: &'static str,
        /// Where it went wrong.
        line: usize,
        /// Where it went wrong.
        column: usize,
    },
}

pub(super) fn text(dir: &Path, name: &'static str) -> Result<String, Error> {
    std::fs::read_to_string(dir.join(name)).map_err(|source| Error::Read { name, source })
}

/// A text that may be missing.
pub(super) fn optional(dir: &Path, name: &'static str) -> Result<Option<String>, Error> {
    match text(dir, name) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A secret on one line; the line's end is not part of it.
pub(super) fn secret(dir: &Path, name: &'static str) -> Result<Secret, Error> {
    text(dir, name).map(|text| Secret::new(text.trim_end_matches(['\r', '\n'])))
}

pub(super) fn json<T: DeserializeOwned>(dir: &Path, name: &'static str) -> Result<T, Error> {
    serde_json::from_str(&text(dir, name)?).map_err(|error| Error::Parse {
        name,
        line: error.line(),
        column: error.column(),
    })
}

pub(super) fn identity(dir: &Path) -> Result<Identity, Error> {
    Ok(Identity {
        certificate: text(dir, names::CERTIFICATE)?,
        key: Secret::new(text(dir, names::KEY)?),
        authority: text(dir, names::AUTHORITY)?,
    })
}
