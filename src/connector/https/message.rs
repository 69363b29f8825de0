//! A submit as the REST API has it, and the call that carries several.
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rusmpp::CommandStatus;
use rusmpp::pdus::SubmitSm;
use rusmpp::tlvs::TlvValue;
use rusmpp::values::Ton;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::domain::inbound::{Content as Read, Languages};
use crate::domain::{Encoding, Personal, text};

/// SMPP 5.0's "invalid data coding".
const INVALID_DATA_CODING: CommandStatus = CommandStatus::Other(0x0104);
/// The upstream keeps a message so long at most, and so long where it is told nothing.
const LONGEST: SignedDuration = SignedDuration::from_hours(72);
/// The parameter that stands for a dollar sign.
const DOLLAR: &str = "d";

/// One submit.
#[derive(Debug)]
pub(in crate::connector) struct Message {
    pub(super) content: Content,
    pub(super) to: Personal<String>,
    parts: usize,
}

/// Everything but the recipient: messages that have it in common may share a call.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    /// A business's name or number.
    from: String,
    body: Body,
    expires_at: Option<Timestamp>,
    receipt: bool,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Body {
    Text(Personal<String>),
    Binary { header: Personal<Vec<u8>>, octets: Personal<Vec<u8>> },
}

impl Message {
    /// Reads a submit.
    ///
    /// # Errors
    /// With a status for its sender where the API has no form for it.
    pub(in crate::connector) fn read(submit: &SubmitSm) -> Result<Self, CommandStatus> {
        let sar = |value: &TlvValue| matches!(value, TlvValue::SarMsgRefNum(_) | TlvValue::SarSegmentSeqnum(_));
        if submit.tlvs().iter().filter_map(|tlv| tlv.value()).any(sar) {
            return Err(CommandStatus::EsmeRinvesmclass);
        }
        let octets = octets(submit);
        let has_header = u8::from(submit.esm_class) & 0b0100_0000 != 0;
        let (body, parts) = match Read::read(octets, submit.data_coding.into(), Languages::default()) {
            // A header cannot go along with a text: see the module above.
            Read::Text(_) if has_header => return Err(CommandStatus::EsmeRinvesmclass),
            Read::Text(whole) => {
                let parts = text::parts(whole.reveal(), Encoding::of(whole.reveal()));
                (Body::Text(whole), parts.map_err(|_| CommandStatus::EsmeRinvmsglen)?.get())
            }
            // The API asks for a header with binary content.
            Read::Octets(_) if !has_header => return Err(INVALID_DATA_CODING),
            Read::Octets(_) => {
                let length = usize::from(*octets.first().unwrap_or(&0)) + 1;
                let (header, octets) = octets.split_at_checked(length).ok_or(CommandStatus::EsmeRinvmsglen)?;
                (Body::Binary { header: Personal::new(header.to_vec()), octets: Personal::new(octets.to_vec()) }, 1)
            }
        };
        let content = Content {
            from: sender(submit),
            body,
            expires_at: expiry(submit.validity_period.as_str()),
            receipt: u8::from(submit.registered_delivery) & 0b11 != 0,
        };
        let to = Personal::new(submit.destination_addr.as_str().to_owned());
        Ok(Self { content, to, parts: usize::from(parts) })
    }

    /// In how many parts it reaches the handset.
    pub(in crate::connector) fn parts(&self) -> usize {
        self.parts
    }
}

