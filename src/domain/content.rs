//! What the two ciphertexts of a queue row hold ([`super::inbound`] has that of an inbound message). The names are short
//! because they are stored with every message.
use serde::{Deserialize, Serialize};

use super::text::Encoding;
use super::{Msisdn, Personal, SenderId};

/// All that the sender needs to submit a message; sealed with the tenant's queue key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// The recipient.
    #[serde(rename = "t")]
    pub to: Msisdn,
    /// What it says it is from.
    #[serde(rename = "f")]
    pub from: SenderId,
    /// The whole text.
    #[serde(rename = "x")]
    pub text: Personal<String>,
    /// How the parts were counted, and so how it is sent.
    #[serde(rename = "e")]
    pub encoding: Encoding,
    /// Shown at once and not kept by the handset (class 0).
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    pub flash: bool,
}

/// What history shows (D1); sealed with the tenant's log key of the day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The recipient.
    #[serde(rename = "t")]
    pub to: Msisdn,
    /// What it says it is from.
    #[serde(rename = "f")]
    pub from: SenderId,
    /// The text's first characters.
    #[serde(rename = "x")]
    pub text: Personal<String>,
    /// What the tenant calls it.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Personal<String>>,
}

/// The most characters of a text that are ever logged (D1).
pub const LOG_CHARACTERS: usize = 160;

impl Body {
    /// The entry of this message, with at most `characters` of its text and never more than [`LOG_CHARACTERS`].
    #[must_use]
    pub fn entry(&self, characters: usize) -> Entry {
        let text = self.text.reveal();
        let end = text.char_indices().nth(characters.min(LOG_CHARACTERS)).map_or(text.len(), |(at, _)| at);
        let text = Personal::new(text[..end].to_owned());
        Entry { to: self.to.clone(), from: self.from.clone(), text, reference: None }
    }
}

/// Bytes and content do not fit. What exactly is wrong is not told: it would quote the content (D10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the content is of no form that this version knows")]
pub struct UnknownForm;

/// The bytes of a content, for sealing; wiped after use.
///
/// # Errors
/// None in practice: the types here are plain text and always serialise.
pub fn to_bytes<T: Serialize>(content: &T) -> Result<Personal<Vec<u8>>, UnknownForm> {
    serde_json::to_vec(content).map(Personal::new).map_err(|_| UnknownForm)
}

/// A content from its bytes, after opening.
///
/// # Errors
/// When the bytes were written by a version that this one does not know.
pub fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, UnknownForm> {
    serde_json::from_slice(bytes).map_err(|_| UnknownForm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body {
        Body {
            to: Msisdn::from_digits("4520123456").expect("E.164"),
            from: SenderId::parse("Sølyst").expect("a name"),
            text: Personal::new(text.to_owned()),
            encoding: Encoding::of(text),
            flash: false,
        }
    }

    #[test]
    fn the_entry_is_cut_between_characters() {
        let text = "😀".repeat(200);
        assert_eq!(body(&text).entry(160).text.reveal().chars().count(), 160);
        assert_eq!(body(&text).entry(500).text.reveal().chars().count(), 160);
        assert_eq!(body(&text).entry(3).text.reveal(), "😀😀😀");
        assert_eq!(body(&text).entry(0).text.reveal(), "");
        assert_eq!(body("kort").entry(160).text.reveal(), "kort");
    }

    #[test]
    fn both_go_there_and_back() {
        let body = body("Hej \"Åse\"\n😀");
        let bytes = to_bytes(&body).expect("bytes");
        assert_eq!(from_bytes::<Body>(bytes.reveal()).expect("a body"), body);
        let flash = Body { flash: true, ..body.clone() };
        assert_eq!(from_bytes::<Body>(to_bytes(&flash).expect("bytes").reveal()).expect("a body"), flash);
        let entry = body.entry(5);
        assert_eq!(from_bytes::<Entry>(to_bytes(&entry).expect("bytes").reveal()).expect("an entry"), entry);
    }

    #[test]
    fn debug_shows_neither_number_nor_text() {
        let shown = format!("{:?}", body("hemmelig"));
        assert!(!shown.contains("hemmelig") && !shown.contains("20123456"), "{shown}");
    }
}
