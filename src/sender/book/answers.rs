//! What an upstream says of a part, and how messages end: answers, receipts that overtake the result, and the way into the ledger.
use std::time::Duration;

use uuid::Uuid;

use super::{Book, Moment, Place};
use crate::config::sender::Receipts;
use crate::domain::{LocalError, MessageId, MessageState};
use crate::sender::ledger::{self, Entry, Met};
use crate::sender::verdict::Verdict;
use crate::store::receipts::Receipt;
use crate::store::results::{SentPart, Settled};

/// How often a message is tried against an upstream's passing faults before it counts as refused.
pub(super) const FAULTS: u8 = 5;
/// How often a message that was written and not answered is sent again before it is held.
pub(super) const UNANSWERED: u8 = 3;
/// The wait after a message's first fault; it doubles.
pub(super) const FAULT_DELAY: Duration = Duration::from_secs(1);

/// What an answer means for its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sender) enum Effect {
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

impl<A> Book<A> {
    /// What became of a submitted part. `hold`: what may have been sent is not sent again.
    pub(in crate::sender) fn answered(
        &mut self,
        id: MessageId,
        part: u8,
        verdict: Verdict,
        hold: bool,
        moment: Moment,
    ) -> Effect {
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
    pub(super) fn resolve(&mut self, id: MessageId, moment: Moment) {
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
    pub(super) fn finish(&mut self, id: MessageId, moment: Moment) {
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

    /// Ends a message that cannot be read.
    pub(in crate::sender) fn reject(&mut self, id: MessageId, flight: Option<Uuid>, moment: Moment) {
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

    /// A receipt came: it is merged into its message while that is not stored.
    pub(in crate::sender) fn receive(&mut self, receipt: Receipt, ack: A) -> Met<A> {
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
