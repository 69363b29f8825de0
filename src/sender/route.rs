//! One route as the engine sees it: its session, what it allows, and whether it is worth trying.
use std::time::{Duration, Instant};

use super::lane::Intake;
use crate::domain::Circuit;
use crate::smpp::backoff::Backoff;
use crate::smpp::session::Session;
use crate::smpp::vendor::Flow;

/// Without a credit for so long, while messages wait, a route counts as out of order.
const STALLED: Duration = Duration::from_secs(10);

/// One route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) session: Option<Session>,
    /// Submits that the connector allows now.
    pub(super) credits: u32,
    /// Parts that the connector believes are waiting.
    told: u32,
    /// What the connector says of the upstream.
    circuit: Circuit,
    /// Nothing is submitted until then.
    paused_until: Option<Instant>,
    /// Messages that can go elsewhere do so until then.
    trouble_until: Option<Instant>,
    throttle: Backoff,
    trouble: Backoff,
    /// Messages wait, and there is no credit.
    starving_since: Option<Instant>,
    /// When messages are launched although credit for more may come soon.
    pub(super) gathered_at: Option<Instant>,
}

impl Route {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            session: None,
            credits: 0,
            told: 0,
            circuit: Circuit::Closed,
            paused_until: None,
            trouble_until: None,
            throttle: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            trouble: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            starving_since: None,
            gathered_at: None,
        }
    }

    pub(super) fn up(&mut self, session: Session) {
        self.session = Some(session);
        (self.credits, self.told) = (0, 0);
        // Where it is not, the connector says so.
        self.circuit = Circuit::Closed;
        (self.paused_until, self.trouble_until, self.starving_since) = (None, None, None);
        // So that the connector knows who it has to do with, and wakes us.
        self.tell(0);
    }

    pub(super) fn down(&mut self) {
        self.session = None;
        (self.credits, self.told) = (0, 0);
        self.starving_since = None;
    }

    /// The connector says whether the route takes messages. It knows more than we do: what we made of it is forgotten.
    pub(super) fn told(&mut self, circuit: Circuit) {
        self.circuit = circuit;
        (self.trouble_until, self.starving_since) = (None, None);
        match circuit {
            Circuit::Open => self.credits = 0,
            Circuit::HalfOpen | Circuit::Closed => self.paused_until = None,
        }
    }

    /// The upstream answers.
    pub(super) fn well(&mut self) {
        self.throttle.reset();
        self.trouble.reset();
    }

    /// The upstream asks for less. A burst of such answers counts once.
    pub(super) fn throttled(&mut self, now: Instant) {
        if !self.is_paused(now) {
            self.paused_until = Some(now + self.throttle.delay());
        }
    }

    /// The upstream is not reached.
    pub(super) fn troubled(&mut self, now: Instant) {
        if !self.is_paused(now) {
            let until = now + self.trouble.delay();
            (self.paused_until, self.trouble_until) = (Some(until), Some(until));
        }
    }

    /// The connector did not allow a submit: what we thought of our credit is wrong, so it is asked for anew.
    pub(super) fn overdrawn(&mut self, now: Instant) {
        self.credits = 0;
        self.tell(0);
        self.throttled(now);
    }

    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// How many messages that could go by another route should come here.
    pub(super) fn intake(&self, now: Instant) -> Intake {
        if self.session.is_none() || self.trouble_until.is_some_and(|until| now < until) {
            return Intake::None;
        }
        match self.circuit {
            Circuit::Closed => Intake::All,
            Circuit::HalfOpen => Intake::One,
            Circuit::Open => Intake::None,
        }
    }

    /// Takes note of whether messages wait without credit; true where that has gone on for too long.
    pub(super) fn starves(&mut self, demand: u32, now: Instant) -> bool {
        if demand == 0 || self.credits > 0 || self.session.is_none() || self.circuit == Circuit::Open {
            self.starving_since = None;
            return false;
        }
        let starving = now.duration_since(*self.starving_since.get_or_insert(now)) >= STALLED;
        if starving {
            self.starving_since = None;
            self.trouble_until = Some(now + self.trouble.delay());
        }
        starving
    }

    /// A part was submitted.
    pub(super) fn spend(&mut self) {
        self.credits = self.credits.saturating_sub(1);
        self.told = self.told.saturating_sub(1);
    }

    /// Tells the connector what waits, where it does not know. Nothing waits: credit goes back.
    pub(super) fn announce(&mut self, demand: u32) {
        if demand != self.told || (demand == 0 && self.credits > 0) {
            self.tell(demand);
        }
        if demand == 0 {
            self.credits = 0;
        }
    }

    fn tell(&mut self, demand: u32) {
        if let Some(session) = &self.session {
            // A session that is over says so by itself.
            let _ = session.notify(Flow::Demand(demand));
            self.told = demand;
        }
    }

    /// When something changes by itself.
    pub(super) fn next_change(&self) -> impl Iterator<Item = Instant> {
        let stalled = self.starving_since.map(|since| since + STALLED);
        [self.paused_until, self.trouble_until, stalled, self.gathered_at].into_iter().flatten()
    }
}
