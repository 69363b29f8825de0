//! Round trips, what real peers get wrong, and garbage.
use std::str::FromStr;

use proptest::prelude::*;
use rusmpp::pdus::{DeliverSm, SubmitSm, SubmitSmResp};
use rusmpp::tlvs::{MessageDeliveryRequestTlvValue, TlvValue};
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::{EsmClass, MessageState};

use super::*;

fn wire(status: CommandStatus, sequence: u32, pdu: &Pdu) -> BytesMut {
    let mut out = BytesMut::new();
    encode(&mut out, pdu.command_id(), status, sequence, Some(pdu));
    out
}

fn raw(id: CommandId, body: &[u8]) -> Frame {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(HEADER + body.len()).expect("a small body"));
    out.put_u32(id.into());
    out.put_u32(0);
    out.put_u32(9);
    out.put_slice(body);
    Frame::cut(&mut out).expect("a possible length").expect("a whole frame")
}

fn submit() -> SubmitSm {
    SubmitSm::builder()
        .source_addr(COctetString::from_str("Budstikke").expect("ASCII"))
        .destination_addr(COctetString::from_str("4520123456").expect("ASCII"))
        .esm_class(EsmClass::from(0))
        .short_message(OctetString::from_slice(b"hej").expect("short"))
        .build()
}

fn receipt() -> DeliverSm {
    let mut receipt = DeliverSm::builder()
        .source_addr(COctetString::from_str("4520123456").expect("ASCII"))
        .destination_addr(COctetString::from_str("1204").expect("ASCII"))
        .esm_class(EsmClass::from(4))
        .short_message(OctetString::from_slice(b"id:7 stat:DELIVRD").expect("short"))
        .build();
    receipt.push_tlv(MessageDeliveryRequestTlvValue::ReceiptedMessageId(COctetString::from_str("7F").expect("ASCII")));
    receipt.push_tlv(MessageDeliveryRequestTlvValue::MessageState(MessageState::Delivered));
    receipt
}

/// A deliver_sm body by hand: addresses, text and TLVs as given.
fn deliver_body(source: &[u8], text: &[u8], tlvs: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, 1];
    body.extend_from_slice(source);
    body.extend_from_slice(&[0, 1, 1]);
    body.extend_from_slice(b"1204\0");
    body.extend_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.push(u8::try_from(text.len()).expect("short"));
    body.extend_from_slice(text);
    body.extend_from_slice(tlvs);
    body
}

fn delivered(body: &[u8]) -> DeliverSm {
    match raw(CommandId::DeliverSm, body).decode() {
        Ok(Some(Pdu::DeliverSm(deliver))) => deliver,
        other => panic!("not a deliver_sm: {other:?}"),
    }
}

#[test]
fn what_is_encoded_decodes_to_the_same_however_it_is_cut_up() {
    let pdus = [
        Pdu::from(submit()),
        Pdu::from(receipt()),
        Pdu::from(SubmitSmResp::new(COctetString::from_str("a1").expect("ASCII"), Vec::new())),
        Pdu::EnquireLink,
        Pdu::Unbind,
    ];
    for pdu in pdus {
        let whole = wire(CommandStatus::EsmeRok, 77, &pdu);
        for split in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..split]);
            assert_eq!(Frame::cut(&mut buffer), Ok(None), "{split} octets are not enough");
            buffer.extend_from_slice(&whole[split..]);
            buffer.extend_from_slice(&whole[..4]);
            let frame = Frame::cut(&mut buffer).expect("a possible length").expect("a whole frame");
            assert_eq!((frame.id, frame.sequence), (pdu.command_id(), 77));
            assert_eq!(frame.decode(), Ok(Some(pdu.clone())));
            assert_eq!(&buffer[..], &whole[..4], "what follows stays");
        }
    }
}

