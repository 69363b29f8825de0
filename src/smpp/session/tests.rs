//! Sessions against a peer that the test plays octet by octet. Time-outs are short and only ever asserted from below.
use std::str::FromStr;

use rusmpp::CommandId;
use rusmpp::pdus::{DeliverSm, DeliverSmResp, SubmitSm, SubmitSmResp};
use rusmpp::types::COctetString;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::smpp::frame::{self, Frame};
use crate::smpp::vendor::Flow;

mod bad_peers;

/// Longer than anything here takes, and than a time-out that shall not strike.
const LONG: Duration = Duration::from_secs(30);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The other end.
struct Wire {
    stream: DuplexStream,
    buffer: BytesMut,
}

impl Wire {
    async fn hear(&mut self) -> Frame {
        loop {
            if let Some(frame) = Frame::cut(&mut self.buffer).expect("we write possible lengths") {
                return frame;
            }
            let read = timeout(LONG, self.stream.read_buf(&mut self.buffer)).await.expect("silence");
            assert_ne!(read.expect("a stream that holds"), 0, "closed instead of a frame");
        }
    }

    async fn hears_the_end(&mut self) {
        let read = timeout(LONG, self.stream.read_buf(&mut self.buffer)).await.expect("silence");
        assert_eq!(read.expect("a stream that holds"), 0, "something came instead of the end");
    }

    async fn say(&mut self, id: CommandId, status: CommandStatus, sequence: u32, pdu: Option<&Pdu>) {
        let mut out = BytesMut::new();
        frame::encode(&mut out, id, status, sequence, pdu);
        self.stream.write_all(&out).await.expect("an open stream");
    }

    async fn answer(&mut self, sequence: u32, id: &str) {
        let id = COctetString::from_str(id).expect("ASCII");
        let pdu = SubmitSmResp::new(id, Vec::new()).into();
        self.say(CommandId::SubmitSmResp, CommandStatus::EsmeRok, sequence, Some(&pdu)).await;
    }

    async fn deliver(&mut self, sequence: u32) {
        let pdu = DeliverSm::default().into();
        self.say(CommandId::DeliverSm, CommandStatus::EsmeRok, sequence, Some(&pdu)).await;
    }
}

fn client_from(sequence: u32, options: Options, buffer: usize) -> (Session, Incoming, Wire) {
    let (ours, theirs) = tokio::io::duplex(buffer);
    let opening = Opening { read: BytesMut::new(), sequence };
    let (session, incoming) = Session::start(ours, opening, Role::Client, BindKind::Transceiver, options);
    (session, incoming, Wire { stream: theirs, buffer: BytesMut::new() })
}

fn client(options: Options) -> (Session, Incoming, Wire) {
    client_from(2, options, 64 * 1024)
}

fn submit(to: &str) -> SubmitSm {
    SubmitSm::builder().destination_addr(COctetString::from_str(to).expect("ASCII")).build()
}

fn answered(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Answered(answer) => answer.message_id(),
        _ => None,
    }
}

/// Whether the session keeps quiet for a while.
async fn is_quiet(peer: &mut Wire) -> bool {
    timeout(ms(100), peer.stream.read_buf(&mut peer.buffer)).await.is_err()
}

async fn send(session: &Session, to: &str) -> Pending {
    session.reserve().await.expect("an open session").send(submit(to))
}

async fn request(incoming: &mut Incoming) -> Request {
    match timeout(LONG, incoming.next()).await.expect("silence") {
        Some(Event::Request(request)) => request,
        other => panic!("no request: {other:?}"),
    }
}

#[tokio::test]
async fn each_answer_reaches_its_own_request_in_any_order() {
    let (session, _incoming, mut peer) = client(Options::default());
    let pending = [send(&session, "1").await, send(&session, "2").await, send(&session, "3").await];
    let mut sequences = Vec::new();
    for _ in 0..3 {
        sequences.push(peer.hear().await.sequence);
    }
    assert_eq!(sequences, [2, 3, 4]);
    for sequence in [4, 2, 3] {
        peer.answer(sequence, &format!("id{sequence}")).await;
    }
    for (pending, id) in pending.into_iter().zip(["id2", "id3", "id4"]) {
        assert_eq!(answered(&pending.await), Some(id));
    }
}

