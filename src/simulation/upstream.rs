//! The far end: a message centre with moods. It speaks SMPP by the octets and not by our session, takes submits in whatever
//! way it feels like, and brings a receipt for each that it took again and again until that is taken.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rusmpp::pdus::{BindTransceiverResp, DeliverSm, SubmitSmResp};
use rusmpp::types::{COctetString, OctetString};
use rusmpp::{CommandId, CommandStatus, Pdu};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::network::{Arrival, Host, Network};
use super::tap::{Checks, is_ok, part_of};
use crate::smpp::frame::{self, Frame};

/// A receipt that was not taken is brought again after so long.
const AGAIN: Duration = Duration::from_secs(20);

/// How it takes submits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// At once, or nearly.
    Well,
    /// It wants fewer.
    Throttling,
    /// It takes them, and says so too late.
    Late,
    /// It takes them or not, and says nothing.
    Silent,
    /// It says that something is wrong with it.
    Faulty,
    /// It breaks the connection instead of answering.
    Hanging,
}

/// A part that it took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) to: u64,
    pub(crate) part: u8,
    pub(crate) delivered: bool,
    /// Its receipt was taken.
    pub(crate) receipted: bool,
    due: Instant,
}

/// See the module. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Upstream {
    state: Arc<Mutex<State>>,
    checks: Checks,
    known_by: fn(&str) -> String,
    response_timeout: Duration,
}

struct State {
    chance: StdRng,
    mood: Mood,
    ids: u64,
    taken: BTreeMap<u64, Taken>,
    /// Submits that were refused for a while or were not answered well, by message and part.
    unwell: BTreeMap<(u64, u8), u32>,
    binds: BTreeMap<u64, Bind>,
    numbers: u64,
}

struct Bind {
    out: mpsc::UnboundedSender<BytesMut>,
    sequence: u32,
    /// Receipts without an answer, by sequence number.
    pending: BTreeMap<u32, u64>,
}

/// How it writes its ids: digits with zeros in front in an answer, without in a receipt.
fn id_in_answer(id: u64) -> String {
    format!("{id:010}")
}

/// See [`id_in_answer`].
pub(crate) fn id_in_receipt(id: u64) -> String {
    id.to_string()
}

fn c_string<const LEAST: usize, const MOST: usize>(text: &str) -> COctetString<LEAST, MOST> {
    COctetString::from_vec([text.as_bytes(), &[0]].concat()).expect("short ASCII")
}

fn pdu(id: CommandId, status: CommandStatus, sequence: u32, pdu: Option<&Pdu>) -> BytesMut {
    let mut out = BytesMut::new();
    frame::encode(&mut out, id, status, sequence, pdu);
    out
}

