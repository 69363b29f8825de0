//! The account at the end of a run: what was accepted, what became of it, and whether both ends tell the same.
use std::collections::BTreeMap;
use std::time::Duration;

use super::plan::Message;
use super::upstream::{Taken, id_in_receipt};
use super::world::{World, tenant_id};
use crate::connector::simulation::known_by;
use crate::domain::{MessageId, MessageState};
use crate::store::results::{SentPart, Settled};

/// What a run amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) accepted: usize,
    pub(crate) held: usize,
    pub(crate) rejected: usize,
    /// Parts that the upstream took.
    pub(crate) taken: usize,
    /// Of these, more than once.
    pub(crate) doubled: usize,
    /// After an outage: the longest time until something of a tenant went.
    pub(crate) resumed: Duration,
}

/// Everything has come to its end, and everybody knows.
pub(super) fn is_at_rest(world: &World) -> bool {
    unrest(world).is_empty()
}

/// What has not come to its end.
pub(super) fn unrest(world: &World) -> String {
    let mut unrest = Vec::new();
    for index in 0..world.plan.tenants.len() {
        let (queued, flights, open) = world.database.tenant(tenant_id(index), |facts| {
            let open = facts.log.values().flat_map(|message| &message.parts).filter(|part| !part.state.is_final());
            (facts.queue.values().filter(|row| !row.held).count(), facts.flights.len(), open.count())
        });
        for (count, what) in [(queued, "queued"), (flights, "flights"), (open, "parts without a receipt")] {
            if count > 0 {
                unrest.push(format!("tenant {index}: {count} {what}"));
            }
        }
    }
    let receipts = world.upstream.taken().values().filter(|taken| !taken.receipted).count();
    for (count, what) in [(receipts, "receipts not taken"), (world.checks.unanswered(), "submits not answered")] {
        if count > 0 {
            unrest.push(format!("{count} {what}"));
        }
    }
    unrest.join(", ")
}

/// Holds what the database knows against what the upstream knows.
pub(super) fn check(world: &World) -> Figures {
    let taken: BTreeMap<String, Taken> =
        world.upstream.taken().into_iter().map(|(id, taken)| (known_by(&id_in_receipt(id)), taken)).collect();
    let mut copies: BTreeMap<(u64, u8), usize> = BTreeMap::new();
    for taken in taken.values() {
        *copies.entry((taken.to, taken.part)).or_default() += 1;
    }
    let doubled = copies.values().map(|count| count - 1).sum();
    let mut figures = Figures {
        accepted: world.accepted.len(),
        taken: taken.len(),
        doubled,
        resumed: world.resumed,
        ..Figures::default()
    };
    for (id, message) in &world.accepted {
        figures.count(one(world, &taken, *id, message));
    }
    for ((to, part), count) in copies.into_iter().filter(|(_, count)| *count > 1) {
        let tenant = super::plan::tenant_of(to);
        if world.plan.tenants[tenant].hold || world.plan.faults.is_empty() {
            world.checks.violated(format!("part {part} of message {to} was sent {count} times"));
        }
    }
    figures
}

impl Figures {
    fn count(&mut self, state: Option<MessageState>) {
        self.held += usize::from(state == Some(MessageState::Held));
        self.rejected += usize::from(state == Some(MessageState::Rejected));
    }
}

/// One message's end.
fn one(world: &World, taken: &BTreeMap<String, Taken>, id: MessageId, message: &Message) -> Option<MessageState> {
    let Message { tenant, to, parts, .. } = *message;
    let (row, logged) = world
        .database
        .tenant(tenant_id(tenant), |facts| (facts.queue.get(&id).map(|row| row.held), facts.log.get(&id).cloned()));
    let wrong = |what: String| world.checks.violated(format!("message {to} {what}"));
    match (row, logged) {
        (None, None) => wrong("is lost".to_owned()),
        (Some(_), Some(_)) => wrong("is queued and logged".to_owned()),
        (Some(false), None) => wrong("is still queued".to_owned()),
        (Some(true), None) => {
            if world.plan.faults.is_empty() {
                wrong("is held, and nothing went wrong".to_owned());
            }
            return Some(MessageState::Held);
        }
        (None, Some(settled)) => {
            let refused: u32 = (1..=parts).map(|part| world.upstream.unwell(to, part)).sum();
            match settled.state {
                MessageState::Rejected if refused == 0 => wrong("is rejected, and nobody did".to_owned()),
                MessageState::Rejected => {}
                MessageState::Sent | MessageState::Delivered | MessageState::Failed => {
                    let sent: Vec<u8> = settled.parts.iter().map(|part| part.part).collect();
                    if sent != (1..=parts).collect::<Vec<_>>() {
                        wrong(format!("has parts {sent:?} of {parts}"));
                    }
                }
                other => wrong(format!("became {other:?}")),
            }
            parts_agree(world, taken, message, &settled);
            return Some(settled.state);
        }
    }
    None
}

/// Each part is one that the upstream took for this message, and has the end that its receipt told, once.
fn parts_agree(world: &World, taken: &BTreeMap<String, Taken>, message: &Message, settled: &Settled) {
    let wrong = |what: String| world.checks.violated(format!("message {} {what}", message.to));
    for SentPart { part, state, upstream_id, .. } in &settled.parts {
        let Some(taken) = taken.get(&**upstream_id) else {
            wrong(format!("has a part {part} that nobody took"));
            continue;
        };
        if (taken.to, taken.part) != (message.to, *part) {
            wrong(format!("has as part {part} the part {} of message {}", taken.part, taken.to));
        }
        let told = if taken.delivered { MessageState::Delivered } else { MessageState::Failed };
        if *state != told {
            wrong(format!("has a part {part} that is {state:?}; its receipt told {told:?}"));
        }
        let times = world.database.tenant(tenant_id(message.tenant), |facts| {
            facts.became_final.get(&**upstream_id).copied().unwrap_or_default()
        });
        if times != 1 {
            wrong(format!("has a part {part} that came to its end {times} times"));
        }
        if world.database.is_parked(upstream_id) {
            wrong(format!("has a part {part} whose receipt is parked"));
        }
    }
}
