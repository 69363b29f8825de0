//! A connector as a sender sees one: mutual TLS, epochs, credit, wake-ups, answers and receipts as a test wants them.
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use budstikke::domain::{Circuit, TenantId};
use budstikke::pki::{self, Identity};
use budstikke::smpp::server::{self, BindRequest, Limits, Peer, Service};
use budstikke::smpp::session::{Event, Incoming, Options, Outcome, Responder, Session};
use budstikke::smpp::vendor::{DestinationTag, DoneAt, Flow, MessagePart};
use budstikke::smpp::{CommandStatus, Pdu};
use rusmpp::pdus::{DeliverSm, SubmitSmResp};
use rusmpp::tlvs::MessageDeliveryRequestTlvValue as Tlv;
use rusmpp::types::COctetString;
use rusmpp::values::{EsmClass, MessageState};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What becomes of a submit.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// Taken; this receipt follows, or none.
    Taken(Option<MessageState>),
    /// Taken, and the receipt comes before the answer.
    ReceiptFirst(MessageState),
    /// Refused with a status.
    Refused(CommandStatus),
    /// Taken; the answer comes when the test says (see [`Connector::answer_late`]), and no receipt.
    Late,
    /// As `Late`, but the receipt comes at once.
    LateAfterReceipt(MessageState),
    /// No answer, ever.
    Silence,
}

type Script = Box<dyn FnMut(&MessagePart) -> Fate + Send>;

/// What a test may look at and change.
pub(crate) struct State {
    script: Script,
    /// Every part that was taken, or not answered, in order.
    pub(crate) written: Vec<MessagePart>,
    /// Credit a session may hold.
    pub(crate) window: u32,
    sessions: HashMap<TenantId, (i64, Session)>,
    /// Those who have spoken of demand; the others are plain clients to a connector, which are told nothing.
    senders: HashSet<TenantId>,
    /// Those that were taken and wait for their answers.
    late: Vec<(Responder, String, DestinationTag)>,
    count: u64,
    /// Receipts that the sender would not take.
    pub(crate) refused_receipts: u64,
}

impl State {
    /// No sender is bound.
    pub(crate) fn is_unbound(&self) -> bool {
        self.senders().all(|session| !session.is_open())
    }

    fn senders(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().filter(|(tenant, _)| self.senders.contains(tenant)).map(|(_, (_, session))| session)
    }
}

/// A running stand-in.
pub(crate) struct Connector {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

impl Connector {
    /// Starts one that lets senders have `window` submits under way.
    pub(crate) async fn start(identity: &Identity, window: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = State {
            script: Box::new(|_| Fate::Taken(Some(MessageState::Delivered))),
            written: Vec::new(),
            window,
            sessions: HashMap::new(),
            senders: HashSet::new(),
            late: Vec::new(),
            count: 0,
            refused_receipts: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let stop = CancellationToken::new();
        let service = StandIn {
            stop: stop.clone(),
            tls: pki::mutual_server_config(identity).expect("a TLS configuration"),
            state: Arc::clone(&state),
        };
        let limits = Limits {
            connections: 10,
            bind_timeout: Duration::from_secs(10),
            system_id: "stand-in".to_owned(),
            session: Options { window: 500, unanswered: 1000, ..Options::default() },
        };
        tokio::spawn(server::serve(listener, limits, Arc::new(service), stop.clone()));
        Self { address, state, stop }
    }

    /// What becomes of submits from now on.
    pub(crate) fn script(&self, script: impl FnMut(&MessagePart) -> Fate + Send + 'static) {
        self.state().script = Box::new(script);
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("the state")
    }

    /// Says to every sender that something was queued.
    pub(crate) fn wake(&self) {
        for session in self.state().senders() {
            let _ = session.notify(Flow::Wake);
        }
    }

    /// Says to every sender whether the route takes messages.
    pub(crate) fn circuit(&self, circuit: Circuit) {
        for session in self.state().senders() {
            let _ = session.notify(Flow::Circuit(circuit));
        }
    }

    /// Answers what was to be answered late.
    pub(crate) fn answer_late(&self) {
        for (responder, id, tag) in self.state().late.drain(..) {
            take(responder, &id, tag);
        }
    }

    /// Breaks every session, as a connector's crash does.
    pub(crate) fn break_sessions(&self) {
        for (_, session) in self.state().sessions.values() {
            session.close();
        }
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.stop.cancel();
        self.break_sessions();
    }
}

struct StandIn {
    stop: CancellationToken,
    tls: Arc<ServerConfig>,
    state: Arc<Mutex<State>>,
}

impl Service for StandIn {
    type Identity = (TenantId, i64);

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        Some(Arc::clone(&self.tls))
    }

