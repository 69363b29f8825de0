//! The bind itself, read and written before there is a session.
//!
//! Bind bodies are ours and not `rusmpp`'s: passwords in the field are longer than the eight characters of the
//! standard, and a connector's system ids longer than its fifteen.
use bytes::{Buf, BufMut, BytesMut};
use rusmpp::types::AnyOctetString;
use rusmpp::{CommandId, CommandStatus, Pdu};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::frame::{Frame, FrameError};
use super::session::BindKind;
use crate::domain::Secret;

/// The longest system id, password or system type that is read or written, in octets.
pub(super) const LONGEST: usize = 64;
/// SMPP 3.4.
const VERSION: u8 = 0x34;

/// What a client says of itself in its bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who binds; at most 64 ASCII characters (15 by the standard).
    pub system_id: String,
    /// At most 64 ASCII characters (8 by the standard).
    pub password: Secret,
    /// At most 64 ASCII characters (12 by the standard); mostly empty.
    pub system_type: String,
    /// The addresses that it serves, as the upstream writes them; at most 64 ASCII characters (40 by the standard);
    /// empty: all of its own.
    pub address_range: String,
}

/// Why a bind did not come about before anybody judged it.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke.
    #[error("reading or writing the bind: {0}")]
    Exchange(#[source] std::io::Error),
    /// The peer closed the connection.
    #[error("the peer closed the connection instead of binding")]
    PeerClosed,
    /// What came is not SMPP.
    #[error("the peer does not speak SMPP: {0}")]
    Frame(#[source] FrameError),
    /// What came is no bind.
    #[error("the peer sent {0:?} instead of a bind")]
    NoBind(CommandId),
    /// The bind cannot be read, or not be written.
    #[error("{0} of the bind is not ASCII or too long")]
    Unfit(&'static str),
    /// It took too long.
    #[error("the bind took too long")]
    TimedOut,
}

impl BindKind {
    /// The command that binds so.
    #[must_use]
    pub fn command(self) -> CommandId {
        match self {
            Self::Transmitter => CommandId::BindTransmitter,
            Self::Receiver => CommandId::BindReceiver,
            Self::Transceiver => CommandId::BindTransceiver,
        }
    }

    pub(super) fn of(command: CommandId) -> Option<Self> {
        [Self::Transmitter, Self::Receiver, Self::Transceiver].into_iter().find(|kind| kind.command() == command)
    }
}

impl Credentials {
    pub(super) fn pdu(&self, kind: BindKind) -> Result<Pdu, HandshakeError> {
        let mut body = BytesMut::new();
        let fields = [
            ("system_id", &*self.system_id),
            ("password", self.password.expose()),
            ("system_type", &*self.system_type),
            ("address_range", &*self.address_range),
        ];
        for (name, text) in fields {
            if text.len() > LONGEST || !text.is_ascii() || text.contains('\0') {
                return Err(HandshakeError::Unfit(name));
            }
            body.put_slice(text.as_bytes());
            body.put_u8(0);
            if name == "system_type" {
                // addr_ton and addr_npi say nothing: the range does.
                body.put_slice(&[VERSION, 0, 0]);
            }
        }
        Ok(Pdu::Other { command_id: kind.command(), body: AnyOctetString::from_bytes(body.freeze()) })
    }

    pub(super) fn read(mut body: BytesMut) -> Result<Self, HandshakeError> {
        let mut field = |name| {
            let end = body.iter().position(|octet| *octet == 0).filter(|end| *end <= LONGEST);
            let text = body.split_to(end.ok_or(HandshakeError::Unfit(name))?);
            body.advance(1);
            String::from_utf8(text.to_vec()).ok().filter(|text| text.is_ascii()).ok_or(HandshakeError::Unfit(name))
        };
        let mut read = Self {
            system_id: field("system_id")?,
            password: Secret::new(field("password")?),
            system_type: field("system_type")?,
            address_range: String::new(),
        };
        // What follows is often cut short, and nobody is refused for it.
        if let Some(range) = body.get(3..)
            && let Some(end) = range.iter().position(|octet| *octet == 0).filter(|end| *end <= LONGEST)
        {
            read.address_range = String::from_utf8_lossy(&range[..end]).into_owned();
        }
        Ok(read)
    }
}

/// Reads until there is a whole frame; what comes after it stays in `buffer`.
pub(super) async fn next_frame<S>(stream: &mut S, buffer: &mut BytesMut) -> Result<Frame, HandshakeError>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(frame) = Frame::cut(buffer).map_err(HandshakeError::Frame)? {
            return Ok(frame);
        }
        if stream.read_buf(buffer).await.map_err(HandshakeError::Exchange)? == 0 {
            return Err(HandshakeError::PeerClosed);
        }
    }
}

/// Whether a status is the one of success.
pub(super) fn is_ok(status: CommandStatus) -> bool {
    status == CommandStatus::EsmeRok
}