#[tokio::test]
async fn the_window_is_never_exceeded_and_each_answer_frees_a_place() {
    let (session, _incoming, mut peer) = client(Options { window: 2, ..Options::default() });
    let all: Vec<_> = (0..5)
        .map(|n| {
            let session = session.clone();
            tokio::spawn(async move { session.request(submit(&n.to_string())).await })
        })
        .collect();
    let (first, second) = (peer.hear().await.sequence, peer.hear().await.sequence);
    let mut more = BytesMut::new();
    assert!(timeout(ms(200), peer.stream.read_buf(&mut more)).await.is_err(), "a third was sent");
    assert_eq!(session.free(), 0);
    peer.answer(second, "b").await;
    let third = peer.hear().await.sequence;
    assert_eq!(third, second + 1);
    for sequence in [first, third] {
        peer.answer(sequence, "x").await;
    }
    for _ in 0..2 {
        let sequence = peer.hear().await.sequence;
        peer.answer(sequence, "x").await;
    }
    for one in all {
        assert!(matches!(one.await.expect("no panic"), Outcome::Answered(_)));
    }
}

#[tokio::test]
async fn a_time_out_frees_its_place_and_the_late_answer_is_nobodys() {
    let options = Options { window: 1, request_timeout: ms(200), ..Options::default() };
    let (session, _incoming, mut peer) = client(options);
    let begun = Instant::now();
    let outcome = session.request(submit("1")).await;
    assert_eq!(outcome, Outcome::WrittenUnanswered(Silence::TimedOut));
    assert!(begun.elapsed() >= ms(200), "{:?}", begun.elapsed());
    let late = peer.hear().await.sequence;
    let next = send(&session, "2").await;
    peer.answer(late, "late").await;
    let sequence = peer.hear().await.sequence;
    assert_ne!(sequence, late);
    peer.answer(sequence, "mine").await;
    assert_eq!(answered(&next.await), Some("mine"));
    assert_eq!(session.counts().late_answers, 1);
}

#[tokio::test]
async fn a_time_out_counts_from_writing_not_from_sending() {
    // The peer's buffer holds one submit; the second is stuck until it reads.
    let options = Options { request_timeout: ms(1_000), enquire_after: LONG, ..Options::default() };
    let (session, _incoming, mut peer) = client_from(2, options, 64);
    let (first, second) = (send(&session, "1").await, send(&session, "2").await);
    assert_eq!(first.await, Outcome::WrittenUnanswered(Silence::TimedOut));
    sleep(ms(1_200)).await;
    peer.hear().await;
    let sequence = peer.hear().await.sequence;
    peer.answer(sequence, "in time").await;
    assert_eq!(answered(&second.await), Some("in time"));
}

#[tokio::test]
async fn a_lost_connection_tells_what_was_written_whole_from_what_was_not() {
    let (session, _incoming, mut peer) = client_from(2, Options { enquire_after: LONG, ..Options::default() }, 64);
    // The transport takes 64 octets: the first submit and a part of the second.
    let (whole, partly, never) = (send(&session, "1").await, send(&session, "2").await, send(&session, "3").await);
    while session.handle.core.backlog() > 0 {
        sleep(ms(5)).await;
    }
    peer.stream.shutdown().await.expect("an open stream");
    assert_eq!(session.closed().await, CloseReason::PeerClosed);
    peer.stream.read_buf(&mut peer.buffer).await.expect("what was written");
    assert_eq!(peer.buffer.len(), 64, "the test no longer cuts the second submit");
    assert_eq!(whole.await, Outcome::WrittenUnanswered(Silence::Closed(CloseReason::PeerClosed)));
    assert_eq!(partly.await, Outcome::NotWritten(CloseReason::PeerClosed));
    assert_eq!(never.await, Outcome::NotWritten(CloseReason::PeerClosed));
    assert!(matches!(session.request(submit("4")).await, Outcome::NotWritten(_)));
}

