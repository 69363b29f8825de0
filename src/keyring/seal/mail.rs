//! The key of an hour, which seals what is kept of mail for debugging (D3).
use uuid::Uuid;
use zeroize::Zeroizing;

use super::symmetric::Bound;
use super::{Field, KeyBytes, Refused};
use crate::domain::{Hour, TenantId};
use crate::keyring::Class;

/// Seals the copies of a tenant's mail that are made in one hour.
pub struct MailKey {
    bound: Bound,
    gone_at: Hour,
}

impl MailKey {
    pub(in crate::keyring) fn new(tenant: TenantId, name: &str, bytes: &KeyBytes) -> Result<Self, Refused> {
        let gone_at = name.split('/').nth(1).and_then(|hour| hour.parse().ok()).ok_or(Refused)?;
        Ok(Self { bound: Bound::new(tenant, Class::Mail, name, bytes)?, gone_at })
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.bound.tenant
    }

    /// Its name: goes with every ciphertext.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.bound.name
    }

    /// The hour at whose beginning it is destroyed.
    #[must_use]
    pub fn gone_at(&self) -> Hour {
        self.gone_at
    }

    /// Seals the copy of this id.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn seal(&self, row: Uuid, plain: &[u8]) -> Result<Vec<u8>, Refused> {
        self.bound.cipher.seal(&self.bound.place(row, Field::Mail), plain)
    }

    /// Opens what was sealed for this id.
    ///
    /// # Errors
    /// When it was sealed for another place or with another key, or was changed.
    pub fn open(&self, row: Uuid, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        self.bound.cipher.open(&self.bound.place(row, Field::Mail), sealed)
    }
}

impl std::fmt::Debug for MailKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}
