//! What is to be stored: results, the receipts that came before they were, and flights that are over. Several batches may be
//! under way, and come to the database in any order: a flight is cleared with the last of its messages where one batch has all
//! that are left of it, else after that; never before.
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use uuid::Uuid;

use crate::domain::{MessageId, MessageState, RouteId};
use crate::store::receipts::Receipt;
use crate::store::results::{SentPart, Settled};

/// A result and the receipts merged into it. `A` acknowledges a receipt once it is stored.
#[derive(Debug)]
pub(super) struct Entry<A> {
    pub(super) settled: Settled,
    pub(super) flight: Option<Uuid>,
    /// The latest receipt's time.
    pub(super) done: Option<jiff::Timestamp>,
    pub(super) acks: Vec<A>,
    pub(super) since: Instant,
}

/// What one statement stores.
#[derive(Debug)]
pub(super) struct Batch<A> {
    pub(super) results: Vec<Settled>,
    pub(super) flights: Vec<Uuid>,
    /// Flights that it holds messages of and does not clear, once for each.
    flying: Vec<Uuid>,
    acks: Vec<A>,
}

/// The messages of a flight whose result is not stored.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// Those in no batch.
    left: usize,
    /// Those in batches under way.
    under_way: usize,
}

/// What became of a receipt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Met<A> {
    /// It will be stored with its message's result.
    Merged,
    /// Its message is not among those here.
    Elsewhere(Receipt, A),
}

/// Results on their way to the database.
#[derive(Debug)]
pub(super) struct Ledger<A> {
    entries: HashMap<MessageId, Entry<A>>,
    order: VecDeque<MessageId>,
    /// Messages of the batches under way.
    storing: HashSet<MessageId>,
    /// Receipts for those: too late to be merged, too early to be applied.
    late: Vec<(MessageId, Receipt, A)>,
    flights: HashMap<Uuid, Open>,
    /// Flights without such messages.
    landed: Vec<Uuid>,
    by_upstream: HashMap<(RouteId, Box<str>), MessageId>,
}

impl<A> Default for Ledger<A> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            storing: HashSet::new(),
            late: Vec::new(),
            flights: HashMap::new(),
            landed: Vec::new(),
            by_upstream: HashMap::new(),
        }
    }
}

impl<A> Ledger<A> {
    /// Results that are not stored.
    pub(super) fn len(&self) -> usize {
        self.order.len() + self.storing.len()
    }

