//! The state that callers and tasks share: what is to be written, what waits for an answer, and whether it is over.
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rusmpp::{CommandId, CommandStatus, Pdu};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Answer, CloseReason, Counts, Options, Outcome, Silence, WrittenAt};
use crate::smpp::frame;

/// The largest sequence number of the standard.
pub(super) const LAST_SEQUENCE: u32 = 0x7FFF_FFFF;
/// How long the answer to our unbind may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// While time-outs are held there is nothing to be exact about.
const HELD_TICK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Core {
    options: Options,
    /// Places for our requests.
    pub(super) window: Arc<Semaphore>,
    /// Places for the peer's requests.
    pub(super) unanswered: Arc<Semaphore>,
    /// Something is to be written.
    pub(super) to_write: Notify,
    /// The outgoing buffer was taken.
    pub(super) taken: Notify,
    /// The session is ending: tasks stop.
    pub(super) ending: CancellationToken,
    /// Every request is settled and the stream is gone.
    over: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Why no more requests are taken.
    refusing: Option<CloseReason>,
    /// Why it is over.
    reason: Option<CloseReason>,
    /// We have said unbind.
    unbinding: bool,
    sequence: u32,
    out: BytesMut,
    /// Last words, written if the stream stands between two PDUs.
    farewell: BytesMut,
    /// Octets ever put into `out`.
    queued: u64,
    /// Octets ever accepted by the transport.
    written: u64,
    /// Requests not written whole yet, by where they end.
    unwritten: VecDeque<(u64, u32)>,
    pending: HashMap<u32, Waiting>,
    time: Time,
    last_sent: Duration,
    last_received: Duration,
    /// Since when our enquire_link has waited, with nothing heard.
    enquired: Option<Duration>,
    counts: Counts,
}

#[derive(Debug)]
struct Waiting {
    answered_by: CommandId,
    written: Option<Duration>,
    written_at: WrittenAt,
    settle: Option<oneshot::Sender<Outcome>>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// The session's own time. It stands still while we do not read because too many of the peer's requests are
/// unanswered: an answer may be waiting behind them, so no time-out may strike.
#[derive(Debug)]
struct Time {
    start: Instant,
    held_since: Option<Instant>,
    held: Duration,
}

impl Time {
    fn now(&self) -> Duration {
        let present = self.held_since.unwrap_or_else(Instant::now);
        present.saturating_duration_since(self.start).saturating_sub(self.held)
    }

    fn hold(&mut self) {
        self.held_since = Some(Instant::now());
    }

