//! Where the senders' side and the upstream's side meet: who is bound, who has credit, and what waits for its turn.
//! One lock around plain state; nothing waits while holding it.
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusmpp::CommandStatus;
use rusmpp::pdus::SubmitSm;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::credit::Ledger;
use super::queue::{Queue, Turn};
use super::refused::Refused;
use super::reply::Reply;
use crate::domain::{Circuit, TenantId};
use crate::smpp::pacing::Rate;
use crate::smpp::session::{Responder, Session, WrittenAt};
use crate::smpp::vendor::{DestinationTag, Flow, MessagePart, NO_CREDIT, NOT_WRITTEN, STALE_EPOCH};
use crate::store::shares::Share;

/// Between two submits that try whether an upstream takes anything again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A submit on its way from a sender to the upstream.
pub(super) struct Job {
    /// Whose.
    pub(super) seat: SeatId,
    /// What, without what is between sender and connector only.
    pub(super) submit: SubmitSm,
    /// Which part of which message.
    pub(super) part: Option<MessagePart>,
    /// The check of its destination.
    pub(super) tag: DestinationTag,
    /// How it is answered.
    pub(super) reply: Reply,
    /// When it came.
    pub(super) since: Instant,
    /// Its place in the order of coming.
    turn: Turn,
}

// No derived Debug: a submit holds numbers and texts (D10).
impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("seat", &self.seat).field("turn", &self.turn).finish_non_exhaustive()
    }
}

/// One bound sender: its tenant, and which of that tenant's binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeatId {
    pub(super) tenant: TenantId,
    number: u64,
}

/// A sender's place at the connector.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) id: SeatId,
    /// Cancelled when a newer sender took the place, or the tenant has no share any more.
    pub(super) lost: CancellationToken,
    /// It has never spoken of demand: any SMPP client, and no sender of ours.
    plain: bool,
}

/// Why a bind is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwelcome {
    /// The tenant has no share of this route, as far as is known.
    NoShare,
    /// A newer sender has begun.
    Stale,
}

/// Figures for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) senders: usize,
    pub(super) wanting: usize,
    pub(super) credit: usize,
    pub(super) waiting: usize,
    /// Submits that wait with their senders.
    pub(super) demand: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    state: Mutex<State>,
    /// Something waits.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    /// Tenants with a share, and the newest epoch that is known of each.
    known: BTreeMap<TenantId, Known>,
    seats: BTreeMap<TenantId, Place>,
    queue: Queue<Job>,
    /// There is a most that one tenant gets of the rate.
    capped: bool,
    /// Some bind takes submits.
    open: bool,
    /// Whether the upstream takes anything.
    circuit: Circuit,
    /// When the upstream was last tried by one submit.
    tried_at: Option<Instant>,
    /// The connector is stopping.
    closed: bool,
    numbers: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    epoch: i64,
    may_send: bool,
}

#[derive(Debug)]
struct Place {
    number: u64,
    epoch: i64,
    session: Session,
    lost: CancellationToken,
    plain: bool,
    refused: Refused,
}

impl Exchange {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the rate by which credit is bounded, and the most that one tenant gets of it, both in thousandths a second.
    pub(super) fn set_rate(&self, rate_millis: u64, of_tenant: Option<u64>) {
        let mut state = self.state();
        // More than there is holds nobody up.
        let of_tenant = of_tenant.filter(|most| *most < rate_millis);
        state.ledger.set_rate(rate_millis);
        state.ledger.set_cap(of_tenant);
        state.queue.set_cap(of_tenant.map(Rate::per_thousand_seconds));
        state.capped = of_tenant.is_some();
        let known: Vec<_> = state.known.keys().copied().collect();
        known.into_iter().for_each(|tenant| state.requeued(tenant));
        state.grant();
        drop(state);
        self.arrived.notify_one();
    }

    /// Says whether some bind takes submits. While none does no credit is given.
    pub(super) fn set_open(&self, open: bool) {
        let mut state = self.state();
        state.open = open;
        state.grant();
    }

