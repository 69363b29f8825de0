//! What sender and connector say to each other beyond SMPP, inside the ranges the standard leaves to vendors:
//! four one-way PDUs for flow control, four statuses about what became of a submit, three TLVs.
use bytes::BytesMut;
use rusmpp::encode::owned::Encode;
use rusmpp::pdus::SubmitSm;
use rusmpp::tlvs::{
    MessageDeliveryRequestTlvValue, MessageSubmissionRequestTlvValue, MessageSubmissionResponseTlvValue, Tlv, TlvTag,
    TlvValue,
};
use rusmpp::types::AnyOctetString;
use rusmpp::{CommandId, CommandStatus, Pdu};
use uuid::Uuid;

use crate::domain::Circuit;

const WAKE: u32 = 0x0001_0200;
const CREDIT: u32 = 0x0001_0201;
const DEMAND: u32 = 0x0001_0202;
const CIRCUIT: u32 = 0x0001_0203;

/// The submit never reached the upstream: send it again, here or by another route.
pub const NOT_WRITTEN: CommandStatus = CommandStatus::Other(0x0400);
/// The submit was written upstream and nothing came back: its fate is unknown.
pub const WRITTEN_UNANSWERED: CommandStatus = CommandStatus::Other(0x0401);
/// A newer sender of this tenant has bound: stop.
pub const STALE_EPOCH: CommandStatus = CommandStatus::Other(0x0402);
/// No credit was left, or the tenant may not send now.
pub const NO_CREDIT: CommandStatus = CommandStatus::Other(0x0403);

const MESSAGE_PART: u16 = 0x1400;
const DESTINATION_TAG: u16 = 0x1401;
const DONE_AT: u16 = 0x1402;

/// Whether the command is one of ours, which have no answer.
pub(super) fn is_ours(command: u32) -> bool {
    matches!(command, WAKE | CREDIT | DEMAND | CIRCUIT)
}

/// The one-way PDUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Connector to sender: something was queued, claim now.
    Wake,
    /// Connector to sender: this many more submits are welcome.
    Credit(u32),
    /// Sender to connector: this many submits wait now, in all; 0 gives unused credit back.
    Demand(u32),
    /// Connector to sender: whether the route takes messages, from now on.
    Circuit(Circuit),
}

