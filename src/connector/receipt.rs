//! Reads what an upstream says became of a message: by parameters, or by the text of the standard's appendix B, which
//! every upstream writes a little differently (`id:… sub:001 dlvrd:001 submit date:… done date:… stat:DELIVRD err:000 text:…`).
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rusmpp::tlvs::TlvValue;
use rusmpp::values::MessageState as SmppState;

use super::delivery::Delivery;
use super::message_id;
use super::tag::TagKey;
use crate::config::connector::IdFormat;
use crate::domain::{MessageState, Personal};
use crate::smpp::vendor::DestinationTag;

/// A receipt's own time counts only when it is older than this: it has minutes only and no zone.
const CLEARLY_LATE: SignedDuration = SignedDuration::from_mins(5);
/// And only when it is younger than this.
const OLDEST: SignedDuration = SignedDuration::from_hours(4 * 24);

/// What became of a message. Free of numbers and texts; the upstream's own id goes no further than this pod's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    /// The keyed hashes of the upstream's id, in its one spelling, and of the destination.
    pub(super) key: (String, DestinationTag),
    /// The id as the upstream wrote it, where that may be spelled in several ways.
    pub(super) written: Option<Personal<String>>,
    /// Where the message stands; `Sent` when it is still on its way.
    pub(super) state: MessageState,
    /// The network's or upstream's error; `None` for none.
    pub(super) error: Option<i32>,
    /// When that came about.
    pub(super) done_at: Timestamp,
}

/// A receipt lacks its id or its state: nothing can be done with it, now or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receipt names no {0}")]
pub(super) struct Incomplete(&'static str);

/// Reads a receipt that came in at `now`.
///
/// # Errors
/// When it has no id or no state that is known.
pub(super) fn read(
    delivery: &Delivery<'_>,
    format: IdFormat,
    key: &TagKey,
    now: Timestamp,
) -> Result<Receipt, Incomplete> {
    let text = String::from_utf8_lossy(delivery.content);
    let (mut id, mut state, mut error) = (None, None, None);
    for tlv in delivery.tlvs {
        match tlv.value() {
            Some(TlvValue::ReceiptedMessageId(value)) => id = Some(value.as_str()).filter(|id| !id.is_empty()),
            Some(TlvValue::MessageState(value)) => state = from_smpp(*value),
            Some(TlvValue::NetworkErrorCode(value)) => error = Some(i32::from(value.error_code)),
            _ => {}
        }
    }
    let id = id.or_else(|| field(&text, "id")).ok_or(Incomplete("id"))?;
    let one = message_id::from_receipt(id, format);
    // Blanks alone: it would find whatever the upstream gave no id.
    if one.is_empty() {
        return Err(Incomplete("id"));
    }
    let state = state.or_else(|| field(&text, "stat").and_then(from_word)).ok_or(Incomplete("state"))?;
    let error = error.or_else(|| field(&text, "err").and_then(number)).filter(|error| *error != 0);
    let done = field(&text, "done date").or_else(|| field(&text, "done_date")).and_then(date);
    Ok(Receipt {
        key: (key.id(&one), key.tag(delivery.from)),
        written: Some(Personal::new(id.to_owned())),
        state,
        error,
        done_at: done.filter(|done| (CLEARLY_LATE..OLDEST).contains(&now.duration_since(*done))).unwrap_or(now),
    })
}

fn from_smpp(state: SmppState) -> Option<MessageState> {
    Some(match state {
        // `ACCEPTED` is "read by customer service" in the standard and "taken by the network" in the field.
        SmppState::Scheduled | SmppState::Enroute | SmppState::Accepted => MessageState::Sent,
        SmppState::Delivered => MessageState::Delivered,
        SmppState::Expired => MessageState::Expired,
        SmppState::Deleted | SmppState::Undeliverable | SmppState::Skipped => MessageState::Failed,
        SmppState::Rejected => MessageState::Rejected,
        SmppState::Unknown => MessageState::Unknown,
        SmppState::Other(_) => return None,
    })
}

fn from_word(word: &str) -> Option<MessageState> {
    // Seven characters by the standard; the field writes shorter and longer ones.
    let word = word.to_ascii_uppercase();
    let starts = |begin: &str| word.starts_with(begin);
    Some(match () {
        () if starts("DELIV") => MessageState::Delivered,
        () if starts("EXPIR") => MessageState::Expired,
        () if starts("DELET") || starts("UNDEL") || starts("FAIL") || starts("SKIP") => MessageState::Failed,
        () if starts("REJ") => MessageState::Rejected,
        () if starts("UNKN") => MessageState::Unknown,
        () if starts("ACCEP") || starts("ENR") || starts("SCHED") || starts("BUFF") || starts("SENT") => {
            MessageState::Sent
        }
        () => return None,
    })
}

/// The word behind `name:`, in any case, before `text:`, which holds what a person wrote.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let end = position(text, "text").unwrap_or(text.len());
    let head = text.get(..end)?;
    let value = head.get(position(head, name)? + name.len() + 1..)?.trim_start();
    value.split_ascii_whitespace().next().filter(|_| !value.is_empty())
}

/// Where `name:` stands as a word of its own.
fn position(text: &str, name: &str) -> Option<usize> {
    let octets = text.as_bytes();
    (0..octets.len()).find(|at| {
        let begins = *at == 0 || octets[at - 1].is_ascii_whitespace();
        let rest = &octets[*at..];
        begins
            && rest.len() > name.len()
            && rest[..name.len()].eq_ignore_ascii_case(name.as_bytes())
            && rest[name.len()] == b':'
    })
}

/// An error as it is written: decimal, or hexadecimal where a letter is among the digits.
fn number(word: &str) -> Option<i32> {
    word.parse().ok().or_else(|| i32::from_str_radix(word, 16).ok()).filter(|number| *number >= 0)
}

/// `YYMMDDhhmm`, with seconds or with a century where the upstream gives them; read as UTC.
fn date(word: &str) -> Option<Timestamp> {
    if !word.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let word = if word.len() == 14 { word.get(2..)? } else { word };
    let pair = |at: usize| word.get(at..at + 2).and_then(|digits| digits.parse::<i8>().ok());
    let second = if word.len() == 12 { pair(10)? } else { 0 };
    if !matches!(word.len(), 10 | 12) {
        return None;
    }
    let local = DateTime::new(2000 + i16::from(pair(0)?), pair(2)?, pair(4)?, pair(6)?, pair(8)?, second, 0).ok()?;
    local.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests;
