//! Key pairs: a connector seals what it receives to a public key, and can open nothing, its own ciphertexts included.
//!
//! As in HPKE's base mode: an ephemeral X25519 key agrees with the public key, HKDF-SHA-256 over both public keys gives
//! the key of one AES-256-GCM ciphertext. Layout: the ephemeral public key, then as in [`super`].
use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand::SystemRandom;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Cipher, Field, KEY_BYTES, KeyBytes, Place, Refused};
use crate::domain::TenantId;
use crate::keyring::Class;

/// The half that seals.
#[derive(Debug, Clone)]
pub struct PublicKey {
    tenant: TenantId,
    name: Box<str>,
    key: [u8; KEY_BYTES],
}

impl PublicKey {
    /// The key as `inbound_key()` gives it.
    ///
    /// # Errors
    /// When it is not 32 bytes.
    pub fn new(tenant: TenantId, name: &str, key: &[u8]) -> Result<Self, Refused> {
        Ok(Self { tenant, name: name.into(), key: key.try_into().map_err(|_| Refused)? })
    }

    /// Its name: goes with every ciphertext.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seals a field of a row.
    ///
    /// # Errors
    /// When the machine gives no random bytes, or the key is no point of the curve.
    pub fn seal(&self, row: Uuid, field: Field, plain: &[u8]) -> Result<Vec<u8>, Refused> {
        let own = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| Refused)?;
        let ephemeral = own.compute_public_key().map_err(|_| Refused)?;
        let theirs = UnparsedPublicKey::new(&X25519, self.key);
        let key =
            agreement::agree_ephemeral(own, theirs, Refused, |secret| derive(secret, ephemeral.as_ref(), &self.key))?;
        let sealed = Cipher::new(&key)?.seal(&place(self.tenant, &self.name, row, field), plain)?;
        Ok([ephemeral.as_ref(), &sealed].concat())
    }
}

/// The half that opens.
pub struct PrivateKey {
    tenant: TenantId,
    name: Box<str>,
    key: agreement::PrivateKey,
    public: [u8; KEY_BYTES],
}

impl PrivateKey {
    pub(in crate::keyring) fn new(tenant: TenantId, name: &str, bytes: &KeyBytes) -> Result<Self, Refused> {
        let key = agreement::PrivateKey::from_private_key(&X25519, &**bytes).map_err(|_| Refused)?;
        let public = key.compute_public_key().map_err(|_| Refused)?;
        let public = public.as_ref().try_into().map_err(|_| Refused)?;
        Ok(Self { tenant, name: name.into(), key, public })
    }

    /// The half that seals.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey { tenant: self.tenant, name: self.name.clone(), key: self.public }
    }

    pub(in crate::keyring) fn public_bytes(&self) -> [u8; KEY_BYTES] {
        self.public
    }

    /// Opens what was sealed for this row and field.
    ///
    /// # Errors
    /// When it was sealed for another place or to another key, or was changed.
    pub fn open(&self, row: Uuid, field: Field, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let (ephemeral, sealed) = sealed.split_first_chunk::<KEY_BYTES>().ok_or(Refused)?;
        let theirs = UnparsedPublicKey::new(&X25519, ephemeral);
        let key = agreement::agree(&self.key, theirs, Refused, |secret| derive(secret, ephemeral, &self.public))?;
        Cipher::new(&key)?.open(&place(self.tenant, &self.name, row, field), sealed)
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}

fn place(tenant: TenantId, name: &str, row: Uuid, field: Field) -> Place<'_> {
    Place { tenant, class: Class::Inbound.as_str(), name, row, field }
}

fn derive(secret: &[u8], ephemeral: &[u8], public: &[u8]) -> Result<KeyBytes, Refused> {
    let prk = Salt::new(HKDF_SHA256, b"budstikke inbound").extract(secret);
    let info = [ephemeral, public];
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    prk.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut *key)).map_err(|_| Refused)?;
    Ok(key)
}
