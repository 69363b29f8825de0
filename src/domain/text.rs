//! Texts as handsets take them: which alphabet, how many parts, and the bytes of each part.
//!
//! A part holds 160 septets or 70 UTF-16 units when it is alone, else 153 or 67: the six bytes of a concatenation
//! header take the rest. Neither an escape and its septet nor a surrogate pair is ever torn apart, so a text can need
//! a part more than its length suggests; the count here is the count sent and billed.
use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};

use super::Personal;

pub(crate) mod gsm;
mod national;
mod shape;
#[cfg(test)]
mod tests;

use gsm::Septets;
pub use national::Languages;
pub use shape::{transliterate, truncate};

/// How the characters of a message are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// GSM 03.38, default alphabet and extension: 160 septets.
    Gsm,
    /// UTF-16, big-endian: 70 units.
    Ucs2,
}

/// How many parts a message takes: 1 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parts(NonZeroU8);

impl Parts {
    /// The count.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

/// Why a text cannot be sent. Shows nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextRefusal {
    /// There is nothing to send.
    #[error("the text is empty")]
    Empty,
    /// A character that the GSM alphabet lacks, when that alphabet was asked for.
    #[error("character {position} of the text is not in the GSM alphabet; ask for encoding auto or ucs2")]
    NotGsm {
        /// Which one, counted from 1.
        position: usize,
    },
    /// More than 255 parts, the most that a concatenation header can count.
    #[error("the text takes more than 255 parts")]
    TooLong,
}

impl TextRefusal {
    /// The stable word for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "text_empty",
            Self::NotGsm { .. } => "text_not_gsm",
            Self::TooLong => "text_too_long",
        }
    }
}

impl Encoding {
    /// The encoding that takes the fewest parts: GSM wherever the alphabet has every character.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if text.chars().all(|sign| gsm::septets(sign).is_some()) { Self::Gsm } else { Self::Ucs2 }
    }

    /// Units (septets or UTF-16 units) in a message of one part.
    #[must_use]
    pub fn single(self) -> usize {
        match self {
            Self::Gsm => 160,
            Self::Ucs2 => 70,
        }
    }

    /// Units in each part of a longer message.
    #[must_use]
    pub fn concatenated(self) -> usize {
        match self {
            Self::Gsm => 153,
            Self::Ucs2 => 67,
        }
    }

    /// Units of one character; the GSM alphabet has none for what it lacks.
    fn units(self, sign: char) -> usize {
        match self {
            Self::Gsm => gsm::septets(sign).map_or(0, |septets| match septets {
                Septets::One(_) => 1,
                Septets::Escaped(_) => 2,
            }),
            Self::Ucs2 => sign.len_utf16(),
        }
    }

    /// The bytes of a text: unpacked septets (one a byte), or UTF-16 big-endian.
    fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Self::Gsm => {
                let mut bytes = Vec::with_capacity(text.len());
                for septets in text.chars().filter_map(gsm::septets) {
                    match septets {
                        Septets::One(septet) => bytes.push(septet),
                        Septets::Escaped(septet) => bytes.extend([gsm::ESCAPE, septet]),
                    }
                }
                bytes
            }
            Self::Ucs2 => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }
}

/// How many parts a text takes.
///
/// # Errors
/// When it cannot be sent in this encoding.
pub fn parts(text: &str, encoding: Encoding) -> Result<Parts, TextRefusal> {
    let count = pieces(text, encoding, 0)?.len();
    u8::try_from(count).ok().and_then(NonZeroU8::new).map(Parts).ok_or(TextRefusal::TooLong)
}

/// The payload of each part, in order: unpacked septets (one a byte), or UTF-16 big-endian, without headers.
///
/// # Errors
/// When it cannot be sent in this encoding.
pub fn split(text: &str, encoding: Encoding) -> Result<Vec<Personal<Vec<u8>>>, TextRefusal> {
    split_leaving(text, encoding, 0)
}

/// As [`split`], with room for `more` units in each part of a longer message: for a longer header than the usual one.
///
/// # Errors
/// When it cannot be sent in this encoding.
pub fn split_leaving(text: &str, encoding: Encoding, more: usize) -> Result<Vec<Personal<Vec<u8>>>, TextRefusal> {
    Ok(pieces(text, encoding, more)?.into_iter().map(|piece| Personal::new(encoding.bytes(piece))).collect())
}

/// The text of a payload that [`split`] made or a handset sent. Broken septets and lone surrogates show as the
/// standards ask; an odd last byte of UTF-16 is dropped.
#[must_use]
pub fn decode(payload: &[u8], encoding: Encoding) -> Personal<String> {
    Personal::new(match encoding {
        Encoding::Gsm => gsm::text(payload),
        Encoding::Ucs2 => {
            let units = payload.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit));
            char::decode_utf16(units).map(|sign| sign.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
    })
}

/// As [`decode`] of the default alphabet, in the languages that a header names.
#[must_use]
pub fn decode_national(payload: &[u8], languages: Languages) -> Personal<String> {
    Personal::new(national::text(payload, languages))
}

/// The text cut where its parts end.
fn pieces(text: &str, encoding: Encoding, leave: usize) -> Result<Vec<&str>, TextRefusal> {
    if text.is_empty() {
        return Err(TextRefusal::Empty);
    }
    let mut total = 0;
    for (position, sign) in (1..).zip(text.chars()) {
        match encoding.units(sign) {
            0 => return Err(TextRefusal::NotGsm { position }),
            units => total += units,
        }
    }
    if total <= encoding.single() {
        return Ok(vec![text]);
    }
    // An escape and its septet need two.
    let room = encoding.concatenated().saturating_sub(leave).max(2);
    let mut pieces = Vec::with_capacity(total / room + 1);
    let (mut start, mut used) = (0, 0);
    for (at, sign) in text.char_indices() {
        let units = encoding.units(sign);
        if used + units > room {
            pieces.push(&text[start..at]);
            (start, used) = (at, 0);
        }
        used += units;
    }
    pieces.push(&text[start..]);
    if pieces.len() > usize::from(u8::MAX) { Err(TextRefusal::TooLong) } else { Ok(pieces) }
}
