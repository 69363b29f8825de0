//! What an SMSC reads of a submit, and the receipt that it sends for it.
use std::str::FromStr;

use rusmpp::encode::owned::Encode;
use rusmpp::pdus::{DeliverSm, SubmitSm};
use rusmpp::tlvs::{MessageDeliveryRequestTlvValue, TlvValue};
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, MessageState};

use crate::simulator::behaviour::{Behaviour, Receipts};
use crate::simulator::record::now_ms;

/// The receipt of an accepted submit, if it asked for one and one is to be sent.
pub(super) fn receipt(submit: &SubmitSm, message: u64, behaviour: &Behaviour) -> Option<DeliverSm> {
    let delivered = ("DELIVRD", MessageState::Delivered, 0);
    let undelivered = ("UNDELIV", MessageState::Undeliverable, 27);
    let (word, state, error) = match (behaviour.receipts, message % 20) {
        (Receipts::None, _) => return None,
        (Receipts::Failed, _) | (Receipts::Mix, 3 | 13) => undelivered,
        (Receipts::Mix, 8) => ("EXPIRED", MessageState::Expired, 8),
        (Receipts::Mix, 18) => ("REJECTD", MessageState::Rejected, 11),
        (Receipts::Delivered | Receipts::Mix, _) => delivered,
    };
    match u8::from(submit.registered_delivery) & 3 {
        1 => {}
        2 if state != MessageState::Delivered => {}
        3 if state == MessageState::Delivered => {}
        _ => return None,
    }
    let date = jiff::Timestamp::from_millisecond(now_ms()).ok()?.strftime("%y%m%d%H%M");
    let done = u8::from(state == MessageState::Delivered);
    let text = format!(
        "id:{} sub:001 dlvrd:00{done} submit date:{date} done date:{date} stat:{word} err:{error:03} text:",
        behaviour.id_format.receipt(message)
    );
    let mut receipt = DeliverSm::builder()
        .source_addr_ton(submit.dest_addr_ton)
        .source_addr_npi(submit.dest_addr_npi)
        .source_addr(submit.destination_addr.clone())
        .dest_addr_ton(submit.source_addr_ton)
        .dest_addr_npi(submit.source_addr_npi)
        .destination_addr(submit.source_addr.clone())
        // Contains a receipt.
        .esm_class(EsmClass::from(0b100))
        .data_coding(DataCoding::McSpecific)
        .short_message(OctetString::from_vec(text.into_bytes()).ok()?)
        .build();
    if let Some(id) = behaviour.id_format.tlv(message) {
        receipt.push_tlv(MessageDeliveryRequestTlvValue::ReceiptedMessageId(COctetString::from_str(&id).ok()?));
        receipt.push_tlv(MessageDeliveryRequestTlvValue::MessageState(state));
    }
    Some(receipt)
}

/// short_message, or message_payload without one.
pub(super) fn text(submit: &SubmitSm) -> Vec<u8> {
    let short = submit.short_message().as_ref();
    if !short.is_empty() {
        return short.to_vec();
    }
    let payload = submit.tlvs().iter().find_map(|tlv| match tlv.value() {
        Some(TlvValue::MessagePayload(payload)) => Some(payload),
        _ => None,
    });
    let mut octets = bytes::BytesMut::new();
    if let Some(payload) = payload {
        payload.encode(&mut octets);
    }
    octets.to_vec()
}

pub(super) fn c_string(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets.strip_suffix(&[0]).unwrap_or(octets)).into_owned()
}
