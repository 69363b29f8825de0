//! An upstream over HTTPS: what it takes, throttles, refuses or leaves unanswered, and what it brings by callbacks.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use budstikke::config::connector::{Https, Settings};
use budstikke::domain::{Clock as _, Secret, SystemClock, TenantId};
use budstikke::pki::{self, Authority, Issued, Leaf};
use budstikke::simulator::{Behaviour, Call, Change, Inbound, Receipts, Rest, RestOptions};
use budstikke::smpp::CommandStatus;
use budstikke::smpp::session::Outcome;
use budstikke::smpp::vendor::{NOT_WRITTEN, WRITTEN_UNANSWERED};
use budstikke::store::upstream_reports::Failure;
use reqwest::StatusCode;
use rusmpp::pdus::SubmitSm;
use rusmpp::tlvs::MessageSubmissionRequestTlvValue as Tlv;
use rusmpp::types::{AnyOctetString, COctetString, OctetString};
use rusmpp::values::{DataCoding, MessagePayload, MessageState};
use serde_json::{Value, json};
use uuid::Uuid;

use super::inbox::Inbox;
use super::report::{report, told};
use super::stage::{Sender, Stage, authority, id_and_tag, message, part, settings, status, until};
use crate::support::postgres::Databases;

const TOKEN: &str = "token-of-the-plan";
const SECRET: &str = "secret-of-callbacks";

/// The certificates of an upstream and of the connector, in files, which go with their test.
struct Files {
    folder: PathBuf,
    ours: Issued,
    theirs: Authority,
}

impl Files {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("budstikke-https-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (ours, theirs) = (Authority::generate(SystemClock.now()).expect("an authority"), authority());
        let names = Leaf::Server(vec!["localhost".to_owned()]);
        let issued = theirs.issue(&names, SystemClock.now(), pki::POD_DAYS).expect("a certificate");
        for (name, text) in [
            ("tls.crt", issued.certificate.as_str()),
            ("tls.key", issued.key.expose()),
            ("ca.crt", ours.certificate.as_str()),
        ] {
            std::fs::write(folder.join(name), text).expect("a file");
        }
        Self { folder, ours, theirs }
    }

