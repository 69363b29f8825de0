//! What waits for one route: messages that are not launched yet, in order of accept, and launched ones with parts to
//! submit.
use std::collections::{BTreeMap, VecDeque};

use super::compose::Style;
use crate::config::sender::Leg;
use crate::domain::{Body, MessageId, RouteId, SenderId};

/// What waits for one route. Weights are parts to submit.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) route: RouteId,
    pub(super) style: Style,
    prefixes: Vec<String>,
    letters: bool,
    /// The route takes messages now.
    pub(super) available: bool,
    waiting: BTreeMap<MessageId, u32>,
    waiting_weight: u32,
    ready: VecDeque<MessageId>,
    ready_weight: u32,
}

impl Lane {
    pub(super) fn new(leg: &Leg) -> Self {
        Self {
            route: leg.route_id,
            style: Style::of(leg),
            prefixes: leg.prefixes.clone(),
            letters: leg.alphanumeric_senders,
            available: false,
            waiting: BTreeMap::new(),
            waiting_weight: 0,
            ready: VecDeque::new(),
            ready_weight: 0,
        }
    }

    /// Whether the route carries such a message.
    pub(super) fn carries(&self, body: &Body) -> bool {
        let number = body.to.digits().reveal();
        (self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| number.starts_with(prefix)))
            && (self.letters || matches!(body.from, SenderId::Number(_)))
    }

    /// Messages not launched.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Parts of launched messages.
    pub(super) fn ready_parts(&self) -> u32 {
        self.ready_weight
    }

    /// All parts.
    pub(super) fn demand(&self) -> u32 {
        self.waiting_weight.saturating_add(self.ready_weight)
    }

    pub(super) fn wait(&mut self, id: MessageId, weight: u32) {
        if self.waiting.insert(id, weight).is_none() {
            self.waiting_weight += weight;
        }
    }

    pub(super) fn pop_waiting(&mut self) -> Option<(MessageId, u32)> {
        let (id, weight) = self.waiting.pop_first()?;
        self.waiting_weight -= weight;
        Some((id, weight))
    }

    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = MessageId> + use<> {
        self.waiting_weight = 0;
        std::mem::take(&mut self.waiting).into_keys()
    }

    pub(super) fn leave(&mut self, id: MessageId) {
        self.waiting_weight -= self.waiting.remove(&id).unwrap_or_default();
    }

    pub(super) fn ready(&mut self, id: MessageId, weight: u32) {
        self.ready.push_back(id);
        self.ready_weight += weight;
    }

    pub(super) fn take_ready(&mut self) -> VecDeque<MessageId> {
        self.ready_weight = 0;
        std::mem::take(&mut self.ready)
    }

    pub(super) fn first_ready(&self) -> Option<MessageId> {
        self.ready.front().copied()
    }

    /// One part of a ready message is on its way.
    pub(super) fn submitted(&mut self) {
        self.ready_weight = self.ready_weight.saturating_sub(1);
    }

    /// A ready message has one part more.
    pub(super) fn more(&mut self) {
        self.ready_weight += 1;
    }

    /// The first ready message leaves, with parts that are not submitted.
    pub(super) fn pop_ready(&mut self, weight: u32) {
        self.ready.pop_front();
        self.ready_weight = self.ready_weight.saturating_sub(weight);
    }

    /// A ready message ended before its turn.
    pub(super) fn gone(&mut self, id: MessageId, weight: u32) {
        self.ready.retain(|ready| *ready != id);
        self.ready_weight = self.ready_weight.saturating_sub(weight);
    }
}
