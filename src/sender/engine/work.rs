//! What the engine has the database do: one read, one launch, one batch of receipts and two of results at a time.
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Engine, Unapplied};
use crate::domain::{MessageId, TenantId};
use crate::sender::book::{Moment, Opened};
use crate::sender::database::Database;
use crate::sender::engine::End;
use crate::sender::ledger::Batch;
use crate::sender::reader::{Begin, Last};
use crate::smpp::session::Responder;
use crate::store::claim::{self, Adopted, Gate, Launched, Queued};
use crate::store::receipts::{self, Outcome, Receipt};
use crate::store::results;

/// A flight that was begun more often than this is held: it seems to crash its sender.
const ATTEMPTS: i16 = 5;
/// Batches of results that are stored at once: the database computes one while another's commit is written to the disk.
const STORED_AT_ONCE: usize = 2;
/// From so many batches' worth on.
const CROWD: usize = 3;
/// With credit for so many parts, a flight does not wait for more.
const FLIGHT_PARTS: u32 = 64;

/// What a job came to.
pub(super) enum Done {
    Read(Box<Result<Read, claim::Error>>),
    Launched {
        flight: Uuid,
        route: usize,
        picked: Vec<MessageId>,
        began: Instant,
        result: Result<Launched, claim::Error>,
    },
    Stored {
        batch: Batch<Responder>,
        began: Instant,
        result: Result<(), results::Error>,
    },
    Applied {
        receipts: Vec<Unapplied>,
        /// How many batches were stored when the database was asked.
        stored_before: u64,
        result: Result<Vec<Outcome>, receipts::Error>,
    },
    /// The database's connections were given back.
    Rested,
}

/// What a read of the queue gave.
pub(super) struct Read {
    gate: Gate,
    adopted: Option<Adoption>,
    front: bool,
    /// Urgent messages alone were looked for.
    urgent: bool,
    most: usize,
    queued: Vec<Queued>,
    due: Option<jiff::Timestamp>,
}

/// What older epochs left.
struct Adoption {
    flights: Vec<(Adopted, Vec<Queued>)>,
    held: usize,
}

/// A read of the queue: what to ask.
struct Ask {
    tenant: TenantId,
    epoch: i64,
    adopt: bool,
    begin: Begin,
    /// Urgent messages alone.
    urgent: bool,
    have: Vec<Uuid>,
    now: jiff::Timestamp,
    most: usize,
}

impl Ask {
    async fn put(self, database: &impl Database) -> Result<Read, claim::Error> {
        let gate = database.gate(self.epoch).await?;
        let (front, urgent, most) = (self.begin.front, self.urgent, self.most);
        let mut read = Read { gate, adopted: None, front, urgent, most, queued: Vec::new(), due: None };
        if !gate.newest || !gate.may_send {
            return Ok(read);
        }
        if self.adopt {
            let (adopted, held) = database.adopt(self.epoch, gate.hold, ATTEMPTS).await?;
            let mut flights = Vec::with_capacity(adopted.len());
            for flight in adopted {
                let ids: Vec<Uuid> = flight.ids.iter().map(|id| id.0).collect();
                let queued = database.read_these(self.tenant, &ids).await?;
                flights.push((flight, queued));
            }
            read.adopted = Some(Adoption { flights, held });
            return Ok(read);
        }
        let most = i64::try_from(self.most).unwrap_or(i64::MAX);
        let Begin { after, urgent_after, .. } = self.begin;
        read.queued = database.read_urgent(self.tenant, urgent_after, &self.have, most).await?;
        if self.urgent {
            return Ok(read);
        }
        let rest = most.saturating_sub(i64::try_from(read.queued.len()).unwrap_or(i64::MAX));
        read.queued.extend(database.read(self.tenant, after, &self.have, self.now, rest).await?);
        if front && read.queued.len() < self.most {
            read.due = database.next_due(self.tenant, self.now).await?;
        }
        Ok(read)
    }
}

