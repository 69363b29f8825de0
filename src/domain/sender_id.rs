//! What a message says it is from.
use serde::{Deserialize, Serialize};

use super::text::gsm;

/// The sender shown on the handset. It belongs to a business, and stands in its Tenant resource: not personal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SenderId {
    /// 3 to 15 digits, country code first, without the plus: a number or a short code that can be answered.
    Number(String),
    /// 1 to 11 characters of the GSM alphabet, at least one of them no digit.
    Name(String),
}

/// Why a text is no sender id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sender id is 3 to 15 digits, or 1 to 11 characters of the GSM alphabet with at least one letter")]
pub struct NotASenderId;

impl SenderId {
    /// Reads a sender id; a leading plus of a number is dropped.
    ///
    /// # Errors
    /// When it is neither a number nor a name.
    pub fn parse(text: &str) -> Result<Self, NotASenderId> {
        let text = text.trim();
        let digits = text.strip_prefix('+').unwrap_or(text);
        if digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return (3..=15).contains(&digits.len()).then(|| Self::Number(digits.to_owned())).ok_or(NotASenderId);
        }
        let fits = text.chars().count() <= 11 && text.chars().all(|sign| sign >= ' ' && gsm::is_basic(sign));
        fits.then(|| Self::Name(text.to_owned())).ok_or(NotASenderId)
    }

    /// As written on the wire and in answers.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Number(text) | Self::Name(text) => text,
        }
    }
}

impl TryFrom<String> for SenderId {
    type Error = NotASenderId;

    fn try_from(text: String) -> Result<Self, NotASenderId> {
        Self::parse(&text)
    }
}

impl From<SenderId> for String {
    fn from(id: SenderId) -> Self {
        match id {
            SenderId::Number(text) | SenderId::Name(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_told_apart() {
        assert_eq!(SenderId::parse("+4520123456"), Ok(SenderId::Number("4520123456".into())));
        assert_eq!(SenderId::parse("1231"), Ok(SenderId::Number("1231".into())));
        assert_eq!(SenderId::parse("Sølyst 24"), Ok(SenderId::Name("Sølyst 24".into())));
        assert_eq!(SenderId::parse("12345678a"), Ok(SenderId::Name("12345678a".into())));
    }

    #[test]
    fn what_no_handset_shows_is_refused() {
        for wrong in ["", "12", "1234567890123456", "Twelve chars", "Кафе", "a\nb", "10 €"] {
            assert_eq!(SenderId::parse(wrong), Err(NotASenderId), "{wrong:?}");
        }
    }
}
