//! API keys: `bud_<12 letters or digits>_<secret>`. The database holds the part before the secret, which finds the
//! row, and a SHA-256; the key itself is shown once.
use std::str::FromStr;

use aws_lc_rs::{constant_time, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// Bytes behind the visible prefix.
const PREFIX_BYTES: usize = 6;
/// Bytes of secret: 256 random bits.
const SECRET_BYTES: usize = 32;
/// Their length in base64 without padding: the least that a key made elsewhere must bring.
const SECRET_LENGTH: usize = 43;
const LONGEST: usize = 256;

/// A whole key. `Debug` shows its prefix only; the memory is wiped on drop.
#[derive(Clone, ZeroizeOnDrop)]
pub struct ApiKey {
    whole: String,
    #[zeroize(skip)]
    prefix_length: usize,
}

/// Why a text is no API key; also what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyForm {
    /// Not `bud_…_…`.
    #[error("an API key reads bud_<4 to 16 of a-z and 0-9>_<secret>")]
    Shape,
    /// A secret that could be guessed.
    #[error(
        "the secret of an API key has 43 to 200 characters of A-Z, a-z, 0-9, - and _ (256 random bits in base64url)"
    )]
    Secret,
}

/// No randomness came from the operating system.
#[derive(Debug, thiserror::Error)]
#[error("take random bytes from the operating system")]
pub struct NoRandomness(#[source] rand::rngs::SysError);

impl NoRandomness {
    /// Random bytes.
    pub(super) fn fill(bytes: &mut [u8]) -> Result<(), Self> {
        SysRng.try_fill_bytes(bytes).map_err(Self)
    }
}

impl ApiKey {
    /// A fresh key.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn mint() -> Result<Self, NoRandomness> {
        let mut random = [0; PREFIX_BYTES + SECRET_BYTES];
        NoRandomness::fill(&mut random)?;
        let (prefix, secret) = random.split_at(PREFIX_BYTES);
        let mut whole = String::from("bud_");
        whole.extend(
            prefix.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|half| char::from_digit(half.into(), 16)),
        );
        let prefix_length = whole.len();
        whole.push('_');
        BASE64_URL_SAFE_NO_PAD.encode_string(secret, &mut whole);
        random.zeroize();
        Ok(Self { whole, prefix_length })
    }

    /// The part before the secret, such as `bud_0f3a5c7e9b1d`: unique, no secret, fit for lists and logs.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.whole[..self.prefix_length]
    }

    /// The whole key: to be shown once, or written into a Secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.whole
    }

    /// The SHA-256 of the whole key: what is stored. The secret is random enough that no slow hash is needed.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.whole.as_bytes()).as_ref());
        hash
    }

    /// This is the key behind a stored hash; compared in constant time.
    #[must_use]
    pub fn matches(&self, stored: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.hash(), stored).is_ok()
    }
}

impl FromStr for ApiKey {
    type Err = KeyForm;

    fn from_str(text: &str) -> Result<Self, KeyForm> {
        if text.len() > LONGEST {
            return Err(KeyForm::Secret);
        }
        let (prefix, secret) = text.strip_prefix("bud_").and_then(|rest| rest.split_once('_')).ok_or(KeyForm::Shape)?;
        let named = prefix.bytes().all(|sign| sign.is_ascii_lowercase() || sign.is_ascii_digit());
        if !named || !(4..=16).contains(&prefix.len()) {
            return Err(KeyForm::Shape);
        }
        let plain = secret.bytes().all(|sign| sign.is_ascii_alphanumeric() || matches!(sign, b'-' | b'_'));
        if !plain || !(SECRET_LENGTH..=200).contains(&secret.len()) {
            return Err(KeyForm::Secret);
        }
        Ok(Self { whole: text.to_owned(), prefix_length: "bud_".len() + prefix.len() })
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({}…)", self.prefix())
    }
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Send messages.
    #[serde(rename = "messages:send")]
    MessagesSend,
    /// Read messages and delivery reports.
    #[serde(rename = "messages:read")]
    MessagesRead,
    /// Read received messages.
    #[serde(rename = "inbound:read")]
    InboundRead,
    /// Read statistics and disclosures, and take a copy of everything registered (D7).
    #[serde(rename = "data:read")]
    DataRead,
    /// Set webhooks up, and read what they were told.
    #[serde(rename = "webhooks:manage")]
    WebhooksManage,
    /// Read and change the list of those who want nothing more.
    #[serde(rename = "opt-outs:manage")]
    OptOutsManage,
}

impl Scope {
    /// All of them: what a tenant's first key gets.
    pub const ALL: [Self; 6] = [
        Self::MessagesSend,
        Self::MessagesRead,
        Self::InboundRead,
        Self::DataRead,
        Self::WebhooksManage,
        Self::OptOutsManage,
    ];

    /// As the database and the API write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessagesSend => "messages:send",
            Self::MessagesRead => "messages:read",
            Self::InboundRead => "inbound:read",
            Self::DataRead => "data:read",
            Self::WebhooksManage => "webhooks:manage",
            Self::OptOutsManage => "opt-outs:manage",
        }
    }

    /// The scope behind a stored word; one of a later version is unknown and gives nothing.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_key_reads_back() {
        let key = ApiKey::mint().expect("a key");
        let again: ApiKey = key.reveal().parse().expect("well-formed");
        assert_eq!(again.prefix(), key.prefix());
        assert_eq!(key.reveal().len(), "bud_".len() + 12 + 1 + SECRET_LENGTH);
        assert!(again.matches(&key.hash()));
        assert!(!ApiKey::mint().expect("another").matches(&key.hash()));
        assert!(!key.matches(b""));
    }

    #[test]
    fn keys_made_elsewhere_must_be_unguessable() {
        let secret = "A".repeat(43);
        assert!(format!("bud_team1_{secret}").parse::<ApiKey>().is_ok());
        assert!(format!("bud_team1_{secret}_-").parse::<ApiKey>().is_ok());
        for (text, expected) in [
            ("".to_owned(), KeyForm::Shape),
            (format!("bud_{secret}"), KeyForm::Shape),
            (format!("key_team1_{secret}"), KeyForm::Shape),
            (format!("bud_Team1_{secret}"), KeyForm::Shape),
            (format!("bud_abc_{secret}"), KeyForm::Shape),
            ("bud_team1_short".to_owned(), KeyForm::Secret),
            (format!("bud_team1_{secret}\n"), KeyForm::Secret),
            (format!("bud_team1_{}", "A".repeat(300)), KeyForm::Secret),
        ] {
            assert_eq!(text.parse::<ApiKey>().map(|_| ()), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn debug_shows_the_prefix_only() {
        let key: ApiKey = format!("bud_team1_{}", "Z".repeat(43)).parse().expect("well-formed");
        assert_eq!(format!("{key:?}"), "ApiKey(bud_team1…)");
    }

    #[test]
    fn scopes_are_written_alike_everywhere() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_word(scope.as_str()), Some(scope));
            assert_eq!(serde_json::to_value(scope).expect("json"), scope.as_str());
        }
    }
}
