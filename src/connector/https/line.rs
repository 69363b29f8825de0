//! One connection's desk: what waits for its next call, which of it goes together, and how each is settled.
use std::collections::VecDeque;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rusmpp::pdus::SubmitSmResp;
use rusmpp::types::COctetString;
use rusmpp::{CommandStatus, Pdu};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::answer::Verdict;
use super::message::{Message, company};
use super::wire::{Called, Wire};
use super::{NOT_WRITTEN, id};
use crate::connector::brake::Brake;
use crate::connector::dispatch::PATIENCE;
use crate::connector::exchange::{Exchange, SeatId};
use crate::domain::Clock;
use crate::smpp::session::{Answer, CloseReason, Outcome, Pending, Promise, Silence};
use crate::store::upstream_reports::Failure;

/// Numbers in one call, at most: the API's own limit.
const MOST: usize = 1_000;
/// So many contents are remembered that were refused in company.
const LONELY: usize = 64;

/// How a line behaves.
#[derive(Debug)]
pub(super) struct Rules {
    /// Messages that wait or are under way, at most.
    pub(super) window: usize,
    /// How long an answer may take, from when the call was written.
    pub(super) answer: Duration,
    /// How long the answer to a probe may take.
    pub(super) probe: Duration,
    /// Silence after which the upstream is probed.
    pub(super) quiet: Duration,
    /// The present.
    pub(super) clock: Arc<dyn Clock>,
}

/// See the module. Clones share it.
#[derive(Debug, Clone)]
pub(in crate::connector) struct Line(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    places: Arc<Semaphore>,
    waiting: Mutex<VecDeque<Entry>>,
    arrived: Notify,
    /// No more calls are made.
    ending: CancellationToken,
    /// The one under way is given up.
    cut: CancellationToken,
    /// It is over, and everything is settled.
    over: CancellationToken,
    failure: OnceLock<Failure>,
}

/// Room for one message.
#[derive(Debug)]
pub(in crate::connector) struct Place {
    desk: Arc<Desk>,
    permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    digest: u64,
    seat: SeatId,
    since: Instant,
    promise: Promise,
    _permit: OwnedSemaphorePermit,
}

impl Line {
    /// Takes a connection over that the upstream has answered well on.
    pub(super) fn start(wire: Wire, rules: Rules, exchange: Arc<Exchange>, brake: Arc<Brake>) -> Self {
        let desk = Arc::new(Desk {
            places: Arc::new(Semaphore::new(rules.window)),
            waiting: Mutex::default(),
            arrived: Notify::new(),
            ending: CancellationToken::new(),
            cut: CancellationToken::new(),
            over: CancellationToken::new(),
            failure: OnceLock::new(),
        });
        let clerk = Clerk { desk: Arc::clone(&desk), wire, rules, exchange, brake, lonely: VecDeque::new() };
        tokio::spawn(clerk.run());
        Self(desk)
    }

    pub(in crate::connector) fn free(&self) -> usize {
        self.0.places.available_permits()
    }

    pub(in crate::connector) fn try_reserve(&self) -> Option<Place> {
        let permit = Arc::clone(&self.0.places).try_acquire_owned().ok()?;
        Some(Place { desk: Arc::clone(&self.0), permit })
    }

    pub(in crate::connector) async fn reserve(&self) -> Option<Place> {
        let permit = Arc::clone(&self.0.places).acquire_owned().await.ok()?;
        Some(Place { desk: Arc::clone(&self.0), permit })
    }

    /// Makes no more calls. The one under way is waited for, up to `grace`; what waits was not written.
    pub(in crate::connector) async fn end(&self, grace: Duration) {
        self.0.ending.cancel();
        if timeout(grace, self.0.over.cancelled()).await.is_err() {
            self.0.cut.cancel();
        }
    }

    /// Waits until it is over and everything is settled. Gives what went wrong, if anything did.
    pub(in crate::connector) async fn over(&self) -> Failure {
        self.0.over.cancelled().await;
        self.0.failure.get().copied().unwrap_or(Failure::Lost)
    }
}

impl Place {
    pub(in crate::connector) fn send(self, message: Message, seat: SeatId) -> Pending {
        let Self { desk, permit } = self;
        let (promise, pending) = Promise::new();
        let digest = message.content.digest();
        let entry = Entry { message, digest, seat, since: Instant::now(), promise, _permit: permit };
        let mut waiting = desk.waiting();
        // Judged under the lock: whoever clears the desk does so after it has said that it is over.
        if desk.places.is_closed() {
            entry.promise.settle(NOT_WRITTEN);
        } else {
            waiting.push_back(entry);
        }
        drop(waiting);
        desk.arrived.notify_one();
        pending
    }
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, failure: Option<Failure>) {
        self.places.close();
        for entry in self.waiting().drain(..) {
            entry.promise.settle(NOT_WRITTEN);
        }
        if let Some(failure) = failure {
            let _ = self.failure.set(failure);
        }
        self.over.cancel();
    }
}

/// Who makes the calls.
struct Clerk {
    desk: Arc<Desk>,
    wire: Wire,
    rules: Rules,
    exchange: Arc<Exchange>,
    brake: Arc<Brake>,
    /// What was refused in company, and goes alone from now on.
    lonely: VecDeque<u64>,
}

impl Clerk {
    async fn run(mut self) {
        let failure = self.work().await;
        self.wire.hang_up().await;
        self.desk.close(failure);
    }

