//! The key-encryption key: lives in a Secret, never in a database. Without it the keyring is noise.
use std::path::{Path, PathBuf};

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use super::seal::{Cipher, Field, KEY_BYTES, KeyBytes, Place, Refused};
use crate::domain::TenantId;

/// Wraps the tenants' wrapping keys, and gives keys that nobody needs to keep.
pub struct Kek {
    cipher: Cipher,
    root: Prk,
}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kek([key])")
    }
}

/// Why there is no key-encryption key.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// The Secret's file.
    #[error("read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not 32 bytes in base64. The text itself is secret.
    #[error("parse the key-encryption key: want 32 bytes in base64")]
    Parse,
}

impl Kek {
    /// Parses 32 bytes in base64 (standard alphabet, padded).
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, KekError> {
        let bytes = key_bytes(text).ok_or(KekError::Parse)?;
        let cipher = Cipher::new(&bytes).map_err(|_| KekError::Parse)?;
        Ok(Self { cipher, root: Salt::new(HKDF_SHA256, b"budstikke derived").extract(&*bytes) })
    }

    /// Reads it from a file that a Secret is mounted at.
    ///
    /// # Errors
    /// When the file cannot be read or parsed.
    pub fn read(path: &Path) -> Result<Self, KekError> {
        let text = std::fs::read_to_string(path).map_err(|source| KekError::Read { path: path.to_owned(), source })?;
        Self::parse(&Zeroizing::new(text))
    }

    /// The key for one purpose of what has this id: always the same, and telling nothing of any other.
    pub(super) fn derive(&self, purpose: &str, id: i64) -> Result<KeyBytes, Refused> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        // The id comes first: it is of one length, so no two purposes and ids give the same bytes.
        let (id, purpose) = (id.to_be_bytes(), purpose.as_bytes());
        let info: [&[u8]; 2] = [&id, purpose];
        self.root.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut *key)).map_err(|_| Refused)?;
        Ok(key)
    }

    pub(super) fn wrap(&self, tenant: TenantId, key: &KeyBytes) -> Result<Vec<u8>, Refused> {
        self.cipher.seal(&place(tenant), &**key)
    }

    pub(super) fn unwrap(&self, tenant: TenantId, wrapped: &[u8]) -> Result<KeyBytes, Refused> {
        let plain = self.cipher.open(&place(tenant), wrapped)?;
        Ok(Zeroizing::new(plain.as_slice().try_into().map_err(|_| Refused)?))
    }
}

fn place(tenant: TenantId) -> Place<'static> {
    Place { tenant, class: "wrapping", name: "", row: Uuid::nil(), field: Field::Key }
}

/// 32 bytes from base64.
pub(super) fn key_bytes(text: &str) -> Option<KeyBytes> {
    let mut decoded = BASE64_STANDARD.decode(text.trim()).ok()?;
    let bytes = <[u8; KEY_BYTES]>::try_from(decoded.as_slice()).ok().map(Zeroizing::new);
    decoded.zeroize();
    bytes
}
