//! A deliver_sm of the connector as a receipt. The connector has normalised it: everything is in TLVs, nothing in text.
use rusmpp::Pdu;
use rusmpp::tlvs::TlvValue;
use rusmpp::values::MessageState as Reported;

use crate::domain::{MessageState, RouteId};
use crate::smpp::vendor::{DestinationTag, DoneAt};
use crate::store::receipts::Receipt;

/// What a request of the connector is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A message, or a part, came to its end.
    Final(Receipt),
    /// It is still on its way: nothing to store.
    Underway,
    /// No receipt of the agreed form.
    Other,
}

pub(super) fn read(route: RouteId, pdu: &Pdu, now: jiff::Timestamp) -> Read {
    let Pdu::DeliverSm(deliver) = pdu else { return Read::Other };
    let tlvs = deliver.tlvs();
    let (mut upstream_id, mut reported, mut error) = (None, None, None);
    for value in tlvs.iter().filter_map(|tlv| tlv.value()) {
        match value {
            TlvValue::ReceiptedMessageId(id) => upstream_id = Some(Box::from(id.as_str())),
            TlvValue::MessageState(state) => reported = Some(*state),
            TlvValue::NetworkErrorCode(code) => error = Some(i32::from(code.error_code)),
            _ => {}
        }
    }
    let (Some(upstream_id), Some(reported), Some(tag)) = (upstream_id, reported, DestinationTag::find(tlvs)) else {
        return Read::Other;
    };
    let state = match reported {
        Reported::Delivered => MessageState::Delivered,
        Reported::Expired => MessageState::Expired,
        Reported::Undeliverable | Reported::Deleted => MessageState::Failed,
        Reported::Rejected => MessageState::Rejected,
        Reported::Unknown => MessageState::Unknown,
        // Accepted means that somebody has read it for the subscriber; it is final, and no failure.
        Reported::Accepted => MessageState::Delivered,
        _ => return Read::Underway,
    };
    let done = DoneAt::find(tlvs).and_then(|done| jiff::Timestamp::from_millisecond(done.0).ok());
    let tag = tag.0.cast_signed();
    Read::Final(Receipt { route, upstream_id, tag, state, error, at: done.unwrap_or(now) })
}
