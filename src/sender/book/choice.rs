//! By which route a message goes: the first that carries it, or the cheapest; another one where that takes nothing, or has failed
//! the message.
use super::{Book, Message, Moment, Place};
use crate::domain::{MessageId, MilliOre};
use crate::sender::lane::{Intake, Lane};

/// Tenants have at most ten routes.
fn bit(route: usize) -> u32 {
    1 << (route % 32)
}

impl<A> Message<A> {
    fn failed_by(&self, route: usize) -> bool {
        self.failed & bit(route) != 0
    }

    /// Its route's upstream answered it with a fault of its own.
    pub(super) fn note_failure(&mut self) {
        self.failed |= bit(self.route);
    }
}

impl<A> Book<A> {
    /// Says how many messages a route takes now; those that wait go where they can, in their order.
    pub(in crate::sender) fn set_intake(&mut self, route: usize, intake: Intake, moment: Moment) {
        let Some(lane) = self.lanes.get_mut(route) else { return };
        if !lane.set_intake(intake) || self.lanes.len() == 1 {
            return;
        }
        let mut waiting: Vec<_> = self.lanes.iter_mut().flat_map(Lane::take_waiting).collect();
        waiting.sort_unstable();
        for turn in waiting {
            self.put(turn.id, moment);
        }
    }

    /// The route for a message: of those that carry it the first in order that takes it now and has not failed it, else one
    /// that takes it, else the first.
    pub(super) fn choose(&self, message: &Message<A>) -> Option<usize> {
        if let [only] = self.lanes.as_slice() {
            return only.carries(&message.body).then_some(0);
        }
        let mut carrying: Vec<_> =
            self.lanes.iter().enumerate().filter(|(_, lane)| lane.carries(&message.body)).collect();
        // Those of unknown cost come last. Where no route has one, the list's order stands: the sort is stable.
        if carrying.len() > 1 {
            carrying
                .sort_by_key(|(_, lane)| lane.cost(&message.body).map_or((true, MilliOre(0)), |cost| (false, cost)));
        }
        let taking = || carrying.iter().filter(|(_, lane)| lane.takes());
        let unfailed = taking().find(|(route, _)| !message.failed_by(*route));
        unfailed.or_else(|| taking().next()).or(carrying.first()).map(|(route, _)| *route)
    }

    /// Whether another route would take a message at once that this one has failed.
    fn goes_elsewhere(&self, id: MessageId) -> bool {
        let Some(message) = self.messages.get(&id) else { return false };
        let next = self.choose(message).filter(|next| *next != message.route && !message.failed_by(*next));
        next.and_then(|next| self.lanes.get(next)).is_some_and(Lane::takes)
    }

    /// What its route has failed need not wait where another one takes it.
    pub(super) fn try_elsewhere(&mut self, id: MessageId) {
        let waits = |message: &Message<A>| {
            message.failed != 0 && message.may_move() && message.out == 0 && matches!(message.place, Place::Later(_))
        };
        if self.messages.get(&id).is_some_and(waits)
            && self.goes_elsewhere(id)
            && let Some(message) = self.messages.get_mut(&id)
        {
            message.place = Place::Out;
        }
    }
}
