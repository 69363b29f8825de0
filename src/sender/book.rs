//! The messages that this sender has claimed, where each stands, and what comes next. No clock, no database and no
//! network: the engine tells what happened and asks what to do.
//!
//! A message waits (known, in no flight), is launched (its flight is being committed), is ready (in a flight, parts to
//! submit), is out (answers awaited), and ends in the ledger. Where nothing of it was written upstream it may go back to
//! waiting, and to another route: where its own takes nothing now, and where an upstream answered it with a fault of its
//! own. After that its parts stay on one route.
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use super::lane::Lane;
use super::ledger::Ledger;
use crate::config::sender::Leg;
use crate::domain::{LocalError, MessageId, MessageState};

mod answers;
mod choice;
mod flights;
mod message;
mod turns;

pub(super) use answers::Effect;
pub(super) use message::Opened;
use message::{Message, Place};

/// The present: for what people are told, and for what is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) now: Instant,
}

/// All messages of this sender.
#[derive(Debug)]
pub(super) struct Book<A> {
    lanes: Vec<Lane>,
    messages: HashMap<MessageId, Message<A>>,
    later: BTreeSet<(Instant, MessageId)>,
    pub(super) ledger: Ledger<A>,
}

impl<A> Book<A> {
    pub(super) fn new(legs: &[Leg]) -> Self {
        let lanes = legs.iter().map(Lane::new).collect();
        Self { lanes, messages: HashMap::new(), later: BTreeSet::new(), ledger: Ledger::default() }
    }

    /// Every message that is still in the queue and known here.
    pub(super) fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.messages.keys().copied().chain(self.ledger.ids())
    }

    /// Messages in no flight.
    pub(super) fn waiting(&self) -> usize {
        self.later.len() + self.lanes.iter().map(Lane::waiting).sum::<usize>()
    }

    /// Messages that are in a flight or not stored: what a crash now would leave of unknown fate.
    pub(super) fn unsettled(&self) -> usize {
        (self.messages.len() + self.ledger.len()).saturating_sub(self.waiting())
    }

    /// Nothing is in a flight without a result.
    pub(super) fn is_idle(&self) -> bool {
        self.messages.len() <= self.waiting()
    }

    /// What waits for a route.
    pub(super) fn lane(&self, route: usize) -> Option<&Lane> {
        self.lanes.get(route)
    }

    /// When the first message that is left alone may be tried again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.later.first().map(|(until, _)| *until)
    }

    /// Takes a message in; one with a flight is ready at once. One that no route carries ends here.
    pub(super) fn add(&mut self, id: MessageId, opened: Opened, flight: Option<Uuid>, moment: Moment) {
        // One that went from a flight to another one is in both until the first is over.
        if self.messages.contains_key(&id) {
            return flight.into_iter().for_each(|flight| self.ledger.released(flight));
        }
        self.messages.insert(id, Message::of(opened, flight));
        self.put(id, moment);
    }

    /// Puts a message where its place says.
    fn put(&mut self, id: MessageId, moment: Moment) {
        let Some(message) = self.messages.get(&id) else { return };
        let route = if message.may_move() { self.choose(message) } else { Some(message.route) };
        let Some(message) = self.messages.get_mut(&id) else { return };
        let Some(lane) = route.and_then(|route| self.lanes.get_mut(route)) else {
            message.end = Some((MessageState::Rejected, Some(LocalError::NoRoute.code())));
            return self.finish(id, moment);
        };
        message.route = route.unwrap_or_default();
        match message.place {
            Place::Waiting => lane.wait(message.turn(id), message.weight()),
            Place::Ready => {
                if message.split(lane.style) {
                    lane.ready(id, message.weight());
                } else {
                    self.finish(id, moment);
                }
            }
            Place::Later(until) => {
                self.later.insert((until, id));
            }
            Place::Launching | Place::Out => {}
        }
    }
}

#[cfg(test)]
mod tests;
