//! The key of what a tenant itself has set: addresses and secrets of its webhooks, and the list of those who want nothing more from it.
//! It lives as long as the account.
use uuid::Uuid;
use zeroize::Zeroizing;

use super::symmetric::Bound;
use super::{Field, KEY_BYTES, KeyBytes, PrivateKey, Refused, derive};
use crate::domain::{Msisdn, TenantId};
use crate::keyring::Class;

/// Seals what a tenant has set.
pub struct AccountKey {
    bound: Bound,
    /// Of the pair that opt-outs by SMS are sealed with: made from the key itself, so that it is there as long as that is.
    requests: PrivateKey,
}

impl AccountKey {
    pub(in crate::keyring) fn new(tenant: TenantId, name: &str, bytes: &KeyBytes) -> Result<Self, Refused> {
        Ok(Self {
            bound: Bound::new(tenant, Class::Account, name, bytes)?,
            requests: PrivateKey::new(tenant, name, &derive(bytes, b"opt-out requests"))?,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.bound.name
    }

    /// Seals a field of a row.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn seal(&self, row: Uuid, field: Field, plain: &[u8]) -> Result<Vec<u8>, Refused> {
        self.bound.cipher.seal(&self.bound.place(row, field), plain)
    }

    /// Opens what was sealed for this row and field.
    ///
    /// # Errors
    /// When it was sealed for another place or with another key, or was changed.
    pub fn open(&self, row: Uuid, field: Field, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        self.bound.cipher.open(&self.bound.place(row, field), sealed)
    }

    /// Finds a number in the list of those who want nothing more, without showing it.
    #[must_use]
    pub fn number_hash(&self, number: &Msisdn) -> [u8; 16] {
        let digest = self.bound.digest(b"opt-out", number.digits().reveal().as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        hash
    }

    /// The public key that opt-outs by SMS are sealed to; X25519.
    #[must_use]
    pub fn requests_key(&self) -> [u8; KEY_BYTES] {
        self.requests.public_bytes()
    }

    /// Opens who asks in a request that was sealed to [`Self::requests_key`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_request(&self, row: Uuid, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        self.requests.open(row, Field::OptOutRequest, sealed)
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}
