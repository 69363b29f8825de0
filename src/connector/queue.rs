//! What waits for its turn upstream: each tenant's in the order of coming, and among tenants by weight. So whoever joins
//! goes next, and not behind all that the others have waiting.
use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use super::cap::Cap;
use crate::domain::TenantId;
use crate::smpp::fair::Fair;
use crate::smpp::pacing::Rate;
use crate::smpp::session::WrittenAt;

/// A place in the order of coming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Queue<T> {
    fair: Fair<TenantId>,
    cap: Cap,
    waiting: BTreeMap<TenantId, VecDeque<(Turn, T)>>,
    turns: u64,
    length: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { fair: Fair::default(), cap: Cap::default(), waiting: BTreeMap::new(), turns: 0, length: 0 }
    }
}

impl<T> Queue<T> {
    /// How much waits, in all.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How much of a tenant's waits.
    pub(super) fn len_of(&self, tenant: TenantId) -> usize {
        self.waiting.get(&tenant).map_or(0, VecDeque::len)
    }

    /// Changes the most of each tenant; `None`: as much as there is.
    pub(super) fn set_cap(&mut self, rate: Option<Rate>) {
        for tenant in self.cap.set(rate) {
            self.settle(tenant);
        }
    }

    /// When the next one of a tenant's may go, as far as its own part of the rate is concerned.
    pub(super) fn next_of(&self, tenant: TenantId) -> Option<Instant> {
        self.cap.next(tenant)
    }

    /// When the first tenant may go on that has had its part; what comes meanwhile may go earlier.
    pub(super) fn rested_at(&self) -> Option<Instant> {
        self.cap.first()
    }

    /// What was taken last of a tenant's is being written, as so many parts.
    pub(super) fn writing(&mut self, tenant: TenantId, written: &WrittenAt, parts: usize) {
        self.cap.writing(tenant, written, parts);
    }

    /// Lets a tenant in, or changes its weight.
    pub(super) fn share(&mut self, tenant: TenantId, weight: u32) {
        self.fair.join(tenant, weight);
    }

    /// The next place in the order of coming.
    pub(super) fn turn(&mut self) -> Turn {
        self.turns += 1;
        Turn(self.turns)
    }

    /// Puts something of a tenant's into its place: the last one if it just came, the one that it had if it was taken
    /// before.
    pub(super) fn put(&mut self, tenant: TenantId, turn: Turn, item: T) {
        let theirs = self.waiting.entry(tenant).or_default();
        let place = theirs.partition_point(|(other, _)| *other < turn);
        theirs.insert(place, (turn, item));
        self.length += 1;
        self.settle(tenant);
    }

    /// Takes what is to go at `at`, now or soon; none where nothing waits but what is of tenants that have had their part by then.
    pub(super) fn pop(&mut self, at: Instant) -> Option<T> {
        for tenant in self.cap.rested(at) {
            self.settle(tenant);
        }
        let tenant = loop {
            let tenant = *self.fair.next()?;
            if self.cap.may(tenant, at) {
                break tenant;
            }
            self.fair.set_ready(&tenant, false);
        };
        self.fair.charge(&tenant, 1);
        let theirs = self.waiting.get_mut(&tenant)?;
        let next = theirs.pop_front();
        if theirs.is_empty() {
            self.waiting.remove(&tenant);
            self.fair.set_ready(&tenant, false);
        }
        self.length -= usize::from(next.is_some());
        next.map(|(_, item)| item)
    }

    /// Whether something of a tenant's waits whose place is before this one.
    pub(super) fn has_before(&self, tenant: TenantId, turn: Turn) -> bool {
        self.waiting.get(&tenant).and_then(VecDeque::front).is_some_and(|(first, _)| *first < turn)
    }

    /// Takes all of a tenant's.
    pub(super) fn drain(&mut self, tenant: TenantId) -> impl Iterator<Item = T> + use<T> {
        let theirs = self.waiting.remove(&tenant).unwrap_or_default();
        self.length -= theirs.len();
        self.fair.set_ready(&tenant, false);
        theirs.into_iter().map(|(_, item)| item)
    }

    /// Lets a tenant go, that has nothing left.
    pub(super) fn leave(&mut self, tenant: TenantId) {
        self.fair.leave(&tenant);
        self.cap.leave(tenant);
    }

    fn settle(&mut self, tenant: TenantId) {
        self.fair.set_ready(&tenant, self.waiting.contains_key(&tenant) && !self.cap.rests(tenant));
    }

    /// Takes everything.
    pub(super) fn drain_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.length = 0;
        for tenant in self.waiting.keys() {
            self.fair.set_ready(tenant, false);
        }
        std::mem::take(&mut self.waiting).into_values().flatten().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId(1);
    const B: TenantId = TenantId(2);

    /// Whose, and the number that it came as.
    type Item = (TenantId, Turn);

    fn queue() -> Queue<Item> {
        let mut queue = Queue::default();
        queue.share(A, 1);
        queue.share(B, 3);
        queue
    }

    fn push(queue: &mut Queue<Item>, tenant: TenantId, count: usize) {
        for _ in 0..count {
            let turn = queue.turn();
            queue.put(tenant, turn, (tenant, turn));
        }
    }

    fn pop(queue: &mut Queue<Item>, most: usize) -> Vec<Item> {
        std::iter::from_fn(|| queue.pop(Instant::now())).take(most).collect()
    }

    #[test]
    fn who_joins_goes_next_and_each_in_order() {
        let mut queue = queue();
        push(&mut queue, A, 100);
        assert_eq!(pop(&mut queue, 10).len(), 10);
        push(&mut queue, B, 1);
        let two = pop(&mut queue, 2);
        assert!(two.iter().any(|(tenant, _)| *tenant == B), "{two:?}");
        let rest = pop(&mut queue, 100);
        assert!(rest.is_sorted(), "{rest:?}");
        assert_eq!((rest.len(), queue.len()), (89, 0));
    }

    #[test]
    fn weights_hold_while_both_wait() {
        let mut queue = queue();
        push(&mut queue, A, 100);
        push(&mut queue, B, 100);
        let of_b = pop(&mut queue, 80).into_iter().filter(|(tenant, _)| *tenant == B).count();
        assert!((58..=62).contains(&of_b), "{of_b} of 80");
    }

    #[test]
    fn what_is_put_back_has_its_place_again() {
        let mut queue = queue();
        push(&mut queue, A, 4);
        for (tenant, turn) in pop(&mut queue, 3) {
            queue.put(tenant, turn, (tenant, turn));
        }
        assert!(queue.has_before(A, Turn(2)) && !queue.has_before(A, Turn(1)) && !queue.has_before(B, Turn(2)));
        let all = pop(&mut queue, 10);
        assert!(all.len() == 4 && all.is_sorted(), "{all:?}");
    }

    #[test]
    fn what_is_drained_is_gone() {
        let mut queue = queue();
        push(&mut queue, A, 2);
        push(&mut queue, B, 1);
        assert_eq!(queue.drain(A).count(), 2);
        queue.leave(A);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.drain_all().count(), 1);
        assert_eq!((queue.len(), queue.pop(Instant::now())), (0, None));
        push(&mut queue, B, 1);
        assert_eq!(pop(&mut queue, 10).len(), 1);
    }
}