    /// Says whether the route takes messages, and tells the senders. While it does not, what waits goes back to them, for their
    /// next routes.
    pub(super) fn set_circuit(&self, circuit: Circuit) {
        let mut state = self.state();
        state.circuit = circuit;
        state.tried_at = None;
        state.seats.keys().for_each(|tenant| state.say(*tenant, Flow::Circuit(circuit)));
        if circuit == Circuit::Open {
            state.ledger.void_all();
            let waiting: Vec<_> = state.queue.drain_all().collect();
            for job in waiting {
                state.requeued(job.seat.tenant);
                job.reply.refuse(NOT_WRITTEN);
            }
        }
        state.grant();
    }

    /// Takes in who shares the route now. Suspends, lifts (with a wake-up) and shows out as that says.
    pub(super) fn share(&self, shares: &[Share]) {
        let mut state = self.state();
        let now = Instant::now();
        let sharing: BTreeSet<_> = shares.iter().map(|share| share.tenant).collect();
        let gone: Vec<_> = state.known.keys().filter(|known| !sharing.contains(known)).copied().collect();
        for tenant in gone {
            state.known.remove(&tenant);
            state.dismiss(tenant, NO_CREDIT);
            state.ledger.leave(tenant);
            state.queue.leave(tenant);
        }
        for Share { tenant, weight, may_send, epoch } in shares.iter().copied() {
            let known = state.known.entry(tenant).or_insert(Known { epoch, may_send });
            let lifted = may_send && !known.may_send;
            known.may_send = may_send;
            known.epoch = known.epoch.max(epoch);
            let newest = known.epoch;
            state.ledger.share(tenant, weight, may_send, now);
            state.queue.share(tenant, weight);
            if !may_send {
                state.refuse_queued(tenant, NO_CREDIT);
            }
            if state.seats.get(&tenant).is_some_and(|place| place.epoch < newest) {
                state.dismiss(tenant, STALE_EPOCH);
            }
            if lifted {
                state.say(tenant, Flow::Wake);
            }
        }
        state.grant();
    }

    /// Judges a bind before it is answered.
    pub(super) fn welcome(&self, tenant: TenantId, epoch: i64) -> Result<(), Unwelcome> {
        self.state().welcome(tenant, epoch)
    }

    /// Gives a bound sender its place; an older session of its tenant loses it.
    pub(super) fn sit(&self, tenant: TenantId, epoch: i64, session: Session) -> Result<Seat, Unwelcome> {
        let mut state = self.state();
        state.welcome(tenant, epoch)?;
        state.dismiss(tenant, STALE_EPOCH);
        if let Some(known) = state.known.get_mut(&tenant) {
            known.epoch = epoch;
        }
        state.numbers += 1;
        let number = state.numbers;
        let lost = CancellationToken::new();
        state.seats.insert(
            tenant,
            Place { number, epoch, session, lost: lost.clone(), plain: true, refused: Refused::default() },
        );
        state.ledger.bound(tenant, true);
        Ok(Seat { id: SeatId { tenant, number }, lost, plain: true })
    }

    /// A sender's session is over. What it had waiting is not sent: it counts it as of unknown fate, and to send it
    /// as well would double it.
    pub(super) fn leave(&self, seat: SeatId) {
        let mut state = self.state();
        if state.is_seated(seat) {
            state.dismiss(seat.tenant, NOT_WRITTEN);
        }
        state.grant();
    }

