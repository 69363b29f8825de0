//! Sends what waits, in order, at the route's rate, where a window has room.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rusmpp::CommandStatus;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::answers::Flight;
use super::binds::{BindNumber, Binds};
use super::brake::Brake;
use super::exchange::{Exchange, Job};
use super::metrics::Metrics;
use super::owners::Memory;
use crate::config::connector::{ConnectorConfig, Settings};
use crate::smpp::pacing::{Pacer, Rate};
use crate::smpp::vendor::{MessagePart, NOT_WRITTEN};

/// How long a submit may wait here before its sender has it back; far above what credit lets wait, far below the sender's
/// own time-out.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a message's bind is remembered for the parts to come, and how many at most.
const LOYAL: (Duration, usize) = (Duration::from_secs(60), 10_000);

/// See the module.
#[derive(Debug)]
pub(super) struct Dispatch {
    pub(super) exchange: Arc<Exchange>,
    pub(super) binds: Arc<Binds>,
    pub(super) brake: Arc<Brake>,
    pub(super) config: watch::Receiver<Arc<ConnectorConfig>>,
    pub(super) memory: Arc<Memory>,
    pub(super) flights: mpsc::Sender<Flight>,
    pub(super) metrics: Metrics,
}

impl Dispatch {
    /// Runs until its future is dropped; the one submit it may hold then is refused as not written.
    pub(super) async fn run(mut self) {
        let mut config = Arc::clone(&self.config.borrow_and_update());
        let mut pacer = Pacer::new(Rate::per_thousand_seconds(config.settings.rate_millis));
        let mut parts = Parts::default();
        loop {
            // Whose turn it is is decided for the moment at which it goes.
            let slot = || pacer.next().map_or_else(Instant::now, |next| next.max(Instant::now()));
            let job = self.exchange.next(slot).await;
            if self.config.has_changed().unwrap_or(false) {
                config = Arc::clone(&self.config.borrow_and_update());
                pacer.set_rate(Rate::per_thousand_seconds(config.settings.rate_millis));
            }
            // Held by a guard: dropped at any wait below, the job still says that it was not written.
            self.send(Held(Some(job)), &config.settings, &mut pacer, &mut parts).await;
        }
    }

    async fn send(&self, mut held: Held, settings: &Settings, pacer: &mut Pacer, parts: &mut Parts) {
        let Some(job) = &held.0 else { return };
        let (seat, part, deadline) = (job.seat, job.part, job.since + patience(settings.rate_millis));
        if part.is_some_and(|part| parts.is_torn(part)) {
            return self.refuse(held, NOT_WRITTEN);
        }
        let ready = async {
            self.brake.released().await;
            self.binds.place(part.and_then(|part| parts.bind_of(part))).await
        };
        let Some((bind, place)) = timeout_at(deadline, ready).await.ok().flatten() else {
            part.into_iter().for_each(|part| parts.given_back(part));
            return self.refuse(held, NOT_WRITTEN);
        };
        let written = match place.write(&job.submit, &settings.addressing) {
            Ok(written) => written,
            Err(status) => return self.refuse(held, status),
        };
        let weight = written.parts();
        for _ in 0..weight {
            pacer.take().await;
        }
        // Much may have changed while it waited.
        if let Some(status) = self.exchange.judge(seat) {
            return self.refuse(held, status);
        }
        let Some(job) = held.0.take() else { return };
        if part.is_some_and(|part| part.part > 1) && self.exchange.is_overtaking(&job) {
            return self.exchange.put_back(job);
        }
        if let Some(part) = part {
            parts.sent(part, bind);
        }
        self.metrics.submitted(job.since.elapsed());
        let departed = self.memory.depart();
        let pending = place.send(written, seat, &departed);
        pacer.writing(&pending.written_at(), weight);
        self.exchange.writing(seat.tenant, &pending.written_at(), weight);
        // Bounded by the windows; its reader does nothing that takes long.
        let _ = self.flights.send(Flight { job, pending, written: Instant::now(), departed }).await;
    }

    fn refuse(&self, mut held: Held, status: CommandStatus) {
        if let Some(job) = held.0.take() {
            self.metrics.submit(status);
            job.reply.refuse(status);
        }
    }
}

