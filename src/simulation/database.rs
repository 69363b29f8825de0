//! What PostgreSQL knows, in memory: queue, flights, log and parked receipts, with the rules of the functions of
//! `0003_isolation.sql` and `0004_sending.sql` as far as senders and a connector lean on them. It takes its time, and while it is ill it fails: before
//! anything was done, or after. While it is away (`reach`) it does nothing.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::domain::{MessageId, MessageState, TenantId};
use crate::store::claim::{Adopted, Gate, Launched, Queued};
use crate::store::receipts::{Outcome, Receipt};
use crate::store::receipts_upstream::{Applied, UpstreamReceipt};
use crate::store::results::Settled;
use crate::store::shares::Share;

mod reach;
pub(crate) use reach::Listener;
use reach::Reach;

/// The key that all bodies here are sealed with.
pub(crate) const QUEUE_KEY: &str = "queue/1";

/// The database fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ill;

impl From<Ill> for sqlx::Error {
    fn from(_: Ill) -> Self {
        Self::PoolTimedOut
    }
}

/// See the module. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    chance: StdRng,
    ill_until: Instant,
    reach: Reach,
    tenants: BTreeMap<TenantId, Tenant>,
    parked: Vec<Parked>,
}

#[derive(Debug, Default)]
pub(crate) struct Tenant {
    pub(crate) hold: bool,
    pub(crate) weight: u32,
    pub(crate) epoch: i64,
    pub(crate) queue: BTreeMap<MessageId, Row>,
    pub(crate) log: BTreeMap<MessageId, Settled>,
    pub(crate) flights: Vec<Flight>,
    /// How often each part became final, by what its upstream's id is known by.
    pub(crate) became_final: BTreeMap<String, u32>,
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) parts: u8,
    pub(crate) expires_at: Timestamp,
    pub(crate) body: Vec<u8>,
    pub(crate) held: bool,
    pub(crate) urgent: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Flight {
    id: Uuid,
    epoch: i64,
    attempt: i16,
    ids: Vec<MessageId>,
}

#[derive(Debug, Clone)]
struct Parked {
    receipt: UpstreamReceipt,
    tries: u32,
    at: Instant,
}

impl Database {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            chance: StdRng::seed_from_u64(seed),
            ill_until: Instant::now(),
            reach: Reach::new(),
            tenants: BTreeMap::new(),
            parked: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails now and then, and is slow, for so long.
    pub(crate) fn fall_ill(&self, time: Duration) {
        self.state().ill_until = Instant::now() + time;
    }

    /// Looks at, or changes, what is known of a tenant.
    pub(crate) fn tenant<T>(&self, tenant: TenantId, look: impl FnOnce(&mut Tenant) -> T) -> T {
        look(self.state().tenants.entry(tenant).or_default())
    }

    /// Whether a receipt with an id known like this is parked.
    pub(crate) fn is_parked(&self, known_by: &str) -> bool {
        self.state().parked.iter().any(|parked| parked.receipt.upstream_id == known_by)
    }

    /// A call: its way there, what it does, its way back.
    async fn call<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, Ill> {
        self.reach().await?;
        let (there, back, fate) = {
            let mut state = self.state();
            let ill = Instant::now() < state.ill_until;
            let most = Duration::from_millis(if ill { 800 } else { 4 });
            let mut delay = || state.chance.random_range(Duration::ZERO..=most);
            let (there, back) = (delay(), delay());
            (there, back, if ill { state.chance.random_range(0..4) } else { 9 })
        };
        sleep(there).await;
        if fate == 0 || self.is_away() {
            return Err(Ill);
        }
        let answer = act(&mut self.state());
        sleep(back).await;
        if fate == 1 || self.is_away() { Err(Ill) } else { Ok(answer) }
    }

    /// The tenant's next epoch.
    pub(crate) fn begin(&self, tenant: TenantId) -> i64 {
        self.tenant(tenant, |tenant| {
            tenant.epoch += 1;
            tenant.epoch
        })
    }

    pub(crate) async fn gate(&self, tenant: TenantId, epoch: i64) -> Result<Gate, Ill> {
        self.call(|state| state.of(tenant).gate(epoch)).await
    }

    pub(crate) async fn adopt(
        &self,
        tenant: TenantId,
        epoch: i64,
        hold: bool,
        attempts: i16,
    ) -> Result<(Vec<Adopted>, usize), Ill> {
        self.call(|state| {
            let id = state.chance.random::<u128>();
            state.of(tenant).adopt(epoch, hold, attempts, id)
        })
        .await
    }

