//! Takes messages in. A call is answered only after its queue rows and its idempotency key are committed.
//!
//! Calls that arrive while others are being committed wait for one another and share the next commit, whoever their tenant is: under
//! load a commit carries many calls, and without load a call waits for nobody. Those about which nothing is to be decided take one
//! question (`queue`), the others a transaction (`group`). Each call still has an outcome of its own: a suspension, a spent quota, a
//! used key or a duplicate refuses that call alone, and should a group fail, its calls are tried one by one.
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::PgPool;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::RECORD;
use super::repeats::Repeat;
use super::wake::Waker;
use crate::domain::{BatchId, MessageId, MilliOre, Parts, TenantId};

mod duplicates;
mod group;
mod opt_outs;
mod queue;
mod quota;

pub use duplicates::Guard;

/// Calls that may wait for a commit; beyond it a caller is told to come again.
const WAITING_CALLS: usize = 1024;
/// Messages after which a group takes in no further call, where so many calls wait that one record's worth at a time would not do.
const GROUP_MESSAGES: usize = 1000;
/// So many are not many.
const FEW_CALLS: usize = 64;
/// Groups being committed at the same time: a large call does not hold up all small ones.
const LANES: usize = 2;
/// While a group is being committed what comes waits, so that it shares the next commit and costs the database a fraction of what it
/// costs alone: until so many calls wait, or the group takes longer than this.
const COMPANY: usize = 16;
const SHORT: Duration = Duration::from_millis(10);
/// How long a caller waits for room and for its commit.
const PATIENCE: Duration = Duration::from_secs(10);

/// One call's messages, encrypted and ready to be stored.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whose.
    pub tenant: TenantId,
    /// The batch its messages form.
    pub batch: BatchId,
    /// The Copenhagen day of accept: partition, log key and quota go by it.
    pub day: Date,
    /// The how many-th hour of that day, from 0: the other quota goes by it. A day has up to 25.
    pub hour: i16,
    /// `sendAt`.
    pub not_before: Option<Timestamp>,
    /// When it is too late for them.
    pub expires_at: Timestamp,
    /// They go before the tenant's others.
    pub urgent: bool,
    /// Name of the key that opens the bodies.
    pub queue_key: String,
    /// Name of the key that opens the entries; `None` where nothing is logged (D4).
    pub log_key: Option<String>,
    /// The `Idempotency-Key`, when the caller gave one.
    pub repeat: Option<Repeat>,
    /// What tells duplicates; `None` where the tenant has no guard against them.
    pub guard: Option<Guard>,
    /// Its recipients' keyed hashes under the account's key, in any order; `None` where the tenant was believed to have no list of
    /// those who want nothing more.
    pub numbers: Option<Vec<[u8; 16]>>,
    /// At least one.
    pub messages: Vec<Message>,
}

impl Call {
    /// What storing it sends to the database, about.
    fn octets(&self) -> usize {
        self.messages.iter().map(Message::octets).sum::<usize>() + 150
    }
}

/// One queue row's own part.
#[derive(Debug, Clone)]
pub struct Message {
    /// Made at the same millisecond as its batch's id.
    pub id: MessageId,
    /// How many parts were counted.
    pub parts: Parts,
    /// Price of one part.
    pub price: MilliOre,
    /// The sealed [`crate::domain::Body`].
    pub body: Vec<u8>,
    /// The sealed [`crate::domain::Entry`] and the keyed hashes; `None` where nothing is logged.
    pub logged: Option<Logged>,
}

impl Message {
    fn octets(&self) -> usize {
        self.body.len() + self.logged.as_ref().map_or(0, |logged| logged.entry.len() + 40) + 70
    }
}

/// What history will hold of a message.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The sealed entry.
    pub entry: Vec<u8>,
    /// Finds the number without showing it.
    pub number_hash: [u8; 16],
    /// Finds the tenant's own reference, where it gave one.
    pub reference_hash: Option<[u8; 16]>,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Committed.
    Accepted,
    /// The same call was accepted before, with this answer; nothing new was stored.
    Repeated(serde_json::Value),
    /// The key was used with another body; nothing was stored.
    KeyReused,
    /// The tenant may not send (A2, A3, A5, B6); nothing was stored.
    Refused {
        /// The enforcement's stable word.
        code: String,
        /// Why, for people.
        reason: String,
    },
    /// These messages of the call, by their place in it, are duplicates of others accepted a moment ago; nothing was stored.
    /// The call without them may be.
    Duplicates(Vec<usize>),
    /// The tenant has a list of those who want nothing more: it is to be brought up to date, the call held against it, and those left
    /// accepted; nothing was stored.
    OptOuts,
    /// The quota has no room for all of the call's messages; nothing was stored.
    OverQuota {
        /// Messages.
        limit: i32,
        /// In which time.
        per: Per,
    },
}

/// What a quota is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// A clock hour.
    Hour,
    /// A day in Copenhagen.
    Day,
}

