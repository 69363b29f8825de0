use proptest::prelude::*;
use rusmpp::tlvs::TlvValue;

use super::*;
use crate::domain::{Msisdn, inbound};

const UDH8: Style = Style { alphabet: Alphabet::Gsm7, concatenation: Concatenation::Udh8, receipts: Receipts::All };

fn parts(from: &str, text: &str, style: Style) -> Parts {
    parts_of(&body(from, text), style)
}

fn parts_of(body: &Body, style: Style) -> Parts {
    Parts::of(body, style).expect("a text")
}

fn body(from: &str, text: &str) -> Body {
    Body {
        to: Msisdn::from_digits("4520123456").expect("E.164"),
        from: SenderId::parse(from).expect("a sender id"),
        text: Personal::new(text.to_owned()),
        encoding: Encoding::of(text),
        flash: false,
    }
}

fn expiry() -> Timestamp {
    "2026-02-03T04:05:06.7Z".parse().expect("a timestamp")
}

fn id() -> MessageId {
    MessageId(uuid::Uuid::from_u128(0x1_2A2B))
}

#[test]
fn a_short_text_is_one_plain_submit() {
    let submit = parts("4520000000", "Håndværk 5 €", UDH8).submit(id(), 1, expiry()).expect("a submit");
    assert_eq!(submit.short_message().as_ref(), b"H\x0Fndv\x1Drk 5 \x1B\x65");
    assert_eq!(u8::from(submit.data_coding), 0);
    assert_eq!(u8::from(submit.esm_class), 0);
    assert_eq!((submit.source_addr_ton, submit.source_addr_npi), (Ton::International, Npi::Isdn));
    assert_eq!((submit.dest_addr_ton, submit.dest_addr_npi), (Ton::International, Npi::Isdn));
    assert_eq!(submit.destination_addr.as_str(), "4520123456");
    assert_eq!(submit.validity_period.as_str(), "260203040506000+");
    assert_eq!(u8::from(submit.registered_delivery), 1);
    assert_eq!(MessagePart::find(submit.tlvs()), Some(MessagePart { message: id().0, part: 1, parts: 1 }));
}

#[test]
fn a_long_text_is_concatenated_by_header() {
    let parts = parts("Sølyst", &"ж".repeat(140), UDH8);
    assert_eq!(parts.count(), 3);
    for (part, units) in [(1, 67), (2, 67), (3, 6)] {
        let submit = parts.submit(id(), part, expiry()).expect("a submit");
        assert_eq!(u8::from(submit.esm_class), 0x40);
        let octets = submit.short_message().as_ref();
        assert_eq!(octets[..6], [5, 0, 3, 0x2B, 3, part]);
        assert_eq!(octets.len(), 6 + 2 * units);
        assert_eq!(u8::from(submit.data_coding), 8);
    }
    assert_eq!(parts.submit(id(), 0, expiry()).expect_err("no part 0"), Error::Pick(0));
    assert_eq!(parts.submit(id(), 4, expiry()).expect_err("no part 4"), Error::Pick(4));
}

#[test]
fn a_flash_message_has_class_0_and_the_same_text() {
    for (text, coding) in [("Hej", 0x10), ("Hej ж", 0x18), (&*"x".repeat(161), 0x10)] {
        let flash = parts_of(&Body { flash: true, ..body("Sølyst", text) }, UDH8);
        let other = parts("Sølyst", text, UDH8);
        assert_eq!(flash.count(), other.count());
        for part in 1..=flash.count() {
            let submits = [&flash, &other].map(|parts| parts.submit(id(), part, expiry()).expect("a submit"));
            assert_eq!(u8::from(submits[0].data_coding), coding);
            assert_eq!(submits[0].short_message().as_ref(), submits[1].short_message().as_ref());
        }
    }
    let packed = Style { alphabet: Alphabet::Gsm7Packed, ..UDH8 };
    let submit =
        parts_of(&Body { flash: true, ..body("Sølyst", "Hej") }, packed).submit(id(), 1, expiry()).expect("a submit");
    assert_eq!((u8::from(submit.data_coding), submit.short_message().as_ref().len()), (0x10, 3));
}

#[test]
fn a_long_reference_leaves_less_room() {
    let long = "x".repeat(2 * 153);
    let style = Style { concatenation: Concatenation::Udh16, ..UDH8 };
    let parts = parts("Budstikke", &long, style);
    assert_eq!(parts.count(), 3);
    let submit = parts.submit(id(), 1, expiry()).expect("a submit");
    assert_eq!(submit.short_message().as_ref()[..7], [6, 8, 4, 0x2A, 0x2B, 3, 1]);
    assert_eq!(submit.short_message().as_ref().len(), 7 + 152);
}

