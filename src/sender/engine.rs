//! The one loop of a sender. Everything that is known lives here; sessions and the database answer through futures and
//! a channel. Each turn takes in what happened and starts whatever can be started.
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Pace;
use super::book::{Book, Effect, Moment};
use super::database::Database;
use super::lane::Lane;
use super::ledger::{Batch, Met};
use super::link::Signal;
use super::metrics::{self, Metrics};
use super::opener::Opener;
use super::reader::Reader;
use super::route::Route;
use super::verdict::Verdict;
use crate::config::sender::Leg;
use crate::domain::{Circuit, Clock, MessageId, TenantId};
use crate::smpp::CommandStatus;
use crate::smpp::backoff::Backoff;
use crate::smpp::session::{Outcome, Pending, Responder};
use crate::store::AGAIN;
use crate::store::claim::Gate;
use crate::store::receipts::Receipt;
use crate::telemetry::health::Ready;

mod work;
use work::Done;

/// Answers taken in before anything else is looked at.
const ANSWERS_A_TURN: usize = 64;

/// How often a receipt may find no message before it goes back.
const STRAYS: u8 = 3;

/// Why a sender ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to stop.
    Stopped,
    /// A newer sender of the tenant runs.
    Superseded,
}

/// Who sends, and with what.
pub(super) struct Setup<D> {
    pub(super) database: D,
    pub(super) tenant: TenantId,
    pub(super) epoch: i64,
    pub(super) legs: Vec<Leg>,
    pub(super) opener: Opener,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pace: Pace,
    pub(super) metrics: Metrics,
    pub(super) ready: Ready,
}

pub(super) struct Engine<D> {
    database: D,
    tenant: TenantId,
    epoch: i64,
    opener: Opener,
    clock: Arc<dyn Clock>,
    pace: Pace,
    metrics: Metrics,
    ready: Ready,
    book: Book<Responder>,
    routes: Vec<Route>,
    reader: Reader,
    gate: Gate,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    submits: FuturesUnordered<Submit>,
    receipts: Vec<Unapplied>,
    launching: bool,
    /// Batches of results that are being stored.
    storing: usize,
    /// Batches of results that were stored.
    stored: u64,
    /// Batches that the database did not take.
    unstored: Vec<Batch<Responder>>,
    applying: bool,
    patience: Backoff,
    /// The database is left alone until then.
    resume_at: Option<Instant>,
    wound_at: Option<Instant>,
    /// When there was something to do last.
    worked_at: Option<Instant>,
    /// The database's connections were given back since.
    rested: bool,
    /// It is over by then.
    stopping: Option<Instant>,
    end: End,
}

/// A receipt that the database is to be told, or is being told.
struct Unapplied {
    receipt: Receipt,
    responder: Responder,
    /// How often the database knew no message for it.
    strayed: u8,
}

/// A submit under way.
struct Submit {
    id: MessageId,
    part: u8,
    route: usize,
    pending: Pending,
}

impl Future for Submit {
    type Output = (MessageId, u8, usize, Outcome);

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        let (id, part, route) = (self.id, self.part, self.route);
        std::pin::Pin::new(&mut self.pending).poll(context).map(|outcome| (id, part, route, outcome))
    }
}

impl<D: Database> Engine<D> {
    pub(super) fn new(setup: Setup<D>) -> Self {
        Self {
            book: Book::new(&setup.legs),
            routes: setup.legs.into_iter().map(|leg| Route::new(leg.name)).collect(),
            reader: Reader::new(&setup.pace),
            // Nothing is launched before the database has been asked.
            gate: Gate { newest: true, may_send: false, hold: true },
            jobs: FuturesUnordered::new(),
            submits: FuturesUnordered::new(),
            receipts: Vec::new(),
            launching: false,
            storing: 0,
            stored: 0,
            unstored: Vec::new(),
            applying: false,
            patience: Backoff::new(AGAIN.0, AGAIN.1),
            resume_at: None,
            wound_at: None,
            worked_at: None,
            rested: false,
            stopping: None,
            end: End::Stopped,
            database: setup.database,
            tenant: setup.tenant,
            epoch: setup.epoch,
            opener: setup.opener,
            clock: setup.clock,
            pace: setup.pace,
            metrics: setup.metrics,
            ready: setup.ready,
        }
    }