impl Content {
    /// Finds equals quickly.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// The call that sends it to these numbers; `None` for what cannot be written.
    pub(super) fn call(&self, to: &[&Personal<String>], now: Timestamp) -> Option<Zeroizing<Vec<u8>>> {
        let (mut parameters, mut udh) = (BTreeMap::new(), None);
        let (kind, body) = match &self.body {
            Body::Text(text) => {
                let mut text = Zeroizing::new(text.reveal().clone());
                // `${name}` would be filled in by the upstream.
                if text.contains("${") {
                    parameters.insert(DOLLAR, Parameter { default: "$" });
                    text = Zeroizing::new(text.replace("${", &format!("${{{DOLLAR}}}{{")));
                }
                ("mt_text", text)
            }
            Body::Binary { header, octets } => {
                udh = Some(Zeroizing::new(header.reveal().iter().map(|octet| format!("{octet:02x}")).collect()));
                ("mt_binary", Zeroizing::new(BASE64_STANDARD.encode(octets.reveal())))
            }
        };
        let batch = Batch {
            kind,
            from: &self.from,
            to: to.iter().map(|number| number.reveal().as_str()).collect(),
            body: &body,
            udh: udh.as_deref(),
            // One report a number, also where only failures were asked for: the API has nothing between.
            delivery_report: if self.receipt { "per_recipient" } else { "none" },
            expire_at: self.expires_at.filter(|at| now.duration_until(*at) < LONGEST).map(|at| at.to_string()),
            parameters,
        };
        // Written once: what holds numbers and text is not left behind in a buffer that was too small.
        let mut written = Zeroizing::new(Vec::with_capacity(1024 + 6 * body.len() + 24 * to.len()));
        serde_json::to_writer(&mut *written, &batch).ok()?;
        Some(written)
    }
}

#[derive(Serialize)]
struct Batch<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    from: &'a str,
    to: Vec<&'a str>,
    body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    udh: Option<&'a String>,
    delivery_report: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_at: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<&'static str, Parameter>,
}

#[derive(Serialize)]
struct Parameter {
    default: &'static str,
}

/// Which of those that wait share a call with the first: the same content, each number once, at most `most` in all. Gives
/// their places, in order.
pub(super) fn company<'a>(waiting: impl Iterator<Item = (u64, &'a Message)>, most: usize) -> Vec<usize> {
    let (mut first, mut numbers, mut chosen) = (None, HashSet::new(), Vec::new());
    for (at, (digest, message)) in waiting.enumerate() {
        let (leading, content) = *first.get_or_insert((digest, &message.content));
        if chosen.len() < most
            && digest == leading
            && *content == message.content
            && numbers.insert(message.to.reveal())
        {
            chosen.push(at);
        }
    }
    chosen
}

/// short_message, or message_payload where that is empty.
fn octets(submit: &SubmitSm) -> &[u8] {
    let short = submit.short_message().as_ref();
    let payload = submit.tlvs().iter().find_map(|tlv| match tlv.value() {
        Some(TlvValue::MessagePayload(payload)) => Some(payload.value.as_ref()),
        _ => None,
    });
    if short.is_empty() { payload.unwrap_or_default() } else { short }
}

/// A name is in ASCII, and what that lacks in the GSM alphabet, as senders write it for SMPP.
fn sender(submit: &SubmitSm) -> String {
    let octets = submit.source_addr.as_ref();
    let octets = octets.strip_suffix(&[0]).unwrap_or(octets);
    let sign = |octet: &u8| match octet {
        b' '..=b'Z' | b'_' | b'a'..=b'z' => char::from(*octet).to_string(),
        _ => text::decode(&[*octet], Encoding::Gsm).reveal().clone(),
    };
    match submit.source_addr_ton {
        Ton::Alphanumeric => octets.iter().map(sign).collect(),
        _ => octets.iter().copied().map(char::from).collect(),
    }
}

/// An absolute validity, `YYMMDDhhmmsstnnp` (SMPP 3.4, 7.1.1); `None` for a relative one and for none.
fn expiry(validity: &str) -> Option<Timestamp> {
    let validity = validity.trim_end_matches('\0');
    if validity.len() != 16 || !validity.is_ascii() {
        return None;
    }
    let pair = |at: usize| validity.get(at..at + 2).and_then(|digits| digits.parse::<i8>().ok());
    let date = DateTime::new(2000 + i16::from(pair(0)?), pair(2)?, pair(4)?, pair(6)?, pair(8)?, pair(10)?, 0).ok()?;
    let quarters = SignedDuration::from_mins(15 * i64::from(pair(13)?));
    let local = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
    match validity.as_bytes().last()? {
        b'+' => local.checked_sub(quarters).ok(),
        b'-' => local.checked_add(quarters).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
