//! The key that seals what a tenant itself has set: addresses and secrets of its webhooks. It lives as long as the account.
use uuid::Uuid;
use zeroize::Zeroizing;

use super::symmetric::Bound;
use super::{Field, KeyBytes, Refused};
use crate::domain::TenantId;
use crate::keyring::Class;

/// Seals what a tenant has set.
pub struct AccountKey(Bound);

impl AccountKey {
    pub(in crate::keyring) fn new(tenant: TenantId, name: &str, bytes: &KeyBytes) -> Result<Self, Refused> {
        Bound::new(tenant, Class::Account, name, bytes).map(Self)
    }

    /// Seals a field of a row.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn seal(&self, row: Uuid, field: Field, plain: &[u8]) -> Result<Vec<u8>, Refused> {
        self.0.cipher.seal(&self.0.place(row, field), plain)
    }

    /// Opens what was sealed for this row and field.
    ///
    /// # Errors
    /// When it was sealed for another place or with another key, or was changed.
    pub fn open(&self, row: Uuid, field: Field, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        self.0.cipher.open(&self.0.place(row, field), sealed)
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}
