//! The route's circuit breaker: when the upstream takes nothing any more, tenants' messages go by their next route or wait, and
//! one now and then tries whether it takes them again.
//!
//! It opens without a bind, by a throttling that does not end, and by faults of the upstream's own (`smpp::fault`) that come one after
//! another; what is a message's own fault counts as an answer like any other. It closes by itself: with the first bind, or when
//! a message that tried was taken.
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::Circuit;
use crate::smpp::backoff::Backoff;
use crate::smpp::fault::Fault;

/// Throttled for so long, and nothing taken meanwhile.
const ENDLESS: Duration = Duration::from_secs(5);
/// So many messages met a fault one after another, and none was taken meanwhile.
const FAULTS: u32 = 5;
/// For so many counts one that met a fault that will last: two of them are enough, though not one, which may be what is unwelcome.
const LASTING: u32 = 3;
/// How long it stays open before it is tried again: at first, and at most.
const COOLING: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(60));
/// Closed for so long, it cools as shortly as at first when it opens again.
const HELD: Duration = Duration::from_secs(60);

/// What a submit met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    /// The upstream took it, or refused it for its own fault: it works.
    Taken,
    /// A fault of the upstream's, by this message where that is known.
    Fault(Fault, Option<Uuid>),
    /// Nothing came back.
    Silence(Option<Uuid>),
}

/// See the module. Knows nothing of tasks and sessions; says after each event where it stands.
#[derive(Debug)]
pub(super) struct Breaker {
    circuit: Circuit,
    /// Why it is open: there is no bind.
    unbound: bool,
    /// When it is tried again.
    until: Instant,
    closed_at: Instant,
    throttled_since: Option<Instant>,
    faults: u32,
    /// The message that met the last fault: one alone opens nothing.
    last: Option<Uuid>,
    cooling: Backoff,
}

impl Breaker {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            circuit: Circuit::Closed,
            unbound: false,
            until: now,
            closed_at: now,
            throttled_since: None,
            faults: 0,
            last: None,
            cooling: Backoff::new(COOLING.0, COOLING.1),
        }
    }

    pub(super) fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// There is no bind, though none was missing for a moment only.
    pub(super) fn is_unbound(&self) -> bool {
        self.unbound
    }

    /// Takes in whether there are binds, and what time it is.
    pub(super) fn look(&mut self, bound: bool, now: Instant) -> Circuit {
        if !bound {
            (self.circuit, self.unbound) = (Circuit::Open, true);
        } else if self.unbound {
            self.unbound = false;
            self.close(now);
        } else if self.circuit == Circuit::Open && now >= self.until {
            self.circuit = Circuit::HalfOpen;
        }
        self.circuit
    }

    /// Takes in what a submit met.
    pub(super) fn met(&mut self, met: Met, now: Instant) -> Circuit {
        // What was on its way when it opened says nothing of now.
        if self.circuit == Circuit::Open {
            return self.circuit;
        }
        let trying = self.circuit == Circuit::HalfOpen;
        let opens = match met {
            Met::Taken => {
                (self.throttled_since, self.faults, self.last) = (None, 0, None);
                if trying {
                    self.close(now);
                }
                false
            }
            Met::Fault(Fault::Throttled, _) => {
                let since = *self.throttled_since.get_or_insert(now);
                trying || now.saturating_duration_since(since) >= ENDLESS
            }
            Met::Fault(Fault::Passing, message) | Met::Silence(message) => trying || self.add(1, message),
            Met::Fault(Fault::Lasting, message) => trying || self.add(LASTING, message),
        };
        if opens {
            self.open(now);
        }
        self.circuit
    }

    /// Counts a message that was not taken; whether that is enough.
    fn add(&mut self, faults: u32, message: Option<Uuid>) -> bool {
        if message.is_none() || message != self.last {
            self.faults += faults;
        }
        self.last = message;
        self.faults >= FAULTS
    }

    fn open(&mut self, now: Instant) {
        if self.circuit == Circuit::Closed && now.saturating_duration_since(self.closed_at) >= HELD {
            self.cooling.reset();
        }
        self.circuit = Circuit::Open;
        self.until = now + self.cooling.delay();
        (self.throttled_since, self.faults, self.last) = (None, 0, None);
    }

    fn close(&mut self, now: Instant) {
        self.circuit = Circuit::Closed;
        self.closed_at = now;
        (self.throttled_since, self.faults, self.last) = (None, 0, None);
    }
}

#[cfg(test)]
mod tests;
