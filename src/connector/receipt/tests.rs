use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use rusmpp::pdus::DeliverSm;
use rusmpp::tlvs::MessageDeliveryRequestTlvValue as Tlv;
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::{ErrorCodeNetworkType, NetworkErrorCode};

use super::*;
use crate::connector::delivery::Kind;
use crate::domain::Secret;

const NOW: &str = "2026-03-02T12:00:30Z";

fn key() -> TagKey {
    TagKey::new(&Secret::new(BASE64_STANDARD.encode([7; 32]))).expect("a key")
}

fn receipt(text: &str) -> DeliverSm {
    DeliverSm::builder()
        .esm_class(0x04.into())
        .source_addr(COctetString::from_slice(b"4512345678\0").expect("an address"))
        .short_message(OctetString::from_slice(text.as_bytes()).expect("a text"))
        .build()
}

fn read_pdu(pdu: DeliverSm, format: IdFormat) -> Result<Receipt, Incomplete> {
    let pdu = pdu.into();
    read(&Delivery::read(&pdu).expect("a delivery"), format, &key(), NOW.parse().expect("a time"))
}

fn read_text(text: &str) -> Result<Receipt, Incomplete> {
    read_pdu(receipt(text), IdFormat::Same)
}

#[test]
fn the_form_of_the_standard_is_read() {
    let read = read_text(
        "id:0000012345 sub:001 dlvrd:001 submit date:2603021159 done date:2603021200 stat:DELIVRD err:000 text:Hej",
    );
    let expected = Receipt {
        key: (key().id("12345"), key().tag("+4512345678")),
        written: Some(Personal::new("0000012345".to_owned())),
        state: MessageState::Delivered,
        error: None,
        done_at: NOW.parse().expect("a time"),
    };
    assert_eq!(read, Ok(expected));
}

