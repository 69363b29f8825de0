//! What the SMSC has to deliver: receipts and inbound messages, each kept until a receiver of its system takes it.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusmpp::CommandStatus;
use rusmpp::pdus::DeliverSm;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::smpp::session::{BindKind, Outcome, Session, Slot};

/// How many may wait for one system; more are lost.
const MOST: usize = 100_000;
/// How often one is offered.
const TRIES: u8 = 20;
/// Between two offers of the same.
const AGAIN: Duration = Duration::from_secs(1);

/// One system's sessions, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    sessions: Vec<(u64, Session)>,
    turn: usize,
    waiting: BinaryHeap<Reverse<Parcel>>,
}

/// Something to deliver.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) due: Instant,
    /// Orders what is due at the same time.
    pub(super) number: u64,
    pub(super) receipt: bool,
    pub(super) tries: u8,
    pub(super) pdu: Box<DeliverSm>,
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Parcel {}

impl PartialOrd for Parcel {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parcel {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// How an offer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Taken { receipt: bool },
    Lost,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_session(&self, number: u64, session: &Session) {
        self.state().sessions.push((number, session.clone()));
        self.changed.notify_one();
    }

    pub(super) fn remove_session(&self, number: u64) {
        self.state().sessions.retain(|(other, _)| *other != number);
    }

    pub(super) fn drop_sessions(&self) {
        for (_, session) in &self.state().sessions {
            session.close();
        }
    }

    /// Whether anything could take what is put in.
    pub(super) fn has_receiver(&self) -> bool {
        self.state().sessions.iter().any(|(_, session)| receives(session))
    }

    /// Whether it was taken in; too many wait otherwise.
    pub(super) fn put(&self, parcel: Parcel) -> bool {
        let mut state = self.state();
        if state.waiting.len() >= MOST {
            return false;
        }
        state.waiting.push(Reverse(parcel));
        drop(state);
        self.changed.notify_one();
        true
    }

    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Delivers for ever; `settled` hears what became of each.
    pub(super) async fn run(self: Arc<Self>, settled: impl Fn(Fate) + Send + Clone + 'static) {
        loop {
            let mut parcel = self.next_due().await;
            let pending = self.slot().await.send((*parcel.pdu).clone());
            let (outbox, settled) = (Arc::clone(&self), settled.clone());
            // As many as the windows of the sessions have places.
            tokio::spawn(async move {
                let again = match pending.await {
                    Outcome::Answered(answer) if answer.is_ok() => {
                        return settled(Fate::Taken { receipt: parcel.receipt });
                    }
                    Outcome::Answered(answer) if answer.status == CommandStatus::EsmeRxRAppn => false,
                    Outcome::NotWritten(_) => true,
                    _ => {
                        parcel.tries += 1;
                        parcel.tries < TRIES
                    }
                };
                parcel.due = Instant::now() + AGAIN;
                if !again || !outbox.put(parcel) {
                    settled(Fate::Lost);
                }
            });
        }
    }

    async fn next_due(&self) -> Parcel {
        loop {
            let due = {
                let mut state = self.state();
                match state.waiting.peek().map(|Reverse(parcel)| parcel.due) {
                    Some(due) if due <= Instant::now() => {
                        if let Some(Reverse(parcel)) = state.waiting.pop() {
                            return parcel;
                        }
                        None
                    }
                    due => due,
                }
            };
            let wait = due.map_or(AGAIN, |due| due.saturating_duration_since(Instant::now()));
            let _ = timeout(wait, self.changed.notified()).await;
        }
    }

    /// A place in the window of a receiver, each in turn.
    async fn slot(&self) -> Slot {
        loop {
            let session = {
                let mut state = self.state();
                state.turn = state.turn.wrapping_add(1);
                let receivers: Vec<_> = state.sessions.iter().filter(|(_, session)| receives(session)).collect();
                let turn = state.turn.checked_rem(receivers.len()).unwrap_or(0);
                receivers.get(turn).map(|(_, session)| session.clone())
            };
            match session {
                Some(session) => {
                    if let Ok(slot) = session.reserve().await {
                        return slot;
                    }
                }
                None => {
                    let _ = timeout(Duration::from_millis(100), self.changed.notified()).await;
                }
            }
        }
    }
}

fn receives(session: &Session) -> bool {
    session.kind() != BindKind::Transmitter && session.is_open()
}
