//! An upstream that says what a test has it say, by the bind that the test chooses.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use budstikke::smpp::server::{self, BindRequest, Limits, Peer, Service};
use budstikke::smpp::session::{self, Event, Incoming, Outcome, Session};
use budstikke::smpp::{CommandStatus, Pdu};
use rusmpp::pdus::DeliverSm;
use rusmpp::tlvs::MessageDeliveryRequestTlvValue as Tlv;
use rusmpp::types::{AnyOctetString, COctetString, OctetString};
use rusmpp::values::MessagePayload;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::stage::until;

/// Who writes to whom in most tests.
pub(super) const FROM: &str = "4520123456";
pub(super) const TO: &str = "1204";

/// See the module.
pub(super) struct Mouth {
    desk: Arc<Desk>,
    pub(super) port: u16,
    _stop: DropGuard,
}

#[derive(Default)]
struct Desk {
    sessions: Mutex<Vec<Session>>,
    /// What each submit is answered with, the first one first.
    ids: Mutex<Vec<String>>,
    /// Whom submits were for.
    taken: Mutex<Vec<COctetString<1, 21>>>,
}

impl Service for Desk {
    type Identity = ();

    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        None
    }

    async fn authenticate(&self, _: &BindRequest, _: &Peer) -> Result<(), CommandStatus> {
        Ok(())
    }

    async fn serve(&self, (): (), session: Session, mut incoming: Incoming) {
        self.sessions.lock().expect("a lock").push(session);
        while let Some(event) = incoming.next().await {
            if let Event::Request(request) = event
                && let Pdu::SubmitSm(submit) = &request.pdu
            {
                let id = self.ids.lock().expect("a lock").remove(0);
                self.taken.lock().expect("a lock").push(submit.destination_addr.clone());
                request.responder.accept(&id);
            }
        }
    }
}

impl Mouth {
    pub(super) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (desk, stop) = (Arc::new(Desk::default()), CancellationToken::new());
        let limits = Limits {
            connections: 10,
            bind_timeout: Duration::from_secs(5),
            system_id: "mouth".to_owned(),
            session: session::Options::default(),
        };
        tokio::spawn(server::serve(listener, limits, Arc::clone(&desk), stop.clone()));
        Self { desk, port, _stop: stop.drop_guard() }
    }

    /// Submits that come are answered with these ids.
    pub(super) fn answers(&self, ids: impl IntoIterator<Item = String>) {
        self.desk.ids.lock().expect("a lock").extend(ids);
    }

    /// A receipt for the submit of this number, counted from 0.
    pub(super) fn receipt(&self, of: usize, esm_class: u8, text: &str) -> DeliverSm {
        DeliverSm::builder()
            .esm_class(esm_class.into())
            .source_addr(self.desk.taken.lock().expect("a lock")[of].clone())
            .short_message(OctetString::from_slice(text.as_bytes()).expect("a text"))
            .build()
    }

    /// Says something by a bind that stands, counted from 0; what it is answered with.
    pub(super) async fn say(&self, bind: usize, pdu: DeliverSm) -> CommandStatus {
        let session = until("a bind", async || {
            let sessions = self.desk.sessions.lock().expect("a lock");
            let standing: Vec<_> = sessions.iter().filter(|session| session.is_open()).cloned().collect();
            standing.get(bind).cloned()
        })
        .await;
        match session.request(pdu).await {
            Outcome::Answered(answer) => answer.status,
            other => panic!("no answer: {other:?}"),
        }
    }

    /// Says it until it is taken.
    pub(super) async fn insist(&self, bind: usize, pdu: DeliverSm) {
        until("it is taken", async || (self.say(bind, pdu.clone()).await == CommandStatus::EsmeRok).then_some(()))
            .await;
    }
}

/// A message from a handset, with this header before it where it has any.
pub(super) fn written(from: &str, coding: u8, header: &[u8], content: &[u8]) -> DeliverSm {
    let octets = [header, content].concat();
    DeliverSm::builder()
        .esm_class(if header.is_empty() { 0 } else { 0x40 }.into())
        .source_addr(address(from))
        .destination_addr(address(TO))
        .data_coding(coding.into())
        .short_message(OctetString::from_slice(&octets).expect("a short one"))
        .build()
}

/// A part, with a reference of one octet.
pub(super) fn part(from: &str, reference: u8, number: u8, count: u8, text: &str) -> DeliverSm {
    written(from, 1, &[5, 0, 3, reference, count, number], text.as_bytes())
}

/// A part, told by parameters.
pub(super) fn sar(from: &str, reference: u16, number: u8, count: u8, text: &str) -> DeliverSm {
    let mut pdu = written(from, 1, &[], text.as_bytes());
    pdu.push_tlv(Tlv::SarMsgRefNum(reference));
    pdu.push_tlv(Tlv::SarSegmentSeqnum(number));
    pdu.push_tlv(Tlv::SarTotalSegments(count));
    pdu
}

/// The same in message_payload.
pub(super) fn payload(mut pdu: DeliverSm) -> DeliverSm {
    let octets = pdu.short_message().as_ref().to_vec();
    pdu.set_short_message(OctetString::from_vec(Vec::new()).expect("nothing"));
    pdu.push_tlv(Tlv::MessagePayload(MessagePayload::new(AnyOctetString::from_vec(octets))));
    pdu
}

fn address(digits: &str) -> COctetString<1, 21> {
    COctetString::from_slice(&[digits.as_bytes(), b"\0"].concat()).expect("an address")
}