    fn go_on(&mut self) {
        if let Some(since) = self.held_since.take() {
            self.held += since.elapsed();
        }
    }
}

impl Core {
    pub(super) fn new(sequence: u32, options: Options) -> Self {
        let state = State {
            refusing: None,
            reason: None,
            unbinding: false,
            sequence,
            out: BytesMut::new(),
            farewell: BytesMut::new(),
            queued: 0,
            written: 0,
            unwritten: VecDeque::new(),
            pending: HashMap::new(),
            time: Time { start: Instant::now(), held_since: None, held: Duration::ZERO },
            last_sent: Duration::ZERO,
            last_received: Duration::ZERO,
            enquired: None,
            counts: Counts::default(),
        };
        Self {
            options,
            window: Arc::new(Semaphore::new(options.window)),
            unanswered: Arc::new(Semaphore::new(options.unanswered)),
            to_write: Notify::new(),
            taken: Notify::new(),
            ending: CancellationToken::new(),
            over: CancellationToken::new(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding it; should it, the state is still the best there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the writer if it may be asleep: it looks again by itself until it finds nothing.
    fn wrote_into(&self, was_empty: bool) {
        if was_empty {
            self.to_write.notify_one();
        }
    }

    pub(super) fn send(
        &self,
        pdu: &Pdu,
        permit: Option<OwnedSemaphorePermit>,
        settle: Option<oneshot::Sender<Outcome>>,
        written_at: WrittenAt,
    ) {
        let mut state = self.state();
        if let Some(reason) = state.refusing.clone() {
            drop(state);
            if let Some(settle) = settle {
                let _ = settle.send(Outcome::NotWritten(reason));
            }
            return;
        }
        let was_empty = state.out.is_empty();
        state.ask(pdu, permit, settle, written_at);
        drop(state);
        self.wrote_into(was_empty);
    }

    pub(super) fn notify(&self, pdu: &Pdu) -> Result<(), CloseReason> {
        let mut state = self.state();
        if let Some(reason) = &state.refusing {
            return Err(reason.clone());
        }
        let was_empty = state.out.is_empty();
        let sequence = state.next_sequence();
        state.put(pdu.command_id(), CommandStatus::EsmeRok, sequence, Some(pdu));
        drop(state);
        self.wrote_into(was_empty);
        Ok(())
    }

    /// Answers one of the peer's requests.
    pub(super) fn answer(&self, id: CommandId, status: CommandStatus, sequence: u32, pdu: Option<&Pdu>) {
        let mut state = self.state();
        if state.reason.is_some() {
            return;
        }
        let was_empty = state.out.is_empty();
        state.put(id, status, sequence, pdu);
        drop(state);
        self.wrote_into(was_empty);
    }

    /// Settles the requests that were answered, and notes that the peer lives.
    pub(super) fn settle(&self, answers: &mut Vec<(CommandId, u32, Answer)>) {
        let mut settled = Vec::with_capacity(answers.len());
        let mut state = self.state();
        state.last_received = state.time.now();
        state.enquired = None;
        for (id, sequence, answer) in answers.drain(..) {
            let ours = |waiting: &Waiting| id == waiting.answered_by || id == CommandId::GenericNack;
            if state.pending.get(&sequence).is_some_and(ours) {
                settled.extend(state.pending.remove(&sequence).map(|waiting| (waiting, answer)));
            } else {
                state.counts.late_answers += 1;
            }
        }
        drop(state);
        for (waiting, answer) in settled {
            // The answer may have overtaken the note that the request was written.
            waiting.written_at.set(Instant::now());
            if let Some(settle) = waiting.settle {
                let _ = settle.send(Outcome::Answered(answer));
            }
        }
    }

    pub(super) fn unreadable(&self) {
        self.state().counts.unreadable += 1;
    }

    pub(super) fn hold(&self) {
        self.state().time.hold();
    }

    pub(super) fn go_on(&self) {
        self.state().time.go_on();
    }

    /// Octets waiting to be taken by the writer.
    pub(super) fn backlog(&self) -> usize {
        self.state().out.len()
    }

    /// Takes all that is to be written, leaving `spare` (empty) to be filled.
    pub(super) fn take(&self, spare: &mut BytesMut) {
        let mut state = self.state();
        std::mem::swap(&mut state.out, spare);
        drop(state);
        self.taken.notify_one();
    }

    /// The transport accepted so many octets.
    pub(super) fn wrote(&self, octets: usize) {
        let mut state = self.state();
        state.written += octets as u64;
        state.last_sent = state.time.now();
        state.mark_written();
    }

    /// The transport failed with so many octets in its hands: they may or may not have gone out.
    pub(super) fn broke(&self, kind: std::io::ErrorKind, offered: usize) {
        self.wrote(offered);
        self.close(CloseReason::Broken(kind), None);
    }

    /// Ends the session, with last words if there are any. The first reason stays.
    pub(super) fn close(&self, reason: CloseReason, farewell: Option<BytesMut>) {
        let mut state = self.state();
        if state.reason.is_none() {
            // However the peer takes our unbind, it was ours.
            let reason = if state.unbinding { CloseReason::Unbound } else { reason };
            state.refusing.get_or_insert_with(|| reason.clone());
            state.reason = Some(reason);
            state.farewell = farewell.unwrap_or_default();
        }
        drop(state);
        self.ending.cancel();
    }

    /// Settles whatever is left, once nothing more is being written; gives the last words.
    pub(super) fn settle_rest(&self) -> BytesMut {
        let mut state = self.state();
        let reason = state.reason.clone().unwrap_or(CloseReason::Closed);
        let mut rest: Vec<_> = std::mem::take(&mut state.pending).into_iter().collect();
        let farewell = std::mem::take(&mut state.farewell);
        state.unwritten = VecDeque::new();
        state.out = BytesMut::new();
        drop(state);
        self.window.close();
        self.unanswered.close();
        // In the order of asking, whatever the map's.
        rest.sort_unstable_by_key(|(sequence, _)| *sequence);
        for (_, waiting) in rest {
            if let Some(settle) = waiting.settle {
                let _ = settle.send(match waiting.written {
                    Some(_) => Outcome::WrittenUnanswered(Silence::Closed(reason.clone())),
                    None => Outcome::NotWritten(reason.clone()),
                });
            }
        }
        farewell
    }

    pub(super) fn set_over(&self) {
        self.over.cancel();
    }

    pub(super) async fn closed(&self) -> CloseReason {
        self.over.cancelled().await;
        self.reason()
    }

    /// Why no more requests are taken.
    pub(super) fn reason(&self) -> CloseReason {
        let state = self.state();
        state.reason.clone().or_else(|| state.refusing.clone()).unwrap_or(CloseReason::Closed)
    }

    pub(super) fn refusing(&self) -> Option<CloseReason> {
        self.state().refusing.clone()
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(super) async fn unbind(&self, grace: Duration) {
        let first = {
            let mut state = self.state();
            let first = state.refusing.is_none();
            state.refusing.get_or_insert(CloseReason::Unbound);
            first
        };
        if first {
            // All places free means that nothing is under way; those who wait for one are refused as they get it.
            let deadline = Instant::now() + grace;
            let places = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            let _ = timeout_at(deadline, self.window.acquire_many(places(self.options.window))).await;
            let _ = timeout_at(deadline, self.unanswered.acquire_many(places(self.options.unanswered))).await;
            let (settle, outcome) = oneshot::channel();
            {
                let mut state = self.state();
                if state.reason.is_none() {
                    state.unbinding = true;
                    state.ask(&Pdu::Unbind, None, Some(settle), WrittenAt::default());
                }
            }
            self.to_write.notify_one();
            let _ = timeout(FAREWELL, outcome).await;
            self.close(CloseReason::Unbound, None);
        }
        self.over.cancelled().await;
    }

    /// Goes back to a sequence number, as 2³¹ requests would.
    #[cfg(test)]
    pub(super) fn rewind(&self, sequence: u32) {
        self.state().sequence = sequence;
    }

    /// Lets time-outs strike and tests a silent link; gives when to look again.
    pub(super) fn tick(&self) -> Instant {
        let mut expired = Vec::new();
        let mut dead = false;
        let mut state = self.state();
        let now = state.time.now();
        let patience = self.options.request_timeout;
        // A request written after this look cannot expire before the next.
        let mut next = now + patience;
        for (sequence, waiting) in &state.pending {
            match waiting.written.map(|written| written + patience) {
                Some(due) if due <= now => expired.push(*sequence),
                Some(due) => next = next.min(due),
                None => {}
            }
        }
        // In the order of asking, whatever the map's.
        expired.sort_unstable();
        let expired: Vec<_> = expired.iter().filter_map(|sequence| state.pending.remove(sequence)).collect();
        let was_empty = state.out.is_empty();
        match state.enquired {
            Some(asked) if now.saturating_sub(asked) >= self.options.enquire_timeout => dead = true,
            Some(asked) => next = next.min(asked + self.options.enquire_timeout),
            None => {
                let silent = state.last_sent.min(state.last_received);
                if now.saturating_sub(silent) >= self.options.enquire_after {
                    state.ask(&Pdu::EnquireLink, None, None, WrittenAt::default());
                    state.enquired = Some(now);
                    next = next.min(now + self.options.enquire_timeout);
                } else {
                    next = next.min(silent + self.options.enquire_after);
                }
            }
        }
        let asked = was_empty && !state.out.is_empty();
        let held = state.time.held_since.is_some();
        drop(state);
        if asked {
            self.to_write.notify_one();
        }
        for waiting in expired {
            if let Some(settle) = waiting.settle {
                let _ = settle.send(Outcome::WrittenUnanswered(Silence::TimedOut));
            }
        }
        if dead {
            self.close(CloseReason::LinkDead, None);
        }
        let least = if held { HELD_TICK } else { Duration::from_millis(1) };
        Instant::now() + next.saturating_sub(now).max(least)
    }
}

impl State {
    fn next_sequence(&mut self) -> u32 {
        loop {
            let sequence = self.sequence;
            self.sequence = if sequence >= LAST_SEQUENCE { 1 } else { sequence + 1 };
            // After a wrap a number may still be waiting for its answer.
            if !self.pending.contains_key(&sequence) {
                return sequence;
            }
        }
    }

    fn put(&mut self, id: CommandId, status: CommandStatus, sequence: u32, pdu: Option<&Pdu>) {
        let before = self.out.len();
        frame::encode(&mut self.out, id, status, sequence, pdu);
        self.queued += (self.out.len() - before) as u64;
    }

    fn ask(
        &mut self,
        pdu: &Pdu,
        permit: Option<OwnedSemaphorePermit>,
        settle: Option<oneshot::Sender<Outcome>>,
        written_at: WrittenAt,
    ) {
        let sequence = self.next_sequence();
        let id = pdu.command_id();
        self.put(id, CommandStatus::EsmeRok, sequence, Some(pdu));
        self.unwritten.push_back((self.queued, sequence));
        let answered_by = frame::response_to(id);
        self.pending.insert(sequence, Waiting { answered_by, written: None, written_at, settle, _permit: permit });
    }

    fn mark_written(&mut self) {
        let now = self.time.now();
        while let Some((_, sequence)) = self.unwritten.pop_front_if(|(end, _)| *end <= self.written) {
            // An answer may have overtaken the note that its request was written.
            if let Some(waiting) = self.pending.get_mut(&sequence) {
                waiting.written = Some(now);
                waiting.written_at.set(Instant::now());
            }
        }
    }
}
