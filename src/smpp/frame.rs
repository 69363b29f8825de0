//! Bytes to PDUs and back. A frame is cut by its length first and decoded after, so that one PDU nobody can read is
//! answered and the session lives on; only an impossible length ends it, since the next frame cannot be found then.
use bytes::{BufMut, BytesMut};
use rusmpp::decode::{DecodeError, DecodeWithKeyOptional};
use rusmpp::encode::Length;
use rusmpp::encode::owned::Encode;
use rusmpp::types::AnyOctetString;
use rusmpp::{CommandId, CommandStatus, Pdu};

use repair::Body;

mod repair;
#[cfg(test)]
mod tests;

/// Octets of a PDU's header.
pub const HEADER: usize = 16;
/// The largest frame read or written, in octets. A `message_payload` TLV alone may be just below it.
pub const MAX_FRAME: usize = 65_536 + 1_024;
/// The bit that tells a response from a request.
const RESPONSE: u32 = 0x8000_0000;

/// Why bytes are not a frame: the stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length does not even cover a header.
    #[error("a PDU of {0} octets is shorter than its header")]
    TooShort(u32),
    /// The length is above [`MAX_FRAME`].
    #[error("a PDU of {0} octets is too long")]
    TooLong(u32),
}

/// Why a frame is not a PDU. The header is good, so the frame can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PduError {
    /// No such command.
    #[error("command {0:#010x} is unknown")]
    UnknownCommand(u32),
    /// The body is not what the command asks for, even leniently read.
    #[error("the body of command {0:#010x} cannot be read")]
    Body(u32),
}

impl PduError {
    /// The status that tells the peer.
    #[must_use]
    pub fn status(self) -> CommandStatus {
        match self {
            Self::UnknownCommand(_) => CommandStatus::EsmeRinvcmdid,
            // Rejected for good: a receipt that cannot be read will not become readable by being sent again.
            Self::Body(id) if matches!(CommandId::from(id), CommandId::DeliverSm | CommandId::DataSm) => {
                CommandStatus::EsmeRxRAppn
            }
            Self::Body(_) => CommandStatus::EsmeRinvcmdlen,
        }
    }
}

/// One PDU as it was cut from the stream, its body not yet decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it asks or answers.
    pub id: CommandId,
    /// Its command_status.
    pub status: CommandStatus,
    /// Its sequence number, chosen by whoever asked.
    pub sequence: u32,
    body: BytesMut,
}

// No derived Debug: a body holds numbers and texts (D10).
impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("sequence", &self.sequence)
            .field("octets", &(HEADER + self.body.len()))
            .finish()
    }
}

impl Frame {
    /// Cuts the next frame off the front of `buffer`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the length is impossible: nothing after it can be trusted.
    pub fn cut(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let word = |at: usize| -> Option<u32> {
            buffer.get(at..at + 4).and_then(|octets| octets.try_into().ok()).map(u32::from_be_bytes)
        };
        let Some(length) = word(0) else { return Ok(None) };
        let octets = length as usize;
        if octets < HEADER {
            return Err(FrameError::TooShort(length));
        }
        if octets > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let (Some(id), Some(status), Some(sequence)) = (word(4), word(8), word(12)) else { return Ok(None) };
        if buffer.len() < octets {
            buffer.reserve(octets - buffer.len());
            return Ok(None);
        }
        let mut body = buffer.split_to(octets);
        let _header = body.split_to(HEADER);
        Ok(Some(Self { id: id.into(), status: status.into(), sequence, body }))
    }

    /// The body as it came.
    #[must_use]
    pub fn into_body(self) -> BytesMut {
        self.body
    }

    /// Whether this answers one of our requests (generic_nack included).
    #[must_use]
    pub fn is_response(&self) -> bool {
        u32::from(self.id) & RESPONSE != 0
    }

    /// Decodes the body, after mending what real peers get wrong: non-ASCII addresses, strings without their NUL,
    /// stray octets at the end, TLVs of odd length.
    /// `None` when there is no body, as in most refusals, or in a response whose body nobody can read: its status and
    /// sequence number still answer the request.
    ///
    /// # Errors
    /// A request that cannot be read.
    pub fn decode(self) -> Result<Option<Pdu>, PduError> {
        let response = self.is_response();
        let Self { id, body, .. } = self;
        if let CommandId::Other(other) = id
            && !super::vendor::is_ours(other)
        {
            return if response { Ok(None) } else { Err(PduError::UnknownCommand(other)) };
        }
        let body = match repair::inspect(id, &body) {
            Body::Sound => body,
            Body::Mended(mended) => mended,
            Body::Hopeless if response => return Ok(None),
            Body::Hopeless => return Err(PduError::Body(id.into())),
        };
        match strict(id, body) {
            Ok(pdu) => Ok(pdu),
            Err(_) if response => Ok(None),
            Err(_) => Err(PduError::Body(id.into())),
        }
    }
}

/// Binds are read by the server itself (passwords in the field are longer than the eight octets of the standard).
fn strict(id: CommandId, mut body: BytesMut) -> Result<Option<Pdu>, DecodeError> {
    let octets = body.len();
    if octets == 0 && id.is_operation() && !matches!(id, CommandId::EnquireLink | CommandId::Unbind) {
        if let CommandId::Other(_) = id {
            return Ok(Some(Pdu::Other { command_id: id, body: AnyOctetString::empty() }));
        }
        return Err(DecodeError::unexpected_eof());
    }
    Ok(Pdu::decode(id, &mut body, octets)?.map(|(pdu, _)| pdu))
}

/// Appends one PDU to `out`. With `pdu` `None` only the header is written: the form of most refusals.
pub fn encode(out: &mut BytesMut, id: CommandId, status: CommandStatus, sequence: u32, pdu: Option<&Pdu>) {
    let octets = HEADER + pdu.map_or(0, Length::length);
    out.reserve(octets);
    // A PDU's parts are bounded by their types; none comes near 4 GiB.
    out.put_u32(u32::try_from(octets).unwrap_or(u32::MAX));
    out.put_u32(id.into());
    out.put_u32(status.into());
    out.put_u32(sequence);
    if let Some(pdu) = pdu {
        pdu.encode(out);
    }
}

/// The command that answers `id`.
#[must_use]
pub fn response_to(id: CommandId) -> CommandId {
    (u32::from(id) | RESPONSE).into()
}