    /// Either urgent messages or the others.
    pub(crate) async fn read(
        &self,
        tenant: TenantId,
        after: MessageId,
        have: &[Uuid],
        urgent: bool,
        most: i64,
    ) -> Result<Vec<Queued>, Ill> {
        let have: BTreeSet<Uuid> = have.iter().copied().collect();
        self.call(|state| {
            let rows = state.of(tenant).queue.iter();
            let waits = |(id, row): &(&MessageId, &Row)| {
                **id > after && row.urgent == urgent && !row.held && !have.contains(&id.0)
            };
            rows.filter(waits).take(usize::try_from(most).unwrap_or(0)).map(queued).collect()
        })
        .await
    }

    pub(crate) async fn read_these(&self, tenant: TenantId, ids: &[Uuid]) -> Result<Vec<Queued>, Ill> {
        let ids: BTreeSet<Uuid> = ids.iter().copied().collect();
        self.call(|state| {
            let rows = state.of(tenant).queue.iter();
            rows.filter(|(id, row)| !row.held && ids.contains(&id.0)).map(queued).collect()
        })
        .await
    }

    pub(crate) async fn launch(
        &self,
        tenant: TenantId,
        epoch: i64,
        flight: Uuid,
        wanted: &[Uuid],
    ) -> Result<Launched, Ill> {
        let wanted: BTreeSet<Uuid> = wanted.iter().copied().collect();
        self.call(|state| {
            let tenant = state.of(tenant);
            let gate = tenant.gate(epoch);
            let mut ids = Vec::new();
            if gate.newest {
                let there = tenant.queue.iter().filter(|(id, row)| !row.held && wanted.contains(&id.0));
                ids.extend(there.map(|(id, _)| *id));
            }
            if !ids.is_empty() {
                tenant.flights.push(Flight { id: flight, epoch, attempt: 1, ids: ids.clone() });
            }
            Launched { gate, ids }
        })
        .await
    }

    pub(crate) async fn settle(&self, tenant: TenantId, batch: &[Settled], flights: &[Uuid]) -> Result<(), Ill> {
        self.call(|state| state.of(tenant).settle(batch, flights)).await
    }

    pub(crate) async fn apply(&self, tenant: TenantId, receipts: &[Receipt]) -> Result<Vec<Outcome>, Ill> {
        self.call(|state| {
            let tenant = state.of(tenant);
            let apply =
                |receipt: &Receipt| match tenant.apply(&receipt.upstream_id, receipt.tag, receipt.state, receipt.error)
                {
                    None => Outcome::Unknown,
                    Some(true) => Outcome::Applied,
                    Some(false) => Outcome::Already,
                };
            receipts.iter().map(apply).collect()
        })
        .await
    }

    pub(crate) async fn shares(&self) -> Result<Vec<Share>, Ill> {
        self.call(|state| {
            let share = |(tenant, of): (&TenantId, &Tenant)| Share {
                tenant: *tenant,
                weight: of.weight.max(1),
                may_send: true,
                epoch: of.epoch,
            };
            state.tenants.iter().map(share).collect()
        })
        .await
    }

    pub(crate) async fn owners(&self, receipts: &[(String, u32)]) -> Result<Vec<Option<TenantId>>, Ill> {
        self.call(|state| {
            let owner = |(id, tag): &(String, u32)| {
                let mut owners = state.tenants.iter().filter(|(_, tenant)| tenant.knows(id, tag.cast_signed()));
                owners.next().map(|(owner, _)| *owner).filter(|_| owners.next().is_none())
            };
            receipts.iter().map(owner).collect()
        })
        .await
    }

    pub(crate) async fn apply_upstream(&self, receipts: &[UpstreamReceipt]) -> Result<Vec<Applied>, Ill> {
        self.call(|state| receipts.iter().map(|receipt| state.apply(receipt)).collect()).await
    }

    pub(crate) async fn park(&self, receipts: &[UpstreamReceipt]) -> Result<(), Ill> {
        let at = Instant::now() + Duration::from_secs(5);
        self.call(|state| {
            state.parked.extend(receipts.iter().map(|receipt| Parked { receipt: receipt.clone(), tries: 0, at }));
        })
        .await
    }

