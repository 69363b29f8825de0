//! What the keys do: AES-256-GCM, bound to the place where the ciphertext belongs. Pure; needs no database.
//!
//! Every ciphertext is authenticated together with its tenant, class, key name, row and field: moved to another row,
//! field or tenant it does not open. Layout: a random 96-bit nonce, the ciphertext, a 128-bit tag. A day's or tenant's
//! key seals far fewer than the 2³² messages for which random nonces are safe.
mod account;
mod mail;
mod pair;
mod symmetric;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Class;
use crate::domain::TenantId;

pub use self::account::AccountKey;
pub use self::mail::MailKey;
pub use self::pair::{PrivateKey, PublicKey};
pub use self::symmetric::{LogKey, QueueKey, RepeatKey};

/// Length of every key.
pub const KEY_BYTES: usize = 32;
/// By how many bytes a ciphertext is longer than its text.
pub const OVERHEAD: usize = NONCE_LEN + 16;

/// A key's bytes, wiped on drop.
pub type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

/// The cipher refused: another key, another place, or changed bytes. It does not say which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext does not belong here")]
pub struct Refused;

/// Which part of a row a ciphertext is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `queue.body`
    Body,
    /// `queue.entry` and `message_log.entry`: the same bytes, moved
    Entry,
    /// `inbound.sealed`
    Inbound,
    /// A wrapped key.
    Key,
    /// `mail_copy.sealed`
    Mail,
    /// `webhook.sealed`
    WebhookTarget,
    /// `webhook.secret` and `webhook.old_secret`: the same bytes, moved
    WebhookSecret,
    /// `opt_out.sealed`
    OptOut,
    /// `opt_out_request.sealed`
    OptOutRequest,
}

impl Field {
    fn code(self) -> u8 {
        match self {
            Self::Body => 1,
            Self::Entry => 2,
            Self::Inbound => 3,
            Self::Key => 4,
            Self::Mail => 8,
            Self::WebhookTarget => 16,
            Self::WebhookSecret => 17,
            Self::OptOut => 18,
            Self::OptOutRequest => 19,
        }
    }
}

/// Where a ciphertext belongs.
pub(super) struct Place<'a> {
    pub(super) tenant: TenantId,
    pub(super) class: &'a str,
    pub(super) name: &'a str,
    pub(super) row: Uuid,
    pub(super) field: Field,
}

impl Place<'_> {
    /// Unambiguous: lengths lead what varies.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48 + self.class.len() + self.name.len());
        bytes.extend_from_slice(b"budstikke/1");
        bytes.extend_from_slice(&self.tenant.0.to_be_bytes());
        for text in [self.class, self.name] {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(self.row.as_bytes());
        bytes.push(self.field.code());
        bytes
    }
}

/// AES-256-GCM under one key.
pub(super) struct Cipher(RandomizedNonceKey);

impl Cipher {
    pub(super) fn new(key: &KeyBytes) -> Result<Self, Refused> {
        RandomizedNonceKey::new(&AES_256_GCM, &**key).map(Self).map_err(|_| Refused)
    }

    pub(super) fn seal(&self, place: &Place<'_>, plain: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.resize(NONCE_LEN, 0);
        sealed.extend_from_slice(plain);
        let (nonce, tag) = self
            .0
            .seal_in_place_separate_tag(Aad::from(place.bytes()), &mut sealed[NONCE_LEN..])
            .map_err(|_| Refused)?;
        sealed[..NONCE_LEN].copy_from_slice(nonce.as_ref());
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    pub(super) fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Refused)?;
        let mut plain = Zeroizing::new(rest.to_vec());
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place.bytes()), &mut plain)
            .map_err(|_| Refused)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}

/// A tenant's own key that wraps its others.
#[derive(Debug)]
pub(super) struct WrappingKey(Cipher);

impl WrappingKey {
    pub(super) fn new(bytes: &KeyBytes) -> Result<Self, Refused> {
        Cipher::new(bytes).map(Self)
    }

    pub(super) fn wrap(&self, tenant: TenantId, class: Class, name: &str, key: &KeyBytes) -> Result<Vec<u8>, Refused> {
        self.0.seal(&Self::place(tenant, class, name), &**key)
    }

    pub(super) fn unwrap(
        &self,
        tenant: TenantId,
        class: Class,
        name: &str,
        wrapped: &[u8],
    ) -> Result<KeyBytes, Refused> {
        let plain = self.0.open(&Self::place(tenant, class, name), wrapped)?;
        Ok(Zeroizing::new(plain.as_slice().try_into().map_err(|_| Refused)?))
    }

    fn place(tenant: TenantId, class: Class, name: &str) -> Place<'_> {
        Place { tenant, class: class.as_str(), name, row: Uuid::nil(), field: Field::Key }
    }
}

/// A key for one purpose from a key for several: HMAC-SHA-256 over the purpose.
fn derive(key: &KeyBytes, purpose: &[u8]) -> KeyBytes {
    let mut derived = Zeroizing::new([0; KEY_BYTES]);
    derived.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &**key), purpose).as_ref());
    derived
}
