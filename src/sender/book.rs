//! The messages that this sender has claimed, where each stands, and what comes next. No clock, no database and no
//! network: the engine tells what happened and asks what to do.
//!
//! A message waits (known, in no flight), is launched (its flight is being committed), is ready (in a flight, parts to
//! submit), is out (answers awaited), and ends in the ledger. Where nothing of it was written upstream it may go back to
//! waiting, and to another route: where its own takes nothing now, and where an upstream answered it with a fault of its
//! own. After that its parts stay on one route.
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusmpp::pdus::SubmitSm;
use uuid::Uuid;

use super::compose::{Parts, Style};
use super::lane::{Lane, Turn};
use super::ledger::{self, Entry, Ledger, Met};
use super::verdict::Verdict;
use crate::config::sender::{Leg, Receipts};
use crate::domain::{Body, LocalError, MessageId, MessageState};
use crate::store::receipts::Receipt;
use crate::store::results::{SentPart, Settled};

mod choice;

/// How often a message is tried against an upstream's passing faults before it counts as refused.
const FAULTS: u8 = 5;
/// How often a message that was written and not answered is sent again before it is held.
const UNANSWERED: u8 = 3;
/// The wait after a message's first fault; it doubles.
const FAULT_DELAY: Duration = Duration::from_secs(1);

/// The present: for what people are told, and for what is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) now: Instant,
}

/// A message as the queue has it, opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) body: Body,
    /// In how many parts it was accepted.
    pub(super) parts: u8,
    pub(super) expires_at: Timestamp,
    /// It goes before those that are not.
    pub(super) urgent: bool,
}

/// A message on its way from queue to ledger.
#[derive(Debug)]
struct Message<A> {
    body: Body,
    /// In how many parts it was accepted.
    accepted: u8,
    /// It goes before those that are not.
    urgent: bool,
    /// Split for its route; `None` while it may still go by another.
    parts: Option<Parts>,
    expires_at: Timestamp,
    route: usize,
    place: Place,
    flight: Option<Uuid>,
    /// Parts to submit.
    todo: VecDeque<u8>,
    /// Parts submitted and not answered.
    out: u8,
    sent: Vec<SentPart>,
    /// A part may have been written upstream: no other route.
    pinned: bool,
    faults: u8,
    /// Routes whose upstreams answered it with a fault of their own, one bit each.
    failed: u32,
    unanswered: u8,
    end: Option<(MessageState, Option<i32>)>,
    /// The latest receipt's time.
    done: Option<Timestamp>,
    acks: Vec<A>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    /// Left alone until then.
    Later(Instant),
    Launching,
    /// In its lane, with parts to submit.
    Ready,
    /// In no lane: only answers are awaited.
    Out,
}

/// A part to submit now.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) id: MessageId,
    pub(super) part: u8,
    pub(super) submit: SubmitSm,
}

/// What an answer means for its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It works.
    Well,
    /// Nothing to do with the route.
    Nothing,
    /// Slow down.
    Throttled,
    /// It reaches nobody now.
    Trouble,
    /// There was no credit.
    NoCredit,
    /// Stop: a newer sender runs.
    Stale,
}

/// All messages of this sender.
#[derive(Debug)]
pub(super) struct Book<A> {
    lanes: Vec<Lane>,
    messages: HashMap<MessageId, Message<A>>,
    later: BTreeSet<(Instant, MessageId)>,
    pub(super) ledger: Ledger<A>,
}

impl<A> Message<A> {
    /// Splits it for its route, unless it is; false where that cannot be done, and the message is at its end.
    fn split(&mut self, style: Style) -> bool {
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

    fn unfit(&mut self) {
        self.place = Place::Out;
        self.end = Some((MessageState::Rejected, Some(LocalError::Unreadable.code())));
    }

    fn turn(&self, id: MessageId) -> Turn {
        Turn::of(id, self.urgent)
    }

    fn may_move(&self) -> bool {
        !self.pinned && self.sent.is_empty()
    }

    /// Parts to submit, as far as is known.
    fn weight(&self) -> u32 {
        match self.parts {
            Some(_) => u32::try_from(self.todo.len()).unwrap_or(u32::MAX),
            None => u32::from(self.accepted),
        }
    }
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
        let message = Message {
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
        };
        self.messages.insert(id, message);
        self.put(id, moment);
    }

