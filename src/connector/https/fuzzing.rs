//! Callbacks, for `connector::fuzzing`: what they say is private to this room.
use jiff::Timestamp;

use super::notice::{self, Notice};
use crate::connector::delivery::Delivery;
use crate::connector::receipt::Receipt;
use crate::connector::tag::TagKey;

/// The receipt that a callback is.
pub(in crate::connector) fn receipt(body: &[u8], key: &TagKey, now: Timestamp) -> Option<Receipt> {
    match notice::read(body, key, now) {
        Ok(Notice::Receipt(receipt)) => Some(receipt),
        _ => None,
    }
}

/// Shows the SMS that a callback is to `look`.
pub(in crate::connector) fn inbound(body: &[u8], key: &TagKey, now: Timestamp, look: impl FnOnce(&Delivery<'_>)) {
    if let Ok(Notice::Inbound(inbound)) = notice::read(body, key, now) {
        look(&inbound.delivery());
    }
}
