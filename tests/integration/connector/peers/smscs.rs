//! Two SMSCs that others wrote, each as the upstream of a connector: npm's `smpp`, and the simulator of jSMPP.
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use budstikke::config::connector::{IdFormat, Settings};
use budstikke::domain::{Secret, TenantId};
use budstikke::smpp::CommandStatus;
use budstikke::smpp::vendor::WRITTEN_UNANSWERED;
use rusmpp::pdus::SubmitSm;
use rusmpp::types::OctetString;
use rusmpp::values::MessageState;
use uuid::Uuid;

use super::super::inbox::Inbox;
use super::super::stage::{Sender, Stage, id_and_tag, known_by, message, part, settings, status, until};
use super::super::upstream::send_all;
use super::{Directory, Peer, free_port, installed};
use crate::support::postgres::Databases;

/// One of the two.
struct Smsc {
    start: fn(port: u16) -> Command,
    /// What it says when it can be reached.
    ready: &'static str,
    format: IdFormat,
    /// Its id of a message, as the connector is to write it.
    id: fn(said: &str) -> String,
    /// The number to which it writes by itself, and what.
    inbound: (&'static str, &'static str),
}

/// The npm package `smpp`: hexadecimal ids, in capitals in the answer and in small letters in the receipt's parameter; the
/// receipt's text has them in decimal. Writes a message to 1204 after each receipt.
const NODE: Smsc = Smsc {
    start: node,
    ready: "listening",
    format: IdFormat::Same,
    id: str::to_ascii_lowercase,
    inbound: ("1204", "receipt answered with 0"),
};

/// jSMPP's `SMPPServerSimulator`: hexadecimal ids in the answer, ten decimal digits in the receipt, a second later and
/// without parameters. Writes a message to 12345 after each bind.
const JSMPP: Smsc = Smsc {
    start: jsmpp,
    // Not by connecting: it waits half a minute for the bind of everybody who connects before it takes the next.
    ready: "Listening on port",
    format: IdFormat::HexThenDecimal,
    id: |said| u64::from_str_radix(said, 16).unwrap().to_string(),
    inbound: ("12345", "Hello World"),
};

fn node(port: u16) -> Command {
    let mut command = Command::new("node");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/node/smsc.js"))
        .env("NODE_PATH", installed("node").join("node_modules"))
        .env("PORT", port.to_string());
    command
}

fn jsmpp(port: u16) -> Command {
    let mut command = Command::new("java");
    command.args([
        &format!("-Djsmpp.simulator.port={port}"),
        "-Djsmpp.simulator.ssl=false",
        "-Djsmpp.client.systemId=budstikke",
        "-Djsmpp.client.password=secret",
        "-Xmx64m",
        "-cp",
        &format!("{}/*", installed("jsmpp").display()),
        "org.jsmpp.examples.SMPPServerSimulator",
    ]);
    command
}

impl Smsc {
    async fn start(&self, port: u16) -> Peer {
        let peer = Peer::start(&mut (self.start)(port));
        peer.says(self.ready).await;
        peer
    }

    /// The ids of all that it took.
    fn took(&self, peer: &Peer) -> Vec<String> {
        let lines = peer.said("return message id ");
        lines.iter().map(|line| (self.id)(line.rsplit_once("return message id ").unwrap().1)).collect()
    }

    /// A connector with this one as its upstream, and a tenant's sender.
    async fn stage(&self, port: u16) -> (Stage, Sender, Inbox) {
        let databases = Databases::start().await;
        let tenant = databases.tenant("one").await;
        let inbox = Inbox::open(&databases, tenant).await;
        let stage =
            Stage::start(databases, &[(tenant, 1)], Settings { id_format: self.format, ..settings(port) }).await;
        inbox.give(&stage, self.inbound.0).await;
        let sender = stage.sender(tenant).await;
        stage.bound(1).await;
        (stage, sender, inbox)
    }
}

fn with_content(mut submit: SubmitSm, header: &[u8], text: &str) -> SubmitSm {
    submit.esm_class = if header.is_empty() { 0 } else { 0x40 }.into();
    submit.set_short_message(OctetString::from_vec([header, text.as_bytes()].concat()).unwrap());
    submit
}

/// A text in three parts.
fn long(tenant: TenantId, number: u8) -> impl Iterator<Item = SubmitSm> {
    let id = Uuid::now_v7();
    (1..=3).map(move |of| {
        let header = [5, 0, 3, number, 3, of];
        with_content(part(tenant, number.into(), id, of, 3), &header, &format!("message {number} part {of}"))
    })
}

/// Inbound that the connector has judged: taken for the tenant, and nobody's (it does not know the number yet).
fn inbound(stage: &Stage) -> (f64, f64) {
    let of = |result| stage.metric(&format!("budstikke_connector_inbound_total{{result=\"{result}\"}}"));
    (of("stored"), of("unowned"))
}