struct Held(Option<Job>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            job.reply.refuse(NOT_WRITTEN);
        }
    }
}

/// On slow routes the pace itself makes wait.
fn patience(rate_millis: u64) -> Duration {
    PATIENCE + Duration::from_secs(3_000 / rate_millis.max(50))
}

/// Which bind the parts of a long message go to: one bind keeps them in order. Where one is given back those behind it go back
/// as well, until it comes again: none overtakes it.
#[derive(Debug, Default)]
struct Parts {
    binds: HashMap<Uuid, (BindNumber, Instant)>,
    /// The first part that was given back.
    torn: HashMap<Uuid, (u8, Instant)>,
}

impl Parts {
    fn bind_of(&self, part: MessagePart) -> Option<BindNumber> {
        self.binds.get(&part.message).map(|(bind, ..)| *bind)
    }

    /// Whether a part before this one was given back and has not come again.
    fn is_torn(&mut self, part: MessagePart) -> bool {
        let torn = self.torn.get(&part.message).is_some_and(|(first, _)| *first < part.part);
        if !torn {
            self.torn.remove(&part.message);
        }
        torn
    }

    fn given_back(&mut self, part: MessagePart) {
        if part.part >= part.parts {
            return;
        }
        let now = Instant::now();
        if self.torn.len() >= LOYAL.1 {
            self.torn.retain(|_, (_, since)| now.saturating_duration_since(*since) < LOYAL.0);
            if self.torn.len() >= LOYAL.1 {
                self.torn.clear();
            }
        }
        self.torn.insert(part.message, (part.part, now));
    }

    fn sent(&mut self, part: MessagePart, bind: BindNumber) {
        if part.parts < 2 {
            return;
        }
        let now = Instant::now();
        if self.binds.len() >= LOYAL.1 {
            self.binds.retain(|_, (_, since)| now.saturating_duration_since(*since) < LOYAL.0);
            if self.binds.len() >= LOYAL.1 {
                self.binds.clear();
            }
        }
        // By its number and not by a count: a part before it may have gone twice.
        if part.part >= part.parts {
            self.binds.remove(&part.message);
        } else {
            self.binds.insert(part.message, (bind, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_message_stay_together_until_the_last() {
        let mut parts = Parts::default();
        let part = |part| MessagePart { message: Uuid::from_u128(1), part, parts: 3 };
        assert_eq!(parts.bind_of(part(1)), None);
        for (number, bind) in [(1, 4), (2, 4)] {
            parts.sent(part(number), bind);
            assert_eq!(parts.bind_of(part(number + 1)), Some(bind));
        }
        parts.sent(part(3), 4);
        assert!(parts.binds.is_empty());
        parts.sent(MessagePart { message: Uuid::from_u128(2), part: 1, parts: 1 }, 1);
        assert!(parts.binds.is_empty(), "single ones are not remembered");
        for (number, bind) in [(1, 4), (1, 5), (2, 5)] {
            parts.sent(part(number), bind);
        }
        assert_eq!(parts.bind_of(part(3)), Some(5), "also where one of them went twice");
    }

    #[test]
    fn what_follows_a_part_that_was_given_back_goes_back_until_that_comes_again() {
        let mut parts = Parts::default();
        let part = |message, part| MessagePart { message: Uuid::from_u128(message), part, parts: 3 };
        parts.given_back(part(1, 2));
        assert!(parts.is_torn(part(1, 3)) && !parts.is_torn(part(2, 3)));
        assert!(!parts.is_torn(part(1, 2)) && !parts.is_torn(part(1, 3)));
        parts.given_back(part(1, 3));
        assert!(parts.torn.is_empty(), "nothing follows the last");
        for message in 0..25_000 {
            parts.given_back(part(message, 1));
        }
        assert!(parts.torn.len() <= LOYAL.1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut parts = Parts::default();
        for id in 0..25_000_u128 {
            parts.sent(MessagePart { message: Uuid::from_u128(id), part: 1, parts: 2 }, 1);
        }
        assert!(parts.binds.len() <= LOYAL.1);
    }
}