impl Flow {
    /// Reads one of ours; `None` for any other PDU, and for one of ours that is malformed.
    #[must_use]
    pub fn read(pdu: &Pdu) -> Option<Self> {
        let Pdu::Other { command_id: CommandId::Other(command), body } = pdu else { return None };
        let count = || body.as_ref().try_into().ok().map(u32::from_be_bytes);
        match *command {
            WAKE => Some(Self::Wake),
            CREDIT => count().map(Self::Credit),
            DEMAND => count().map(Self::Demand),
            CIRCUIT => match body.as_ref() {
                &[octet] => Circuit::from_octet(octet).map(Self::Circuit),
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<Flow> for Pdu {
    fn from(flow: Flow) -> Self {
        let (command, body) = match flow {
            Flow::Wake => (WAKE, AnyOctetString::empty()),
            Flow::Credit(count) => (CREDIT, AnyOctetString::from_slice(&count.to_be_bytes())),
            Flow::Demand(count) => (DEMAND, AnyOctetString::from_slice(&count.to_be_bytes())),
            Flow::Circuit(circuit) => (CIRCUIT, AnyOctetString::from_slice(&[circuit.octet()])),
        };
        Self::Other { command_id: CommandId::Other(command), body }
    }
}

/// Which part of which message a submit carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessagePart {
    /// The message.
    pub message: Uuid,
    /// This part, from 1.
    pub part: u8,
    /// Of so many.
    pub parts: u8,
}

impl MessagePart {
    /// Finds it among a submit's TLVs.
    #[must_use]
    pub fn find(tlvs: &[Tlv]) -> Option<Self> {
        let (id, counts) = raw(tlvs, MESSAGE_PART)?.split_at_checked(16)?;
        let &[part, parts] = counts else { return None };
        Some(Self { message: Uuid::from_slice(id).ok()?, part, parts })
    }
}

impl From<MessagePart> for MessageSubmissionRequestTlvValue {
    fn from(part: MessagePart) -> Self {
        let mut octets = part.message.as_bytes().to_vec();
        octets.extend([part.part, part.parts]);
        Self::Other { tag: TlvTag::Other(MESSAGE_PART), value: AnyOctetString::from_vec(octets) }
    }
}

/// The connector's keyed hash of a destination, by which receipts find their owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DestinationTag(pub u32);

impl DestinationTag {
    /// Finds it among a PDU's TLVs.
    #[must_use]
    pub fn find(tlvs: &[Tlv]) -> Option<Self> {
        raw(tlvs, DESTINATION_TAG)?.try_into().ok().map(|octets| Self(u32::from_be_bytes(octets)))
    }
}

impl From<DestinationTag> for MessageSubmissionResponseTlvValue {
    fn from(tag: DestinationTag) -> Self {
        Self::Other { tag: TlvTag::Other(DESTINATION_TAG), value: AnyOctetString::from_slice(&tag.0.to_be_bytes()) }
    }
}

impl From<DestinationTag> for MessageDeliveryRequestTlvValue {
    fn from(tag: DestinationTag) -> Self {
        Self::Other { tag: TlvTag::Other(DESTINATION_TAG), value: AnyOctetString::from_slice(&tag.0.to_be_bytes()) }
    }
}

/// When the upstream was done with a message, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DoneAt(pub i64);

impl DoneAt {
    /// Finds it among a receipt's TLVs.
    #[must_use]
    pub fn find(tlvs: &[Tlv]) -> Option<Self> {
        raw(tlvs, DONE_AT)?.try_into().ok().map(|octets| Self(i64::from_be_bytes(octets)))
    }
}

impl From<DoneAt> for MessageDeliveryRequestTlvValue {
    fn from(done: DoneAt) -> Self {
        Self::Other { tag: TlvTag::Other(DONE_AT), value: AnyOctetString::from_slice(&done.0.to_be_bytes()) }
    }
}

/// Takes our TLVs off a submit, before it goes to an upstream that knows nothing of them.
pub fn strip(submit: &mut SubmitSm) {
    if !submit.tlvs().iter().any(|tlv| is_our_tag(tlv.tag())) {
        return;
    }
    let kept = submit.tlvs().iter().filter(|tlv| !is_our_tag(tlv.tag()));
    let kept = kept.map(|tlv| {
        let mut octets = BytesMut::with_capacity(usize::from(tlv.value_length()));
        if let Some(value) = tlv.value() {
            value.encode(&mut octets);
        }
        MessageSubmissionRequestTlvValue::Other { tag: tlv.tag(), value: AnyOctetString::from_bytes(octets.freeze()) }
    });
    submit.set_tlvs(kept.collect());
}

fn is_our_tag(tag: TlvTag) -> bool {
    matches!(tag, TlvTag::Other(MESSAGE_PART | DESTINATION_TAG | DONE_AT))
}

fn raw(tlvs: &[Tlv], wanted: u16) -> Option<&[u8]> {
    tlvs.iter().find_map(|tlv| match tlv.value() {
        Some(TlvValue::Other { tag: TlvTag::Other(tag), value }) if *tag == wanted => Some(value.as_ref()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use rusmpp::pdus::DeliverSm;

    use super::*;

    #[test]
    fn flow_survives_the_wire() {
        let circuits = Circuit::ALL.map(Flow::Circuit);
        for flow in [Flow::Wake, Flow::Credit(7), Flow::Demand(u32::MAX), Flow::Demand(0)].into_iter().chain(circuits) {
            assert_eq!(Flow::read(&flow.into()), Some(flow));
        }
        assert_eq!(Flow::read(&Pdu::EnquireLink), None);
        let short = Pdu::Other { command_id: CommandId::Other(CREDIT), body: AnyOctetString::from_slice(&[1]) };
        assert_eq!(Flow::read(&short), None);
    }

    #[test]
    fn strip_takes_our_tlvs_and_nothing_else() {
        let part = MessagePart { message: Uuid::from_u128(7), part: 2, parts: 3 };
        let mut submit = SubmitSm::default();
        submit.push_tlv(part);
        submit.push_tlv(MessageSubmissionRequestTlvValue::SarMsgRefNum(0x0102));
        assert_eq!(MessagePart::find(submit.tlvs()), Some(part));
        strip(&mut submit);
        assert_eq!(MessagePart::find(submit.tlvs()), None);
        let mut wire = BytesMut::new();
        submit.encode(&mut wire);
        assert!(wire.ends_with(&[0x02, 0x0C, 0x00, 0x02, 0x01, 0x02]), "{wire:?}");
    }

    #[test]
    fn tags_and_times_are_found_where_they_were_put() {
        let mut receipt = DeliverSm::default();
        receipt.push_tlv(DestinationTag(0xDEAD_BEEF));
        receipt.push_tlv(DoneAt(1_700_000_000_123));
        assert_eq!(DestinationTag::find(receipt.tlvs()), Some(DestinationTag(0xDEAD_BEEF)));
        assert_eq!(DoneAt::find(receipt.tlvs()), Some(DoneAt(1_700_000_000_123)));
    }
}