    /// Takes a submit, or refuses it at once.
    pub(super) fn submit(
        &self,
        seat: &Seat,
        submit: SubmitSm,
        part: Option<MessagePart>,
        tag: DestinationTag,
        responder: Responder,
    ) {
        let (seat, plain) = (seat.id, seat.plain);
        let reply = Reply::new(responder, plain);
        let mut state = self.state();
        let since = Instant::now();
        // Spent whatever comes of it: the sender has spent it too.
        let spent = state.is_seated(seat) && state.spend(seat.tenant, plain, since);
        let refusal = state.judge(seat).or_else(|| (!spent).then_some(NO_CREDIT));
        let refused = state.seats.get_mut(&seat.tenant).map(|place| &mut place.refused);
        let waits = refused.zip(part).is_some_and(|(refused, part)| refused.judge(part, refusal == Some(NO_CREDIT)));
        if let Some(status) = refusal.or_else(|| waits.then_some(NO_CREDIT)) {
            return reply.refuse(status);
        }
        let turn = state.queue.turn();
        state.queue.put(seat.tenant, turn, Job { seat, submit, part, tag, reply, since, turn });
        state.requeued(seat.tenant);
        drop(state);
        self.arrived.notify_one();
    }

    /// Notes how much a sender has waiting. Who says so is a sender of ours from now on, and no plain client.
    pub(super) fn demand(&self, seat: &mut Seat, demand: u32) {
        let first = std::mem::replace(&mut seat.plain, false);
        let mut state = self.state();
        if let Some(place) = state.seats.get_mut(&seat.id.tenant).filter(|place| place.number == seat.id.number) {
            place.plain = false;
            if first && state.circuit != Circuit::Closed {
                state.say(seat.id.tenant, Flow::Circuit(state.circuit));
            }
            state.ledger.demand(seat.id.tenant, demand);
            state.grant();
        }
    }

    /// The next submit, for the moment that `at` gives when asked: now, or when the route's rate next has room. Dropping the future
    /// loses none.
    pub(super) async fn next(&self, at: impl Fn() -> Instant) -> Job {
        loop {
            let rested_at = {
                let mut state = self.state();
                if let Some(job) = state.queue.pop(at()) {
                    state.requeued(job.seat.tenant);
                    state.grant();
                    return job;
                }
                state.queue.rested_at()
            };
            let rested = async {
                match rested_at {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.arrived.notified() => {}
                () = rested => {}
            }
        }
    }

    /// The submit of a tenant's that was taken last is being written, as so many parts.
    pub(super) fn writing(&self, tenant: TenantId, written: &WrittenAt, parts: usize) {
        self.state().queue.writing(tenant, written, parts);
    }

    /// Puts a submit that was not taken upstream back into its place.
    pub(super) fn put_back(&self, job: Job) {
        let mut state = self.state();
        if let Some(status) = state.judge(job.seat) {
            return job.reply.refuse(status);
        }
        let tenant = job.seat.tenant;
        state.queue.put(tenant, job.turn, job);
        state.requeued(tenant);
        drop(state);
        self.arrived.notify_one();
    }

    /// Whether one that came before this submit, from the same sender, waits again: it was put back meanwhile.
    pub(super) fn is_overtaking(&self, job: &Job) -> bool {
        self.state().queue.has_before(job.seat.tenant, job.turn)
    }

    /// Why a submit that waited may not be sent any more, if so.
    pub(super) fn judge(&self, seat: SeatId) -> Option<CommandStatus> {
        self.state().judge(seat)
    }

    /// Takes back credit that lies unused.
    pub(super) fn reclaim(&self) {
        let mut state = self.state();
        state.ledger.reclaim(Instant::now());
        state.grant();
    }

    /// Tells senders to look into their queues: these tenants', or everybody's.
    pub(super) fn wake(&self, tenants: Option<&[TenantId]>) {
        let state = self.state();
        match tenants {
            Some(tenants) => tenants.iter().for_each(|tenant| state.say(*tenant, Flow::Wake)),
            None => state.seats.keys().for_each(|tenant| state.say(*tenant, Flow::Wake)),
        }
    }

    /// The session of a tenant's sender, if it is bound here, and whether that is a plain client.
    pub(super) fn session(&self, tenant: TenantId) -> Option<(Session, bool)> {
        let state = self.state();
        let place = state.seats.get(&tenant).filter(|place| place.session.is_open())?;
        Some((place.session.clone(), place.plain))
    }

    /// Gives and takes nothing more. What waits is refused: nothing of it was written.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for job in state.queue.drain_all() {
            job.reply.refuse(NOT_WRITTEN);
        }
    }

    pub(super) fn figures(&self) -> Figures {
        let state = self.state();
        Figures {
            senders: state.seats.len(),
            wanting: state.ledger.wanting(),
            credit: state.ledger.out(),
            waiting: state.queue.len(),
            demand: state.ledger.waiting(),
        }
    }
}