#[test]
fn parameters_tie_parts_together_where_a_route_wants_that() {
    let style = Style { concatenation: Concatenation::Sar, ..UDH8 };
    let submit = parts("Budstikke", &"x".repeat(161), style).submit(id(), 2, expiry()).expect("a submit");
    assert_eq!(u8::from(submit.esm_class), 0);
    assert_eq!(submit.short_message().as_ref().len(), 8);
    let has = |wanted: TlvValue| submit.tlvs().iter().any(|tlv| tlv.value() == Some(&wanted));
    assert!(
        has(TlvValue::SarMsgRefNum(0x2A2B)) && has(TlvValue::SarTotalSegments(2)) && has(TlvValue::SarSegmentSeqnum(2))
    );
}

#[test]
fn one_payload_carries_it_all_where_a_route_wants_that() {
    let style = Style { concatenation: Concatenation::Payload, ..UDH8 };
    let parts = parts("Budstikke", &"x".repeat(400), style);
    assert_eq!(parts.count(), 1);
    let submit = parts.submit(id(), 1, expiry()).expect("a submit");
    assert!(submit.short_message().as_ref().is_empty());
    let payload = submit.tlvs().iter().find_map(|tlv| match tlv.value() {
        Some(TlvValue::MessagePayload(payload)) => Some(payload.value.as_ref().len()),
        _ => None,
    });
    assert_eq!(payload, Some(400));
}

#[test]
fn an_upstreams_alphabet_is_used_as_far_as_it_goes() {
    let latin = Style { alphabet: Alphabet::Latin1, ..UDH8 };
    let submit = parts("Budstikke", "Sølyst", latin).submit(id(), 1, expiry()).expect("a submit");
    assert_eq!((submit.short_message().as_ref(), u8::from(submit.data_coding)), (b"S\xF8lyst".as_slice(), 0));
    let submit = parts("Budstikke", "5 €", latin).submit(id(), 1, expiry()).expect("a submit");
    assert_eq!((submit.short_message().as_ref(), u8::from(submit.data_coding)), (b"\x005\x00 \x20\xAC".as_slice(), 8));
    let packed = Style { alphabet: Alphabet::Gsm7Packed, ..UDH8 };
    let submit = parts("Budstikke", "hellohello", packed).submit(id(), 1, expiry()).expect("a submit");
    assert_eq!(submit.short_message().as_ref().len(), 9);
}

#[test]
fn sender_ids_are_told_apart() {
    let name = SenderId::Name("Sølyst 24".into());
    assert_eq!(source(&name), (Ton::Alphanumeric, Npi::Unknown, b"S\x0Clyst 24".to_vec()));
    assert_eq!(source(&SenderId::Number("1231".into())).0, Ton::Unknown);
    assert_eq!(source(&SenderId::Name("a@b".into())).2, b"a@b");
}

/// The text of a message as the handset puts it together from what goes on the wire.
fn as_read(body: &Body, style: Style) -> String {
    let parts = parts_of(body, style);
    let mut text = String::new();
    for part in 1..=parts.count() {
        let submit = parts.submit(id(), part, expiry()).expect("a submit");
        let payload = submit.tlvs().iter().find_map(|tlv| match tlv.value() {
            Some(TlvValue::MessagePayload(payload)) => Some(payload.value.as_ref()),
            _ => None,
        });
        let whole = payload.unwrap_or(submit.short_message().as_ref());
        let (header, octets) = if u8::from(submit.esm_class) & 0x40 == 0 {
            (inbound::Header::default(), whole)
        } else {
            inbound::split_header(whole)
        };
        if let Some(segment) = header.segment {
            assert_eq!((segment.number, segment.count), (part, parts.count()));
        }
        // Upstreams that take Latin 1 read data coding 0 as that.
        let latin = style.alphabet == Alphabet::Latin1 && u8::from(submit.data_coding) == 0;
        let coding = if latin { 3 } else { submit.data_coding.into() };
        text.push_str(inbound::Content::read(octets, coding, header.languages).text().expect("a text"));
    }
    text
}

proptest! {
    #[test]
    fn whatever_is_written_is_what_is_read(
        text in prop_oneof![
            "[a-zA-ZæøåÆØÅ0-9 .,!?€{}\\[\\]~|^\n]{1,700}",
            "[a-zæøå😀🇩🇰жш€]{1,400}",
            prop::collection::vec(any::<char>(), 1..400).prop_map(|signs| signs.into_iter().collect::<String>()),
        ],
        latin: bool,
        concatenation in prop::sample::select(vec![
            Concatenation::Udh8, Concatenation::Udh16, Concatenation::Sar, Concatenation::Payload,
        ]),
    ) {
        let alphabet = if latin { Alphabet::Latin1 } else { Alphabet::Gsm7 };
        let style = Style { alphabet, concatenation, ..UDH8 };
        prop_assert_eq!(as_read(&body("Budstikke", &text), style), text);
    }
}
