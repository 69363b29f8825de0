//! What an upstream brings, whichever PDU it chose for it: deliver_sm, or data_sm.
use rusmpp::Pdu;
use rusmpp::tlvs::{Tlv, TlvValue};

/// The parts of a deliver_sm or data_sm that matter here. Holds numbers and texts: it has no `Debug`.
pub(super) struct Delivery<'a> {
    /// Where it comes from: a person, or in a receipt the recipient of the message.
    pub(super) from: &'a str,
    /// Where it goes to: a number of ours.
    pub(super) to: &'a str,
    /// What kind of thing it is.
    pub(super) kind: Kind,
    /// Whether the content begins with a user data header.
    pub(super) has_header: bool,
    /// SMPP data_coding of the content.
    pub(super) coding: u8,
    /// The content: short_message, or message_payload where that is empty.
    pub(super) content: &'a [u8],
    /// Everything else.
    pub(super) tlvs: &'a [Tlv],
}

/// What a delivery is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message from a person.
    Message,
    /// What became of a message of ours, finally or on its way.
    Receipt,
    /// An acknowledgement by the recipient's device or by its user: nobody asked for one.
    Acknowledgement,
}

impl Kind {
    /// By the esm_class octet. `rusmpp` splits it into overlapping fields, so the octet itself is read. Some upstreams
    /// leave it 0 in receipts and only give the parameters of one.
    fn of(esm_class: u8, tlvs: &[Tlv]) -> Self {
        match (esm_class >> 2) & 0b1111 {
            0b0001 | 0b1000 | 0b1001 => Self::Receipt,
            0b0010 | 0b0100 | 0b0110 => Self::Acknowledgement,
            _ if tlvs.iter().any(|tlv| matches!(tlv.value(), Some(TlvValue::ReceiptedMessageId(_)))) => Self::Receipt,
            _ => Self::Message,
        }
    }
}

impl<'a> Delivery<'a> {
    /// Reads a deliver_sm or data_sm; `None` for any other PDU.
    pub(super) fn read(pdu: &'a Pdu) -> Option<Self> {
        let (from, to, esm_class, coding, short, tlvs) = match pdu {
            Pdu::DeliverSm(pdu) => (
                pdu.source_addr.as_str(),
                pdu.destination_addr.as_str(),
                pdu.esm_class,
                pdu.data_coding,
                pdu.short_message().as_ref(),
                pdu.tlvs(),
            ),
            Pdu::DataSm(pdu) => (
                pdu.source_addr.as_str(),
                pdu.destination_addr.as_str(),
                pdu.esm_class,
                pdu.data_coding,
                [].as_slice(),
                pdu.tlvs(),
            ),
            _ => return None,
        };
        let payload = tlvs.iter().find_map(|tlv| match tlv.value() {
            Some(TlvValue::MessagePayload(payload)) => Some(payload.value.as_ref()),
            _ => None,
        });
        let esm_class = u8::from(esm_class);
        Some(Self {
            from,
            to,
            kind: Kind::of(esm_class, tlvs),
            has_header: esm_class & 0b0100_0000 != 0,
            coding: coding.into(),
            content: if short.is_empty() { payload.unwrap_or_default() } else { short },
            tlvs,
        })
    }
}

#[cfg(test)]
mod tests {
    use rusmpp::pdus::{DataSm, DeliverSm};
    use rusmpp::tlvs::{MessageDeliveryRequestTlvValue, MessageSubmissionRequestTlvValue};
    use rusmpp::types::{AnyOctetString, COctetString, OctetString};
    use rusmpp::values::MessagePayload;

    use super::*;

    fn kind(esm_class: u8) -> Kind {
        let pdu = DeliverSm::builder().esm_class(esm_class.into()).build();
        Delivery::read(&pdu.into()).expect("a delivery").kind
    }

    #[test]
    fn the_kind_follows_from_esm_class() {
        assert_eq!(kind(0x00), Kind::Message);
        assert_eq!(kind(0x40), Kind::Message);
        assert_eq!(kind(0x03), Kind::Message);
        assert_eq!(kind(0x04), Kind::Receipt);
        assert_eq!(kind(0x44), Kind::Receipt);
        assert_eq!(kind(0x20), Kind::Receipt);
        assert_eq!(kind(0x24), Kind::Receipt);
        assert_eq!(kind(0x08), Kind::Acknowledgement);
        assert_eq!(kind(0x10), Kind::Acknowledgement);
    }

    #[test]
    fn a_receipt_may_be_told_by_its_parameters_alone() {
        let mut pdu = DeliverSm::builder().esm_class(0.into()).build();
        pdu.push_tlv(MessageDeliveryRequestTlvValue::ReceiptedMessageId(
            COctetString::from_slice(b"7\0").expect("an id"),
        ));
        assert_eq!(Delivery::read(&pdu.into()).expect("a delivery").kind, Kind::Receipt);
    }

    #[test]
    fn the_content_is_found_wherever_it_stands() {
        let payload = || MessagePayload::new(AnyOctetString::from_static_slice(b"long"));
        let mut pdu = DeliverSm::default();
        pdu.push_tlv(MessageDeliveryRequestTlvValue::MessagePayload(payload()));
        assert_eq!(Delivery::read(&pdu.clone().into()).expect("a delivery").content, b"long");
        pdu.set_short_message(OctetString::from_static_slice(b"short").expect("a text"));
        assert_eq!(Delivery::read(&pdu.into()).expect("a delivery").content, b"short");
        let mut pdu = DataSm::default();
        pdu.push_tlv(MessageSubmissionRequestTlvValue::MessagePayload(payload()));
        assert_eq!(Delivery::read(&pdu.into()).expect("a delivery").content, b"long");
        assert!(Delivery::read(&Pdu::EnquireLink).is_none());
    }
}
