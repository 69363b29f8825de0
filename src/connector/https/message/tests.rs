use std::str::FromStr as _;

use rusmpp::tlvs::MessageSubmissionRequestTlvValue as Tlv;
use rusmpp::types::{AnyOctetString, COctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, MessagePayload, RegisteredDelivery};
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-03-02T12:00:00Z";

fn submit(octets: &[u8], coding: DataCoding, esm_class: u8) -> SubmitSm {
    SubmitSm::builder()
        .source_addr_ton(Ton::Alphanumeric)
        .source_addr(COctetString::from_str("Budstikke").expect("an address"))
        .destination_addr(COctetString::from_str("4520123456").expect("an address"))
        .esm_class(EsmClass::from(esm_class))
        .data_coding(coding)
        .registered_delivery(RegisteredDelivery::from(1))
        .short_message(OctetString::from_slice(octets).expect("a text"))
        .build()
}

fn gsm(text: &str) -> Vec<u8> {
    text::split(text, Encoding::Gsm).expect("GSM").iter().flat_map(|part| part.reveal().clone()).collect()
}

fn read(submit: &SubmitSm) -> Message {
    Message::read(submit).expect("a message")
}

fn call(message: &Message, to: &[&Personal<String>]) -> Value {
    let written = message.content.call(to, NOW.parse().expect("a time")).expect("a call");
    serde_json::from_slice(&written).expect("JSON")
}

#[test]
fn a_text_is_written_as_text() {
    let message = read(&submit(&gsm("Hej på €n ø"), DataCoding::McSpecific, 0));
    assert_eq!(
        call(&message, &[&message.to]),
        json!({"type": "mt_text", "from": "Budstikke", "to": ["4520123456"], "body": "Hej på €n ø",
               "delivery_report": "per_recipient"})
    );
    let ucs2: Vec<u8> = "Hej 😀".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let message = read(&submit(&ucs2, DataCoding::Ucs2, 0));
    assert_eq!(call(&message, &[&message.to])["body"], "Hej 😀");
}

#[test]
fn a_long_text_is_one_message_of_several_parts() {
    let whole = "På rødgrød med fløde. ".repeat(20);
    let mut long = submit(&[], DataCoding::McSpecific, 0);
    long.push_tlv(Tlv::MessagePayload(MessagePayload::new(AnyOctetString::from_vec(gsm(&whole)))));
    let message = read(&long);
    assert_eq!(message.parts(), 3, "{} signs by 153", whole.chars().count());
    assert_eq!(call(&message, &[&message.to])["body"], whole.as_str());
}

#[test]
fn what_the_upstream_would_fill_in_stays_as_it_was_written() {
    let message = read(&submit(&gsm("Hej ${navn}, $5 og {x}"), DataCoding::McSpecific, 0));
    let call = call(&message, &[&message.to]);
    assert_eq!(call["body"], "Hej ${d}{navn}, $5 og {x}");
    assert_eq!(call["parameters"], json!({"d": {"default": "$"}}));
}

#[test]
fn a_header_goes_with_binary_content_alone() {
    let refused = |submit: &SubmitSm| Message::read(submit).err();
    let part = [&[5, 0, 3, 7, 2, 1], gsm("Hej").as_slice()].concat();
    assert_eq!(refused(&submit(&part, DataCoding::McSpecific, 0x40)), Some(CommandStatus::EsmeRinvesmclass));
    let mut sar = submit(&gsm("Hej"), DataCoding::McSpecific, 0);
    sar.push_tlv(Tlv::SarMsgRefNum(7));
    assert_eq!(refused(&sar), Some(CommandStatus::EsmeRinvesmclass));
    let coding = DataCoding::from(0x04);
    assert_eq!(refused(&submit(&[1, 2], coding, 0)), Some(INVALID_DATA_CODING));
    assert_eq!(refused(&submit(&[9, 5], coding, 0x40)), Some(CommandStatus::EsmeRinvmsglen));
    let message = read(&submit(&[4, 5, 2, 0x15, 0x81, 0xCA, 0xFE], coding, 0x40));
    let call = call(&message, &[&message.to]);
    assert_eq!([&call["type"], &call["udh"], &call["body"]], ["mt_binary", "0405021581", "yv4="]);
}

#[test]
fn names_beyond_ascii_come_back_from_the_gsm_alphabet() {
    let mut named = submit(&gsm("Hej"), DataCoding::McSpecific, 0);
    for (octets, name) in [(&b"S\x0clyst 24\0"[..], "Sølyst 24"), (b"\x5bble_@\0", "Äble_@")] {
        named.source_addr = COctetString::from_slice(octets).expect("an address");
        let message = read(&named);
        assert_eq!(call(&message, &[&message.to])["from"], name);
    }
}

#[test]
fn the_end_of_validity_is_told_unless_the_upstream_keeps_nothing_so_long() {
    let mut kept = submit(&gsm("Hej"), DataCoding::McSpecific, 0);
    for (validity, told) in [
        ("260302123000000+\0", json!("2026-03-02T12:30:00Z")),
        ("260302133000004+\0", json!("2026-03-02T12:30:00Z")),
        ("260302113000004-\0", json!("2026-03-02T12:30:00Z")),
        ("260305115900000+\0", json!("2026-03-05T11:59:00Z")),
        ("260309123000000+\0", Value::Null),
        ("000001000000000R\0", Value::Null),
        ("269999123000000+\0", Value::Null),
    ] {
        kept.validity_period = EmptyOrFullCOctetString::from_slice(validity.as_bytes()).expect("a time");
        let message = read(&kept);
        assert_eq!(call(&message, &[&message.to])["expire_at"], told, "{validity}");
    }
    let mut unasked = submit(&gsm("Hej"), DataCoding::McSpecific, 0);
    unasked.registered_delivery = RegisteredDelivery::from(0);
    let message = read(&unasked);
    let call = call(&message, &[&message.to]);
    assert_eq!((&call["expire_at"], &call["delivery_report"]), (&Value::Null, &json!("none")));
}

#[test]
fn what_is_alike_shares_a_call_and_each_number_is_in_it_once() {
    let to = |number: &str, text: &str| {
        let mut submit = submit(&gsm(text), DataCoding::McSpecific, 0);
        submit.destination_addr = COctetString::from_str(number).expect("an address");
        read(&submit)
    };
    let waiting = [to("451", "Hej"), to("452", "Hej"), to("451", "Hej"), to("453", "Goddag"), to("454", "Hej")];
    let chosen = |most| company(waiting.iter().map(|message| (message.content.digest(), message)), most);
    assert_eq!(chosen(10), [0, 1, 4]);
    assert_eq!(chosen(2), [0, 1]);
    assert_eq!(chosen(1), [0]);
    let together: Vec<_> = chosen(10).into_iter().map(|at| &waiting[at].to).collect();
    assert_eq!(call(&waiting[0], &together)["to"], json!(["451", "452", "454"]));
}
