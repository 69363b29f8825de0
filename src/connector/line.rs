//! What takes submits to the upstream, whatever it speaks: an SMPP bind, or one of so many HTTPS connections. The one place
//! that knows of both; everything before it (credit, pacing, fair sharing) and after it (answers, receipts) does not.
use std::time::Duration;

use rusmpp::CommandStatus;
use rusmpp::pdus::SubmitSm;
use rusmpp::values::{Npi, Ton};

use super::exchange::SeatId;
use super::https;
use super::owners::Departed;
use crate::config::connector::Addressing;
use crate::smpp::session::{CloseReason, Pending, Session, Slot};
use crate::smpp::vendor;
use crate::store::upstream_reports::Failure;

/// See the module. Clones share it.
#[derive(Debug, Clone)]
pub(super) enum Line {
    /// An SMPP bind.
    Smpp(Session),
    /// A connection for calls.
    Https(https::Line),
}

/// Room for one submit, until it is settled.
#[derive(Debug)]
pub(super) enum Place {
    /// In a bind's window.
    Smpp(Slot),
    /// In a connection's.
    Https(https::Place),
}

/// A submit as the upstream wants it.
#[derive(Debug)]
pub(super) enum Written {
    /// As it is.
    Smpp(Box<SubmitSm>),
    /// As a message of the REST API.
    Https(Box<https::Message>),
}

/// How a line came to its end.
#[derive(Debug)]
pub(super) struct Ended {
    /// In a word, for the route's status; of a line that did not end by our will.
    pub(super) failure: Failure,
    /// For the log, where there is more to tell.
    pub(super) reason: Option<CloseReason>,
}

impl Line {
    /// Places that are free now.
    pub(super) fn free(&self) -> usize {
        match self {
            Self::Smpp(session) => session.free(),
            Self::Https(line) => line.free(),
        }
    }

    /// A place, if one is free now.
    pub(super) fn try_reserve(&self) -> Option<Place> {
        match self {
            Self::Smpp(session) => session.try_reserve().map(Place::Smpp),
            Self::Https(line) => line.try_reserve().map(Place::Https),
        }
    }

    /// Waits for a place; `None` when there will be none.
    pub(super) async fn reserve(&self) -> Option<Place> {
        match self {
            Self::Smpp(session) => session.reserve().await.ok().map(Place::Smpp),
            Self::Https(line) => line.reserve().await.map(Place::Https),
        }
    }

    /// Ends it in good order: nothing new is taken, and answers that are due are waited for, up to `grace`.
    pub(super) async fn end(&self, grace: Duration) {
        match self {
            Self::Smpp(session) => session.unbind(grace).await,
            Self::Https(line) => line.end(grace).await,
        }
    }

    /// Waits until it is over and everything is settled.
    pub(super) async fn over(&self) -> Ended {
        match self {
            Self::Smpp(session) => Ended { failure: Failure::Lost, reason: Some(session.closed().await) },
            Self::Https(line) => Ended { failure: line.over().await, reason: None },
        }
    }
}

impl Place {
    /// Writes a submit as the upstream wants it.
    ///
    /// # Errors
    /// With a status for its sender where the upstream's protocol has no form for it.
    pub(super) fn write(&self, submit: &SubmitSm, addressing: &Addressing) -> Result<Written, CommandStatus> {
        Ok(match self {
            Self::Smpp(_) => {
                let mut submit = submit.clone();
                vendor::strip(&mut submit);
                address(&mut submit, addressing);
                Written::Smpp(Box::new(submit))
            }
            Self::Https(_) => Written::Https(Box::new(https::Message::read(submit)?)),
        })
    }

    /// Sends what was written for a place like this one, for the sender with this seat. It is counted as under way already: its receipt
    /// may come at once.
    pub(super) fn send(self, written: Written, seat: SeatId, _counted: &Departed) -> Pending {
        match (self, written) {
            (Self::Smpp(slot), Written::Smpp(submit)) => slot.send(*submit),
            (Self::Https(place), Written::Https(message)) => place.send(*message, seat),
            // Of another kind than its place; a route never changes its kind.
            (Self::Smpp(_) | Self::Https(_), _) => https::unsent(),
        }
    }
}

impl Written {
    /// How many of the route's rate it takes: as many as reach the handset where the upstream splits the text.
    pub(super) fn parts(&self) -> usize {
        match self {
            Self::Smpp(_) => 1,
            Self::Https(message) => message.parts(),
        }
    }
}

/// Writes types and plans of addresses as the upstream wants them. A sender of letters has a type of its own everywhere.
fn address(submit: &mut SubmitSm, addressing: &Addressing) {
    let Addressing { source_ton, source_npi, destination_ton, destination_npi } = *addressing;
    if submit.source_addr_ton != Ton::Alphanumeric {
        submit.source_addr_ton = source_ton.map_or(submit.source_addr_ton, Ton::from);
        submit.source_addr_npi = source_npi.map_or(submit.source_addr_npi, Npi::from);
    }
    submit.dest_addr_ton = destination_ton.map_or(submit.dest_addr_ton, Ton::from);
    submit.dest_addr_npi = destination_npi.map_or(submit.dest_addr_npi, Npi::from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_typed_as_the_upstream_wants_but_for_names() {
        let addressing = Addressing { source_ton: Some(3), destination_npi: Some(8), ..Addressing::default() };
        let typed = |ton| {
            let mut submit = SubmitSm::builder().source_addr_ton(ton).dest_addr_ton(Ton::International).build();
            address(&mut submit, &addressing);
            [
                u8::from(submit.source_addr_ton),
                submit.source_addr_npi.into(),
                submit.dest_addr_ton.into(),
                submit.dest_addr_npi.into(),
            ]
        };
        let plan = u8::from(SubmitSm::default().source_addr_npi);
        assert_eq!(typed(Ton::International), [3, plan, 1, 8]);
        assert_eq!(typed(Ton::Alphanumeric), [5, plan, 1, 8]);
    }
}
