//! Peers that are broken or mean: the session lives on or ends cleanly, and holds no more than it may.
use rusmpp::pdus::AlertNotification;

use super::*;
use crate::smpp::frame::{HEADER, MAX_FRAME};

fn header(length: usize, id: u32, sequence: u32) -> Vec<u8> {
    let length = u32::try_from(length).expect("short");
    [length, id, 0, sequence].iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_asked_for_are_counted_and_nothing_else() {
    let (session, _incoming, mut peer) = client(Options::default());
    let pending = send(&session, "1").await;
    let sequence = peer.hear().await.sequence;
    for stray in 0..20_000 {
        peer.answer(1_000 + stray, "stray").await;
    }
    peer.answer(sequence, "right").await;
    peer.answer(sequence, "again").await;
    assert_eq!(answered(&pending.await), Some("right"));
    peer.deliver(1).await;
    while session.counts().late_answers < 20_001 {
        tokio::task::yield_now().await;
    }
    assert!(session.is_open());
    assert_eq!(session.free(), Options::default().window);
}

#[tokio::test(start_paused = true)]
async fn a_pdu_that_comes_octet_by_octet_is_read() {
    let (_session, mut incoming, mut peer) = client(Options::default());
    let mut wire = BytesMut::new();
    frame::encode(&mut wire, CommandId::DeliverSm, CommandStatus::EsmeRok, 7, Some(&DeliverSm::default().into()));
    for octet in &wire {
        peer.stream.write_all(&[*octet]).await.expect("an open stream");
        sleep(ms(10)).await;
    }
    request(&mut incoming).await.responder.accept("");
    assert_eq!(peer.hear().await.sequence, 7);
}

#[tokio::test(start_paused = true)]
async fn octets_that_never_make_a_pdu_are_no_sign_of_life() {
    let (session, _incoming, mut peer) = client(Options { request_timeout: LONG, ..Options::default() });
    let pending = send(&session, "1").await;
    let begin = Instant::now();
    let mut said = peer.stream.write_all(&header(MAX_FRAME, 0x0000_0005, 1)).await;
    while said.is_ok() {
        sleep(ms(1_000)).await;
        assert!(begin.elapsed() < Duration::from_secs(60), "a trickle keeps the session for ever");
        said = peer.stream.write_all(b"x").await;
    }
    assert_eq!(session.closed().await, CloseReason::LinkDead);
    assert!(matches!(pending.await, Outcome::WrittenUnanswered(_)));
}

#[tokio::test(start_paused = true)]
async fn a_length_beyond_all_pdus_ends_the_session_and_settles_what_waits() {
    for length in [0, HEADER - 1, MAX_FRAME + 1, u32::MAX as usize] {
        let (session, mut incoming, mut peer) = client(Options::default());
        let pending = send(&session, "1").await;
        peer.hear().await;
        peer.stream.write_all(&header(length, 0x0000_0005, 1)).await.expect("an open stream");
        assert_eq!(peer.hear().await.id, CommandId::GenericNack, "{length}");
        peer.hears_the_end().await;
        let closed = session.closed().await;
        assert!(matches!(closed, CloseReason::Protocol(_)), "{closed:?}");
        assert_eq!(pending.await, Outcome::WrittenUnanswered(Silence::Closed(closed)));
        assert!(incoming.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_good_pdu_is_not_taken_for_one() {
    let (session, mut incoming, mut peer) = client(Options::default());
    peer.deliver(1).await;
    peer.stream.write_all(b"\r\n\r\nGET / HTTP/1.1\r\n").await.expect("an open stream");
    // What was read before is whole, and is told of.
    request(&mut incoming).await.responder.accept("");
    assert!(matches!(session.closed().await, CloseReason::Protocol(_)));
}

#[tokio::test(start_paused = true)]
async fn notices_that_nobody_reads_stop_the_reading_before_they_fill_our_memory() {
    let (session, _incoming, mut peer) = client_from(2, Options { unanswered: 4, ..Options::default() }, 4096);
    let mut notice = BytesMut::new();
    let pdu = AlertNotification::default().into();
    frame::encode(&mut notice, CommandId::AlertNotification, CommandStatus::EsmeRok, 1, Some(&pdu));
    let many = notice.repeat(1_000);
    for _ in 0..100 {
        if timeout(ms(5_000), peer.stream.write_all(&many)).await.is_err() {
            return assert!(session.is_open());
        }
    }
    panic!("{} octets of notices were taken", 100 * many.len());
}

#[tokio::test(start_paused = true)]
async fn half_a_pdu_and_the_end_is_an_end() {
    let (session, mut incoming, mut peer) = client(Options::default());
    let pending = send(&session, "1").await;
    peer.hear().await;
    peer.stream.write_all(&header(100, 0x8000_0004, 2)).await.expect("an open stream");
    drop(peer);
    assert_eq!(pending.await, Outcome::WrittenUnanswered(Silence::Closed(CloseReason::PeerClosed)));
    assert_eq!(session.closed().await, CloseReason::PeerClosed);
    assert!(incoming.next().await.is_none());
}
