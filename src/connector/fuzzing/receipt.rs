//! Receipts by text, by parameters and by callback, and what is made of ids that find no message.
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, ToSpan as _};
use rusmpp::tlvs::TlvValue;
use tokio::sync::watch;

use super::{decoded, key, now};
use crate::config::connector::{ConnectorConfig, IdFormat};
use crate::connector::delivery::{Delivery, Kind};
use crate::connector::receipt::{self, Receipt};
use crate::connector::spelling::Spelling;
use crate::connector::{https, message_id};
use crate::domain::{MessageState, Secret};
use crate::pki::Identity;
use crate::smpp::CommandId;
use crate::smpp::vendor::DestinationTag;

const FORMATS: [IdFormat; 3] = [IdFormat::Same, IdFormat::HexThenDecimal, IdFormat::DecimalThenHex];

/// The first octet says how the rest is to be taken, and how the upstream writes ids.
pub(crate) fn receipt(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let format = FORMATS[usize::from(how >> 4) % FORMATS.len()];
    match how % 5 {
        0 => by_text(rest, format),
        1 => by_pdu(CommandId::DeliverSm, rest, format),
        2 => by_pdu(CommandId::DataSm, rest, format),
        3 => {
            written_by_us(rest, format);
            spelling(rest, format);
        }
        _ => {
            let Some(key) = key() else { return };
            if let Some(receipt) = https::fuzzing::receipt(rest, &key, now()) {
                holds(&receipt, SignedDuration::from_hours(25), SignedDuration::from_mins(5));
            }
        }
    }
}

fn by_text(content: &[u8], format: IdFormat) {
    let Some(key) = key() else { return };
    let read = |content| receipt::read(&of(content), format, &key, now());
    let first = read(content);
    // Neither names nor words nor ids have a case.
    let loud = read(&content.to_ascii_uppercase());
    match (&first, &loud) {
        (Ok(first), Ok(loud)) => {
            holds(first, SignedDuration::from_hours(4 * 24), SignedDuration::ZERO);
            assert_eq!((&first.key, first.state, first.error), (&loud.key, loud.state, loud.error));
            assert_eq!(first.done_at, loud.done_at);
        }
        (first, loud) => assert_eq!(first, loud, "its case decides whether it is read"),
    }
}

fn by_pdu(id: CommandId, body: &[u8], format: IdFormat) {
    let (Some(pdu), Some(key)) = (decoded(id, body), key()) else { return };
    let delivery = Delivery::read(&pdu);
    assert!(delivery.is_some(), "a delivery that is none");
    let Some(delivery) = delivery else { return };
    let Ok(read) = receipt::read(&delivery, format, &key, now()) else { return };
    holds(&read, SignedDuration::from_hours(4 * 24), SignedDuration::ZERO);
    // The last one counts, and an empty one is none.
    let named = delivery.tlvs.iter().rev().find_map(|tlv| match tlv.value() {
        Some(TlvValue::ReceiptedMessageId(id)) => Some(id.as_str()),
        _ => None,
    });
    if let Some(named) = named.filter(|id| !id.is_empty()) {
        assert_eq!(read.key.0, key.id(&message_id::from_receipt(named, format)), "the parameter goes before the text");
        assert_eq!(delivery.kind == Kind::Acknowledgement, acknowledges(&pdu), "it names a message and is no receipt");
    }
}

fn acknowledges(pdu: &rusmpp::Pdu) -> bool {
    let esm_class = match pdu {
        rusmpp::Pdu::DeliverSm(pdu) => u8::from(pdu.esm_class),
        rusmpp::Pdu::DataSm(pdu) => u8::from(pdu.esm_class),
        _ => return false,
    };
    matches!((esm_class >> 2) & 0b1111, 0b0010 | 0b0100 | 0b0110)
}

/// What holds of every receipt: who it finds is decided by two hashes, and its time is near.
fn holds(receipt: &Receipt, oldest: SignedDuration, ahead: SignedDuration) {
    assert_eq!(receipt.key.0.len(), 16, "an id that is none finds whatever has none");
    assert!(receipt.key.1.0 <= u32::from(u16::MAX), "more of a number is kept than 16 bits");
    assert!(receipt.error.is_none_or(|error| error > 0));
    assert!((-ahead..=oldest).contains(&now().duration_since(receipt.done_at)), "a time that cannot be");
    // Whatever it was made of.
    assert!(format!("{receipt:?}").len() < 260, "more is printed than a receipt has");
}