#[test]
fn other_forms_are_read_too() {
    for (text, state, error) in [
        (
            "ID:77 SUB:001 DLVRD:001 SUBMIT DATE:2603021159 DONE DATE:2603021200 STAT:UNDELIV ERR:034",
            "failed",
            Some(34),
        ),
        ("id: 77 stat: DELIVERED", "delivered", None),
        ("stat:EXPIRED id:77 err:0A1", "expired", Some(0xA1)),
        ("id:77\tstat:REJECTD\terr:008", "rejected", Some(8)),
        ("id:77 stat:ENROUTE", "sent", None),
        ("id:77 stat:ACCEPTD", "sent", None),
        ("id:77 stat:UNKNOWN err:", "unknown", None),
        ("id:77 stat:DELETED err:xyz", "failed", None),
    ] {
        let read = read_text(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(read.key.0, key().id("77"), "{text}");
        assert_eq!(serde_json::to_value(read.state).expect("a word"), state, "{text}");
        assert_eq!(read.error, error, "{text}");
    }
}

#[test]
fn parameters_win_over_the_text() {
    let mut pdu = receipt("id:999 stat:ENROUTE err:001");
    pdu.push_tlv(Tlv::ReceiptedMessageId(COctetString::from_slice(b"ABC\0").expect("an id")));
    pdu.push_tlv(Tlv::MessageState(SmppState::Undeliverable));
    pdu.push_tlv(Tlv::NetworkErrorCode(NetworkErrorCode::new(ErrorCodeNetworkType::Gsm, 27)));
    let read = read_pdu(pdu, IdFormat::Same).expect("a receipt");
    assert_eq!((read.key.0, read.state, read.error), (key().id("abc"), MessageState::Failed, Some(27)));
}

#[test]
fn what_a_person_wrote_is_not_taken_for_a_field() {
    let read = read_text("id:77 stat:UNDELIV err:001 text:id:88 stat:DELIVRD").expect("a receipt");
    assert_eq!((read.key.0, read.state), (key().id("77"), MessageState::Failed));
    assert_eq!(read_text("id:77 text:stat:DELIVRD"), Err(Incomplete("state")));
    assert_eq!(read_text("paid:77 stat:DELIVRD"), Err(Incomplete("id")));
}

#[test]
fn an_incomplete_receipt_is_refused() {
    assert_eq!(read_text(""), Err(Incomplete("id")));
    assert_eq!(read_text("stat:DELIVRD"), Err(Incomplete("id")));
    assert_eq!(read_text("id:77"), Err(Incomplete("state")));
    assert_eq!(read_text("id:77 stat:WHATEVER"), Err(Incomplete("state")));
    assert_eq!(read_text("id:77 stat:\u{e9}"), Err(Incomplete("state")));
}

#[test]
fn an_id_of_blanks_is_none() {
    let mut pdu = receipt("stat:DELIVRD");
    pdu.push_tlv(Tlv::ReceiptedMessageId(COctetString::from_slice(b" \0").expect("an id")));
    assert_eq!(read_pdu(pdu, IdFormat::Same), Err(Incomplete("id")));
}

#[test]
fn hexadecimal_ids_become_decimal() {
    let read = read_pdu(receipt("id:075BCD15 stat:DELIVRD"), IdFormat::DecimalThenHex).expect("a receipt");
    assert_eq!(read.key.0, key().id("123456789"));
}

#[test]
fn the_upstreams_time_counts_only_when_clearly_late() {
    let done = |date: &str| {
        let read = read_text(&format!("id:77 done date:{date} stat:DELIVRD")).expect("a receipt");
        read.done_at.to_string()
    };
    assert_eq!(done("2603021158"), NOW);
    assert_eq!(done("2603020700"), "2026-03-02T07:00:00Z");
    assert_eq!(done("260302070015"), "2026-03-02T07:00:15Z");
    assert_eq!(done("20260302070015"), "2026-03-02T07:00:15Z");
    // In a zone ahead of ours, or nonsense.
    for odd in ["2603021300", "2602010000", "2613450000", "26030207", "x"] {
        assert_eq!(done(odd), NOW, "{odd}");
    }
}

#[test]
fn every_state_is_read_from_text_and_from_parameters() {
    use MessageState::{Delivered, Expired, Failed, Rejected, Sent, Unknown};
    for (smpp, words, state) in [
        (SmppState::Scheduled, &["SCHEDLD", "SCHEDULED"][..], Sent),
        (SmppState::Enroute, &["ENROUTE", "Enroute", "BUFFRED", "SENT"], Sent),
        (SmppState::Accepted, &["ACCEPTD", "ACCEPTED"], Sent),
        (SmppState::Delivered, &["DELIVRD", "delivrd", "DELIVERED"], Delivered),
        (SmppState::Expired, &["EXPIRED"], Expired),
        (SmppState::Deleted, &["DELETED"], Failed),
        (SmppState::Undeliverable, &["UNDELIV", "UNDELIVERABLE", "FAILED"], Failed),
        (SmppState::Skipped, &["SKIPPED"], Failed),
        (SmppState::Rejected, &["REJECTD", "REJECTED"], Rejected),
        (SmppState::Unknown, &["UNKNOWN"], Unknown),
    ] {
        for word in words {
            assert_eq!(read_text(&format!("id:77 stat:{word} err:000")).expect("a receipt").state, state, "{word}");
        }
        let mut pdu = receipt("");
        pdu.push_tlv(Tlv::ReceiptedMessageId(COctetString::from_slice(b"77\0").expect("an id")));
        pdu.push_tlv(Tlv::MessageState(smpp));
        let read = read_pdu(pdu, IdFormat::Same).expect("a receipt");
        assert_eq!((read.key.0, read.state), (key().id("77"), state), "{smpp:?}");
    }
    let mut pdu = receipt("id:77 stat:DELIVRD");
    pdu.push_tlv(Tlv::MessageState(SmppState::Other(99)));
    assert_eq!(read_pdu(pdu, IdFormat::Same).expect("a receipt").state, Delivered, "a state that nobody knows");
}

/// The fields of the standard's text, each in its own words; in any order and any case, with any blanks between.
fn written() -> impl Strategy<Value = (String, &'static str, Option<i32>)> {
    let blank = prop_oneof![Just(" "), Just("  "), Just("\t"), Just("\r\n")];
    let word = prop::sample::select(vec![
        ("DELIVRD", "delivered"),
        ("UNDELIV", "failed"),
        ("EXPIRED", "expired"),
        ("REJECTD", "rejected"),
    ]);
    let fields = (word, 0_i32..1_000, any::<bool>()).prop_flat_map(|((stat, state), error, lower)| {
        let fields = vec![
            "id:0077".to_owned(),
            "sub:001".to_owned(),
            "dlvrd:001".to_owned(),
            "submit date:2603021159".to_owned(),
            "done date:2603021200".to_owned(),
            format!("stat:{stat}"),
            format!("err:{error:03}"),
        ];
        let fields = fields.into_iter().map(|field| if lower { field.to_lowercase() } else { field }).collect();
        (Just(fields).prop_shuffle(), Just(state), Just(Some(error).filter(|error| *error != 0)))
    });
    (fields, blank, ".{0,40}").prop_map(|((fields, state, error), blank, text): ((Vec<String>, _, _), _, _)| {
        (format!("{}{blank}text:{text}", fields.join(blank)), state, error)
    })
}

proptest! {
    #[test]
    fn a_receipt_reads_the_same_in_any_order_and_case((text, state, error) in written()) {
        let content = text.as_bytes();
        let delivery = Delivery { from: "4512345678", to: "", kind: Kind::Receipt, has_header: false, coding: 0, content, tlvs: &[] };
        let read = read(&delivery, IdFormat::Same, &key(), NOW.parse().expect("a time")).expect("a receipt");
        prop_assert_eq!(read.key.0, key().id("77"));
        prop_assert_eq!(serde_json::to_value(read.state).expect("a word"), state);
        prop_assert_eq!(read.error, error);
    }

    #[test]
    fn no_text_makes_a_receipt_panic(octets in prop::collection::vec(any::<u8>(), 0..300), nearly in "(id|stat|err|done date|text):[ -~é]{0,20}( (id|stat|err|done date|text):[ -~é]{0,20}){0,5}") {
        for content in [&octets[..], nearly.as_bytes()] {
            for format in [IdFormat::Same, IdFormat::HexThenDecimal, IdFormat::DecimalThenHex] {
                let delivery = Delivery { from: "", to: "", kind: Kind::Receipt, has_header: false, coding: 0, content, tlvs: &[] };
                let _ = read(&delivery, format, &key(), NOW.parse().expect("a time"));
            }
        }
    }
}
