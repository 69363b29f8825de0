//! What waits for one route: messages that are not launched yet, urgent ones first and each in order of accept, and
//! launched ones with parts to submit.
use std::collections::{BTreeMap, VecDeque};

use super::compose::Style;
use crate::config::sender::Leg;
use crate::domain::{Body, MessageId, MilliOre, PriceList, RouteId, SenderId};

/// How many messages a route takes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// As many as come.
    All,
    /// One, to see whether it takes any.
    One,
    /// None, if they can go elsewhere.
    None,
}

/// A message's turn among those that wait: urgent ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    waits_behind: bool,
    pub(super) id: MessageId,
}

impl Turn {
    pub(super) fn of(id: MessageId, urgent: bool) -> Self {
        Self { waits_behind: !urgent, id }
    }
}

/// What waits for one route. Weights are parts to submit.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) route: RouteId,
    pub(super) style: Style,
    prefixes: Vec<String>,
    letters: bool,
    without: Vec<String>,
    costs: PriceList,
    intake: Intake,
    /// The one message that it takes now has come, and was not answered.
    tried: bool,
    waiting: BTreeMap<Turn, u32>,
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
            without: leg.without_senders.clone(),
            costs: leg.costs.iter().map(|cost| (cost.prefix.clone(), cost.cost)).collect(),
            intake: Intake::None,
            tried: false,
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
            && (self.without.is_empty() || self.without.iter().all(|sender| sender != body.from.as_str()))
    }

    /// What a part of such a message costs by this route; `None` where nobody has said.
    pub(super) fn cost(&self, body: &Body) -> Option<MilliOre> {
        self.costs.of(&body.to)
    }

    /// How many messages it takes from now on; whether that is a change.
    pub(super) fn set_intake(&mut self, intake: Intake) -> bool {
        let changed = std::mem::replace(&mut self.intake, intake) != intake;
        self.tried &= !changed;
        changed
    }

    /// The route's upstream has answered.
    pub(super) fn answered(&mut self) {
        self.tried = false;
    }

    /// Whether another message may come here now.
    pub(super) fn takes(&self) -> bool {
        match self.intake {
            Intake::All => true,
            Intake::One => !self.tried && self.waiting.is_empty() && self.ready.is_empty(),
            Intake::None => false,
        }
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

    pub(super) fn wait(&mut self, turn: Turn, weight: u32) {
        if self.waiting.insert(turn, weight).is_none() {
            self.waiting_weight += weight;
        }
    }

    pub(super) fn pop_waiting(&mut self) -> Option<(MessageId, u32)> {
        let (turn, weight) = self.waiting.pop_first()?;
        self.tried |= self.intake == Intake::One;
        self.waiting_weight -= weight;
        Some((turn.id, weight))
    }

    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = Turn> + use<> {
        self.waiting_weight = 0;
        std::mem::take(&mut self.waiting).into_keys()
    }

    pub(super) fn leave(&mut self, turn: Turn) {
        self.waiting_weight -= self.waiting.remove(&turn).unwrap_or_default();
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