    /// Ends a message that cannot be read.
    pub(super) fn reject(&mut self, id: MessageId, flight: Option<Uuid>, moment: Moment) {
        let settled = Settled {
            id,
            state: MessageState::Rejected,
            error: Some(LocalError::Unreadable.code()),
            route: None,
            parts: Vec::new(),
            final_at: Some(moment.at),
            several: false,
        };
        self.ledger.settle(Entry { settled, flight, done: None, acks: Vec::new(), since: moment.now });
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

    /// Up to `most` messages, oldest first, with as many parts as `room` (the last one may need more): to be launched.
    pub(super) fn pick(&mut self, route: usize, room: u32, most: usize) -> Vec<MessageId> {
        let (mut left, mut picked) = (room, Vec::new());
        let Some(lane) = self.lanes.get_mut(route) else { return picked };
        while left > 0 && picked.len() < most {
            let Some((id, weight)) = lane.pop_waiting() else { break };
            if let Some(message) = self.messages.get_mut(&id) {
                message.place = Place::Launching;
                left = left.saturating_sub(weight);
                picked.push(id);
            }
        }
        picked
    }

    /// The flight of `picked` is committed with `flown` (sorted); the others have left the queue.
    pub(super) fn launched(
        &mut self,
        route: usize,
        flight: Uuid,
        picked: &[MessageId],
        flown: &[MessageId],
        moment: Moment,
    ) {
        if !flown.is_empty() {
            self.ledger.flight_begun(flight, flown.len());
        }
        for id in picked {
            if flown.binary_search(id).is_err() {
                self.messages.remove(id);
            } else if let (Some(message), Some(lane)) = (self.messages.get_mut(id), self.lanes.get_mut(route)) {
                message.place = Place::Ready;
                message.flight = Some(flight);
                message.route = route;
                if message.split(lane.style) {
                    lane.ready(*id, message.weight());
                } else {
                    self.finish(*id, moment);
                }
            }
        }
    }

    /// The flight of `picked` was not committed, as far as is known.
    pub(super) fn not_launched(&mut self, flight: Uuid, picked: &[MessageId], moment: Moment) {
        self.ledger.flight_in_doubt(flight);
        for id in picked {
            if let Some(message) = self.messages.get_mut(id) {
                message.place = Place::Waiting;
                self.put(*id, moment);
            }
        }
    }

    /// Forgets what is in no flight: it is safe in the queue.
    pub(super) fn forget_waiting(&mut self) {
        let mut ids: Vec<_> = self.lanes.iter_mut().flat_map(Lane::take_waiting).map(|turn| turn.id).collect();
        ids.extend(std::mem::take(&mut self.later).into_iter().map(|(_, id)| id));
        for id in ids {
            let Some(message) = self.messages.get_mut(&id) else { continue };
            if message.flight.is_none() {
                self.messages.remove(&id);
            } else if let Some(lane) = self.lanes.get_mut(message.route) {
                message.place = Place::Ready;
                lane.ready(id, message.weight());
            }
        }
    }

    /// Takes what is ready and unwritten out of its flight: it may go by another route.
    pub(super) fn unready(&mut self, route: usize, moment: Moment) {
        let Some(lane) = self.lanes.get_mut(route) else { return };
        for id in lane.take_ready() {
            if let Some(message) = self.messages.get_mut(&id) {
                message.place = Place::Out;
                if message.out == 0 {
                    self.resolve(id, moment);
                }
            }
        }
    }

    /// Takes what is ready and unwritten out of its flight and forgets it: for a sender that stops.
    pub(super) fn release_ready(&mut self) {
        let ready: Vec<_> = self.lanes.iter_mut().flat_map(Lane::take_ready).collect();
        for id in ready {
            let Some(message) = self.messages.get(&id) else { continue };
            if !message.may_move() || message.out > 0 {
                let weight = message.weight();
                self.lanes.get_mut(message.route).into_iter().for_each(|lane| lane.ready(id, weight));
            } else if let Some(flight) = self.messages.remove(&id).and_then(|message| message.flight) {
                self.ledger.released(flight);
            }
        }
    }

    /// Lets those go on whose time has come, and ends those that it is too late for.
    pub(super) fn wind(&mut self, moment: Moment) {
        while let Some((until, id)) = self.later.first().copied().filter(|(until, _)| *until <= moment.now) {
            self.later.remove(&(until, id));
            if let Some(message) = self.messages.get_mut(&id) {
                message.place = if message.flight.is_some() { Place::Ready } else { Place::Waiting };
                self.put(id, moment);
            }
        }
        let mut expired: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, message)| message.place == Place::Waiting && message.expires_at <= moment.at)
            .map(|(id, message)| (message.turn(*id), message.route))
            .collect();
        // Oldest first, whatever the map's order.
        expired.sort_unstable();
        for (turn, route) in expired {
            self.lanes.get_mut(route).into_iter().for_each(|lane| lane.leave(turn));
            self.too_late(turn.id, moment);
        }
    }

    fn too_late(&mut self, id: MessageId, moment: Moment) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.end = Some((MessageState::Expired, Some(LocalError::TooLate.code())));
            self.resolve(id, moment);
        }
    }

    /// The next part for a route. Messages that it is too late for end on the way.
    pub(super) fn next(&mut self, route: usize, moment: Moment) -> Option<Next> {
        loop {
            let lane = self.lanes.get_mut(route)?;
            let id = lane.first_ready()?;
            let Some(message) = self.messages.get_mut(&id) else {
                lane.pop_ready(0);
                continue;
            };
            if message.end.is_some() || message.expires_at <= moment.at {
                lane.pop_ready(message.weight());
                message.place = Place::Out;
                if message.end.is_none() {
                    self.too_late(id, moment);
                }
                continue;
            }
            let part = message.todo.pop_front();
            lane.submitted();
            if message.todo.is_empty() {
                lane.pop_ready(0);
                message.place = Place::Out;
            }
            let (Some(part), Some(parts)) = (part, &message.parts) else { continue };
            match parts.submit(id, part, message.expires_at) {
                Ok(submit) => {
                    message.out += 1;
                    return Some(Next { id, part, submit });
                }
                Err(error) => {
                    tracing::error!(message = %id, %error, "a message cannot be put on the wire");
                    if message.place == Place::Ready {
                        lane.gone(id, message.weight());
                    }
                    message.unfit();
                    self.resolve(id, moment);
                }
            }
        }
    }

    /// What became of a submitted part. `hold`: what may have been sent is not sent again.
    pub(super) fn answered(&mut self, id: MessageId, part: u8, verdict: Verdict, hold: bool, moment: Moment) -> Effect {
        let Some(message) = self.messages.get_mut(&id) else { return Effect::Nothing };
        let Some(lane) = self.lanes.get_mut(message.route) else { return Effect::Nothing };
        message.out = message.out.saturating_sub(1);
        lane.answered();
        let (again, effect) = match verdict {
            Verdict::Taken { upstream_id, tag } => {
                self.ledger.named(lane.route, &upstream_id, id);
                let (state, at) = (MessageState::Sent, moment.at);
                // One submit may carry what was accepted, and is billed, as several parts.
                let whole = message.parts.as_ref().is_none_or(|parts| parts.count() == 1);
                let parts = if whole { 1..=message.accepted } else { part..=part };
                message.sent.extend(parts.map(|part| SentPart {
                    part,
                    state,
                    error: None,
                    upstream_id: upstream_id.clone(),
                    tag,
                    at,
                }));
                (false, Effect::Well)
            }
            Verdict::Throttled => (true, Effect::Throttled),
            Verdict::NotWritten => (true, Effect::Trouble),
            Verdict::NoCredit => (true, Effect::NoCredit),
            Verdict::Stale => (true, Effect::Stale),
            Verdict::Faulty(status) if message.faults + 1 >= FAULTS => {
                message.end = Some((MessageState::Rejected, Some(status)));
                (false, Effect::Nothing)
            }
            Verdict::Faulty(_) => {
                if message.place == Place::Ready {
                    lane.gone(id, message.weight());
                }
                message.place = Place::Later(moment.now + FAULT_DELAY * (1 << message.faults));
                message.faults += 1;
                message.note_failure();
                (true, Effect::Nothing)
            }
            Verdict::Unanswered => {
                message.unanswered += 1;
                message.pinned = true;
                let held = hold || message.unanswered >= UNANSWERED;
                if held {
                    message.end = message.end.or(Some((MessageState::Held, None)));
                }
                (!held, Effect::Nothing)
            }
            Verdict::Refused(status) => {
                message.end = Some((MessageState::Rejected, Some(status)));
                (false, Effect::Well)
            }
        };
        if again && message.end.is_none() {
            // In their order again, whichever was answered first.
            let place = message.todo.partition_point(|other| *other < part);
            message.todo.insert(place, part);
            if message.place == Place::Ready {
                lane.more();
            }
        }
        self.try_elsewhere(id);
        self.resolve(id, moment);
        effect
    }

    /// Where no answer is due to a message any more, it ends or goes on.
    fn resolve(&mut self, id: MessageId, moment: Moment) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        if message.out > 0 {
            return;
        }
        if message.end.is_some() {
            // Its lane finds out when its turn comes.
            return self.finish(id, moment);
        }
        if message.todo.is_empty() {
            message.end = Some((MessageState::Sent, None));
            return self.finish(id, moment);
        }
        if message.place == Place::Ready {
            return;
        }
        if message.may_move() {
            message.flight.take().into_iter().for_each(|flight| self.ledger.released(flight));
            message.parts = None;
            message.todo.clear();
        }
        if message.place == Place::Out {
            message.place = if message.flight.is_some() { Place::Ready } else { Place::Waiting };
        }
        self.put(id, moment);
    }

    /// Hands a message to the ledger.
    fn finish(&mut self, id: MessageId, moment: Moment) {
        let Some(mut message) = self.messages.remove(&id) else { return };
        if message.place == Place::Ready {
            let weight = message.weight();
            self.lanes.get_mut(message.route).into_iter().for_each(|lane| lane.gone(id, weight));
        }
        let (state, error) = message.end.unwrap_or((MessageState::Sent, None));
        message.sent.sort_by_key(|part| part.part);
        let refused = state == MessageState::Rejected && error.and_then(LocalError::from_code).is_none();
        let lane = self.lanes.get(message.route);
        let awaited = state == MessageState::Sent && lane.is_none_or(|lane| lane.style.receipts != Receipts::None);
        let over = !awaited && state != MessageState::Held;
        let settled = Settled {
            id,
            state,
            error,
            route: lane.filter(|_| refused || !message.sent.is_empty()).map(|lane| lane.route),
            final_at: over.then_some(moment.at),
            several: message.parts.is_some_and(|parts| parts.count() > 1),
            parts: message.sent,
        };
        let (flight, done, acks) = (message.flight, message.done, message.acks);
        self.ledger.settle(Entry { settled, flight, done, acks, since: moment.now });
    }

    /// A receipt came: it is merged into its message while that is not stored.
    pub(super) fn receive(&mut self, receipt: Receipt, ack: A) -> Met<A> {
        let Some(id) = self.ledger.find(receipt.route, &receipt.upstream_id) else {
            return Met::Elsewhere(receipt, ack);
        };
        let Some(message) = self.messages.get_mut(&id) else { return self.ledger.receive(id, receipt, ack) };
        if !ledger::merge(&mut message.sent, &mut message.done, &receipt) {
            return Met::Elsewhere(receipt, ack);
        }
        message.acks.push(ack);
        Met::Merged
    }
}

#[cfg(test)]
mod tests;