impl<D: Database> Engine<D> {
    pub(super) fn start_work(&mut self, moment: Moment) {
        if self.resume_at.is_some_and(|resume| moment.now < resume) {
            return;
        }
        self.resume_at = None;
        if self.stopping.is_none() {
            self.read(moment);
            for route in 0..self.routes.len() {
                self.launch(route, moment);
            }
        }
        self.store(moment);
        self.apply();
    }

    fn read(&mut self, moment: Moment) {
        let waiting = self.book.waiting();
        let (begin, urgent) = if self.reader.is_due(moment.now) && waiting <= self.pace.ahead / 2 {
            (self.reader.begin(moment.now), false)
        // Of these, too, no more than there is room for.
        } else if waiting > self.pace.ahead / 2 && waiting < 2 * self.pace.ahead && self.reader.is_urgent(moment.now) {
            (self.reader.begin_urgent(moment.now), true)
        } else {
            return;
        };
        self.rested = false;
        let first = begin.after.min(begin.urgent_after);
        let ask = Ask {
            tenant: self.tenant,
            epoch: self.epoch,
            adopt: !self.reader.adopted,
            begin,
            urgent,
            have: self.book.ids().filter(|id| *id > first).map(|id| id.0).collect(),
            now: moment.at,
            most: if urgent { self.pace.ahead / 2 } else { self.pace.ahead },
        };
        let database = self.database.clone();
        self.jobs.push(Box::pin(async move { Done::Read(Box::new(ask.put(&database).await)) }));
    }

    /// Gives the database's connections back once there was nothing to do for a while; after a look into the queue that found
    /// nothing, at once.
    pub(super) fn rest(&mut self, moment: Moment) {
        if self.has_work() {
            self.worked_at = Some(moment.now);
            self.rested = false;
        } else if self.jobs.is_empty() && self.rests_at(moment).is_some_and(|rests| moment.now >= rests) {
            self.rested = true;
            let database = self.database.clone();
            self.jobs.push(Box::pin(async move {
                database.rest().await;
                Done::Rested
            }));
        }
    }

    /// From when on the database's connections are not wanted if nothing happens; `None`: they were given back.
    pub(super) fn rests_at(&self, moment: Moment) -> Option<Instant> {
        (!self.rested).then(|| self.worked_at.map_or(moment.now, |worked| worked + self.pace.lull))
    }

    /// Messages, receipts or results are under way.
    fn has_work(&self) -> bool {
        self.book.waiting() > 0
            || !self.book.is_idle()
            || !self.book.ledger.is_empty()
            || !self.unstored.is_empty()
            || !self.receipts.is_empty()
            || !self.submits.is_empty()
            || self.launching
            || self.storing > 0
            || self.applying
    }

    /// Begins a flight with what a route has credit for.
    fn launch(&mut self, index: usize, moment: Moment) {
        let (Some(route), Some(lane)) = (self.routes.get_mut(index), self.book.lane(index)) else { return };
        let room = route.credits.saturating_sub(lane.ready_parts());
        if self.launching || !self.gate.may_send || room == 0 || lane.waiting() == 0 || route.is_paused(moment.now) {
            return;
        }
        if self.book.unsettled() >= self.pace.unsettled {
            return;
        }
        // Where credit comes in crumbs, a few milliseconds of it make one flight instead of many.
        if lane.demand() > route.credits && room < FLIGHT_PARTS {
            let gathered = *route.gathered_at.get_or_insert(moment.now + self.pace.gather);
            if moment.now < gathered {
                return;
            }
        }
        route.gathered_at = None;
        let route = lane.route;
        let picked = self.book.pick(index, room, self.pace.batch);
        let wanted: Vec<Uuid> = picked.iter().map(|id| id.0).collect();
        let (database, epoch) = (self.database.clone(), self.epoch);
        let flight = Uuid::from_u128(rand::random());
        self.launching = true;
        self.jobs.push(Box::pin(async move {
            let began = Instant::now();
            let result = database.launch(epoch, flight, route, &wanted).await;
            Done::Launched { flight, route: index, picked, began, result }
        }));
    }