impl Upstream {
    pub(crate) fn start(
        seed: u64,
        network: &Network,
        checks: &Checks,
        known_by: fn(&str) -> String,
        response_timeout: Duration,
    ) -> Self {
        let state = State {
            chance: StdRng::seed_from_u64(seed),
            mood: Mood::Well,
            ids: 0,
            taken: BTreeMap::new(),
            unwell: BTreeMap::new(),
            binds: BTreeMap::new(),
            numbers: 0,
        };
        let (state, checks) = (Arc::new(Mutex::new(state)), checks.clone());
        let upstream = Self { state, checks, known_by, response_timeout };
        let mut arriving = network.listen(Host::Upstream);
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Some(Arrival { stream, .. }) = arriving.recv().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        tokio::spawn(upstream.clone().bring_receipts());
        upstream
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// What it took, by id.
    pub(crate) fn taken(&self) -> BTreeMap<u64, Taken> {
        self.state().taken.clone()
    }

    /// How often a part was not answered well.
    pub(crate) fn unwell(&self, to: u64, part: u8) -> u32 {
        self.state().unwell.get(&(to, part)).copied().unwrap_or_default()
    }

    async fn serve(self, stream: super::network::End) {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let (out, mut outgoing) = mpsc::unbounded_channel::<BytesMut>();
        let number = {
            let mut state = self.state();
            state.numbers += 1;
            state.numbers
        };
        let read = async {
            let mut buffer = BytesMut::new();
            loop {
                match Frame::cut(&mut buffer) {
                    Ok(Some(frame)) => {
                        if !self.take(number, frame, &out) {
                            return;
                        }
                    }
                    Ok(None) => match reading.read_buf(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    },
                    Err(error) => return self.checks.violated(format!("the upstream reads no SMPP: {error}")),
                }
            }
        };
        let write = async {
            while let Some(octets) = outgoing.recv().await {
                // Nothing more is to be written where it breaks off.
                if octets.is_empty() || writing.write_all(&octets).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = read => {}
            () = write => {}
        }
        let mut state = self.state();
        let bind = state.binds.remove(&number);
        let soon = Instant::now() + Duration::from_secs(2);
        for id in bind.into_iter().flat_map(|bind| bind.pending.into_values()) {
            state.taken.get_mut(&id).into_iter().for_each(|taken| taken.due = soon);
        }
    }

    /// Takes a PDU; false where that was the last.
    fn take(&self, number: u64, frame: Frame, out: &mpsc::UnboundedSender<BytesMut>) -> bool {
        let (id, sequence, status) = (frame.id, frame.sequence, frame.status);
        let say = |id, status, body: Option<&Pdu>| {
            // Whoever writes is gone with the connection.
            let _ = out.send(pdu(id, status, sequence, body));
        };
        match id {
            CommandId::BindTransceiver => {
                let bind = Bind { out: out.clone(), sequence: 0, pending: BTreeMap::new() };
                self.state().binds.insert(number, bind);
                let body = Pdu::from(BindTransceiverResp::new(c_string("upstream"), None));
                say(CommandId::BindTransceiverResp, CommandStatus::EsmeRok, Some(&body));
            }
            CommandId::EnquireLink => say(CommandId::EnquireLinkResp, CommandStatus::EsmeRok, None),
            CommandId::Unbind => {
                say(CommandId::UnbindResp, CommandStatus::EsmeRok, None);
                let _ = out.send(BytesMut::new());
            }
            CommandId::SubmitSm => return self.submitted(frame, out),
            CommandId::DeliverSmResp | CommandId::GenericNack => self.receipt_answered(number, sequence, status),
            _ => {}
        }
        true
    }

    fn submitted(&self, frame: Frame, out: &mpsc::UnboundedSender<BytesMut>) -> bool {
        let sequence = frame.sequence;
        let Ok(Some(Pdu::SubmitSm(submit))) = frame.decode() else {
            self.checks.violated("the upstream cannot read a submit".to_owned());
            return true;
        };
        let to: u64 = submit.destination_addr.as_str().parse().unwrap_or_default();
        let (part, _) = part_of(submit.esm_class.into(), submit.short_message().as_ref());
        let mut state = self.state();
        let mood = state.mood;
        let takes = match mood {
            Mood::Well | Mood::Late => true,
            Mood::Silent | Mood::Hanging => state.chance.random_ratio(1, 2),
            Mood::Throttling => state.chance.random_ratio(1, 5),
            Mood::Faulty => state.chance.random_ratio(1, 2),
        };
        if mood != Mood::Well {
            *state.unwell.entry((to, part)).or_default() += 1;
        }
        let (status, body) = if takes {
            (CommandStatus::EsmeRok, Some(self.accept(&mut state, to, part)))
        } else if mood == Mood::Throttling {
            (CommandStatus::EsmeRthrottled, None)
        } else {
            (CommandStatus::EsmeRsyserr, None)
        };
        let delay = match mood {
            Mood::Hanging if !takes || state.chance.random_ratio(1, 2) => return false,
            Mood::Silent => return true,
            Mood::Late => self.response_timeout + Duration::from_millis(state.chance.random_range(0..3_000)),
            _ => Duration::from_millis(state.chance.random_range(0..40)),
        };
        let (out, answer) = (out.clone(), pdu(CommandId::SubmitSmResp, status, sequence, body.as_ref()));
        tokio::spawn(async move {
            sleep(delay).await;
            let _ = out.send(answer);
        });
        true
    }

    fn accept(&self, state: &mut State, to: u64, part: u8) -> Pdu {
        state.ids += 1;
        let id = state.ids;
        // Now and then a receipt overtakes its answer.
        let due = Instant::now() + Duration::from_millis(state.chance.random_range(0..8_000));
        let delivered = state.chance.random_ratio(4, 5);
        state.taken.insert(id, Taken { to, part, delivered, receipted: false, due });
        self.checks.accepted((self.known_by)(&id_in_receipt(id)), super::plan::tenant_of(to));
        SubmitSmResp::new(c_string(&id_in_answer(id)), Vec::new()).into()
    }

    fn receipt_answered(&self, number: u64, sequence: u32, status: CommandStatus) {
        let mut state = self.state();
        let Some(id) = state.binds.get_mut(&number).and_then(|bind| bind.pending.remove(&sequence)) else { return };
        let Some(taken) = state.taken.get_mut(&id) else { return };
        if is_ok(status) {
            taken.receipted = true;
        } else {
            taken.due = Instant::now() + Duration::from_secs(3);
        }
        drop(state);
        if matches!(status, CommandStatus::EsmeRxRAppn | CommandStatus::EsmeRxPAppn) {
            self.checks.violated(format!("a receipt was refused for good: {status:?}"));
        }
    }

    async fn bring_receipts(self) {
        loop {
            let next = {
                let mut state = self.state();
                let now = Instant::now();
                let binds: Vec<u64> = state.binds.keys().copied().collect();
                let waiting = state.taken.iter().filter(|(_, taken)| !taken.receipted);
                let due: Vec<u64> = waiting.filter(|(_, taken)| taken.due <= now).map(|(id, _)| *id).collect();
                for id in due.into_iter().filter(|_| !binds.is_empty()) {
                    let by = binds[state.chance.random_range(0..binds.len())];
                    state.bring(id, by, now);
                }
                let waiting = state.taken.values().filter(|taken| !taken.receipted);
                let first = waiting.map(|taken| taken.due).min().unwrap_or(now + Duration::from_secs(1));
                first.clamp(now + Duration::from_millis(50), now + Duration::from_millis(500))
            };
            sleep_until(next).await;
        }
    }
}

impl State {
    /// Brings the receipt of `id` by a bind.
    fn bring(&mut self, id: u64, by: u64, now: Instant) {
        let (Some(taken), Some(bind)) = (self.taken.get_mut(&id), self.binds.get_mut(&by)) else { return };
        taken.due = now + AGAIN;
        bind.sequence += 1;
        bind.pending.insert(bind.sequence, id);
        let stat = if taken.delivered { "DELIVRD" } else { "UNDELIV" };
        let text = format!("id:{} sub:001 dlvrd:001 stat:{stat} err:000", id_in_receipt(id));
        let deliver = DeliverSm::builder()
            .esm_class(0x04.into())
            .source_addr(c_string(&taken.to.to_string()))
            .short_message(OctetString::from_vec(text.into_bytes()).expect("short"))
            .build();
        let octets = pdu(CommandId::DeliverSm, CommandStatus::EsmeRok, bind.sequence, Some(&deliver.into()));
        let _ = bind.out.send(octets);
    }
}