    /// Works until told to end, or until the upstream cannot be relied on; gives what went wrong then.
    async fn work(&mut self) -> Option<Failure> {
        let desk = Arc::clone(&self.desk);
        loop {
            let batch = tokio::select! {
                biased;
                () = desk.ending.cancelled() => return None,
                batch = self.next() => batch,
                () = sleep(self.rules.quiet) => Vec::new(),
            };
            let done = if batch.is_empty() { self.probe().await } else { self.send(batch).await };
            if let Err(failure) = done {
                return Some(failure);
            }
        }
    }

    async fn probe(&mut self) -> Result<(), Failure> {
        tokio::select! {
            probed = self.wire.probe(self.rules.probe) => probed.map_err(|error| {
                tracing::warn!(%error, "the upstream does not answer as it did");
                error.failure()
            }),
            () = self.desk.cut.cancelled() => Ok(()),
        }
    }

    /// What goes into the next call. Dropping the future loses none.
    async fn next(&self) -> Vec<Entry> {
        loop {
            let arrived = self.desk.arrived.notified();
            if !self.desk.waiting().is_empty() {
                self.brake.released().await;
                let batch = self.gather();
                if !batch.is_empty() {
                    return batch;
                }
                continue;
            }
            arrived.await;
        }
    }

    /// Takes what may go together. On the way, what may not be sent any more is given back: much may have changed while it
    /// waited, and a sender that is gone has its messages sent by its successor.
    fn gather(&self) -> Vec<Entry> {
        let mut waiting = self.desk.waiting();
        let all = std::mem::take(&mut *waiting);
        for entry in all {
            if entry.since.elapsed() >= PATIENCE || self.exchange.judge(entry.seat).is_some() {
                entry.promise.settle(NOT_WRITTEN);
            } else {
                waiting.push_back(entry);
            }
        }
        let alone = waiting.front().is_some_and(|first| self.lonely.contains(&first.digest));
        let chosen = company(waiting.iter().map(|entry| (entry.digest, &entry.message)), if alone { 1 } else { MOST });
        // From the back, so that the places of the others stay.
        let mut batch: Vec<_> = chosen.into_iter().rev().filter_map(|at| waiting.remove(at)).collect();
        batch.reverse();
        batch
    }

    async fn send(&mut self, batch: Vec<Entry>) -> Result<(), Failure> {
        let numbers: Vec<_> = batch.iter().map(|entry| &entry.message.to).collect();
        let call = batch.first().and_then(|first| first.message.content.call(&numbers, self.rules.clock.now()));
        let Some(call) = call else {
            settle(batch, |_| refusal(CommandStatus::EsmeRinvmsglen));
            return Ok(());
        };
        let told = batch.iter().map(|entry| entry.promise.written_at()).collect();
        match self.wire.call(Bytes::from_owner(call), told, self.rules.answer, &self.desk.cut).await {
            Called::NotWritten(failure) => {
                settle(batch, |_| NOT_WRITTEN);
                Err(failure)
            }
            Called::Unanswered => {
                settle(batch, |_| UNANSWERED);
                Err(Failure::Lost)
            }
            Called::Answered { status, headers, body } => self.answered(batch, Verdict::of(status, &headers, &body)),
        }
    }

    fn answered(&mut self, batch: Vec<Entry>, verdict: Verdict) -> Result<(), Failure> {
        match verdict {
            Verdict::Taken(Some(name)) => settle(batch, |entry| accepted(&id(&name, entry.message.to.reveal()))),
            Verdict::Taken(None) => {
                tracing::warn!(
                    messages = batch.len(),
                    "the upstream took a batch and named no id: no receipt will be found"
                );
                settle(batch, |_| accepted(""));
            }
            Verdict::Throttled(least) => {
                self.brake.hold(least);
                settle(batch, |_| refusal(CommandStatus::EsmeRthrottled));
            }
            Verdict::Faulty => settle(batch, |_| refusal(CommandStatus::EsmeRsyserr)),
            Verdict::Refused(_) if batch.len() > 1 => {
                self.lonely.extend(batch.first().map(|entry| entry.digest));
                if self.lonely.len() > LONELY {
                    self.lonely.pop_front();
                }
                settle(batch, |_| NOT_WRITTEN);
            }
            // The API's own numbers: 400 and the like, which are no statuses of SMPP.
            Verdict::Refused(status) => settle(batch, |_| refusal(CommandStatus::Other(status.as_u16().into()))),
            Verdict::Unwelcome(status) => {
                tracing::warn!(%status, "the upstream does not know us any more");
                settle(batch, |_| NOT_WRITTEN);
                return Err(Failure::Refused(status.as_u16().into()));
            }
            Verdict::Unknown => {
                settle(batch, |_| UNANSWERED);
                return Err(Failure::Lost);
            }
        }
        Ok(())
    }
}

const UNANSWERED: Outcome = Outcome::WrittenUnanswered(Silence::Closed(CloseReason::PeerClosed));

fn settle(batch: Vec<Entry>, outcome: impl Fn(&Entry) -> Outcome) {
    for entry in batch {
        let outcome = outcome(&entry);
        entry.promise.settle(outcome);
    }
}

fn refusal(status: CommandStatus) -> Outcome {
    Outcome::Answered(Answer { status, pdu: None })
}

fn accepted(id: &str) -> Outcome {
    let response = SubmitSmResp::new(COctetString::from_str(id).unwrap_or_default(), Vec::new());
    Outcome::Answered(Answer { status: CommandStatus::EsmeRok, pdu: Some(Pdu::SubmitSmResp(response)) })
}