    /// Runs until told to stop or superseded, and everything that can be settled is.
    pub(super) async fn run(mut self, mut signals: mpsc::Receiver<Signal>, stop: CancellationToken) -> End {
        loop {
            let moment = self.moment();
            self.advance(moment);
            if self.is_over(moment) {
                break;
            }
            let next = tokio::time::Instant::from_std(self.next_change(moment));
            tokio::select! {
                // What is rare and bounded first, so that nothing waits behind the stream of answers.
                biased;
                () = stop.cancelled(), if self.stopping.is_none() => self.begin_stop(End::Stopped),
                Some(done) = self.jobs.next(), if !self.jobs.is_empty() => self.take_done(done),
                Some(signal) = signals.recv() => {
                    // A receipt comes after its answer: taken in after it as well, it is stored with its message.
                    if let Some(answer) = self.submits.next().now_or_never().flatten() {
                        self.take_answers(answer);
                    }
                    self.take_signal(signal);
                    while let Ok(signal) = signals.try_recv() {
                        self.take_signal(signal);
                    }
                }
                Some(answer) = self.submits.next(), if !self.submits.is_empty() => self.take_answers(answer),
                () = tokio::time::sleep_until(next) => {}
            }
        }
        self.ready.set(false);
        let sessions = self.routes.iter_mut().filter_map(|route| route.session.take());
        futures::future::join_all(sessions.map(|session| async move { session.unbind(Duration::from_secs(1)).await }))
            .await;
        self.end
    }

    fn moment(&self) -> Moment {
        Moment { at: self.clock.now(), now: now() }
    }

    fn begin_stop(&mut self, end: End) {
        if self.stopping.is_none() {
            tracing::info!(?end, unsettled = self.book.unsettled(), "stopping");
            self.stopping = Some(now() + self.pace.drain);
            self.end = end;
        }
    }

    fn is_over(&self, moment: Moment) -> bool {
        let Some(by) = self.stopping else { return false };
        // What a newer sender has taken over is its to send again or to hold.
        let settled = (self.book.is_idle() || self.end == End::Superseded)
            && self.submits.is_empty()
            && self.jobs.is_empty()
            && self.book.ledger.is_empty()
            && self.unstored.is_empty()
            && self.receipts.is_empty();
        if !settled && moment.now >= by {
            tracing::warn!(unsettled = self.book.unsettled(), "stopping with messages of unknown fate");
        }
        settled || moment.now >= by
    }

    /// Starts whatever can be started.
    fn advance(&mut self, moment: Moment) {
        if self.stopping.is_some() {
            self.book.forget_waiting();
            self.book.release_ready();
        }
        if self.wound_at.is_none_or(|wound| moment.now >= wound + Duration::from_secs(1))
            || self.book.next_due().is_some_and(|due| due <= moment.now)
        {
            self.wound_at = Some(moment.now);
            self.book.wind(moment);
        }
        for (index, route) in self.routes.iter_mut().enumerate() {
            let demand = self.book.lane(index).map_or(0, |lane| wanted(lane, self.resume_at));
            if route.starves(demand, moment.now) {
                self.book.unready(index, moment);
            }
            self.book.set_intake(index, route.intake(moment.now), moment);
        }
        self.start_work(moment);
        self.rest(moment);
        for index in 0..self.routes.len() {
            self.submit(index, moment);
        }
        for (index, route) in self.routes.iter_mut().enumerate() {
            route.announce(self.book.lane(index).map_or(0, |lane| wanted(lane, self.resume_at)));
            let label = metrics::Route { route: route.name.clone() };
            self.metrics.credits.get_or_create(&label).set(route.credits.into());
        }
        self.metrics.waiting.set(i64::try_from(self.book.waiting()).unwrap_or(i64::MAX));
        self.metrics.unsettled.set(i64::try_from(self.book.unsettled()).unwrap_or(i64::MAX));
    }

    /// Submits what is ready, as far as credit goes.
    fn submit(&mut self, index: usize, moment: Moment) {
        let Some(route) = self.routes.get_mut(index) else { return };
        if route.is_paused(moment.now) {
            return;
        }
        let Some(session) = route.session.clone() else { return };
        while route.credits > 0 {
            let Some(slot) = session.try_reserve() else { return };
            let Some(next) = self.book.next(index, moment) else { return };
            route.spend();
            let pending = slot.send(next.submit);
            self.submits.push(Submit { id: next.id, part: next.part, route: index, pending });
        }
    }

    fn take_answers(&mut self, first: (MessageId, u8, usize, Outcome)) {
        let moment = self.moment();
        let mut answer = Some(first);
        for _ in 0..ANSWERS_A_TURN {
            let Some((id, part, route, outcome)) = answer.take() else { return };
            self.take_answer(id, part, route, &outcome, moment);
            answer = self.submits.next().now_or_never().flatten();
        }
        if let Some((id, part, route, outcome)) = answer {
            self.take_answer(id, part, route, &outcome, moment);
        }
    }

