//! A seat and who takes it: a plain SMPP client, or a sender of ours.
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::domain::Secret;
use crate::smpp::client::{self, Credentials};
use crate::smpp::server::{self, Limits};
use crate::smpp::session::{BindKind, Event, Incoming, Options, Outcome};
use crate::smpp::vendor::WRITTEN_UNANSWERED;

const TENANT: TenantId = TenantId(1);
const LONG: Duration = Duration::from_secs(60);

/// A client of a route with two places, and the connector's end of its session.
struct Bound {
    exchange: Exchange,
    seat: Seat,
    session: Session,
    heard: Incoming,
    incoming: Incoming,
}

async fn bound() -> Bound {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let limits = Limits {
        connections: 1,
        bind_timeout: LONG,
        system_id: "test".to_owned(),
        session: Options { unanswered: 100, ..Options::default() },
    };
    let credentials = Credentials {
        system_id: "t1".to_owned(),
        password: Secret::new(""),
        system_type: "1".to_owned(),
        address_range: String::new(),
    };
    let options = Options { window: 100, ..Options::default() };
    let (accepted, made) = tokio::join!(
        server::accept(ours, &limits, async |_| Ok(())),
        client::bind(theirs, BindKind::Transceiver, &credentials, LONG, options)
    );
    let ((), server, incoming) = accepted.expect("a bind").expect("taken");
    let (session, heard) = made.expect("a bind");
    let exchange = Exchange::default();
    exchange.set_rate(4_000, None);
    exchange.share(&[Share { tenant: TENANT, weight: 1, may_send: true, epoch: 1 }]);
    exchange.set_open(true);
    let seat = exchange.sit(TENANT, 1, server).expect("a seat");
    Bound { exchange, seat, session, heard, incoming }
}

impl Bound {
    /// Has the client submit, and the exchange judge; gives the status if it is refused at once.
    async fn submit(&mut self) -> impl Future<Output = Outcome> + use<> {
        let pending = self.session.reserve().await.expect("a place").send(SubmitSm::default());
        match timeout(LONG, self.incoming.next()).await.expect("a submit") {
            Some(Event::Request(request)) => {
                self.exchange.submit(&self.seat, SubmitSm::default(), None, DestinationTag(7), request.responder);
            }
            other => panic!("{other:?}"),
        }
        pending
    }

    async fn heard(&mut self) -> Option<Flow> {
        match timeout(LONG, self.heard.next()).await.expect("a notice") {
            Some(Event::Notice(pdu)) => Flow::read(&pdu),
            other => panic!("{other:?}"),
        }
    }
}

fn status(outcome: Outcome) -> CommandStatus {
    match outcome {
        Outcome::Answered(answer) => answer.status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plain_client_is_taken_while_there_is_room_and_then_throttled() {
    let mut bound = bound().await;
    let (first, second) = (bound.submit().await, bound.submit().await);
    assert_eq!(status(bound.submit().await.await), CommandStatus::EsmeRthrottled);
    assert_eq!(bound.exchange.figures().waiting, 2);
    bound.exchange.next(Instant::now).await.reply.accept("17", DestinationTag(7));
    let Outcome::Answered(answer) = first.await else { panic!("no answer") };
    assert_eq!((answer.status, answer.message_id()), (CommandStatus::EsmeRok, Some("17")));
    let Some(rusmpp::Pdu::SubmitSmResp(response)) = &answer.pdu else { panic!("no body") };
    assert!(response.tlvs().is_empty(), "nothing of ours");
    // The place that became free was kept for the submit that was refused.
    let third = bound.submit().await;
    bound.exchange.close();
    for outcome in [second, third] {
        assert_eq!(status(outcome.await), CommandStatus::EsmeRmsgqful);
    }
}

#[tokio::test]
async fn a_plain_client_hears_what_the_standard_has_for_it() {
    for (ours, standard) in [
        (NO_CREDIT, CommandStatus::EsmeRthrottled),
        (NOT_WRITTEN, CommandStatus::EsmeRmsgqful),
        (STALE_EPOCH, CommandStatus::EsmeRmsgqful),
        (WRITTEN_UNANSWERED, CommandStatus::EsmeRsubmitfail),
        (CommandStatus::EsmeRinvdstadr, CommandStatus::EsmeRinvdstadr),
    ] {
        let mut bound = bound().await;
        let outcome = bound.submit().await;
        bound.exchange.next(Instant::now).await.reply.refuse(ours);
        assert_eq!(status(outcome.await), standard);
        bound.exchange.demand(&mut bound.seat, 1);
        let outcome = bound.submit().await;
        bound.exchange.next(Instant::now).await.reply.refuse(ours);
        assert_eq!(status(outcome.await), ours, "to a sender");
    }
}

#[tokio::test]
async fn without_leave_or_a_bind_a_plain_client_is_throttled() {
    let mut bound = bound().await;
    bound.exchange.set_open(false);
    assert_eq!(status(bound.submit().await.await), CommandStatus::EsmeRthrottled);
    bound.exchange.set_open(true);
    let taken = bound.submit().await;
    bound.exchange.share(&[Share { tenant: TENANT, weight: 1, may_send: false, epoch: 1 }]);
    assert_eq!(status(taken.await), CommandStatus::EsmeRthrottled);
    assert_eq!(status(bound.submit().await.await), CommandStatus::EsmeRthrottled);
}

#[tokio::test]
async fn the_first_demand_makes_a_sender_of_it() {
    let mut bound = bound().await;
    bound.exchange.wake(None);
    bound.exchange.demand(&mut bound.seat, 0);
    bound.exchange.wake(Some(&[TENANT]));
    bound.exchange.demand(&mut bound.seat, 1);
    // One wake-up and no more: the one before it had spoken was not for it.
    assert_eq!([bound.heard().await, bound.heard().await], [Some(Flow::Wake), Some(Flow::Credit(1))]);
    let taken = bound.submit().await;
    assert_eq!(status(bound.submit().await.await), NO_CREDIT, "it knows what it may");
    bound.exchange.next(Instant::now).await.reply.accept("17", DestinationTag(7));
    let Outcome::Answered(answer) = taken.await else { panic!("no answer") };
    let Some(rusmpp::Pdu::SubmitSmResp(response)) = &answer.pdu else { panic!("no body") };
    assert_eq!(DestinationTag::find(response.tlvs()), Some(DestinationTag(7)));
}
