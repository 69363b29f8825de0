//! What an upstream's callback says: what became of a message, or what a handset wrote.
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::config::connector::IdFormat;
use crate::connector::delivery::{Delivery, Kind};
use crate::connector::message_id;
use crate::connector::receipt::Receipt;
use crate::connector::tag::TagKey;
use crate::domain::{MessageState, Personal};

/// SMPP data codings: what text is handed on in, and what binary content is.
const UCS2: u8 = 0x08;
const BINARY: u8 = 0x04;
/// How far the time that a callback names may lie from ours: back as far as an upstream tries, and ahead as clocks differ.
const BACK: SignedDuration = SignedDuration::from_hours(25);
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// A callback's content is not of the form that was agreed on: nothing can be done with it, now or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the callback has no {0} that can be read")]
pub(super) struct Unreadable(&'static str);

/// What a callback says.
#[derive(Debug)]
pub(super) enum Notice {
    /// What became of a message.
    Receipt(Receipt),
    /// An SMS from a handset.
    Inbound(Box<Inbound>),
    /// Something that nobody here asked for.
    Other,
}

/// An SMS from a handset.
#[derive(Debug)]
pub(super) struct Inbound {
    /// The upstream's own id of it.
    pub(super) id: String,
    /// When the upstream had it: the same each time that it tells.
    pub(super) received_at: Timestamp,
    from: Personal<String>,
    to: Personal<String>,
    coding: u8,
    has_header: bool,
    octets: Personal<Vec<u8>>,
}

impl Inbound {
    /// The same as it would come over SMPP.
    pub(super) fn delivery(&self) -> Delivery<'_> {
        Delivery {
            from: self.from.reveal(),
            to: self.to.reveal(),
            kind: Kind::Message,
            has_header: self.has_header,
            coding: self.coding,
            content: self.octets.reveal(),
            tlvs: &[],
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Callback {
    #[serde(rename = "recipient_delivery_report_sms")]
    Report(Report),
    #[serde(rename = "mo_text")]
    Text(Mobile),
    #[serde(rename = "mo_binary")]
    Binary(Mobile),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Report {
    batch_id: String,
    recipient: Personal<String>,
    status: String,
    #[serde(default)]
    code: Value,
    #[serde(default)]
    at: Value,
}

#[derive(Deserialize)]
struct Mobile {
    id: String,
    from: Personal<String>,
    to: Personal<String>,
    body: Personal<String>,
    #[serde(default)]
    udh: Option<Personal<String>>,
    #[serde(default)]
    received_at: Value,
}

/// Reads a callback that came in at `now`.
///
/// # Errors
/// When it lacks something without which nothing can be done.
pub(super) fn read(body: &[u8], key: &TagKey, now: Timestamp) -> Result<Notice, Unreadable> {
    match serde_json::from_slice(body).map_err(|_| Unreadable("content"))? {
        Callback::Report(report) => report.receipt(key, now).map(Notice::Receipt),
        Callback::Text(mobile) => {
            let octets = mobile.body.reveal().encode_utf16().flat_map(u16::to_be_bytes).collect();
            mobile.inbound(UCS2, false, octets, now)
        }
        Callback::Binary(mobile) => {
            let header = mobile.udh.as_ref().map(|udh| unhex(udh.reveal()).ok_or(Unreadable("udh"))).transpose()?;
            let content = BASE64_STANDARD.decode(mobile.body.reveal()).map_err(|_| Unreadable("body"))?;
            let has_header = header.as_ref().is_some_and(|header| !header.is_empty());
            mobile.inbound(BINARY, has_header, [header.unwrap_or_default(), content].concat(), now)
        }
        Callback::Other => Ok(Notice::Other),
    }
}

impl Report {
    fn receipt(self, key: &TagKey, now: Timestamp) -> Result<Receipt, Unreadable> {
        if self.batch_id.is_empty() {
            return Err(Unreadable("batch_id"));
        }
        let state = state(&self.status).ok_or(Unreadable("status"))?;
        let number = self.recipient.reveal();
        let id = message_id::from_receipt(&super::id(&self.batch_id, number), IdFormat::Same);
        let error = self.code.as_i64().and_then(|code| i32::try_from(code).ok());
        Ok(Receipt {
            key: (key.id(&id), key.tag(number)),
            written: None,
            state,
            error: error.filter(|code| *code > 0 && state != MessageState::Delivered),
            done_at: time(&self.at, now),
        })
    }
}

impl Mobile {
    fn inbound(self, coding: u8, has_header: bool, octets: Vec<u8>, now: Timestamp) -> Result<Notice, Unreadable> {
        if self.id.is_empty() {
            return Err(Unreadable("id"));
        }
        Ok(Notice::Inbound(Box::new(Inbound {
            received_at: time(&self.received_at, now),
            id: self.id,
            from: self.from,
            to: self.to,
            coding,
            has_header,
            octets: Personal::new(octets),
        })))
    }
}

/// The upstream's words, in any case.
fn state(word: &str) -> Option<MessageState> {
    Some(match word.to_ascii_lowercase().as_str() {
        "queued" | "dispatched" => MessageState::Sent,
        "delivered" => MessageState::Delivered,
        "expired" => MessageState::Expired,
        "rejected" => MessageState::Rejected,
        "failed" | "aborted" | "deleted" | "cancelled" | "canceled" => MessageState::Failed,
        "unknown" => MessageState::Unknown,
        _ => return None,
    })
}

/// The time that is named, where it can be; else `now`.
fn time(named: &Value, now: Timestamp) -> Timestamp {
    let named = named.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    named.filter(|at| (-AHEAD..BACK).contains(&now.duration_since(*at))).unwrap_or(now)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;
    use serde_json::json;

    use super::*;
    use crate::domain::Secret;
    use crate::domain::inbound::{Content, Languages, split_header};

    const NOW: &str = "2026-03-02T12:00:30Z";

    fn key() -> TagKey {
        TagKey::new(&Secret::new(BASE64_STANDARD.encode([7; 32]))).expect("a key")
    }

    fn read_json(callback: &Value) -> Result<Notice, Unreadable> {
        read(callback.to_string().as_bytes(), &key(), NOW.parse().expect("a time"))
    }

    fn report(change: &[(&str, Value)]) -> Value {
        let mut report = json!({
            "type": "recipient_delivery_report_sms", "batch_id": "01FC66621XXXXX119Z8PMV1QPQ", "recipient": "4520123456",
            "code": 0, "status": "Delivered", "at": "2026-03-02T12:00:20.500Z", "operator": "23801",
        });
        for (field, value) in change {
            report[field] = value.clone();
        }
        report
    }

    fn receipt(change: &[(&str, Value)]) -> Receipt {
        match read_json(&report(change)) {
            Ok(Notice::Receipt(receipt)) => receipt,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_report_names_the_message_by_batch_and_number() {
        let first = receipt(&[]);
        let id =
            message_id::from_answer(&super::super::id("01FC66621XXXXX119Z8PMV1QPQ", "+4520123456"), IdFormat::Same);
        assert_eq!(first.key, (key().id(&id), key().tag("4520123456")), "as the answer to the call did");
        assert_eq!((first.state, first.error), (MessageState::Delivered, None));
        assert_eq!(first.done_at.to_string(), "2026-03-02T12:00:20.5Z");
        assert_eq!(receipt(&[("recipient", json!("+4520123456"))]).key, first.key);
        assert_ne!(receipt(&[("recipient", json!("4520123457"))]).key.0, first.key.0);
        assert_ne!(receipt(&[("batch_id", json!("01FC66621XXXXX119Z8PMV1QPR"))]).key.0, first.key.0);
    }

    #[test]
    fn every_status_has_its_state_and_a_code_is_an_error() {
        for (status, state) in [
            ("Queued", MessageState::Sent),
            ("Dispatched", MessageState::Sent),
            ("DELIVERED", MessageState::Delivered),
            ("Expired", MessageState::Expired),
            ("Rejected", MessageState::Rejected),
            ("Aborted", MessageState::Failed),
            ("Deleted", MessageState::Failed),
            ("Failed", MessageState::Failed),
            ("Cancelled", MessageState::Failed),
            ("Unknown", MessageState::Unknown),
        ] {
            assert_eq!(receipt(&[("status", json!(status))]).state, state, "{status}");
        }
        assert_eq!(receipt(&[("status", json!("Aborted")), ("code", json!(402))]).error, Some(402));
        assert_eq!(receipt(&[("code", json!("none"))]).error, None);
    }

    #[test]
    fn a_time_that_cannot_be_is_now() {
        for odd in [json!("2026-03-02T12:06:00Z"), json!("2026-03-01T10:00:00Z"), json!("soon"), json!(null), json!(7)]
        {
            assert_eq!(receipt(&[("at", odd.clone())]).done_at.to_string(), NOW, "{odd}");
        }
    }

    #[test]
    fn what_lacks_something_is_of_no_use_and_what_nobody_asked_for_does_no_harm() {
        let unread = |callback: &Value| read_json(callback).err();
        assert_eq!(unread(&report(&[("status", json!("Splendid"))])), Some(Unreadable("status")));
        assert_eq!(unread(&report(&[("batch_id", json!(""))])), Some(Unreadable("batch_id")));
        assert_eq!(unread(&report(&[("recipient", json!(null))])), Some(Unreadable("content")));
        assert_eq!(unread(&json!({"batch_id": "1"})), Some(Unreadable("content")));
        assert_eq!(unread(&json!([])), Some(Unreadable("content")));
        let summary = json!({"type": "delivery_report_sms", "batch_id": "1", "statuses": []});
        assert!(matches!(read_json(&summary), Ok(Notice::Other)));
    }

    #[test]
    fn what_a_handset_wrote_is_read_as_it_would_come_over_smpp() {
        let mobile = |kind: &str, body: &str, udh: Value| {
            json!({"type": kind, "id": "01FC66621VHDBN119Z8PMV1QPU", "from": "4520123456", "to": "1204", "body": body,
                   "udh": udh, "operator_id": "23801", "received_at": "2026-03-02T11:59:00Z"})
        };
        let inbound = |callback: &Value| match read_json(callback) {
            Ok(Notice::Inbound(inbound)) => inbound,
            other => panic!("{other:?}"),
        };
        let text = inbound(&mobile("mo_text", "Hej på 😀", json!(null)));
        let delivery = text.delivery();
        assert_eq!((delivery.from, delivery.to, delivery.has_header), ("4520123456", "1204", false));
        assert_eq!(Content::read(delivery.content, delivery.coding, Languages::default()).text(), Some("Hej på 😀"));
        assert_eq!(text.received_at.to_string(), "2026-03-02T11:59:00Z");

        let binary = inbound(&mobile("mo_binary", "yv4=", json!("050003070201")));
        let delivery = binary.delivery();
        assert!(delivery.has_header);
        let (header, octets) = split_header(delivery.content);
        assert_eq!((header.segment.expect("a part").reference, octets), (7, &[0xCA, 0xFE][..]));
        assert!(matches!(Content::read(octets, delivery.coding, header.languages), Content::Octets(_)));

        assert_eq!(read_json(&mobile("mo_binary", "%", json!(null))).err(), Some(Unreadable("body")));
        assert_eq!(read_json(&mobile("mo_binary", "yv4=", json!("0g"))).err(), Some(Unreadable("udh")));
    }
}
