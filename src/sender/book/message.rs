//! One message on its way from the queue to the ledger: where it stands, and what it still needs.
use std::collections::VecDeque;
use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::{Body, LocalError, MessageId, MessageState};
use crate::sender::compose::{Parts, Style};
use crate::sender::lane::Turn;
use crate::store::results::SentPart;

/// A message as the queue has it, opened.
#[derive(Debug)]
pub(in crate::sender) struct Opened {
    pub(in crate::sender) body: Body,
    /// In how many parts it was accepted.
    pub(in crate::sender) parts: u8,
    pub(in crate::sender) expires_at: Timestamp,
    /// It goes before those that are not.
    pub(in crate::sender) urgent: bool,
}

/// A message on its way from queue to ledger.
#[derive(Debug)]
pub(super) struct Message<A> {
    pub(super) body: Body,
    /// In how many parts it was accepted.
    pub(super) accepted: u8,
    /// It goes before those that are not.
    pub(super) urgent: bool,
    /// Split for its route; `None` while it may still go by another.
    pub(super) parts: Option<Parts>,
    pub(super) expires_at: Timestamp,
    pub(super) route: usize,
    pub(super) place: Place,
    pub(super) flight: Option<Uuid>,
    /// Parts to submit.
    pub(super) todo: VecDeque<u8>,
    /// Parts submitted and not answered.
    pub(super) out: u8,
    pub(super) sent: Vec<SentPart>,
    /// A part may have been written upstream: no other route.
    pub(super) pinned: bool,
    pub(super) faults: u8,
    /// Routes whose upstreams answered it with a fault of their own, one bit each.
    pub(super) failed: u32,
    pub(super) unanswered: u8,
    pub(super) end: Option<(MessageState, Option<i32>)>,
    /// The latest receipt's time.
    pub(super) done: Option<Timestamp>,
    pub(super) acks: Vec<A>,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Waiting,
    /// Left alone until then.
    Later(Instant),
    Launching,
    /// In its lane, with parts to submit.
    Ready,
    /// In no lane: only answers are awaited.
    Out,
}

impl<A> Message<A> {
    /// One with a flight is ready, another one waits.
    pub(super) fn of(opened: Opened, flight: Option<Uuid>) -> Self {
        Self {
            body: opened.body,
            accepted: opened.parts,
            urgent: opened.urgent,
            parts: None,
            expires_at: opened.expires_at,
            route: 0,
            place: if flight.is_some() { Place::Ready } else { Place::Waiting },
            flight,
            todo: VecDeque::new(),
            out: 0,
            sent: Vec::new(),
            pinned: false,
            faults: 0,
            failed: 0,
            unanswered: 0,
            end: None,
            done: None,
            acks: Vec::new(),
        }
    }

    /// Splits it for its route, unless it is; false where that cannot be done, and the message is at its end.
    pub(super) fn split(&mut self, style: Style) -> bool {
        if self.parts.is_some() {
            return true;
        }
        match Parts::of(&self.body, style) {
            Ok(parts) => {
                self.todo = (1..=parts.count()).collect();
                self.parts = Some(parts);
                true
            }
            Err(error) => {
                tracing::error!(%error, "a message cannot be put on the wire");
                self.unfit();
                false
            }
        }
    }

    pub(super) fn unfit(&mut self) {
        self.place = Place::Out;
        self.end = Some((MessageState::Rejected, Some(LocalError::Unreadable.code())));
    }

    pub(super) fn turn(&self, id: MessageId) -> Turn {
        Turn::of(id, self.urgent)
    }

    pub(super) fn may_move(&self) -> bool {
        !self.pinned && self.sent.is_empty()
    }

    /// Parts to submit, as far as is known.
    pub(super) fn weight(&self) -> u32 {
        match self.parts {
            Some(_) => u32::try_from(self.todo.len()).unwrap_or(u32::MAX),
            None => u32::from(self.accepted),
        }
    }
}