    fn store(&mut self, moment: Moment) {
        while self.storing < STORED_AT_ONCE {
            let batch = match self.unstored.pop() {
                Some(batch) => batch,
                None if self.worth_storing(moment) => self.book.ledger.batch(self.pace.results),
                None => return,
            };
            self.store_batch(batch);
        }
    }

    fn store_batch(&mut self, batch: Batch<Responder>) {
        for settled in &batch.results {
            tracing::trace!(message = %settled.id, state = ?settled.state, "storing");
        }
        let database = self.database.clone();
        self.storing += 1;
        self.jobs.push(Box::pin(async move {
            let began = Instant::now();
            let result = database.settle(&batch.results, &batch.flights).await;
            Done::Stored { batch, began, result }
        }));
    }

    /// Whether a batch is full, old, or has nothing to wait for; beside another one, whether many wait: those that do a moment longer
    /// are stored with their receipts, which is cheaper than to store these by themselves.
    fn worth_storing(&self, moment: Moment) -> bool {
        let ledger = &self.book.ledger;
        if self.storing > 0 {
            return ledger.waiting() >= CROWD * self.pace.results;
        }
        ledger.has_more()
            && (ledger.waiting() >= self.pace.results
                || self.submits.is_empty()
                || ledger.waiting_since().is_none_or(|since| moment.now >= since + self.pace.gather))
    }

    fn apply(&mut self) {
        if self.applying || self.receipts.is_empty() {
            return;
        }
        let rest = self.receipts.split_off(self.receipts.len().min(self.pace.results));
        let receipts = std::mem::replace(&mut self.receipts, rest);
        let (database, stored_before) = (self.database.clone(), self.stored);
        self.applying = true;
        self.jobs.push(Box::pin(async move {
            let facts: Vec<Receipt> = receipts.iter().map(|unapplied| unapplied.receipt.clone()).collect();
            let result = database.apply(&facts).await;
            Done::Applied { receipts, stored_before, result }
        }));
    }

    pub(super) fn take_done(&mut self, done: Done) {
        let moment = self.moment();
        match done {
            Done::Rested => {}
            Done::Read(result) => {
                self.reader.busy = false;
                match *result {
                    Ok(read) => {
                        self.well();
                        self.take_read(read, moment);
                    }
                    Err(error) => {
                        self.reader.failed();
                        self.ill(&error, moment);
                    }
                }
            }
            Done::Launched { flight, route, picked, began, result } => {
                self.launching = false;
                match result {
                    Ok(launched) => {
                        self.well();
                        self.metrics.claim_seconds.observe(began.elapsed().as_secs_f64());
                        self.book.launched(route, flight, &picked, &launched.ids, moment);
                        self.take_gate(launched.gate);
                    }
                    Err(error) => {
                        self.book.not_launched(flight, &picked, moment);
                        self.ill(&error, moment);
                    }
                }
            }
            Done::Stored { batch, began, result } => {
                self.storing = self.storing.saturating_sub(1);
                match result {
                    Ok(()) => {
                        self.well();
                        self.metrics.settle_seconds.observe(began.elapsed().as_secs_f64());
                        self.take_stored(batch);
                    }
                    Err(error) => {
                        self.unstored.push(batch);
                        self.ill(&error, moment);
                    }
                }
            }
            Done::Applied { receipts, stored_before, result } => {
                self.applying = false;
                match result {
                    Ok(outcomes) => {
                        self.well();
                        self.take_applied(receipts, &outcomes, stored_before);
                    }
                    Err(error) => {
                        self.receipts.splice(0..0, receipts);
                        self.ill(&error, moment);
                    }
                }
            }
        }
    }