/// Submits and receipts, whole and in parts, each with the id that the upstream gave it; gives the peer for more.
async fn serves(smsc: &Smsc) -> (Peer, Stage, Sender, Inbox) {
    let port = free_port();
    let peer = smsc.start(port).await;
    let (stage, sender, inbox) = smsc.stage(port).await;
    let short = (0..5).map(|number| with_content(message(sender.tenant, number), &[], &format!("message {number}")));
    sender.send(short.chain(long(sender.tenant, 5)).chain(long(sender.tenant, 6)));
    let sent: Vec<_> = sender.settled(11).await.iter().map(id_and_tag).collect();
    let ids: BTreeSet<_> = sent.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, smsc.took(&peer).iter().map(|id| known_by(id)).collect(), "each for one id of the upstream's");
    let receipts = until("receipts", async || Some(sender.receipts()).filter(|all| all.len() >= 11)).await;
    assert!(receipts.iter().all(|receipt| receipt.state == MessageState::Delivered), "{receipts:?}");
    let receipts: BTreeSet<_> = receipts.into_iter().map(|receipt| (receipt.id, receipt.tag)).collect();
    assert_eq!(receipts, sent.into_iter().collect());

    // It is one that knows its own, and the connector takes its refusal for what it is.
    stage.configure(|config| config.password = Secret::new("wrong"));
    until("refusals", async || (stage.metric("budstikke_connector_bind_failures_total") >= 2.0).then_some(())).await;
    stage.configure(|config| config.password = Secret::new("secret"));
    stage.bound(1).await;
    (peer, stage, sender, inbox)
}

#[tokio::test]
async fn an_smsc_in_javascript_serves_a_connector() {
    let (peer, stage, sender, inbox) = serves(&NODE).await;
    for number in [5, 6] {
        let parts = peer.said(&format!("message {number} part "));
        assert_eq!(parts.len(), 3);
        for (of, part) in (1..).zip(parts) {
            let told =
                format!("'message {number} part {of}' with header 00030{number}030{of} and 0 unknown parameters");
            assert!(part.contains(&told), "{part}");
        }
    }
    // One a receipt, and only those count that came when the connector knew the number.
    while inbound(&stage).0 == 0.0 {
        let before = inbound(&stage);
        sender.send_plain(1);
        until("inbound", async || (inbound(&stage) != before).then_some(())).await;
    }
    assert_eq!(BTreeSet::from_iter(inbox.texts().await), BTreeSet::from([NODE.inbound.1.to_owned()]));
    stage.running.stop().await;
}

#[tokio::test]
async fn an_smsc_in_java_serves_a_connector() {
    let (_peer, stage, _sender, inbox) = serves(&JSMPP).await;
    // One a bind, and only those count that came when the connector knew the number.
    while inbound(&stage).0 == 0.0 {
        let before = inbound(&stage);
        stage.configure(|config| config.settings.enquire_millis += 1);
        until("inbound", async || (inbound(&stage) != before).then_some(())).await;
    }
    assert_eq!(BTreeSet::from_iter(inbox.texts().await), BTreeSet::from([JSMPP.inbound.1.to_owned()]));
    stage.running.stop().await;
}

/// It dies in the middle and comes back: the connector binds again, and what is not known to be sent goes again.
async fn comes_back(smsc: &Smsc) {
    let port = free_port();
    let mut first = smsc.start(port).await;
    let (stage, sender, _) = smsc.stage(port).await;
    let (outcomes, second) = tokio::join!(send_all(&sender, 100), async {
        until("some submits", async || (smsc.took(&first).len() >= 20).then_some(())).await;
        first.kill();
        stage.bound(0).await;
        smsc.start(port).await
    });
    let accepted = outcomes.iter().filter(|outcome| status(outcome) == Some(CommandStatus::EsmeRok));
    let accepted: BTreeSet<_> = accepted.map(|outcome| id_and_tag(outcome).0).collect();
    let unanswered = outcomes.iter().filter(|outcome| status(outcome) == Some(WRITTEN_UNANSWERED)).count();
    assert_eq!(accepted.len() + unanswered, 100, "each is settled, and none refused");
    assert!(unanswered <= 10, "at most a window: {unanswered}");
    let [before, after] =
        [&first, &second].map(|peer| -> Vec<_> { smsc.took(peer).iter().map(|id| known_by(id)).collect() });
    let taken: BTreeSet<_> = before.iter().chain(&after).cloned().collect();
    assert!(accepted.is_subset(&taken), "what is accepted was taken");
    assert!(before.len() + after.len() <= 100, "and nothing was sent twice");
    // The first one's receipts died with it.
    let due: BTreeSet<_> = after.into_iter().collect();
    assert!(due.len() >= 20, "{} after it came back", due.len());
    until("receipts", async || {
        let come: BTreeSet<_> = sender.receipts().into_iter().map(|receipt| receipt.id).collect();
        due.is_subset(&come).then_some(())
    })
    .await;
    stage.running.stop().await;
}

#[tokio::test]
async fn an_smsc_in_javascript_dies_and_comes_back() {
    comes_back(&NODE).await;
}

#[tokio::test]
async fn an_smsc_in_java_dies_and_comes_back() {
    comes_back(&JSMPP).await;
}

#[tokio::test]
async fn an_smsc_in_javascript_speaks_tls_with_a_connector() {
    let directory = Directory::new("tls");
    let (key, certificate) = (directory.0.join("key.pem"), directory.0.join("cert.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["smsc.test".to_owned()]).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let port = free_port();
    let peer = Peer::start(node(port).env("KEY", &key).env("CERT", &certificate));
    peer.says(NODE.ready).await;

    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let tls = Settings { tls_name: Some("smsc.test".to_owned()), ..settings(port) };
    let stage = Stage::start(databases, &[(tenant, 1)], tls).await;
    until("a refusal of its certificate", async || {
        (stage.metric("budstikke_connector_bind_failures_total") >= 1.0).then_some(())
    })
    .await;
    stage.configure(|config| config.upstream_ca = Some(made.cert.pem()));
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    sender.send_plain(1);
    let (id, tag) = id_and_tag(&sender.settled(1).await[0]);
    let receipt = until("a receipt", async || sender.receipts().pop()).await;
    assert_eq!((receipt.id, receipt.tag), (id, tag));
    stage.running.stop().await;
}
