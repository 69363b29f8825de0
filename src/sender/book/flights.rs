//! What goes into a flight and what comes out of one again: a message is picked, launched when its flight is committed, and may be taken
//! out while nothing of it is written.
use uuid::Uuid;

use super::{Book, Moment, Place};
use crate::domain::MessageId;
use crate::sender::lane::Lane;

impl<A> Book<A> {
    /// Up to `most` messages, oldest first, with as many parts as `room` (the last one may need more): to be launched.
    pub(in crate::sender) fn pick(&mut self, route: usize, room: u32, most: usize) -> Vec<MessageId> {
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
    pub(in crate::sender) fn launched(
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
    pub(in crate::sender) fn not_launched(&mut self, flight: Uuid, picked: &[MessageId], moment: Moment) {
        self.ledger.flight_in_doubt(flight);
        for id in picked {
            if let Some(message) = self.messages.get_mut(id) {
                message.place = Place::Waiting;
                self.put(*id, moment);
            }
        }
    }

    /// Forgets what is in no flight: it is safe in the queue.
    pub(in crate::sender) fn forget_waiting(&mut self) {
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
    pub(in crate::sender) fn unready(&mut self, route: usize, moment: Moment) {
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
    pub(in crate::sender) fn release_ready(&mut self) {
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
}