impl State {
    fn welcome(&self, tenant: TenantId, epoch: i64) -> Result<(), Unwelcome> {
        let known = self.known.get(&tenant).ok_or(Unwelcome::NoShare)?;
        if epoch < known.epoch { Err(Unwelcome::Stale) } else { Ok(()) }
    }

    fn is_seated(&self, seat: SeatId) -> bool {
        self.seats.get(&seat.tenant).is_some_and(|place| place.number == seat.number)
    }

    fn judge(&self, seat: SeatId) -> Option<CommandStatus> {
        match self.known.get(&seat.tenant) {
            _ if !self.is_seated(seat) => Some(STALE_EPOCH),
            _ if self.closed || self.circuit == Circuit::Open => Some(NOT_WRITTEN),
            Some(Known { may_send: true, .. }) => None,
            _ => Some(NO_CREDIT),
        }
    }

    fn grant(&mut self) {
        if !self.open || self.closed {
            return;
        }
        let now = Instant::now();
        let given = match self.circuit {
            Circuit::Closed => self.ledger.grant(self.queue.len(), now),
            Circuit::HalfOpen => self.grant_one(now),
            Circuit::Open => return,
        };
        for (tenant, credit) in given {
            self.say(tenant, Flow::Credit(credit));
        }
    }

    /// One submit at a time tries an upstream again, and another one a while later where nothing was heard of it.
    fn grant_one(&mut self, now: Instant) -> BTreeMap<TenantId, u32> {
        let tried = self.tried_at.is_some_and(|at| now.saturating_duration_since(at) < TRY_AGAIN);
        if tried || self.ledger.out() > 0 || self.queue.len() > 0 {
            return BTreeMap::new();
        }
        let given = self.ledger.grant_one(now);
        if !given.is_empty() {
            self.tried_at = Some(now);
        }
        given
    }

    /// Uses a credit of a tenant's; a plain client is given what it has a turn for just now.
    fn spend(&mut self, tenant: TenantId, plain: bool, now: Instant) -> bool {
        if self.ledger.spend(tenant, now) {
            return true;
        }
        if plain {
            self.ledger.miss(tenant, now);
            self.grant();
        }
        plain && self.ledger.spend(tenant, now)
    }

    /// Plain clients are told nothing: they would take it for a mistake.
    fn say(&self, tenant: TenantId, flow: Flow) {
        if let Some(place) = self.seats.get(&tenant).filter(|place| !place.plain) {
            // A session that takes nothing more is about to leave.
            let _ = place.session.notify(flow);
        }
    }

    /// Ends a tenant's seat, refusing what it has waiting.
    fn dismiss(&mut self, tenant: TenantId, status: CommandStatus) {
        self.refuse_queued(tenant, status);
        if let Some(place) = self.seats.remove(&tenant) {
            place.lost.cancel();
        }
        self.ledger.bound(tenant, false);
    }

    fn refuse_queued(&mut self, tenant: TenantId, status: CommandStatus) {
        for job in self.queue.drain(tenant) {
            job.reply.refuse(status);
        }
        self.requeued(tenant);
    }

    /// Tells the ledger what a tenant has waiting now, where that matters.
    fn requeued(&mut self, tenant: TenantId) {
        if !self.capped {
            return;
        }
        let (waiting, next_at) = (self.queue.len_of(tenant), self.queue.next_of(tenant));
        self.ledger.queued(tenant, waiting, next_at, Instant::now());
    }
}

#[cfg(test)]
mod tests;
