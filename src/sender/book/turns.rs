//! Whose turn it is: the next part for a route, who has waited long enough, and who too long.
use rusmpp::pdus::SubmitSm;

use super::{Book, Moment, Place};
use crate::domain::{LocalError, MessageId, MessageState};

/// A part to submit now.
#[derive(Debug)]
pub(in crate::sender) struct Next {
    pub(in crate::sender) id: MessageId,
    pub(in crate::sender) part: u8,
    pub(in crate::sender) submit: SubmitSm,
}

impl<A> Book<A> {
    /// Lets those go on whose time has come, and ends those that it is too late for.
    pub(in crate::sender) fn wind(&mut self, moment: Moment) {
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

    pub(super) fn too_late(&mut self, id: MessageId, moment: Moment) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.end = Some((MessageState::Expired, Some(LocalError::TooLate.code())));
            self.resolve(id, moment);
        }
    }

    /// The next part for a route. Messages that it is too late for end on the way.
    pub(in crate::sender) fn next(&mut self, route: usize, moment: Moment) -> Option<Next> {
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
}