#[test]
fn impossible_lengths_end_the_stream() {
    let cut = |length: u32| Frame::cut(&mut BytesMut::from(&[&length.to_be_bytes()[..], &[0; 12]].concat()[..]));
    assert_eq!(cut(0), Err(FrameError::TooShort(0)));
    assert_eq!(cut(15), Err(FrameError::TooShort(15)));
    assert_eq!(cut(u32::MAX), Err(FrameError::TooLong(u32::MAX)));
    // "GET / HTTP/1.1": somebody else's protocol is recognised by its first four octets.
    assert!(matches!(Frame::cut(&mut BytesMut::from(&b"GET "[..])), Err(FrameError::TooLong(_))));
}

#[test]
fn addresses_beyond_ascii_are_read() {
    let deliver = delivered(&deliver_body(b"Bl\xE5b\xE6r\0", b"hej", &[]));
    assert_eq!(deliver.source_addr.as_ref(), b"Bl?b?r\0");
    assert_eq!(deliver.short_message().as_ref(), b"hej");
}

#[test]
fn a_text_that_is_not_ascii_is_left_alone() {
    let deliver = delivered(&deliver_body(b"Bl\xE5\0", b"r\xF8dgr\xF8d\0", &[]));
    assert_eq!(deliver.short_message().as_ref(), b"r\xF8dgr\xF8d\0");
}

#[test]
fn receipts_with_untidy_tlvs_keep_their_meaning() {
    // receipted_message_id without NUL, a state of two octets, an unknown TLV, a TLV of no legal form, a stray octet.
    let tlvs = [
        &[0x00, 0x1E, 0, 2][..],
        b"7F",
        &[0x04, 0x27, 0, 2, 0, 2],
        &[0x14, 0xAA, 0, 1, 9],
        &[0x06, 0x0F, 0, 1, 9],
        &[0],
    ]
    .concat();
    let deliver = delivered(&deliver_body(b"4520123456\0", b"", &tlvs));
    let values: Vec<_> = deliver.tlvs().iter().filter_map(|tlv| tlv.value()).collect();
    assert!(matches!(values[0], TlvValue::ReceiptedMessageId(id) if id.as_ref() == b"7F\0"), "{values:?}");
    assert!(matches!(values[1], TlvValue::MessageState(MessageState::Delivered)), "{values:?}");
    assert!(matches!(values[2], TlvValue::Other { .. }), "{values:?}");
    assert_eq!(values.len(), 3, "{values:?}");
}

#[test]
fn a_tlv_that_claims_more_than_there_is_loses_only_itself() {
    let tlvs = [&[0x04, 0x27, 0, 1, 5][..], &[0x00, 0x1E, 0, 200, b'x']].concat();
    let deliver = delivered(&deliver_body(b"4520123456\0", b"id:1", &tlvs));
    assert_eq!(deliver.tlvs().len(), 1);
    assert_eq!(deliver.short_message().as_ref(), b"id:1");
}

#[test]
fn message_ids_without_nul_or_too_long_still_answer() {
    let id = |body: &[u8]| match raw(CommandId::SubmitSmResp, body).decode() {
        Ok(Some(Pdu::SubmitSmResp(response))) => response.message_id().as_ref().to_vec(),
        other => panic!("not a submit_sm_resp: {other:?}"),
    };
    assert_eq!(id(b"abc"), b"abc\0");
    assert_eq!(id(b"abc\0\0"), b"abc\0");
    assert_eq!(id(&[b'x'; 100]).len(), 65);
    assert_eq!(raw(CommandId::SubmitSmResp, b"").decode(), Ok(None));
}

#[test]
fn an_address_or_text_that_is_too_long_is_not_cut() {
    let long = [&[b'1'; 21][..], &[0]].concat();
    let refused = Err(PduError::Body(CommandId::DeliverSm.into()));
    assert_eq!(raw(CommandId::DeliverSm, &deliver_body(&long, b"", &[])).decode(), refused);
    let mut cut_off = deliver_body(b"45\0", b"hej", &[]);
    cut_off.pop();
    assert_eq!(raw(CommandId::DeliverSm, &cut_off).decode(), refused);
    assert_eq!(PduError::Body(CommandId::DeliverSm.into()).status(), CommandStatus::EsmeRxRAppn);
}

