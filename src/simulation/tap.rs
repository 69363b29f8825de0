//! Listens at the connector's end of every connection, and holds what it hears against what must never happen: this is
//! outside all that is under test, on the octets themselves.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rusmpp::tlvs::TlvValue;
use rusmpp::{CommandId, CommandStatus, Pdu};
use tokio::time::Instant;

use super::plan;
use super::trace::Trace;
use crate::domain::inbound::split_header;
use crate::smpp::frame::Frame;

/// Which connection, seen from the connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Upstream,
    /// Of the tenant with this index.
    Sender(usize),
}

/// What is agreed with the upstream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Agreed {
    pub(crate) window: usize,
    pub(crate) binds: usize,
    /// Submits in any second.
    pub(crate) rate: usize,
    /// The same of one tenant, in hundredths of the rate, where its owner bounds it.
    pub(crate) percent: Option<usize>,
    pub(crate) response_timeout: Duration,
}

/// What was heard so far, and what was wrong with it. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Checks(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    agreed: Agreed,
    trace: Trace,
    violations: Vec<String>,
    numbers: u64,
    /// Which connector runs, and how many binds it has open.
    era: u64,
    open: usize,
    /// When the last submits went, of this connector.
    written: VecDeque<(Instant, usize)>,
    /// Of each message, by its number: the highest part that was written.
    parts: BTreeMap<u64, u8>,
    /// When the first part of each went first.
    went: BTreeMap<u64, Instant>,
    /// Of each receipt, by what the id is known by: whose, how often the upstream brought it, how often it was handed on.
    receipts: BTreeMap<String, Receipt>,
    /// Submits of senders that wait for their answer, by connection.
    unanswered: BTreeMap<u64, BTreeSet<u32>>,
}

#[derive(Debug, Default)]
struct Receipt {
    owner: usize,
    brought: u32,
    handed: u32,
}

/// Which part a submit carries, by its header.
pub(crate) fn part_of(esm_class: u8, text: &[u8]) -> (u8, u8) {
    let segment = if esm_class & 0x40 == 0 { None } else { split_header(text).0.segment };
    segment.map_or((1, 1), |segment| (segment.number, segment.count))
}

impl Checks {
    pub(crate) fn new(agreed: Agreed, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            agreed,
            trace,
            violations: Vec::new(),
            numbers: 0,
            era: 0,
            open: 0,
            written: VecDeque::new(),
            parts: BTreeMap::new(),
            went: BTreeMap::new(),
            receipts: BTreeMap::new(),
            unanswered: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened that must not.
    pub(crate) fn violated(&self, what: String) {
        let mut state = self.state();
        state.trace.note(|| format!("VIOLATION {what}"));
        state.violations.push(what);
    }

    /// Notes an event that no connection shows.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        self.state().trace.note(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    pub(crate) fn trace(&self) -> Trace {
        self.state().trace.clone()
    }

    /// A connector begins; it knows nothing of the pace of the one before.
    pub(crate) fn connector_began(&self) {
        let mut state = self.state();
        state.written.clear();
        // What the one before had open is gone with it, whether or not the upstream knows.
        state.era += 1;
        state.open = 0;
    }

    /// The upstream took a part, for the tenant with this index: its receipt will name it so.
    pub(crate) fn accepted(&self, known_by: String, owner: usize) {
        self.state().receipts.entry(known_by).or_default().owner = owner;
    }

    /// When the message to this number was first submitted to the upstream.
    pub(crate) fn went_at(&self, to: u64) -> Option<Instant> {
        self.state().went.get(&to).copied()
    }

    /// Submits of senders that were never answered on connections that stand.
    pub(crate) fn unanswered(&self) -> usize {
        self.state().unanswered.values().map(BTreeSet::len).sum()
    }
}

/// One connection's listener.
pub(crate) struct Tap {
    link: Link,
    number: u64,
    /// For which connector it was counted among the open ones.
    counted: Option<u64>,
    checks: Checks,
    /// What an id in a receipt's text is known by to senders.
    known_by: fn(&str) -> String,
    out: BytesMut,
    inn: BytesMut,
    /// Our submits without an answer: when each was written.
    pending: BTreeMap<u32, Instant>,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("link", &self.link).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Clone for Tap {
    fn clone(&self) -> Self {
        self.fresh()
    }
}

impl Tap {
    pub(crate) fn new(link: Link, checks: &Checks, known_by: fn(&str) -> String) -> Self {
        let (out, inn) = (BytesMut::new(), BytesMut::new());
        Self { link, number: 0, counted: None, checks: checks.clone(), known_by, out, inn, pending: BTreeMap::new() }
    }

    /// A listener for one more connection of the same kind.
    pub(crate) fn fresh(&self) -> Self {
        let number = {
            let mut state = self.checks.state();
            state.numbers += 1;
            state.numbers
        };
        Self { number, ..Self::new(self.link, &self.checks, self.known_by) }
    }

    /// The connector's end is closed.
    pub(crate) fn gone(&mut self) {
        let mut state = self.checks.state();
        if self.counted.take() == Some(state.era) {
            state.open -= 1;
        }
        state.unanswered.remove(&self.number);
    }

    /// The connector wrote these octets.
    pub(crate) fn written(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
        while let Ok(Some(frame)) = Frame::cut(&mut self.out) {
            self.hear(frame, true);
        }
    }