/// The text of the standard's appendix B, as the simulator writes it: what is written is what is read.
fn written_by_us(data: &[u8], format: IdFormat) {
    let (Some((&[stat, error, ago, upper], id)), Some(key)) = (data.split_first_chunk(), key()) else { return };
    let words = [
        ("DELIVRD", MessageState::Delivered),
        ("EXPIRED", MessageState::Expired),
        ("DELETED", MessageState::Failed),
        ("UNDELIV", MessageState::Failed),
        ("ACCEPTD", MessageState::Sent),
        ("UNKNOWN", MessageState::Unknown),
        ("REJECTD", MessageState::Rejected),
    ];
    let (word, state) = words[usize::from(stat) % words.len()];
    let id: u128 = id.iter().take(16).fold(0, |number, octet| number << 8 | u128::from(*octet));
    // Back in whole hours, up to ten days: what is too old counts as now.
    let hours = i64::from(ago);
    let Ok(done) = now().checked_sub(hours.hours()) else { return };
    let date = done.strftime("%y%m%d%H%M%S");
    let (answered, told) = match format {
        IdFormat::Same => (id.to_string(), id.to_string()),
        IdFormat::HexThenDecimal => (format!("{id:x}"), id.to_string()),
        IdFormat::DecimalThenHex => (id.to_string(), format!("{id:08X}")),
    };
    let text = format!(
        "id:{told} sub:001 dlvrd:001 submit date:{date} done date:{date} stat:{word} err:{error:03} text:id:9 stat:X"
    );
    let text = if upper.is_multiple_of(2) { text } else { text.to_ascii_uppercase() };
    let read = receipt::read(&of(text.as_bytes()), format, &key, now());
    assert!(read.is_ok(), "what we write cannot be read");
    let Ok(read) = read else { return };
    let expected_error = Some(i32::from(error)).filter(|error| *error != 0);
    assert_eq!((read.state, read.error), (state, expected_error));
    assert_eq!(read.key, (key.id(&message_id::from_answer(&answered, format)), key.tag("4520123456")));
    let expected = if (1..96).contains(&hours) { done } else { now() };
    assert_eq!(read.done_at, expected, "{hours} hours ago");
}

/// Receipts that find nothing, against answers: nothing is proposed that is set already, or after too few.
fn spelling(data: &[u8], format: IdFormat) {
    let config = config(format);
    assert!(config.is_some(), "a configuration that is none");
    let Some(config) = config else { return };
    let (_config, following) = watch::channel(Arc::new(config));
    let spelling = Spelling::new(following);
    let mut strange = 0;
    for step in data.chunks(3).take(200) {
        let &[what, number, tag] = step else { break };
        let (id, tag) = (u32::from(number) * 7_919, DestinationTag(u32::from(tag % 4)));
        let id = if what & 8 == 0 { id.to_string() } else { format!("{id:x}") };
        match what % 8 {
            0..4 => spelling.answered(&id, tag),
            4..7 => {
                spelling.strange(&id, tag);
                strange += 1;
            }
            _ => {
                spelling.familiar();
                strange = 0;
            }
        }
        let proposed = spelling.proposed();
        assert_ne!(proposed, Some(format), "what is set is proposed");
        assert!(proposed.is_none() || strange >= 3, "proposed after {strange}");
    }
    assert!(format!("{spelling:?}").len() < 4_000, "ids are printed");
}

fn of(content: &[u8]) -> Delivery<'_> {
    Delivery { from: "4520123456", to: "1204", kind: Kind::Receipt, has_header: false, coding: 0, content, tlvs: &[] }
}

fn config(id_format: IdFormat) -> Option<ConnectorConfig> {
    let settings = serde_json::json!({
        "routeId": 1, "name": "one", "host": "localhost", "port": 2775, "bind": "transceiver", "binds": 1,
        "rateMillis": 1000, "window": 1, "connectMillis": 1, "bindMillis": 1, "responseMillis": 1, "enquireMillis": 1,
        "reconnectMinMillis": 1, "reconnectMaxMillis": 1, "idFormat": "same",
    });
    let mut settings: crate::config::connector::Settings = serde_json::from_value(settings).ok()?;
    settings.id_format = id_format;
    let secret = || Secret::new(BASE64_STANDARD.encode([7; 32]));
    Some(ConnectorConfig {
        settings,
        database_url: secret(),
        database_ca: "none".into(),
        tag_key: secret(),
        system_id: secret(),
        password: secret(),
        callback_secret: None,
        upstream_ca: None,
        identity: Identity { certificate: String::new(), key: secret(), authority: String::new() },
    })
}
