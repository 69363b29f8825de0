//! What a connector reads of upstreams, tried with any octets (`crate::fuzzing`).
mod inbound;
mod receipt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, BytesMut};
use jiff::Timestamp;

use super::tag::TagKey;
use crate::domain::Secret;
use crate::smpp::frame::{Frame, HEADER, MAX_FRAME};
use crate::smpp::{CommandId, Pdu};

pub(crate) use inbound::inbound;
pub(crate) use receipt::receipt;

/// Always the same key: what differs between two runs is the octets alone.
fn key() -> Option<TagKey> {
    TagKey::new(&Secret::new(BASE64_STANDARD.encode([7; 32]))).ok()
}

/// Always the same present: a Monday in March, in seconds.
fn now() -> Timestamp {
    Timestamp::from_second(1_772_452_830).unwrap_or_default()
}

/// A PDU from its body as an upstream would send it.
fn decoded(id: CommandId, body: &[u8]) -> Option<Pdu> {
    if body.len() > MAX_FRAME - HEADER {
        return None;
    }
    let mut wire = BytesMut::with_capacity(HEADER + body.len());
    wire.put_u32(u32::try_from(HEADER + body.len()).ok()?);
    wire.put_u32(id.into());
    wire.put_u64(7);
    wire.put_slice(body);
    Frame::cut(&mut wire).ok()??.decode().ok()?
}