    /// The connector read these octets.
    pub(crate) fn read(&mut self, octets: &[u8]) {
        self.inn.extend_from_slice(octets);
        while let Ok(Some(frame)) = Frame::cut(&mut self.inn) {
            self.hear(frame, false);
        }
    }

    fn hear(&mut self, frame: Frame, ours: bool) {
        let checks = self.checks.clone();
        let mut state = checks.state();
        let (id, sequence, status) = (frame.id, frame.sequence, frame.status);
        let (number, arrow) = (self.number, if ours { "->" } else { "<-" });
        state.trace.note(|| format!("{:?}#{number} {arrow} {id:?} {sequence} {status:?}", self.link));
        let mut wrong = Vec::new();
        match (self.link, ours, id) {
            (Link::Upstream, true, CommandId::BindTransceiver) => {
                self.counted = Some(state.era);
                state.open += 1;
                if state.open > state.agreed.binds {
                    wrong.push(format!("{} binds at once where {} are agreed", state.open, state.agreed.binds));
                }
            }
            (Link::Upstream, true, CommandId::SubmitSm) => self.submits(&mut state, frame, &mut wrong),
            (Link::Upstream, false, CommandId::SubmitSmResp | CommandId::GenericNack) => {
                self.pending.remove(&sequence);
            }
            (Link::Upstream, false, CommandId::DeliverSm) => {
                if let Ok(Some(Pdu::DeliverSm(pdu))) = frame.decode() {
                    let text = String::from_utf8_lossy(pdu.short_message().as_ref()).into_owned();
                    let id =
                        text.split_ascii_whitespace().find_map(|word| word.strip_prefix("id:")).unwrap_or_default();
                    state.receipts.entry((self.known_by)(id)).or_default().brought += 1;
                }
            }
            (Link::Sender(tenant), true, CommandId::DeliverSm) => hands_on(&mut state, tenant, frame, &mut wrong),
            (Link::Sender(_), false, CommandId::SubmitSm) => {
                let is_new = state.unanswered.entry(self.number).or_default().insert(sequence);
                wrong.extend((!is_new).then(|| format!("two submits of a sender have the number {sequence}")));
            }
            (Link::Sender(_), true, CommandId::SubmitSmResp) => {
                let waited = state.unanswered.entry(self.number).or_default().remove(&sequence);
                wrong.extend(
                    (!waited).then(|| format!("submit {sequence} of a sender was answered twice, or was none")),
                );
            }
            _ => {}
        }
        drop(state);
        wrong.into_iter().for_each(|what| checks.violated(what));
    }

    /// Window, pace, and the order of parts.
    fn submits(&mut self, state: &mut State, frame: Frame, wrong: &mut Vec<String>) {
        let (now, agreed) = (Instant::now(), state.agreed);
        self.pending.retain(|_, written| now < *written + agreed.response_timeout);
        self.pending.insert(frame.sequence, now);
        if self.pending.len() > agreed.window {
            wrong.push(format!("{} submits without an answer in a window of {}", self.pending.len(), agreed.window));
        }
        let Ok(Some(Pdu::SubmitSm(pdu))) = frame.decode() else {
            return wrong.push("a submit that cannot be read".to_owned());
        };
        let Ok(to) = pdu.destination_addr.as_str().parse::<u64>() else {
            return wrong.push("a submit to nobody".to_owned());
        };
        let tenant = plan::tenant_of(to);
        while state.written.front().is_some_and(|(at, _)| now.duration_since(*at) >= Duration::from_secs(1)) {
            state.written.pop_front();
        }
        state.written.push_back((now, tenant));
        if state.written.len() > agreed.rate {
            wrong.push(format!("{} submits within a second where {} are agreed", state.written.len(), agreed.rate));
        }
        let of_tenant = state.written.iter().filter(|(_, of)| *of == tenant).count();
        if let Some(most) = agreed.percent.map(|percent| (agreed.rate * percent).div_ceil(100))
            && of_tenant > most
        {
            wrong.push(format!("{of_tenant} submits of tenant {tenant} within a second, which may have {most}"));
        }
        let (part, _) = part_of(pdu.esm_class.into(), pdu.short_message().as_ref());
        state.went.entry(to).or_insert(now);
        let highest = state.parts.entry(to).or_insert(0);
        if part > *highest + 1 {
            wrong.push(format!("part {part} of message {to} goes before part {}", *highest + 1));
        }
        *highest = (*highest).max(part);
    }
}

/// A receipt goes to whom it belongs, and as often as it was brought.
fn hands_on(state: &mut State, tenant: usize, frame: Frame, wrong: &mut Vec<String>) {
    let Ok(Some(Pdu::DeliverSm(pdu))) = frame.decode() else {
        return wrong.push("a receipt that cannot be read".to_owned());
    };
    let id = pdu.tlvs().iter().find_map(|tlv| match tlv.value() {
        Some(TlvValue::ReceiptedMessageId(id)) => Some(id.as_str().to_owned()),
        _ => None,
    });
    let receipt = state.receipts.entry(id.unwrap_or_default()).or_default();
    receipt.handed += 1;
    if receipt.owner != tenant {
        wrong.push(format!("a receipt of tenant {} is handed to tenant {tenant}", receipt.owner));
    }
    if receipt.handed > receipt.brought {
        wrong.push(format!(
            "a receipt that was brought {} times is handed on {} times",
            receipt.brought, receipt.handed
        ));
    }
}

/// Whether a status is the one of success.
pub(crate) fn is_ok(status: CommandStatus) -> bool {
    status == CommandStatus::EsmeRok
}