    /// Tries the parked receipts that are due.
    pub(crate) async fn retry(&self) -> Result<(), Ill> {
        self.call(|state| {
            let now = Instant::now();
            let parked = std::mem::take(&mut state.parked);
            for mut parked in parked {
                if parked.at <= now {
                    if state.apply(&parked.receipt) != Applied::Unknown {
                        continue;
                    }
                    parked.tries += 1;
                    parked.at = now + Duration::from_secs(5) * 2_u32.pow(parked.tries.min(9));
                }
                state.parked.push(parked);
            }
        })
        .await
    }
}

fn queued((id, row): (&MessageId, &Row)) -> Queued {
    Queued {
        id: *id,
        parts: row.parts,
        expires_at: row.expires_at,
        urgent: row.urgent,
        overtakes: row.urgent,
        queue_key: QUEUE_KEY.to_owned(),
        body: row.body.clone(),
    }
}

impl State {
    fn of(&mut self, tenant: TenantId) -> &mut Tenant {
        self.tenants.entry(tenant).or_default()
    }

    fn apply(&mut self, receipt: &UpstreamReceipt) -> Applied {
        let UpstreamReceipt { upstream_id, tag, state, error, .. } = receipt;
        let apply = |tenant: &mut Tenant| tenant.apply(upstream_id, tag.cast_signed(), *state, *error);
        match self.tenants.values_mut().find_map(apply) {
            None => Applied::Unknown,
            Some(true) => Applied::Now,
            Some(false) => Applied::Before,
        }
    }
}

impl Tenant {
    /// Messages that wait and are in no flight.
    pub(crate) fn waiting(&self) -> Vec<MessageId> {
        let flown: BTreeSet<_> = self.flights.iter().flat_map(|flight| &flight.ids).collect();
        let waits = |(id, row): &(&MessageId, &Row)| !row.held && !flown.contains(id);
        self.queue.iter().filter(waits).map(|(id, _)| *id).collect()
    }

    fn gate(&self, epoch: i64) -> Gate {
        Gate { newest: epoch == self.epoch, may_send: true, hold: self.hold }
    }

    fn adopt(&mut self, epoch: i64, hold: bool, attempts: i16, id: u128) -> (Vec<Adopted>, usize) {
        let (mut adopted, mut held) = (Vec::new(), 0);
        if epoch != self.epoch {
            return (adopted, held);
        }
        // Those of this epoch were taken over by a call whose answer was lost.
        for (nth, flight) in (0..).zip(std::mem::take(&mut self.flights)) {
            let older = flight.epoch < epoch;
            let waits = |id: &MessageId| self.queue.get(id).is_some_and(|row| !row.held);
            let still: Vec<_> = flight.ids.iter().copied().filter(waits).collect();
            if older && (hold || flight.attempt > attempts) {
                held += still.len();
                for id in &still {
                    self.queue.get_mut(id).into_iter().for_each(|row| row.held = true);
                }
            } else if !still.is_empty() {
                let id = Uuid::from_u128(id.wrapping_add(nth));
                adopted.push(Adopted { flight: id, ids: still.clone() });
                self.flights.push(Flight { id, epoch, attempt: flight.attempt + i16::from(older), ids: still });
            }
        }
        (adopted, held)
    }

    fn settle(&mut self, batch: &[Settled], flights: &[Uuid]) {
        for settled in batch {
            if settled.state == MessageState::Held {
                self.queue.get_mut(&settled.id).into_iter().for_each(|row| row.held = true);
            } else if self.queue.remove(&settled.id).is_some() {
                for part in settled.parts.iter().filter(|part| part.state.is_final()) {
                    *self.became_final.entry(part.upstream_id.to_string()).or_default() += 1;
                }
                self.log.insert(settled.id, settled.clone());
            }
        }
        self.flights.retain(|flight| !flights.contains(&flight.id));
    }

    fn knows(&self, upstream_id: &str, tag: i32) -> bool {
        let is = |part: &crate::store::results::SentPart| &*part.upstream_id == upstream_id && part.tag == tag;
        self.log.values().any(|message| message.parts.iter().any(is))
    }

    /// `None`: no message is known for it. Else whether it changed something.
    fn apply(&mut self, upstream_id: &str, tag: i32, state: MessageState, error: Option<i32>) -> Option<bool> {
        let mut known = None;
        for part in self.log.values_mut().flat_map(|message| &mut message.parts) {
            if &*part.upstream_id != upstream_id || part.tag != tag {
                continue;
            }
            let now = !part.state.is_final();
            known = Some(known.unwrap_or(false) || now);
            if now {
                (part.state, part.error) = (state, error);
                *self.became_final.entry(upstream_id.to_owned()).or_default() += 1;
            }
        }
        known
    }
}