    /// Nothing is to be stored.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.landed.is_empty() && self.late.is_empty()
    }

    /// Results that no batch under way stores.
    pub(super) fn waiting(&self) -> usize {
        self.order.len()
    }

    /// There is something that no batch under way stores.
    pub(super) fn has_more(&self) -> bool {
        !self.order.is_empty() || !self.landed.is_empty()
    }

    /// Since when the first of them waits; `None` where there are only flights to clear.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.order.front().and_then(|id| self.entries.get(id)).map(|entry| entry.since)
    }

    /// Ids of messages that the queue still holds although they are done with.
    pub(super) fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.order.iter().chain(&self.storing).copied()
    }

    /// A flight was begun with so many messages.
    pub(super) fn flight_begun(&mut self, flight: Uuid, messages: usize) {
        if messages == 0 {
            self.landed.push(flight);
        } else {
            self.flights.insert(flight, Open { left: messages, under_way: 0 });
        }
    }

    /// A flight may have been begun, and none of its messages was submitted.
    pub(super) fn flight_in_doubt(&mut self, flight: Uuid) {
        self.landed.push(flight);
    }

    /// A message left its flight without a result.
    pub(super) fn released(&mut self, flight: Uuid) {
        if let Some(open) = self.flights.get_mut(&flight) {
            open.left = open.left.saturating_sub(1);
        }
        if self.is_over(flight) {
            self.landed.push(flight);
        }
    }

    /// Whether nothing is open of a flight any more; then it is forgotten.
    fn is_over(&mut self, flight: Uuid) -> bool {
        let over = self.flights.get(&flight).is_some_and(|open| open.left == 0 && open.under_way == 0);
        if over {
            self.flights.remove(&flight);
        }
        over
    }

    /// The upstream took a part: from now on a receipt can name it.
    pub(super) fn named(&mut self, route: RouteId, upstream_id: &str, id: MessageId) {
        if !upstream_id.is_empty() {
            self.by_upstream.insert((route, upstream_id.into()), id);
        }
    }

    /// The message of ours, not yet stored, that has this upstream id.
    pub(super) fn find(&self, route: RouteId, upstream_id: &str) -> Option<MessageId> {
        self.by_upstream.get(&(route, Box::from(upstream_id))).copied()
    }

    /// A message came to an end.
    pub(super) fn settle(&mut self, entry: Entry<A>) {
        self.order.push_back(entry.settled.id);
        self.entries.insert(entry.settled.id, entry);
    }

    /// Merges a receipt into the result of message `id`, or keeps it until the batch that has it is stored.
    pub(super) fn receive(&mut self, id: MessageId, receipt: Receipt, ack: A) -> Met<A> {
        if let Some(entry) = self.entries.get_mut(&id) {
            if merge(&mut entry.settled.parts, &mut entry.done, &receipt) {
                entry.acks.push(ack);
                return Met::Merged;
            }
        } else if self.storing.contains(&id) {
            self.late.push((id, receipt, ack));
            return Met::Merged;
        }
        Met::Elsewhere(receipt, ack)
    }

    /// Takes up to `most` results, oldest first, to be stored.
    pub(super) fn batch(&mut self, most: usize) -> Batch<A> {
        let flights = std::mem::take(&mut self.landed);
        let mut batch = Batch { results: Vec::new(), flights, flying: Vec::new(), acks: Vec::new() };
        while batch.results.len() < most {
            let Some(id) = self.order.pop_front() else { break };
            let Some(mut entry) = self.entries.remove(&id) else { continue };
            conclude(&mut entry);
            batch.flying.extend(entry.flight);
            self.storing.insert(id);
            batch.results.push(entry.settled);
            batch.acks.append(&mut entry.acks);
        }
        self.lands_with(&mut batch);
        batch
    }

    /// Has a batch clear the flights that it has all of what is left of, and keep what it holds of others.
    fn lands_with(&mut self, batch: &mut Batch<A>) {
        let mut own = HashMap::<Uuid, usize>::new();
        batch.flying.iter().for_each(|flight| *own.entry(*flight).or_default() += 1);
        for (flight, messages) in own {
            let Some(open) = self.flights.get_mut(&flight) else { continue };
            open.left = open.left.saturating_sub(messages);
            if open.left == 0 && open.under_way == 0 {
                self.flights.remove(&flight);
                batch.flights.push(flight);
                batch.flying.retain(|flying| *flying != flight);
            } else {
                open.under_way += messages;
            }
        }
    }

    /// A batch is committed: returns what to acknowledge, and the receipts that can be applied now.
    pub(super) fn stored(&mut self, batch: Batch<A>) -> (Vec<A>, Vec<(Receipt, A)>) {
        for settled in &batch.results {
            self.storing.remove(&settled.id);
            let Some(route) = settled.route else { continue };
            for part in &settled.parts {
                self.by_upstream.remove(&(route, part.upstream_id.clone()));
            }
        }
        for flight in batch.flying {
            if let Some(open) = self.flights.get_mut(&flight) {
                open.under_way = open.under_way.saturating_sub(1);
            }
            if self.is_over(flight) {
                self.landed.push(flight);
            }
        }
        let ready = self.late.extract_if(.., |(id, ..)| !self.storing.contains(id));
        (batch.acks, ready.map(|(_, receipt, ack)| (receipt, ack)).collect())
    }
}

/// Moves what a receipt is about forward; what is final stays as it is. False where it is about none of these: one
/// with another destination is about another message.
pub(super) fn merge(parts: &mut [SentPart], done: &mut Option<jiff::Timestamp>, receipt: &Receipt) -> bool {
    let mut met = false;
    for part in parts.iter_mut().filter(|part| part.upstream_id == receipt.upstream_id && part.tag == receipt.tag) {
        met = true;
        if !part.state.is_final() {
            part.state = receipt.state;
            part.error = receipt.error;
            *done = (*done).max(Some(receipt.at));
        }
    }
    met
}

/// A message is final with its last part: delivered where every part was, else the worst that happened to one.
fn conclude<A>(entry: &mut Entry<A>) {
    let settled = &mut entry.settled;
    if settled.state != MessageState::Sent || settled.parts.iter().any(|part| !part.state.is_final()) {
        return;
    }
    if let Some(worst) = settled.parts.iter().max_by_key(|part| part.state.code()) {
        settled.state = worst.state;
        settled.error = settled.parts.iter().filter_map(|part| part.error).max();
        settled.final_at = entry.done;
    }
}