/// Why a call has no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Too many calls wait for the database; nothing was stored.
    #[error("too many calls are waiting for the database")]
    Overloaded,
    /// The database could not be asked; nothing was stored.
    #[error("store the messages: {0}")]
    Store(#[source] Arc<sqlx::Error>),
    /// The answer to the commit is missing: the messages may be stored or not.
    #[error("commit the messages: the outcome is unknown")]
    Commit,
}

struct Waiting {
    call: Call,
    answer: oneshot::Sender<Result<Outcome, Error>>,
}

/// Takes calls in and commits them in groups. Cheap to clone; stops with its last clone, after what waits is stored.
#[derive(Debug, Clone)]
pub struct Acceptor {
    waiting: mpsc::Sender<Waiting>,
    company: Arc<Notify>,
}

impl Acceptor {
    /// Starts committing on `pool`, at most two connections at a time; `waker` is told of each accepted tenant.
    #[must_use]
    pub fn start(pool: &PgPool, waker: &Waker) -> Self {
        let (waiting, calls) = mpsc::channel(WAITING_CALLS);
        let (calls, company) = (Arc::new(Mutex::new(calls)), Arc::new(Notify::new()));
        for _ in 0..LANES {
            tokio::spawn(lane(pool.clone(), Arc::clone(&calls), Arc::clone(&company), waker.clone()));
        }
        Self { waiting, company }
    }

    /// Stores a call. When the caller goes away meanwhile, the call is stored all the same.
    ///
    /// # Errors
    /// When there is no outcome, or none is known.
    pub async fn accept(&self, call: Call) -> Result<Outcome, Error> {
        let (answer, outcome) = oneshot::channel();
        self.waiting.try_send(Waiting { call, answer }).map_err(|_| Error::Overloaded)?;
        if WAITING_CALLS - self.waiting.capacity() >= COMPANY {
            self.company.notify_one();
        }
        match tokio::time::timeout(PATIENCE, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(Error::Commit),
        }
    }
}

async fn lane(pool: PgPool, calls: Arc<Mutex<mpsc::Receiver<Waiting>>>, company: Arc<Notify>, waker: Waker) {
    let mut heard = None;
    loop {
        let mut turn = calls.lock().await;
        let Some(group) = gather(&mut turn).await else { return };
        let (calls, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|waiting| (waiting.call, waiting.answer)).unzip();
        let storing = store(&pool, &calls, &mut heard);
        tokio::pin!(storing);
        let crowded = async {
            while turn.len() < COMPANY {
                company.notified().await;
            }
        };
        let outcomes = tokio::select! {
            biased;
            outcomes = &mut storing => outcomes,
            _ = tokio::time::timeout(SHORT, crowded) => {
                drop(turn);
                storing.await
            }
        };
        for ((call, answer), outcome) in calls.iter().zip(answers).zip(outcomes) {
            if matches!(outcome, Ok(Outcome::Accepted)) {
                waker.wake(call.tenant);
            }
            // A caller that gave up still has its messages stored; its repetition finds them by the key.
            let _ = answer.send(outcome);
        }
    }
}

/// The next call, and what waits behind it, up to a group's size.
async fn gather(calls: &mut mpsc::Receiver<Waiting>) -> Option<Vec<Waiting>> {
    let first = calls.recv().await?;
    let few = calls.len() <= FEW_CALLS;
    let (mut messages, mut octets) = (first.call.messages.len(), first.call.octets());
    let mut group = vec![first];
    while messages < GROUP_MESSAGES && !(few && octets >= RECORD) {
        let Ok(next) = calls.try_recv() else { break };
        messages += next.call.messages.len();
        octets += next.call.octets();
        group.push(next);
    }
    Some(group)
}

/// Stores a group; one outcome for each call, in order. `heard` is when the database answered last.
async fn store(pool: &PgPool, calls: &[Call], heard: &mut Option<Instant>) -> Vec<Result<Outcome, Error>> {
    let known = queue::plain(pool, calls, heard).await;
    let left: Vec<&Call> =
        calls.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(call, _)| call).collect();
    let mut decided = if left.is_empty() { Vec::new() } else { decide(pool, &left).await }.into_iter();
    known.into_iter().map(|known| known.or_else(|| decided.next()).unwrap_or(Err(Error::Commit))).collect()
}

/// Stores calls about which something is to be decided. What the database says about them as a whole may be the fault of one call:
/// then each is tried by itself.
async fn decide(pool: &PgPool, calls: &[&Call]) -> Vec<Result<Outcome, Error>> {
    match group::store(pool, calls).await {
        Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
        Err(Error::Store(error)) if calls.len() > 1 && error.as_database_error().is_some() => {
            tracing::warn!(%error, calls = calls.len(), "a group of calls failed; trying them one by one");
            let mut outcomes = Vec::with_capacity(calls.len());
            for call in calls {
                let outcome = group::store(pool, std::slice::from_ref(call)).await;
                outcomes.push(outcome.and_then(|outcome| outcome.into_iter().next().ok_or(Error::Commit)));
            }
            outcomes
        }
        Err(error) => calls.iter().map(|_| Err(error.clone())).collect(),
    }
}
