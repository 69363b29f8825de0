//! What the database knows of an upstream's message id and of a destination: keyed hashes, under the route's key.
//!
//! The id itself stays here: in the upstream's own records it leads to the number, and in backups it would do so for longer than
//! the log is kept (D2). Ids are not unique for ever, so a receipt finds its message only when the number it names gives the
//! same check too. Its 16 bits do not tell a number (D2, D5, D10): whoever has the route's key and tries every number finds
//! thousands that fit.
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

use crate::domain::Secret;
use crate::smpp::vendor::DestinationTag;

/// Octets of an id's hash: among a billion messages of one route two meet once in a hundred billion times, and then the check of
/// the destination still tells them apart. As long in base64 as the ids of most upstreams, so no index grows by it.
const ID_OCTETS: usize = 12;

/// The route's key.
pub(super) struct TagKey(hmac::Key);

// No derived Debug: it is a key.
impl std::fmt::Debug for TagKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}

/// The key is not 32 octets in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tag-key is not 32 octets in base64")]
pub struct InvalidTagKey;

impl TagKey {
    /// Reads the key: base64 of 32 octets.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn new(key: &Secret) -> Result<Self, InvalidTagKey> {
        let octets = zeroize::Zeroizing::new(BASE64_STANDARD.decode(key.expose()).map_err(|_| InvalidTagKey)?);
        if octets.len() != 32 {
            return Err(InvalidTagKey);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &octets)))
    }

    /// What an upstream's id, in its one spelling, is known by in the database and to senders; nothing for nothing.
    pub(super) fn id(&self, id: &str) -> String {
        if id.is_empty() {
            return String::new();
        }
        let mut context = hmac::Context::with_key(&self.0);
        // No address begins like this.
        context.update(b"\0id\0");
        context.update(id.as_bytes());
        let digest = context.sign();
        BASE64_URL_SAFE_NO_PAD.encode(digest.as_ref().get(..ID_OCTETS).unwrap_or_default())
    }

    /// What an upstream's id of an SMS from a handset becomes, where the same one must have the same id here each time.
    pub(super) fn name(&self, id: &str) -> [u8; 10] {
        let mut context = hmac::Context::with_key(&self.0);
        // No address begins like this.
        context.update(b"\0inbound\0");
        context.update(id.as_bytes());
        context.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// The check by which parts of one text find each other: who wrote, to which number, under which reference, in how many parts.
    /// Of who wrote it has the 16 bits of [`Self::tag`] and no more, so it does not tell a number either (D2): two who write to
    /// one number under one reference in as many parts are taken for one in one of 65,536 cases. The number that was written to
    /// is the tenant's own.
    pub(super) fn thread(&self, from: &str, to: &str, reference: u16, count: u8) -> i64 {
        let mut context = hmac::Context::with_key(&self.0);
        // No address begins like this.
        context.update(b"\0thread\0");
        context.update(&reference.to_be_bytes());
        context.update(&[count]);
        context.update(plain(to).as_bytes());
        let digest = context.sign();
        let DestinationTag(from) = self.tag(from);
        let [a, b, c, d, e, f] = digest.as_ref().first_chunk().copied().unwrap_or_default();
        let [.., high, low] = from.to_be_bytes();
        i64::from_be_bytes([high, low, a, b, c, d, e, f])
    }

    /// The check by which a part is known when it comes once more. Of what was written it has 16 bits together with who wrote it:
    /// it can hardly bear out a guess of both, and tells nothing of what nobody guesses.
    pub(super) fn digest(&self, from: &str, to: &str, number: u8, octets: &[u8]) -> i32 {
        let mut context = hmac::Context::with_key(&self.0);
        // No address begins like this.
        context.update(b"\0part\0");
        context.update(&[number]);
        for address in [from, to] {
            context.update(plain(address).as_bytes());
            context.update(b"\0");
        }
        context.update(octets);
        let octets = context.sign().as_ref().first_chunk::<2>().copied().unwrap_or_default();
        u16::from_be_bytes(octets).into()
    }

    /// The check of an address as it stands in a PDU. `+`, a leading `00`, blanks and case make no difference.
    pub(super) fn tag(&self, address: &str) -> DestinationTag {
        let digest = hmac::sign(&self.0, plain(address).as_bytes());
        let octets = digest.as_ref().first_chunk::<2>().copied().unwrap_or_default();
        DestinationTag(u16::from_be_bytes(octets).into())
    }
}

/// An address in its one spelling, wiped after use.
fn plain(address: &str) -> zeroize::Zeroizing<String> {
    let letters = address.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
    zeroize::Zeroizing::new(letters.skip_while(|c| *c == '0').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(octet: u8) -> TagKey {
        TagKey::new(&Secret::new(BASE64_STANDARD.encode([octet; 32]))).expect("a key")
    }

    #[test]
    fn the_same_number_in_another_form_has_the_same_check() {
        let key = key(7);
        for form in ["4512345678", "+4512345678", "004512345678", "45 12 34 56 78"] {
            assert_eq!(key.tag(form), key.tag("4512345678"), "{form}");
        }
        assert_ne!(key.tag("4512345678"), key.tag("4512345679"));
    }

    #[test]
    fn an_id_is_known_by_a_hash_that_another_route_makes_otherwise() {
        let hash = key(1).id("12345");
        assert_eq!(hash.len(), 16);
        assert_eq!(hash, key(1).id("12345"));
        assert_ne!(hash, key(1).id("12346"));
        assert_ne!(hash, key(2).id("12345"));
        assert_eq!(key(1).id(""), "", "an upstream that gave none");
    }

    #[test]
    fn an_inbound_id_has_a_name_of_its_own() {
        assert_eq!(key(1).name("12345"), key(1).name("12345"));
        assert_ne!(key(1).name("12345"), key(1).name("12346"));
        assert_ne!(key(1).name("12345"), key(2).name("12345"));
    }

    #[test]
    fn parts_of_one_text_have_a_check_in_common_and_each_one_of_its_own() {
        let key = key(7);
        let thread = key.thread("4520123456", "1204", 7, 2);
        assert_eq!(thread, key.thread("+4520123456", "001204", 7, 2));
        for other in [
            key.thread("4520123457", "1204", 7, 2),
            key.thread("4520123456", "1205", 7, 2),
            key.thread("4520123456", "1204", 8, 2),
            key.thread("4520123456", "1204", 7, 3),
            self::key(8).thread("4520123456", "1204", 7, 2),
        ] {
            assert_ne!(thread, other);
        }
        let digest = key.digest("4520123456", "1204", 1, b"Hej");
        assert_eq!(digest, key.digest("+4520123456", "1204", 1, b"Hej"));
        assert_ne!(digest, key.digest("4520123456", "1204", 2, b"Hej"));
        assert_ne!(digest, key.digest("4520123456", "1204", 1, b"Hey"));
        assert_ne!(digest, key.digest("4520123457", "1204", 1, b"Hej"));
    }

    #[test]
    fn another_route_has_other_checks() {
        assert_ne!(key(1).tag("4512345678"), key(2).tag("4512345678"));
    }

    #[test]
    fn a_short_key_is_refused() {
        assert_eq!(TagKey::new(&Secret::new("c2hvcnQ=")).err(), Some(InvalidTagKey));
        assert_eq!(TagKey::new(&Secret::new("%")).err(), Some(InvalidTagKey));
    }
}
