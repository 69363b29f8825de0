//! The SMSC from its clients' side.
use std::str::FromStr;
use std::time::Duration;

use rusmpp::pdus::{DeliverSm, SubmitSm};
use rusmpp::tlvs::TlvValue;
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::RegisteredDelivery;
use rusmpp::{CommandStatus, Pdu};
use tokio::time::timeout;

use super::*;
use crate::domain::Secret;
use crate::smpp::client::{self, BindError, Credentials, Target};
use crate::smpp::session::{self, BindKind, CloseReason, Event, Incoming, Outcome, Session};

const LONG: Duration = Duration::from_secs(30);

async fn smsc(change: Change) -> Smsc {
    let mut options = Options::default();
    options.behaviour.receipt_delay_ms = 0;
    options.behaviour.apply(&change);
    Smsc::start(options).await.expect("an SMSC")
}

async fn bind(smsc: &Smsc, kind: BindKind) -> Result<(Session, Incoming), BindError> {
    let address = smsc.address();
    let target = Target { host: address.ip().to_string(), port: address.port(), tls: None, timeout: LONG };
    let credentials = Credentials {
        system_id: "me".to_owned(),
        password: Secret::new("mine"),
        system_type: String::new(),
        address_range: String::new(),
    };
    let stream = client::connect(&target).await.expect("a connection");
    client::bind(stream, kind, &credentials, LONG, session::Options::default()).await
}

fn submit() -> SubmitSm {
    SubmitSm::builder()
        .source_addr(COctetString::from_str("Budstikke").expect("ASCII"))
        .destination_addr(COctetString::from_str("4520123456").expect("ASCII"))
        .registered_delivery(RegisteredDelivery::from(1))
        .short_message(OctetString::from_slice(b"hej").expect("short"))
        .build()
}

/// The status and the message id of a submit.
async fn send(session: &Session) -> (CommandStatus, String) {
    match session.request(submit()).await {
        Outcome::Answered(answer) => (answer.status, answer.message_id().unwrap_or_default().to_owned()),
        other => panic!("{other:?}"),
    }
}