    fn take_answer(&mut self, id: MessageId, part: u8, index: usize, outcome: &Outcome, moment: Moment) {
        let verdict = Verdict::of(outcome);
        let Some(route) = self.routes.get_mut(index) else { return };
        let label = metrics::Answer { route: route.name.clone(), answer: verdict.label() };
        self.metrics.answers.get_or_create(&label).inc();
        match self.book.answered(id, part, verdict, self.gate.hold, moment) {
            Effect::Well => route.well(),
            Effect::Nothing => {}
            Effect::Throttled => route.throttled(moment.now),
            Effect::Trouble => {
                route.troubled(moment.now);
                self.book.unready(index, moment);
            }
            Effect::NoCredit => {
                route.overdrawn(moment.now);
                self.book.unready(index, moment);
            }
            Effect::Stale => self.begin_stop(End::Superseded),
        }
    }

    fn take_signal(&mut self, signal: Signal) {
        let moment = self.moment();
        match signal {
            Signal::Up(index, session) => {
                let Some(route) = self.routes.get_mut(index) else { return };
                route.up(session);
                self.reader.wake();
                self.show_bound(index, true);
            }
            Signal::Down(index) => {
                self.routes.get_mut(index).into_iter().for_each(Route::down);
                self.book.unready(index, moment);
                self.show_bound(index, false);
            }
            Signal::Refused | Signal::Wake => self.reader.wake(),
            Signal::Credit(index, count) => {
                if let Some(route) = self.routes.get_mut(index) {
                    route.credits = route.credits.saturating_add(count);
                }
            }
            Signal::Circuit(index, circuit) => {
                self.routes.get_mut(index).into_iter().for_each(|route| route.told(circuit));
                if circuit == Circuit::Open {
                    self.book.unready(index, moment);
                }
            }
            Signal::Receipt(receipt, responder) => self.take_receipt(receipt, responder),
        }
    }

    fn show_bound(&self, index: usize, bound: bool) {
        let Some(route) = self.routes.get(index) else { return };
        let label = metrics::Route { route: route.name.clone() };
        self.metrics.bound.get_or_create(&label).set(bound.into());
        self.ready.set(self.stopping.is_none() && self.routes.iter().any(|route| route.session.is_some()));
    }

    fn take_receipt(&mut self, receipt: Receipt, responder: Responder) {
        match self.book.receive(receipt, responder) {
            Met::Merged => self.count_receipt("merged"),
            Met::Elsewhere(receipt, responder) => {
                self.receipts.push(Unapplied { receipt, responder, strayed: 0 });
            }
        }
    }

    /// No message is known for a receipt. Its answer may have come since the database was asked. It may also be on its way, or its
    /// message have been stored meanwhile: then the database is asked again, a few times. Else the connector keeps it.
    fn take_stray(&mut self, stray: Unapplied, stored_before: u64) {
        let Unapplied { receipt, responder, strayed } = stray;
        match self.book.receive(receipt, responder) {
            Met::Merged => self.count_receipt("merged"),
            Met::Elsewhere(receipt, responder)
                if strayed < STRAYS && (self.stored > stored_before || !self.submits.is_empty()) =>
            {
                self.receipts.push(Unapplied { receipt, responder, strayed: strayed + 1 });
            }
            Met::Elsewhere(_, responder) => {
                self.count_receipt("unknown");
                responder.refuse(CommandStatus::EsmeRxTAppn);
            }
        }
    }

    fn count_receipt(&self, outcome: &'static str) {
        self.metrics.receipts.get_or_create(&metrics::Receipt { outcome }).inc();
    }

    /// When something is to be done although nothing happens.
    fn next_change(&self, moment: Moment) -> Instant {
        let changes = self
            .routes
            .iter()
            .flat_map(Route::next_change)
            .chain(self.resume_at)
            .chain(self.rests_at(moment))
            .chain(self.book.next_due())
            .chain(self.stopping)
            .chain(self.book.ledger.waiting_since().map(|since| since + self.pace.gather))
            .chain((self.book.waiting() > 0).then(|| moment.now + Duration::from_secs(1)))
            .filter(|change| *change > moment.now);
        changes.fold(self.reader.next_read(moment.now), Instant::min)
    }
}

/// Parts for which a route's credit is of use. While the database is left alone nothing is launched: credit for that would pile up, and
/// hold others up when it is used all at once.
fn wanted(lane: &Lane, resume_at: Option<Instant>) -> u32 {
    if resume_at.is_some() { lane.ready_parts() } else { lane.demand() }
}

/// The present by the runtime's clock, which sleeps go by too.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
