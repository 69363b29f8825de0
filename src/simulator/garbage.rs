//! What no ESME can read: PDUs of unknown or broken kind, and octets that are no PDU at all.
use rusmpp::types::AnyOctetString;
use rusmpp::{CommandId, Pdu};

use crate::smpp::session::Session;

/// A body that is longer than any PDU may be.
const NO_BODY: usize = 70_000;

/// Where what nobody can read stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Garbage {
    None,
    /// Before the answer, in PDUs.
    Beside,
    /// Instead of the answer, and no PDU: where the next begins cannot be told.
    Instead,
}

impl Garbage {
    /// The kind of the `number`th, counted from 1.
    pub(super) fn by_turns(number: u64) -> Self {
        if number % 2 == 1 { Self::Beside } else { Self::Instead }
    }

    /// Says it on a bind.
    pub(super) fn send(self, session: &Session) {
        let say = |command, body| {
            let _ = session.notify(Pdu::Other { command_id: CommandId::Other(command), body });
        };
        match self {
            Self::None => {}
            Self::Beside => {
                say(0x0666, AnyOctetString::from_slice(b"what?"));
                say(CommandId::DeliverSm.into(), AnyOctetString::from_slice(&[0xFF; 7]));
            }
            Self::Instead => say(0xA5A5, AnyOctetString::from_vec(vec![0xA5; NO_BODY])),
        }
    }
}
