//! The keys that seal and open, of the queue and of the log; and the one that only recognises.
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Cipher, Field, KeyBytes, Place, Refused, derive};
use crate::domain::{Msisdn, Personal, Secret, TenantId};
use crate::keyring::{Class, kek};

/// A key and what its ciphertexts are bound to.
pub(super) struct Bound {
    pub(super) tenant: TenantId,
    class: Class,
    pub(super) name: Box<str>,
    pub(super) cipher: Cipher,
    digest: hmac::Key,
}

impl Bound {
    pub(super) fn new(tenant: TenantId, class: Class, name: &str, bytes: &KeyBytes) -> Result<Self, Refused> {
        Ok(Self {
            tenant,
            class,
            name: name.into(),
            cipher: Cipher::new(&derive(bytes, b"seal"))?,
            digest: hmac::Key::new(hmac::HMAC_SHA256, &*derive(bytes, b"digest")),
        })
    }

    pub(super) fn place(&self, row: Uuid, field: Field) -> Place<'_> {
        Place { tenant: self.tenant, class: self.class.as_str(), name: &self.name, row, field }
    }

    pub(super) fn digest(&self, purpose: &[u8], content: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.digest);
        context.update(&self.tenant.0.to_be_bytes());
        context.update(&(purpose.len() as u64).to_be_bytes());
        context.update(purpose);
        context.update(content);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

/// Seals the full text of messages accepted on one day, while they are on their way: the only class that a sender has.
pub struct QueueKey {
    bound: Bound,
    bytes: KeyBytes,
}

impl QueueKey {
    pub(in crate::keyring) fn new(tenant: TenantId, name: &str, bytes: KeyBytes) -> Result<Self, Refused> {
        Ok(Self { bound: Bound::new(tenant, Class::Queue, name, &bytes)?, bytes })
    }

    /// The key as a sender's Secret holds it: 32 bytes in base64.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn import(tenant: TenantId, name: &str, base64: &Secret) -> Result<Self, Refused> {
        Self::new(tenant, name, kek::key_bytes(base64.expose()).ok_or(Refused)?)
    }

    /// For the sender's Secret: see [`QueueKey::import`].
    #[must_use]
    pub fn export(&self) -> Secret {
        Secret::new(BASE64_STANDARD.encode(*self.bytes))
    }

    /// Its name: goes with every ciphertext.
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
}

impl std::fmt::Debug for QueueKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}

/// Recognises what came before, and opens nothing (D12).
pub struct RepeatKey(Bound);

impl RepeatKey {
    pub(in crate::keyring) fn new(tenant: TenantId, name: &str, bytes: &KeyBytes) -> Result<Self, Refused> {
        Bound::new(tenant, Class::Repeat, name, bytes).map(Self)
    }

    /// The owner's, who has no keys in the keyring: from what no database holds, the 32 octets of the hash of its API key.
    ///
    /// # Errors
    /// When it is of another length.
    pub fn of_owner(owner: TenantId, hash: &[u8]) -> Result<Self, Refused> {
        let bytes: [u8; 32] = hash.try_into().map_err(|_| Refused)?;
        Self::new(owner, "owner", &Zeroizing::new(bytes))
    }

    /// A keyed hash: equal for equal content and purpose, says nothing to one who has not the key.
    #[must_use]
    pub fn digest(&self, purpose: &str, content: &[u8]) -> [u8; 32] {
        self.0.digest(purpose.as_bytes(), content)
    }
}

impl std::fmt::Debug for RepeatKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}

/// Seals what history keeps of messages accepted on one day (D1, D2).
pub struct LogKey(Bound);

impl LogKey {
    pub(in crate::keyring) fn new(tenant: TenantId, name: &str, bytes: &KeyBytes) -> Result<Self, Refused> {
        Bound::new(tenant, Class::Log, name, bytes).map(Self)
    }

    /// Its name: goes with every ciphertext.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
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

    /// Finds a day's messages to a number without showing it: once the key is destroyed, the hash is noise.
    #[must_use]
    pub fn number_hash(&self, number: &Msisdn) -> [u8; 16] {
        self.short_hash(b"number", number.digits().reveal())
    }

    /// Finds a day's messages under one of the tenant's own references, as [`Self::number_hash`] those to a number.
    #[must_use]
    pub fn reference_hash(&self, reference: &Personal<String>) -> [u8; 16] {
        self.short_hash(b"reference", reference.reveal())
    }

    fn short_hash(&self, kind: &[u8], of: &str) -> [u8; 16] {
        let digest = self.0.digest(kind, of.as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        hash
    }
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}