#[test]
fn times_of_a_wrong_length_mean_default() {
    let mut body = deliver_body(b"45\0", b"hej", &[]);
    // schedule_delivery_time is the first NUL after esm_class, protocol_id and priority_flag.
    let at = 3 + 3 + 3 + 5 + 3;
    body.splice(at..at, *b"20260101");
    assert_eq!(delivered(&body).schedule_delivery_time.as_ref(), b"\0");
}

#[test]
fn commands_nobody_knows_are_told_from_bodies_nobody_can_read() {
    let unknown = raw(CommandId::Other(0x0000_0666), b"??").decode();
    assert_eq!(unknown, Err(PduError::UnknownCommand(0x666)));
    assert_eq!(raw(CommandId::Other(0x8000_0666), b"??").decode(), Ok(None));
    assert_eq!(raw(CommandId::SubmitSm, b"").decode(), Err(PduError::Body(4)));
    assert_eq!(raw(CommandId::EnquireLink, b"stray").decode(), Ok(Some(Pdu::EnquireLink)));
}

#[test]
fn nothing_personal_is_printed() {
    let frame = Frame::cut(&mut wire(CommandStatus::EsmeRok, 1, &submit().into())).expect("possible");
    assert!(!format!("{frame:?}").contains("4520"), "{frame:?}");
}

/// Every command with a body, ours included.
const COMMANDS: [u32; 32] = [
    0x1,
    0x2,
    0x3,
    0x4,
    0x5,
    0x6,
    0x7,
    0x8,
    0x9,
    0xB,
    0x15,
    0x21,
    0x102,
    0x103,
    0x111,
    0x112,
    0x113,
    0x0001_0200,
    0x0001_0201,
    0x0001_0202,
    0x8000_0000,
    0x8000_0001,
    0x8000_0002,
    0x8000_0003,
    0x8000_0004,
    0x8000_0005,
    0x8000_0006,
    0x8000_0009,
    0x8000_0021,
    0x8000_0103,
    0x8000_0111,
    0x8000_0112,
];

proptest! {
    #[test]
    fn garbage_neither_panics_nor_stalls(garbage in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let mut buffer = BytesMut::from(&garbage[..]);
        let mut before = buffer.len() + 1;
        while buffer.len() < before {
            before = buffer.len();
            if let Ok(Some(frame)) = Frame::cut(&mut buffer) {
                let _ = frame.decode();
            }
        }
    }

    #[test]
    fn no_body_makes_a_command_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for command in COMMANDS {
            let _ = raw(command.into(), &body).decode();
        }
    }

    /// Bodies that are nearly right reach deeper than random ones.
    #[test]
    fn one_wrong_octet_never_makes_a_receipt_panic(at in 0_usize..80, octet: u8, cut in 0_usize..80) {
        let pdu = Pdu::from(receipt());
        let mut body = wire(CommandStatus::EsmeRok, 1, &pdu).split_off(HEADER);
        let length = body.len();
        body[at % length] = octet;
        for id in [CommandId::DeliverSm, CommandId::SubmitSm, CommandId::DataSm, CommandId::SubmitSmResp] {
            let _ = raw(id, &body).decode();
            let _ = raw(id, &body[..cut % length]).decode();
        }
    }

    /// Whatever a mended body reads as, writing it and reading it again gives the same.
    #[test]
    fn what_was_mended_is_sound(source in prop::collection::vec(1_u8.., 0..20), text in prop::collection::vec(any::<u8>(), 0..140),
                               tlvs in prop::collection::vec(any::<u8>(), 0..40)) {
        let body = deliver_body(&[&source[..], &[0]].concat(), &text, &tlvs);
        let deliver = delivered(&body);
        prop_assert_eq!(deliver.short_message().as_ref(), &text[..]);
        let again = wire(CommandStatus::EsmeRok, 1, &Pdu::from(deliver.clone())).split_off(HEADER);
        prop_assert_eq!(delivered(&again), deliver);
    }
}
