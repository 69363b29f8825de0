//! How the route stands: its circuit, and the last error of its upstream. Whoever meets the upstream says so here; senders, metrics and
//! the route's status hear of it.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusmpp::CommandStatus;
use tokio::time::Instant;
use uuid::Uuid;

use super::circuit::{Breaker, Met};
use super::exchange::Exchange;
use super::metrics::Metrics;
use crate::domain::{Circuit, Clock};
use crate::smpp::fault::Fault;
use crate::store::upstream_reports::{Failure, LastError, Trouble};

/// See the module.
#[derive(Debug)]
pub(super) struct Standing {
    state: Mutex<State>,
    exchange: Arc<Exchange>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    since: Timestamp,
    last_error: Option<LastError>,
}

/// What is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) circuit: Circuit,
    /// Since when.
    pub(super) since: Timestamp,
    pub(super) last_error: Option<LastError>,
}

impl Standing {
    pub(super) fn new(exchange: Arc<Exchange>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        metrics.circuit(Circuit::Closed, false);
        let state = State { breaker: Breaker::new(Instant::now()), since: clock.now(), last_error: None };
        Self { state: Mutex::new(state), exchange, clock, metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a bind, or was one a moment ago; called at every change of that, and now and then.
    pub(super) fn look(&self, bound: bool) {
        self.change(|breaker| breaker.look(bound, Instant::now()));
    }

    /// The upstream took a submit, or refused it for its own fault.
    pub(super) fn took(&self) {
        self.change(|breaker| breaker.met(Met::Taken, Instant::now()));
    }

    /// The upstream answered a submit with a fault of its own.
    pub(super) fn failed(&self, fault: Fault, status: CommandStatus, message: Option<Uuid>) {
        let trouble = if fault == Fault::Throttled { Trouble::Throttled } else { Trouble::Fault };
        self.note(trouble, Some(status.into()));
        self.change(|breaker| breaker.met(Met::Fault(fault, message), Instant::now()));
    }

    /// The upstream did not answer a submit in time.
    pub(super) fn silent(&self, message: Option<Uuid>) {
        self.note(Trouble::Unanswered, None);
        self.change(|breaker| breaker.met(Met::Silence(message), Instant::now()));
    }

    /// A bind did not come to be, or is no more.
    pub(super) fn bind_failed(&self, failure: Failure) {
        let (trouble, status) = match failure {
            Failure::Connect => (Trouble::Connect, None),
            Failure::Tls => (Trouble::Tls, None),
            Failure::Refused(status) => (Trouble::Refused, Some(status)),
            Failure::Lost => (Trouble::Lost, None),
        };
        self.note(trouble, status);
    }

    pub(super) fn told(&self) -> Told {
        let state = self.state();
        Told { circuit: state.breaker.circuit(), since: state.since, last_error: state.last_error }
    }

    fn note(&self, trouble: Trouble, status: Option<u32>) {
        self.state().last_error = Some(LastError { trouble, status, at: self.clock.now() });
    }

    /// Under the lock to its end, so that senders hear of changes in their order.
    fn change(&self, event: impl FnOnce(&mut Breaker) -> Circuit) {
        let mut state = self.state();
        let before = state.breaker.circuit();
        let now = event(&mut state.breaker);
        if now == before {
            return;
        }
        state.since = self.clock.now();
        let unbound = state.breaker.is_unbound();
        let error = state.last_error.map(|error| error.trouble);
        tracing::info!(circuit = now.as_str(), unbound, last_error = ?error, "whether the route takes messages has changed");
        self.metrics.circuit(now, now == Circuit::Open);
        self.exchange.set_circuit(now);
    }
}