    async fn rest(&self, behaviour: Behaviour) -> Rest {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let options = RestOptions {
            listen: "127.0.0.1:0".parse().expect("an address"),
            control: None,
            plan: "plan_1".to_owned(),
            token: Some(TOKEN.to_owned()),
            tls_certificate: self.folder.join("tls.crt"),
            tls_key: self.folder.join("tls.key"),
            callback_url: None,
            callback_secret: SECRET.to_owned(),
            callback_ca: Some(self.folder.join("ca.crt")),
            record: 20_000,
            behaviour,
        };
        Rest::start(options).await.expect("a REST API")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A connector with the REST API as its upstream, and a tenant's sender.
struct Scene {
    rest: Rest,
    stage: Stage,
    sender: Sender,
    tenant: TenantId,
    inbox: Inbox,
    /// The connector's authority.
    ca: String,
}

impl Scene {
    async fn set(behaviour: Behaviour, change: impl FnOnce(&mut Settings)) -> Self {
        let databases = Databases::start().await;
        let tenant = databases.tenant("one").await;
        let inbox = Inbox::open(&databases, tenant).await;
        let files = Files::new();
        let rest = files.rest(behaviour).await;
        let stage = start(databases, &[(tenant, 1)], &rest, &files, change).await;
        rest.call_back(&format!("https://localhost:{}/callbacks/test", stage.callbacks));
        let sender = stage.sender(tenant).await;
        stage.bound(stage.config.borrow().settings.binds).await;
        let ca = files.ours.certificate.clone();
        Self { rest, stage, sender, tenant, inbox, ca }
    }

    /// Brings a callback, signed with this secret so many seconds ago.
    async fn bring(&self, callback: &Value, secret: &str, ago: i64) -> StatusCode {
        let (body, nonce) = (callback.to_string(), "0123456789");
        let time = (SystemClock.now().as_second() - ago).to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = BASE64_STANDARD.encode(hmac::sign(&key, format!("{body}.{nonce}.{time}").as_bytes()));
        let headers = [
            ("x-sinch-webhook-signature", signature),
            ("x-sinch-webhook-signature-nonce", nonce.to_owned()),
            ("x-sinch-webhook-signature-timestamp", time),
            ("x-sinch-webhook-signature-algorithm", "HmacSHA256".to_owned()),
        ];
        let mut request = self.client().post(self.address("test")).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.expect("an answer").status()
    }

    fn client(&self) -> reqwest::Client {
        let trusted = reqwest::Certificate::from_pem(self.ca.as_bytes()).expect("a certificate");
        reqwest::Client::builder().tls_certs_only([trusted]).build().expect("a client")
    }

    fn address(&self, path: &str) -> String {
        format!("https://localhost:{}/callbacks/{path}", self.stage.callbacks)
    }

    fn callbacks(&self, result: &str) -> f64 {
        self.stage.metric(&format!("budstikke_connector_callbacks_total{{result=\"{result}\"}}"))
    }

    fn receipts(&self, result: &str) -> f64 {
        self.stage.metric(&format!("budstikke_connector_receipts_total{{result=\"{result}\"}}"))
    }
}

async fn start(
    databases: Databases,
    shares: &[(TenantId, i32)],
    rest: &Rest,
    files: &Files,
    change: impl FnOnce(&mut Settings),
) -> Stage {
    let mut settings = Settings {
        host: "localhost".to_owned(),
        tls_name: Some("localhost".to_owned()),
        https: Some(Https { path: "/xms/v1".to_owned(), callback_path: "test".to_owned() }),
        ..settings(rest.address().port())
    };
    change(&mut settings);
    let ours = Authority::load(&files.ours.certificate, &files.ours.key).expect("the authority");
    Stage::start_with(databases, shares, settings, ours, |config| {
        config.system_id = Secret::new("plan_1");
        config.password = Secret::new(TOKEN);
        config.callback_secret = Some(Secret::new(SECRET));
        config.upstream_ca = Some(files.theirs.certificate().to_owned());
    })
    .await
}

fn with_text(mut submit: SubmitSm, text: &str) -> SubmitSm {
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    submit.data_coding = DataCoding::Ucs2;
    if units.len() <= 140 {
        submit.set_short_message(OctetString::from_vec(units).expect("a text"));
    } else {
        submit.set_short_message(OctetString::from_slice(&[]).expect("no text"));
        submit.push_tlv(Tlv::MessagePayload(MessagePayload::new(AnyOctetString::from_vec(units))));
    }
    submit
}

/// How often each number was accepted.
fn accepted(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut numbers = BTreeMap::new();
    for number in calls.iter().filter(|call| call.status == Some(201)).flat_map(|call| &call.batch.to) {
        *numbers.entry(number.clone()).or_default() += 1;
    }
    numbers
}

fn count(outcomes: &[Outcome], wanted: CommandStatus) -> usize {
    outcomes.iter().filter(|outcome| status(outcome) == Some(wanted)).count()
}

#[tokio::test]
async fn messages_go_out_and_their_receipts_come_back() {
    let scene = Scene::set(Behaviour::default(), |_| {}).await;
    let (long, odd) = ("På rødgrød med fløde 😀. ".repeat(20), "Hej ${navn}, ${d} og $ {x}");
    let texts = [long.as_str(), odd, "Hej", "Hej", "Hej"];
    let submits = (0_usize..).zip(texts).map(|(number, text)| with_text(message(scene.tenant, number), text));
    scene.sender.send(submits.collect::<Vec<_>>());
    let outcomes = scene.sender.settled(5).await;
    let mut wanted: Vec<_> = outcomes.iter().map(id_and_tag).collect();
    let ids: BTreeSet<_> = wanted.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids.len(), 5, "each has an id of its own, whatever it shared");
    let receipts = until("receipts", async || Some(scene.sender.receipts()).filter(|all| all.len() >= 5)).await;
    assert!(receipts.iter().all(|receipt| receipt.state == MessageState::Delivered));
    let mut got: Vec<_> = receipts.into_iter().map(|receipt| (receipt.id, receipt.tag)).collect();
    wanted.sort();
    got.sort();
    assert_eq!(got, wanted);
    until("callbacks", async || (scene.rest.stats().callbacks.taken == 10).then_some(())).await;
    assert_eq!((scene.receipts("sender"), scene.receipts("under_way")), (5.0, 5.0));

    let calls = scene.rest.calls(0);
    let mut sent: Vec<_> = calls
        .iter()
        .flat_map(|call| call.batch.to.iter().map(|to| (to.clone(), call.batch.text(to).expect("a text"))))
        .collect();
    sent.sort();
    let sent: Vec<_> = sent.into_iter().map(|(_, text)| text).collect();
    assert_eq!(sent, texts, "a long one whole, and none filled in by the upstream");
    assert!(calls.iter().all(|call| call.batch.from == "Budstikke" && call.batch.kind == "mt_text"));
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn what_is_throttled_goes_again_when_it_may_and_is_sent_once() {
    let scene = Scene::set(Behaviour { throttle_percent: 50, ..Behaviour::default() }, |_| {}).await;
    scene.sender.send_plain(4);
    let outcomes = scene.sender.settled(4).await;
    assert_eq!(count(&outcomes, CommandStatus::EsmeRok), 4, "{outcomes:?}");
    let calls = scene.rest.calls(0);
    let accepted = accepted(&calls);
    assert_eq!((accepted.len(), accepted.values().all(|times| *times == 1)), (4, true), "{accepted:?}");
    let throttled: Vec<_> = calls.windows(2).filter(|two| two[0].status == Some(429)).collect();
    assert!(!throttled.is_empty());
    // The upstream names a second; its clock and ours may read different milliseconds.
    assert!(throttled.iter().all(|two| two[1].at_ms - two[0].at_ms >= 990), "{calls:?}");
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_told_with_the_upstreams_code() {
    let scene = Scene::set(Behaviour { error_percent: 100, ..Behaviour::default() }, |_| {}).await;
    scene.sender.send_plain(1);
    assert_eq!(status(&scene.sender.settled(1).await[0]), Some(CommandStatus::Other(400)));
    // A part of a text with a header cannot be told as text.
    let mut headed = part(scene.tenant, 2, Uuid::now_v7(), 1, 2);
    headed.esm_class = 0x40.into();
    headed.set_short_message(OctetString::from_slice(&[5, 0, 3, 7, 2, 1, b'H']).expect("a text"));
    scene.sender.send([headed]);
    let outcomes = scene.sender.settled(2).await;
    assert_eq!(status(&outcomes[1]), Some(CommandStatus::EsmeRinvesmclass));
    assert_eq!(scene.rest.stats().calls, 1);
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn one_bad_number_does_not_hold_back_those_it_went_with() {
    let behaviour = Behaviour { latency_ms: 400, ..Behaviour::default() };
    let scene = Scene::set(behaviour, |settings| settings.window = 100).await;
    let mut submits: Vec<_> = (0..12).map(|number| message(scene.tenant, number)).collect();
    submits[6].destination_addr = COctetString::from_str("12").expect("an address");
    scene.sender.send(submits);
    let outcomes = scene.sender.settled(12).await;
    assert_eq!(count(&outcomes, CommandStatus::Other(400)), 1, "{outcomes:?}");
    assert_eq!(count(&outcomes, CommandStatus::EsmeRok), 11, "{outcomes:?}");
    let calls = scene.rest.calls(0);
    assert!(calls.iter().any(|call| call.status == Some(400) && call.batch.to.len() > 1), "they went together");
    let accepted = accepted(&calls);
    assert_eq!((accepted.len(), accepted.values().all(|times| *times == 1)), (11, true), "{accepted:?}");
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn alike_ones_share_calls_and_neither_rate_nor_connections_are_exceeded() {
    let behaviour = Behaviour { latency_ms: 400, receipts: Receipts::None, ..Behaviour::default() };
    let scene = Scene::set(behaviour, |settings| (settings.binds, settings.window) = (2, 100)).await;
    scene.sender.send_plain(150);
    let outcomes = scene.sender.settled(150).await;
    assert_eq!(count(&outcomes, CommandStatus::EsmeRok), 150, "{outcomes:?}");
    let (stats, calls) = (scene.rest.stats(), scene.rest.calls(0));
    assert!((1..=2).contains(&stats.most_at_once), "{stats:?}");
    assert!(stats.calls < 75, "they share calls: {stats:?}");
    assert_eq!(accepted(&calls).len(), 150);
    let (first, last) = (calls[0].at_ms, calls[calls.len() - 1].at_ms);
    let before: usize = calls[..calls.len() - 1].iter().map(|call| call.batch.to.len()).sum();
    let most = 50 * (last - first) / 1000 + 51;
    assert!(i64::try_from(before).expect("a count") <= most, "{before} in {} ms", last - first);
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_told_and_nothing_is_lost_by_it() {
    let scene = Scene::set(Behaviour::default(), |_| {}).await;
    told(&scene.stage, &[report(1, None)]).await;
    scene.rest.behave(&Change { password: Some(Secret::new("another")), ..Change::default() });
    scene.sender.send_plain(1);
    assert_eq!(status(&scene.sender.settled(1).await[0]), Some(NOT_WRITTEN), "it may go another way");
    told(&scene.stage, &[report(0, Some(Failure::Refused(401)))]).await;
    assert_eq!(scene.rest.stats().calls, 0);
    scene.stage.configure(|config| config.password = Secret::new("another"));
    told(&scene.stage, &[report(1, None)]).await;
    scene.sender.send_plain(1);
    assert_eq!(status(&scene.sender.settled(2).await[1]), Some(CommandStatus::EsmeRok));
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn a_stalled_answer_is_of_unknown_fate_and_what_waits_behind_it_is_not_written() {
    let scene = Scene::set(Behaviour::default(), |settings| settings.response_millis = 300).await;
    scene.rest.behave(&Change { stall: Some(true), ..Change::default() });
    scene.sender.send_plain(5);
    let outcomes = scene.sender.settled(5).await;
    let calls = scene.rest.calls(0);
    let reached: Vec<_> = calls.iter().flat_map(|call| &call.batch.to).collect();
    assert_eq!(count(&outcomes, WRITTEN_UNANSWERED), reached.len(), "{outcomes:?}");
    assert_eq!(count(&outcomes, NOT_WRITTEN), 5 - reached.len(), "{outcomes:?}");
    assert!(!reached.is_empty());
    assert_eq!(reached.iter().collect::<BTreeSet<_>>().len(), reached.len(), "none was sent again");
    told(&scene.stage, &[report(0, Some(Failure::Lost))]).await;
    scene.rest.behave(&Change { stall: Some(false), ..Change::default() });
    scene.stage.bound(1).await;
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn with_nobody_to_connect_to_nothing_is_written() {
    let scene = Scene::set(Behaviour::default(), |_| {}).await;
    scene.rest.stop().await;
    scene.sender.send_plain(2);
    let outcomes = scene.sender.settled(2).await;
    assert_eq!(count(&outcomes, NOT_WRITTEN), 2, "{outcomes:?}");
    told(&scene.stage, &[report(0, Some(Failure::Connect))]).await;
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn a_connector_that_stops_settles_what_is_under_way() {
    let scene = Scene::set(Behaviour { latency_ms: 500, ..Behaviour::default() }, |_| {}).await;
    scene.sender.send_plain(8);
    until("a call", async || (scene.rest.stats().calls > 0).then_some(())).await;
    scene.stage.running.stop().await;
    let (outcomes, calls) = (scene.sender.outcomes(), scene.rest.calls(0));
    assert_eq!(count(&outcomes, CommandStatus::EsmeRok), accepted(&calls).len(), "what was written is answered");
    assert_eq!(outcomes.len() + scene.sender.waiting(), 8);
    assert_eq!(count(&outcomes, WRITTEN_UNANSWERED), 0, "{outcomes:?}");
}

#[tokio::test]
async fn callbacks_that_prove_nothing_are_refused_and_leave_nothing_behind() {
    let scene = Scene::set(Behaviour { receipts: Receipts::None, ..Behaviour::default() }, |_| {}).await;
    scene.inbox.give(&scene.stage, "1204").await;
    let mobile = inbound("mo1", "Hej");
    let forged = scene.bring(&mobile, "another-secret", 0).await;
    assert_eq!(forged, StatusCode::SERVICE_UNAVAILABLE, "to come again: the secret may be in exchange");
    assert_eq!(scene.bring(&mobile, SECRET, 86_500).await, StatusCode::UNAUTHORIZED, "too old");
    assert_eq!(scene.bring(&mobile, SECRET, -600).await, StatusCode::UNAUTHORIZED, "of the future");
    let unsigned = scene.client().post(scene.address("test")).body(mobile.to_string()).send().await;
    assert_eq!(unsigned.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    let elsewhere = scene.client().post(scene.address("other")).body("{}").send().await;
    assert_eq!(elsewhere.expect("an answer").status(), StatusCode::NOT_FOUND);
    let huge = scene.client().post(scene.address("test")).body(vec![b' '; 65 * 1024]).send().await;
    assert_eq!(huge.expect("an answer").status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(scene.bring(&json!({"type": "mo_text"}), SECRET, 0).await, StatusCode::BAD_REQUEST);
    assert_eq!((scene.callbacks("unproven"), scene.callbacks("unreadable")), (4.0, 1.0));
    let stored = scene.stage.metric("budstikke_connector_inbound_total{result=\"stored\"}");
    assert_eq!((scene.inbox.texts().await, stored), (Vec::new(), 0.0));

    // Another secret, on both sides: nothing needs to start anew.
    scene.stage.configure(|config| config.callback_secret = Some(Secret::new("another-secret")));
    until("a callback", async || {
        (scene.bring(&json!({"type": "other"}), "another-secret", 0).await == StatusCode::OK).then_some(())
    })
    .await;
    scene.stage.running.stop().await;
}

fn inbound(id: &str, text: &str) -> Value {
    json!({
        "type": "mo_text", "id": id, "from": "4520123456", "to": "1204", "body": text,
        "received_at": SystemClock.now().to_string(),
    })
}

#[tokio::test]
async fn what_handsets_write_reaches_its_owner_once_however_often_it_is_told() {
    let scene = Scene::set(Behaviour::default(), |_| {}).await;
    let nobodys = scene.bring(&inbound("mo0", "til ingen"), SECRET, 0).await;
    assert_eq!(nobodys, StatusCode::UNPROCESSABLE_ENTITY, "for good: nobody has the number");
    scene.inbox.give(&scene.stage, "1204").await;
    let (first, second) = (inbound("mo1", "Hej på 😀"), inbound("mo2", "Hej på 😀"));
    until("the number is known", async || (scene.bring(&first, SECRET, 0).await == StatusCode::OK).then_some(())).await;
    for again in [&first, &second, &second, &first] {
        assert_eq!(scene.bring(again, SECRET, 3600).await, StatusCode::OK);
    }
    assert_eq!(scene.inbox.texts().await, ["Hej på 😀"; 2], "two were written");
    let text = "på rødgrød med fløde ".repeat(12);
    scene.rest.inbound(&Inbound { from: "4520123456".into(), to: "1204".into(), text: text.clone(), reversed: false });
    let stored = until("the third", async || Some(scene.inbox.texts().await).filter(|texts| texts.len() == 3)).await;
    assert!(stored.contains(&text), "whole: {stored:?}");
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn a_receipt_that_comes_again_or_for_nobody_does_no_harm() {
    let scene = Scene::set(Behaviour::default(), |_| {}).await;
    scene.sender.send_plain(1);
    let wanted = id_and_tag(&scene.sender.settled(1).await[0]);
    let receipts = until("a receipt", async || Some(scene.sender.receipts()).filter(|all| !all.is_empty())).await;
    assert_eq!((receipts[0].id.clone(), receipts[0].tag), wanted);
    let call = scene.rest.calls(0).remove(0);
    let receipt = |batch: &str, status: &str| {
        json!({"type": "recipient_delivery_report_sms", "batch_id": batch, "recipient": call.batch.to[0],
               "status": status, "code": 0, "at": SystemClock.now().to_string()})
    };
    let batch = call.id.as_deref().expect("an id");
    assert_eq!(scene.bring(&receipt(batch, "Delivered"), SECRET, 0).await, StatusCode::OK);
    // Nobody's: kept for a while, should its message become known.
    assert_eq!(scene.bring(&receipt("another-batch", "Delivered"), SECRET, 0).await, StatusCode::OK);
    assert_eq!(scene.bring(&receipt(batch, "Splendid"), SECRET, 0).await, StatusCode::BAD_REQUEST);
    until("a parked receipt", async || (scene.receipts("parked") >= 1.0).then_some(())).await;
    scene.stage.running.stop().await;
}