async fn delivered(incoming: &mut Incoming) -> DeliverSm {
    match timeout(LONG, incoming.next()).await.expect("silence") {
        Some(Event::Request(request)) => match request.pdu {
            Pdu::DeliverSm(deliver) => {
                request.responder.accept("");
                deliver
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// The id in a receipt's text, and in its TLV.
fn ids(receipt: &DeliverSm) -> (String, Option<String>) {
    let text = String::from_utf8_lossy(receipt.short_message().as_ref()).into_owned();
    let id = text.strip_prefix("id:").and_then(|rest| rest.split(' ').next()).expect("an id").to_owned();
    let tlv = receipt.tlvs().iter().find_map(|tlv| match tlv.value() {
        Some(TlvValue::ReceiptedMessageId(id)) => Some(id.to_string()),
        _ => None,
    });
    (id, tlv)
}

#[tokio::test]
async fn receipts_come_back_with_ids_as_the_field_writes_them() {
    for format in [IdFormat::Decimal, IdFormat::Hex, IdFormat::Uuid, IdFormat::Padded] {
        let smsc = smsc(Change { id_format: Some(format), ..Change::default() }).await;
        let (session, mut incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
        let (status, answered) = send(&session).await;
        assert_eq!(status, CommandStatus::EsmeRok);
        let receipt = delivered(&mut incoming).await;
        assert_eq!(receipt.source_addr.to_string(), "4520123456");
        assert_eq!(u8::from(receipt.esm_class), 4);
        let (text, tlv) = ids(&receipt);
        match format {
            IdFormat::Decimal => assert_eq!((&text, tlv.as_ref()), (&answered, Some(&answered))),
            IdFormat::Uuid => assert_eq!((text.to_lowercase(), tlv.as_ref()), (answered.clone(), Some(&answered))),
            IdFormat::Hex => assert_eq!(text.parse::<u64>().ok(), u64::from_str_radix(&answered, 16).ok()),
            IdFormat::Padded => assert_eq!(text, answered.trim_start_matches('0')),
        }
        smsc.stop().await;
    }
}

#[tokio::test]
async fn a_mix_of_receipts_is_a_mix_and_none_is_none() {
    let smsc = smsc(Change { receipts: Some(Receipts::Mix), ..Change::default() }).await;
    let (session, mut incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
    let mut states = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..20 {
        send(&session).await;
        let receipt = delivered(&mut incoming).await;
        let text = String::from_utf8_lossy(receipt.short_message().as_ref()).into_owned();
        let state = text.split("stat:").nth(1).and_then(|rest| rest.split(' ').next()).expect("a state").to_owned();
        *states.entry(state).or_default() += 1;
    }
    let counts: Vec<_> = states.iter().map(|(state, count)| (state.as_str(), *count)).collect();
    assert_eq!(counts, [("DELIVRD", 16), ("EXPIRED", 1), ("REJECTD", 1), ("UNDELIV", 2)]);
    smsc.behave(&Change { receipts: Some(Receipts::None), ..Change::default() });
    send(&session).await;
    assert_eq!(smsc.stats().waiting, 0);
    assert_eq!(smsc.stats().receipts_sent, 20);
}

#[tokio::test]
async fn a_receipt_waits_for_a_receiver_and_may_come_on_another_bind() {
    let smsc = smsc(Change::default()).await;
    let (transmitter, _incoming) = bind(&smsc, BindKind::Transmitter).await.expect("a session");
    let (_, id) = send(&transmitter).await;
    let (_receiver, mut incoming) = bind(&smsc, BindKind::Receiver).await.expect("a session");
    assert_eq!(ids(&delivered(&mut incoming).await).0, id);
}

#[tokio::test]
async fn a_receipt_that_is_refused_for_now_comes_again() {
    let smsc = smsc(Change::default()).await;
    let (session, mut incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
    send(&session).await;
    match timeout(LONG, incoming.next()).await.expect("silence") {
        Some(Event::Request(request)) => request.responder.refuse(CommandStatus::EsmeRxTAppn),
        other => panic!("{other:?}"),
    }
    delivered(&mut incoming).await;
}

#[tokio::test]
async fn throttling_and_errors_strike_as_often_as_told() {
    let change = Change { throttle_percent: Some(20), error_percent: Some(50), ..Change::default() };
    let smsc = smsc(change).await;
    let (session, _incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
    for _ in 0..50 {
        send(&session).await;
    }
    let stats = smsc.stats();
    assert_eq!((stats.submitted, stats.throttled), (50, 10));
    assert!(stats.refused >= 15 && stats.refused <= 25, "{stats:?}");
    assert_eq!(stats.accepted + stats.throttled + stats.refused, 50);
}

#[tokio::test]
async fn garbage_comes_beside_an_answer_and_instead_of_one() {
    let smsc = smsc(Change { garbage_percent: Some(100), ..Change::default() }).await;
    let (session, _incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
    assert_eq!(send(&session).await.0, CommandStatus::EsmeRok, "who skips what cannot be read finds the answer");
    let outcome = session.request(submit()).await;
    assert!(matches!(outcome, Outcome::WrittenUnanswered(_)), "{outcome:?}");
    assert!(matches!(session.closed().await, CloseReason::Protocol(_)));
    assert_eq!(session.counts().unreadable, 2);
    let taken: Vec<_> = smsc.submits(0).iter().map(|submit| (submit.taken, submit.status)).collect();
    assert_eq!(taken, [(true, Some(0)), (true, None)]);
    let stats = smsc.stats();
    assert_eq!((stats.garbled, stats.accepted), (2, 2));
}

#[tokio::test]
async fn more_than_the_rate_is_throttled() {
    let smsc = smsc(Change { rate: Some(5.0), ..Change::default() }).await;
    let (session, _incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(send(&session).await.0);
    }
    let stats = smsc.stats();
    // Unless this machine took a second for it.
    if stats.busiest_second == 7 {
        assert_eq!(statuses[..6], [CommandStatus::EsmeRok; 6]);
        assert_eq!(statuses[6], CommandStatus::EsmeRthrottled);
    }
}

#[tokio::test]
async fn what_was_stalled_is_answered_when_that_ends() {
    let smsc = smsc(Change { stall: Some(true), ..Change::default() }).await;
    let (session, _incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
    let pending = session.reserve().await.expect("an open session").send(submit());
    while smsc.stats().stalled == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(smsc.stats().unanswered, 1);
    smsc.behave(&Change { stall: Some(false), ..Change::default() });
    assert!(matches!(pending.await, Outcome::Answered(_)));
    assert_eq!(smsc.stats().unanswered, 0);
}

#[tokio::test]
async fn who_goes_waits_for_no_answer_any_more() {
    let smsc = smsc(Change { latency_ms: Some(60_000), ..Change::default() }).await;
    let (session, _incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
    let _pending = session.reserve().await.expect("an open session").send(submit());
    let unanswered = async |wanted: usize| {
        let counted = async {
            while smsc.stats().unanswered != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = timeout(LONG, counted).await;
        seen.unwrap_or_else(|_| panic!("{} instead of {wanted}", smsc.stats().unanswered));
    };
    unanswered(1).await;
    smsc.behave(&Change { stall: Some(true), ..Change::default() });
    let _pending = session.reserve().await.expect("an open session").send(submit());
    unanswered(2).await;
    session.close();
    unanswered(0).await;
}

#[tokio::test]
async fn binds_are_refused_when_latched_or_full_and_dropped_when_told() {
    let options = Options { max_binds: 1, ..Options::default() };
    let smsc = Smsc::start(options).await.expect("an SMSC");
    smsc.behave(&Change { latch: Some(true), ..Change::default() });
    let refused = bind(&smsc, BindKind::Transceiver).await;
    assert!(matches!(refused, Err(BindError::Refused(CommandStatus::EsmeRbindfail))), "{refused:?}");
    smsc.behave(&Change { latch: Some(false), ..Change::default() });
    let (session, _incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
    assert!(bind(&smsc, BindKind::Transceiver).await.is_err());
    // Known to the SMSC as soon as it has answered something.
    send(&session).await;
    smsc.behave(&Change { drop_connections: true, ..Change::default() });
    assert_eq!(session.closed().await, CloseReason::PeerClosed);
    while smsc.stats().binds > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bind(&smsc, BindKind::Transceiver).await.expect("the place is free again");
}

#[tokio::test]
async fn only_the_right_credentials_bind() {
    let options =
        Options { system_id: Some("me".to_owned()), password: Some("other".to_owned()), ..Options::default() };
    let smsc = Smsc::start(options).await.expect("an SMSC");
    let refused = bind(&smsc, BindKind::Transceiver).await;
    assert!(matches!(refused, Err(BindError::Refused(CommandStatus::EsmeRinvpaswd))), "{refused:?}");
    assert_eq!(smsc.stats().binds_refused, 1);
}

#[tokio::test]
async fn a_changed_password_is_asked_of_new_binds() {
    let smsc = Smsc::start(Options { password: Some("mine".to_owned()), ..Options::default() }).await.expect("an SMSC");
    let (session, _incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
    smsc.behave(&Change { password: Some(Secret::new("new")), ..Change::default() });
    let refused = bind(&smsc, BindKind::Transceiver).await;
    assert!(matches!(refused, Err(BindError::Refused(CommandStatus::EsmeRinvpaswd))), "{refused:?}");
    assert_eq!(send(&session).await.0, CommandStatus::EsmeRok, "who is bound stays so");
    smsc.behave(&Change { password: Some(Secret::new("mine")), ..Change::default() });
    bind(&smsc, BindKind::Transceiver).await.expect("the new one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_unbind_frees_the_place_before_it_is_answered() {
    let smsc = Smsc::start(Options { max_binds: 1, ..Options::default() }).await.expect("an SMSC");
    smsc.behave(&Change { receipts: Some(Receipts::None), ..Change::default() });
    for round in 0..2_000 {
        let bound = bind(&smsc, BindKind::Transceiver).await;
        let (session, _incoming) = bound.unwrap_or_else(|error| panic!("round {round}: {error}"));
        // Known to the SMSC as soon as it has answered something.
        send(&session).await;
        session.unbind(LONG).await;
        session.closed().await;
    }
    assert_eq!(smsc.stats().binds_refused, 0);
}

#[tokio::test]
async fn control_over_http_does_what_its_methods_do() {
    let smsc = smsc(Change::default()).await;
    let url = |path: &str| format!("http://{}{path}", smsc.control_address().expect("control"));
    let http = reqwest::Client::new();
    let json = async |path: &str| -> serde_json::Value {
        http.get(url(path)).send().await.expect("an answer").json().await.expect("JSON")
    };
    let post = async |path: &str, body: serde_json::Value| {
        http.post(url(path)).json(&body).send().await.expect("an answer").status().as_u16()
    };
    let message = serde_json::json!({"from": "4520123456", "to": "1204", "text": "æble".repeat(50), "reversed": true});
    assert_eq!(post("/inbound", message.clone()).await, 409, "nobody is bound");
    let (session, mut incoming) = bind(&smsc, BindKind::Transceiver).await.expect("a session");
    send(&session).await;
    delivered(&mut incoming).await;
    let sent = json("/submits?since=0").await;
    assert_eq!(sent["next"], 1);
    assert_eq!(sent["submits"][0]["destination"], "4520123456");
    assert_eq!(sent["submits"][0]["short_message"], "68656a");
    assert_eq!(json("/submits?since=1").await["submits"].as_array().map(Vec::len), Some(0));
    let stats = json("/stats").await;
    assert_eq!((&stats["submitted"], &stats["per_system"]["me"]["accepted"]), (&1.into(), &1.into()));

    assert_eq!(post("/inbound", message).await, 202);
    let parts = [delivered(&mut incoming).await, delivered(&mut incoming).await];
    let headers: Vec<_> = parts.iter().map(|part| part.short_message().as_ref()[4..6].to_vec()).collect();
    assert_eq!(headers, [[2, 2], [2, 1]]);

    assert_eq!(post("/behaviour", serde_json::json!({"throttle_percent": 100})).await, 200);
    assert_eq!(send(&session).await.0, CommandStatus::EsmeRthrottled);
    assert_eq!(json("/behaviour").await["throttle_percent"], 100);
    assert_eq!(post("/behaviour", serde_json::json!({"password": "other"})).await, 200);
    assert_eq!(json("/behaviour").await.get("password"), None);
    assert!(bind(&smsc, BindKind::Transceiver).await.is_err());
    assert_eq!(post("/behaviour", serde_json::json!({"throttel_percent": 1})).await, 422);
}

#[test]
fn what_waited_to_be_read_is_no_rush() {
    let begun = std::time::Instant::now();
    let at = |millis| begun + Duration::from_millis(millis);
    let mut record = record::Record::new(0);
    // Ten a second come evenly; the machine is busy elsewhere from 1000 to 3000.
    for millis in (0..5_000).step_by(100) {
        let read = if (1_000..3_000).contains(&millis) { 3_000 } else { millis };
        if read == millis {
            record.awake(at(if millis == 3_000 { 1_000 } else { millis }));
        }
        record.came_at("one", at(read));
    }
    assert_eq!(record.stats.busiest_second, 10);
    for _ in 0..3 {
        record.came_at("one", at(5_000));
    }
    assert_eq!(record.stats.busiest_second, 12, "and a rush is one");
}

#[test]
fn memory_is_bounded() {
    let mut record = record::Record::new(3);
    for number in 0..10 {
        record.came(&format!("system {number}"));
        record.keep(Submit {
            number,
            at_ms: 0,
            system_id: String::new(),
            source: String::new(),
            destination: String::new(),
            esm_class: 0,
            data_coding: 0,
            registered_delivery: 0,
            short_message: String::new(),
            tlvs: Vec::new(),
            taken: true,
            status: None,
            message_id: None,
        });
    }
    let numbers: Vec<_> = record.since(0, 10).iter().map(|submit| submit.number).collect();
    assert_eq!(numbers, [7, 8, 9]);
    for number in 0..2_000 {
        record.came(&format!("system {number}"));
    }
    assert_eq!(record.stats().per_system.len(), 1_001);
}