#[tokio::test]
async fn what_was_in_the_hands_of_a_transport_that_failed_may_have_been_written() {
    let (session, _incoming, peer) = client_from(2, Options { enquire_after: LONG, ..Options::default() }, 16);
    let pending = send(&session, "1").await;
    drop(peer);
    let closed = session.closed().await;
    match (pending.await, closed) {
        (Outcome::WrittenUnanswered(Silence::Closed(reason)), CloseReason::Broken(_)) => {
            assert!(matches!(reason, CloseReason::Broken(_)));
        }
        // The reader was first to see the end.
        (Outcome::NotWritten(_), CloseReason::PeerClosed) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn closing_while_stuck_tells_that_nothing_more_was_written() {
    let (session, _incoming, peer) = client_from(2, Options { enquire_after: LONG, ..Options::default() }, 16);
    let pending = send(&session, "1").await;
    sleep(ms(100)).await;
    session.close();
    assert_eq!(pending.await, Outcome::NotWritten(CloseReason::Closed));
    drop(peer);
}

#[tokio::test]
async fn numbers_wrap_and_skip_those_that_still_wait() {
    let (session, _incoming, mut peer) = client_from(core::LAST_SEQUENCE, Options::default(), 64 * 1024);
    let last = send(&session, "1").await;
    let first = send(&session, "2").await;
    assert_eq!([peer.hear().await.sequence, peer.hear().await.sequence], [0x7FFF_FFFF, 1]);
    session.handle.core.rewind(core::LAST_SEQUENCE);
    let skipping = send(&session, "3").await;
    let sequence = peer.hear().await.sequence;
    assert_eq!(sequence, 2, "both 0x7FFFFFFF and 1 still wait");
    for (sequence, id) in [(1, "first"), (2, "skipping"), (0x7FFF_FFFF, "last")] {
        peer.answer(sequence, id).await;
    }
    assert_eq!(answered(&last.await), Some("last"));
    assert_eq!(answered(&first.await), Some("first"));
    assert_eq!(answered(&skipping.await), Some("skipping"));
}

#[tokio::test]
async fn silence_is_tested_and_a_dead_link_is_left() {
    let options =
        Options { enquire_after: ms(200), enquire_timeout: ms(500), request_timeout: LONG, ..Options::default() };
    let (session, _incoming, mut peer) = client(options);
    let begun = Instant::now();
    let enquiry = peer.hear().await;
    assert_eq!(enquiry.id, CommandId::EnquireLink);
    assert!(begun.elapsed() >= ms(200), "{:?}", begun.elapsed());
    peer.say(CommandId::EnquireLinkResp, CommandStatus::EsmeRok, enquiry.sequence, None).await;
    assert_eq!(peer.hear().await.id, CommandId::EnquireLink);
    let pending = send(&session, "1").await;
    assert_eq!(session.closed().await, CloseReason::LinkDead);
    assert!(begun.elapsed() >= ms(900), "{:?}", begun.elapsed());
    assert_eq!(pending.await, Outcome::WrittenUnanswered(Silence::Closed(CloseReason::LinkDead)));
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_found_out() {
    let options = Options { enquire_after: ms(100), enquire_timeout: ms(100), ..Options::default() };
    let (session, _incoming, peer) = client_from(2, options, 16);
    let pending = send(&session, "1").await;
    assert_eq!(session.closed().await, CloseReason::LinkDead);
    assert_eq!(pending.await, Outcome::NotWritten(CloseReason::LinkDead));
    drop(peer);
}

#[tokio::test]
async fn the_peers_enquiries_are_answered() {
    let (_session, _incoming, mut peer) = client(Options::default());
    peer.say(CommandId::EnquireLink, CommandStatus::EsmeRok, 99, None).await;
    let answer = peer.hear().await;
    assert_eq!((answer.id, answer.sequence), (CommandId::EnquireLinkResp, 99));
}

#[tokio::test]
async fn unbinding_waits_for_what_is_under_way_in_both_directions() {
    let (session, mut incoming, mut peer) = client(Options::default());
    let pending = send(&session, "1").await;
    let sequence = peer.hear().await.sequence;
    peer.deliver(5).await;
    let delivery = request(&mut incoming).await;
    let unbinding = tokio::spawn({
        let session = session.clone();
        async move { session.unbind(Duration::from_secs(60)).await }
    });
    while session.is_open() {
        sleep(ms(5)).await;
    }
    assert!(is_quiet(&mut peer).await);
    peer.answer(sequence, "id").await;
    assert_eq!(answered(&pending.await), Some("id"));
    assert!(is_quiet(&mut peer).await);
    delivery.responder.accept("");
    assert_eq!(peer.hear().await.id, CommandId::DeliverSmResp);
    let unbind = peer.hear().await;
    assert_eq!(unbind.id, CommandId::Unbind);
    peer.say(CommandId::UnbindResp, CommandStatus::EsmeRok, unbind.sequence, None).await;
    unbinding.await.expect("no panic");
    assert_eq!(session.closed().await, CloseReason::Unbound);
    assert!(matches!(session.request(submit("2")).await, Outcome::NotWritten(CloseReason::Unbound)));
    peer.hears_the_end().await;
}

#[tokio::test]
async fn unbinding_does_not_wait_for_ever() {
    let (session, _incoming, mut peer) = client(Options { request_timeout: LONG, ..Options::default() });
    let pending = send(&session, "1").await;
    peer.hear().await;
    timeout(LONG, session.unbind(ms(100))).await.expect("an end");
    assert_eq!(pending.await, Outcome::WrittenUnanswered(Silence::Closed(CloseReason::Unbound)));
}

#[tokio::test]
async fn the_peers_unbind_is_answered_and_ends_the_session() {
    let (session, mut incoming, mut peer) = client(Options::default());
    peer.say(CommandId::Unbind, CommandStatus::EsmeRok, 7, None).await;
    let answer = peer.hear().await;
    assert_eq!((answer.id, answer.sequence), (CommandId::UnbindResp, 7));
    assert_eq!(session.closed().await, CloseReason::PeerUnbound);
    assert!(incoming.next().await.is_none());
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_and_the_session_lives() {
    let (session, mut incoming, mut peer) = client(Options::default());
    let other = |id: u32, body: &'static [u8]| Pdu::Other {
        command_id: CommandId::from(id),
        body: rusmpp::types::AnyOctetString::from_static_slice(body),
    };
    peer.say(CommandId::DeliverSm, CommandStatus::EsmeRok, 1, Some(&other(5, b"no deliver_sm at all"))).await;
    peer.say(CommandId::from(0x666), CommandStatus::EsmeRok, 2, Some(&other(0x666, b"?"))).await;
    peer.say(CommandId::BindReceiver, CommandStatus::EsmeRok, 3, Some(&other(1, b"\0\0\0\x34\0\0\0"))).await;
    peer.say(CommandId::SubmitSm, CommandStatus::EsmeRok, 4, Some(&submit("1").into())).await;
    peer.deliver(5).await;
    request(&mut incoming).await.responder.accept("");
    let mut heard = Vec::new();
    for _ in 0..5 {
        let frame = peer.hear().await;
        heard.push((frame.id, frame.status, frame.sequence));
    }
    assert_eq!(
        heard,
        [
            (CommandId::DeliverSmResp, CommandStatus::EsmeRxRAppn, 1),
            (CommandId::GenericNack, CommandStatus::EsmeRinvcmdid, 2),
            (CommandId::BindReceiverResp, CommandStatus::EsmeRalybnd, 3),
            (CommandId::SubmitSmResp, CommandStatus::EsmeRinvbndsts, 4),
            (CommandId::DeliverSmResp, CommandStatus::EsmeRok, 5),
        ]
    );
    assert_eq!(session.counts().unreadable, 2);
    assert!(session.is_open());
}

#[tokio::test]
async fn an_impossible_length_ends_the_session() {
    let (session, _incoming, mut peer) = client(Options::default());
    peer.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.expect("an open stream");
    assert_eq!(peer.hear().await.id, CommandId::GenericNack);
    assert!(matches!(session.closed().await, CloseReason::Protocol(_)));
}

#[tokio::test]
async fn only_a_response_of_its_kind_or_a_nack_answers_a_request() {
    let (session, _incoming, mut peer) = client(Options::default());
    let pending = send(&session, "1").await;
    let sequence = peer.hear().await.sequence;
    let stray = DeliverSmResp::default().into();
    peer.say(CommandId::DeliverSmResp, CommandStatus::EsmeRok, sequence, Some(&stray)).await;
    peer.say(CommandId::GenericNack, CommandStatus::EsmeRmsgqful, sequence, None).await;
    match pending.await {
        Outcome::Answered(answer) => assert_eq!(answer.status, CommandStatus::EsmeRmsgqful),
        other => panic!("{other:?}"),
    }
    assert_eq!(session.counts().late_answers, 1);
}

#[tokio::test]
async fn reading_stops_while_too_much_is_unanswered_and_no_time_out_strikes_meanwhile() {
    let options = Options {
        unanswered: 2,
        request_timeout: ms(1_000),
        enquire_after: ms(1_000),
        enquire_timeout: ms(1_000),
        ..Options::default()
    };
    let (session, mut incoming, mut peer) = client(options);
    let pending = send(&session, "1").await;
    let sequence = peer.hear().await.sequence;
    for delivery in 1..=3 {
        peer.deliver(delivery).await;
    }
    // Behind the third delivery, which nobody may see yet.
    let (first, second) = (request(&mut incoming).await, request(&mut incoming).await);
    assert!(timeout(ms(2_500), incoming.next()).await.is_err(), "a third is unanswered");
    peer.answer(sequence, "behind").await;
    assert!(session.is_open());
    first.responder.accept("");
    assert_eq!(answered(&pending.await), Some("behind"));
    request(&mut incoming).await.responder.accept("");
    drop(second);
    let mut statuses = Vec::new();
    while statuses.len() < 3 {
        let frame = peer.hear().await;
        if frame.id == CommandId::DeliverSmResp {
            statuses.push((frame.sequence, frame.status));
        }
    }
    // Dropped without a word: try again later.
    let (ok, later) = (CommandStatus::EsmeRok, CommandStatus::EsmeRxTAppn);
    assert_eq!(statuses, [(1, ok), (3, ok), (2, later)]);
}

#[tokio::test]
async fn requests_that_nobody_takes_are_refused() {
    let (_session, incoming, mut peer) = client(Options::default());
    drop(incoming);
    peer.deliver(1).await;
    assert_eq!(peer.hear().await.status, CommandStatus::EsmeRxTAppn);
}

#[tokio::test]
async fn notices_pass_in_both_directions_without_an_answer() {
    let (session, mut incoming, mut peer) = client(Options { window: 1, ..Options::default() });
    let _pending = send(&session, "1").await;
    session.notify(Flow::Demand(12)).expect("an open session");
    peer.hear().await;
    let demand = peer.hear().await.decode().expect("ours").expect("a body");
    assert_eq!(Flow::read(&demand), Some(Flow::Demand(12)));
    for flow in [Flow::Wake, Flow::Credit(3)] {
        let pdu = Pdu::from(flow);
        peer.say(pdu.command_id(), CommandStatus::EsmeRok, 1, Some(&pdu)).await;
        match incoming.next().await {
            Some(Event::Notice(pdu)) => assert_eq!(Flow::read(&pdu), Some(flow)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_session() {
    let (session, _incoming, mut peer) = client(Options::default());
    let other = session.clone();
    drop(session);
    assert!(other.is_open());
    drop(other);
    peer.hears_the_end().await;
}

#[tokio::test]
async fn a_peer_that_asks_without_listening_does_not_fill_our_memory() {
    let (session, _incoming, mut peer) = client_from(2, Options { enquire_after: LONG, ..Options::default() }, 4096);
    let mut enquiry = BytesMut::new();
    frame::encode(&mut enquiry, CommandId::EnquireLink, CommandStatus::EsmeRok, 1, None);
    let many = enquiry.repeat(1_000);
    for _ in 0..200 {
        if timeout(ms(1_000), peer.stream.write_all(&many)).await.is_err() {
            assert!(session.handle.core.backlog() < 1024 * 1024);
            return;
        }
    }
    panic!("3 MB of questions were taken");
}