    fn take_read(&mut self, read: Read, moment: Moment) {
        let open = read.gate.newest && read.gate.may_send;
        self.take_gate(read.gate);
        if let Some(adoption) = read.adopted {
            self.take_adopted(adoption, moment);
            self.reader.wake();
            return;
        }
        let last =
            |urgent| read.queued.iter().filter(|queued| queued.overtakes == urgent).map(|queued| queued.id).max();
        let last = Last { plain: last(false), urgent: last(true) };
        let more = read.queued.len() >= read.most;
        let due = read.due.map(|due| Duration::try_from(due.duration_since(moment.at)).unwrap_or_default());
        if read.urgent {
            self.reader.end_urgent(last, more);
        } else {
            self.reader.end(last, read.front || !open, more, due, moment.now);
        }
        for queued in read.queued {
            self.take_queued(queued, None, moment);
        }
    }

    fn take_adopted(&mut self, adoption: Adoption, moment: Moment) {
        self.reader.adopted = true;
        if adoption.held > 0 {
            tracing::warn!(messages = adoption.held, "held: a sender before this one may have sent them");
        }
        for (flight, queued) in adoption.flights {
            tracing::info!(messages = queued.len(), "sending again what a sender before this one had begun");
            self.book.ledger.flight_begun(flight.flight, queued.len());
            for queued in queued {
                self.take_queued(queued, Some(flight.flight), moment);
            }
        }
    }

    fn take_queued(&mut self, queued: Queued, flight: Option<Uuid>, moment: Moment) {
        match self.opener.open(&queued) {
            Ok(body) => {
                let Queued { id, parts, expires_at, urgent, .. } = queued;
                self.book.add(id, Opened { body, parts, expires_at, urgent }, flight, moment);
            }
            Err(error) if error.may_pass() => {
                tracing::warn!(message = %queued.id, %error, "left in the queue");
                flight.into_iter().for_each(|flight| self.book.ledger.released(flight));
            }
            Err(error) => {
                tracing::error!(message = %queued.id, %error, "rejected");
                self.book.reject(queued.id, flight, moment);
            }
        }
    }

    fn take_gate(&mut self, gate: Gate) {
        if !gate.newest {
            self.begin_stop(End::Superseded);
        }
        if self.gate.may_send != gate.may_send {
            tracing::info!(may_send = gate.may_send, "what the tenant may do has changed");
        }
        if !gate.may_send {
            self.book.forget_waiting();
            self.reader.rewind();
        }
        self.gate = gate;
    }

    fn take_stored(&mut self, batch: Batch<Responder>) {
        for settled in &batch.results {
            let state = crate::sender::metrics::State { state: word(settled.state) };
            self.metrics.results.get_or_create(&state).inc();
        }
        let (acks, late) = self.book.ledger.stored(batch);
        for responder in acks {
            responder.accept("");
        }
        self.stored += 1;
        self.receipts.extend(late.into_iter().map(|(receipt, responder)| Unapplied { receipt, responder, strayed: 0 }));
    }

    fn take_applied(&mut self, receipts: Vec<Unapplied>, outcomes: &[Outcome], stored_before: u64) {
        for (unapplied, outcome) in receipts.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Applied => {
                    self.count_receipt("applied");
                    unapplied.responder.accept("");
                }
                Outcome::Already => {
                    self.count_receipt("already");
                    unapplied.responder.accept("");
                }
                Outcome::Unknown => self.take_stray(unapplied, stored_before),
            }
        }
    }

    fn well(&mut self) {
        self.patience.reset();
        self.resume_at = None;
    }

    /// The database did not answer: everything that needs it waits, what is known is kept.
    fn ill(&mut self, error: &dyn std::error::Error, moment: Moment) {
        self.metrics.database_errors.inc();
        if self.resume_at.is_none() {
            let delay = self.patience.delay();
            self.resume_at = Some(moment.now + delay);
            tracing::warn!(%error, retry_in = ?delay, "the database did not do what it was asked");
        }
    }
}

fn word(state: crate::domain::MessageState) -> &'static str {
    use crate::domain::MessageState::{Cancelled, Delivered, Expired, Failed, Held, Queued, Rejected, Sent, Unknown};
    match state {
        Queued => "queued",
        Held => "held",
        Sent => "sent",
        Delivered => "delivered",
        Failed => "failed",
        Expired => "expired",
        Rejected => "rejected",
        Cancelled => "cancelled",
        Unknown => "unknown",
    }
}