    async fn authenticate(&self, bind: &BindRequest, peer: &Peer) -> Result<Self::Identity, CommandStatus> {
        let certificate = peer.certificate.as_ref().ok_or(CommandStatus::EsmeRbindfail)?;
        let tenant = pki::sender_of(certificate).ok_or(CommandStatus::EsmeRbindfail)?;
        assert_eq!(bind.credentials.system_id, format!("t{tenant}"));
        let epoch = bind.credentials.system_type.parse().map_err(|_| CommandStatus::EsmeRbindfail)?;
        let state = self.state.lock().expect("the state");
        match state.sessions.get(&tenant) {
            Some((newer, _)) if *newer > epoch => Err(CommandStatus::EsmeRbindfail),
            _ => Ok((tenant, epoch)),
        }
    }

    async fn serve(&self, (tenant, epoch): Self::Identity, session: Session, mut incoming: Incoming) {
        {
            let mut state = self.state.lock().expect("the state");
            state.senders.remove(&tenant);
            if let Some((_, older)) = state.sessions.insert(tenant, (epoch, session.clone())) {
                older.close();
            }
        }
        let (mut demand, mut credit, mut open) = (0_u32, 0_u32, Vec::new());
        while let Some(event) = incoming.next().await {
            match event {
                Event::Notice(pdu) => {
                    if let Some(Flow::Demand(now)) = Flow::read(&pdu) {
                        demand = now;
                        self.state.lock().expect("the state").senders.insert(tenant);
                        if now == 0 {
                            credit = 0;
                        }
                    }
                }
                Event::Request(request) => {
                    let Pdu::SubmitSm(submit) = &request.pdu else { continue };
                    let part = MessagePart::find(submit.tlvs()).expect("which part it is");
                    if credit == 0 {
                        request.responder.refuse(budstikke::smpp::vendor::NO_CREDIT);
                        continue;
                    }
                    credit -= 1;
                    demand = demand.saturating_sub(1);
                    open.extend(self.answer(part, request.responder, tenant));
                }
            }
            let window = self.state.lock().expect("the state").window;
            let more = demand.min(window).saturating_sub(credit);
            if more > 0 {
                credit += more;
                let _ = session.notify(Flow::Credit(more));
            }
        }
    }
}

/// Answers that a submit was taken.
fn take(responder: Responder, id: &str, tag: DestinationTag) {
    let id = COctetString::from_slice(format!("{id}\0").as_bytes()).expect("an id");
    responder.answer(CommandStatus::EsmeRok, SubmitSmResp::new(id, vec![tag.into()]));
}

impl StandIn {
    /// Answers a submit; one that is never answered is given back, to be kept until the session ends.
    fn answer(&self, part: MessagePart, responder: Responder, tenant: TenantId) -> Option<Responder> {
        let mut state = self.state.lock().expect("the state");
        let fate = (state.script)(&part);
        state.count += 1;
        let id = format!("up-{}", state.count);
        let tag = DestinationTag(u32::MAX - part.message.as_u128() as u32 % 1000);
        match fate {
            Fate::Refused(status) => responder.refuse(status),
            Fate::Silence => {
                state.written.push(part);
                return Some(responder);
            }
            Fate::Late => {
                state.written.push(part);
                state.late.push((responder, id, tag));
            }
            Fate::LateAfterReceipt(receipt) => {
                state.written.push(part);
                self.receipt(tenant, id.clone(), tag, receipt);
                state.late.push((responder, id, tag));
            }
            Fate::Taken(receipt) => {
                state.written.push(part);
                take(responder, &id, tag);
                if let Some(receipt) = receipt {
                    self.receipt(tenant, id.clone(), tag, receipt);
                }
            }
            Fate::ReceiptFirst(receipt) => {
                state.written.push(part);
                self.receipt(tenant, id.clone(), tag, receipt);
                // The receipt is on the wire before the answer: both go through one buffer, in order.
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    take(responder, &id, tag);
                });
            }
        }
        None
    }

    /// Sends a receipt until it is taken, to whichever session the sender has then.
    fn receipt(&self, tenant: TenantId, id: String, tag: DestinationTag, state: MessageState) {
        let shared = Arc::clone(&self.state);
        let stop = self.stop.clone();
        let deliver = async move {
            loop {
                let session =
                    shared.lock().expect("the state").sessions.get(&tenant).map(|(_, session)| session.clone());
                let mut deliver = DeliverSm::builder().esm_class(EsmClass::from(4)).build();
                let id = COctetString::from_slice(format!("{id}\0").as_bytes()).expect("an id");
                deliver.push_tlv(Tlv::ReceiptedMessageId(id));
                deliver.push_tlv(Tlv::MessageState(state));
                deliver.push_tlv(tag);
                deliver.push_tlv(DoneAt(1_770_000_000_000));
                if let Some(session) = session
                    && let Outcome::Answered(answer) = session.request(deliver).await
                {
                    if answer.is_ok() {
                        return;
                    }
                    shared.lock().expect("the state").refused_receipts += 1;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::spawn(async move { stop.run_until_cancelled(deliver).await });
    }
}
