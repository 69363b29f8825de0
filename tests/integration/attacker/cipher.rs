//! The attacker's own ciphers: he has read the source, and uses none of it.
use std::collections::{BTreeMap, HashSet};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;

/// Octets of a wrapped key: nonce, key, tag.
const WRAPPED: usize = 12 + 32 + 16;
/// Ciphertexts longer than this are not looked for.
const LONGEST: usize = 2_000;

pub(super) type Key = [u8; 32];

/// What a ciphertext is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tenant: i64,
    pub(super) class: String,
    /// Of the key.
    pub(super) name: String,
    pub(super) row: [u8; 16],
    pub(super) field: u8,
}

impl Place {
    /// Of a wrapped key.
    pub(super) fn of_key(tenant: i64, class: &str, name: &str) -> Self {
        Self { tenant, class: class.to_owned(), name: name.to_owned(), row: [0; 16], field: 4 }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"budstikke/1".to_vec();
        bytes.extend_from_slice(&self.tenant.to_be_bytes());
        for text in [&self.class, &self.name] {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&self.row);
        bytes.push(self.field);
        bytes
    }
}

fn open(cipher: &RandomizedNonceKey, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = rest.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = cipher.open_in_place(nonce, Aad::from(place), &mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}

fn cipher(key: &Key) -> RandomizedNonceKey {
    RandomizedNonceKey::new(&AES_256_GCM, key).expect("a key")
}

/// Tries every place in these octets as a wrapped key.
pub(super) fn unwrap(wrapping: &Key, place: &Place, octets: &[u8]) -> HashSet<Key> {
    let (cipher, place) = (cipher(wrapping), place.bytes());
    octets.windows(WRAPPED).filter_map(|wrapped| open(&cipher, &place, wrapped)?.try_into().ok()).collect()
}

/// Tries every place in these octets as what PostgreSQL stores of a value sealed for this place: its length comes first.
pub(super) fn read(key: &Key, place: &Place, octets: &[u8]) -> Option<Vec<u8>> {
    let private = (place.class == "inbound").then(|| agreement::PrivateKey::from_private_key(&X25519, key).ok());
    let symmetric = cipher(&hmac_of(key, b"seal"));
    let bytes = place.bytes();
    (0..octets.len()).find_map(|from| {
        let sealed = value(&octets[from..])?;
        match &private {
            Some(private) => read_sealed_to(private.as_ref()?, &bytes, sealed),
            None => open(&symmetric, &bytes, sealed),
        }
    })
}

fn hmac_of(key: &Key, purpose: &[u8]) -> Key {
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), purpose);
    derived.as_ref().try_into().expect("32 octets")
}

fn read_sealed_to(private: &agreement::PrivateKey, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (ephemeral, sealed) = sealed.split_first_chunk::<32>()?;
    let public = private.compute_public_key().ok()?;
    let theirs = UnparsedPublicKey::new(&X25519, ephemeral);
    let key = agreement::agree(private, theirs, (), |secret| {
        let info = [&ephemeral[..], public.as_ref()];
        let mut key = Key::default();
        let derived = Salt::new(HKDF_SHA256, b"budstikke inbound").extract(secret);
        derived.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut key)).map(|()| key).map_err(|_| ())
    });
    open(&cipher(&key.ok()?), place, sealed)
}

/// A value of varying length, by the length that leads it: one octet, or four.
fn value(octets: &[u8]) -> Option<&[u8]> {
    let first = *octets.first()?;
    let (header, whole) = match first {
        _ if first & 1 == 1 => (1, usize::from(first >> 1)),
        _ => (4, usize::try_from(u32::from_le_bytes(*octets.first_chunk()?) >> 2).ok()?),
    };
    (header + 28 < whole && whole <= LONGEST && (header == 1 || first & 2 == 0)).then(|| octets.get(header..whole))?
}

/// All that he tried.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally(pub(super) BTreeMap<&'static str, usize>);

impl Tally {
    pub(super) fn count(&mut self, what: &'static str, much: usize) {
        *self.0.entry(what).or_default() += much;
    }

    pub(super) fn most(&mut self, what: &'static str, much: usize) {
        let before = self.0.entry(what).or_default();
        *before = much.max(*before);
    }
}
