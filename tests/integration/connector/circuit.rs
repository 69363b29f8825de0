//! The route's circuit: what opens it, who hears of it, and that it closes by itself.
use budstikke::domain::Circuit;
use budstikke::simulator::{Behaviour, Change, Options, Smsc};
use budstikke::smpp::CommandStatus;
use budstikke::smpp::vendor::NOT_WRITTEN;
use budstikke::store::upstream_reports::Trouble;

use super::report::circuit;
use super::stage::{Sender, Stage, settings, status, until};
use crate::support::postgres::Databases;

/// A stage whose upstream behaves so, with one bound sender that has heard nothing of the circuit but that it closed.
async fn stage(behaviour: Behaviour) -> (Stage, Smsc, Sender) {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let smsc = Smsc::start(Options { behaviour, ..Options::default() }).await.expect("an SMSC");
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    stage.bound(1).await;
    closed(&stage).await;
    let sender = stage.sender(tenant).await;
    (stage, smsc, sender)
}

/// The gauge follows the state, and so does the report.
async fn closed(stage: &Stage) {
    let closed = async || (stage.metric("budstikke_connector_circuit{state=\"closed\"}") == 1.0).then_some(());
    until("a closed circuit", closed).await;
}

/// Waits for what the sender hears last.
async fn hears(sender: &Sender, wanted: Circuit) {
    until(&format!("{wanted:?}"), async || (sender.circuits().last() == Some(&wanted)).then_some(())).await;
}

#[tokio::test]
async fn throttling_without_end_opens_it_and_a_message_that_is_taken_closes_it() {
    let (stage, smsc, sender) = stage(Behaviour { throttle_percent: 100, ..Behaviour::default() }).await;
    sender.send_plain(4);
    let outcomes = sender.settled(4).await;
    assert!(outcomes.iter().all(|outcome| status(outcome) == Some(NOT_WRITTEN)), "they may go elsewhere: {outcomes:?}");
    hears(&sender, Circuit::Open).await;
    let told = circuit(&stage, Circuit::Open).await;
    let error = told.last_error.expect("an error");
    assert_eq!((told.binds, error.trouble, error.status), (1, Trouble::Throttled, Some(0x58)));
    assert_eq!(stage.metric("budstikke_connector_circuit{state=\"open\"}"), 1.0);

    smsc.behave(&Change { throttle_percent: Some(0), ..Change::default() });
    sender.send_plain(20);
    let outcomes = sender.settled(24).await;
    assert!(outcomes[4..].iter().all(|outcome| status(outcome) == Some(CommandStatus::EsmeRok)), "{outcomes:?}");
    hears(&sender, Circuit::Closed).await;
    let after_open: Vec<_> = sender.circuits().into_iter().skip_while(|circuit| *circuit != Circuit::Open).collect();
    assert_eq!(after_open, [Circuit::Open, Circuit::HalfOpen, Circuit::Closed]);
    let told = circuit(&stage, Circuit::Closed).await;
    assert!(told.last_error.is_some_and(|last| last.trouble == Trouble::Throttled), "it stays: {told:?}");
    assert!(stage.metric("budstikke_connector_circuit_opened_total") >= 1.0);
    stage.running.stop().await;
}

#[tokio::test]
async fn one_message_at_a_time_tries_an_upstream_that_is_still_in_trouble() {
    // ESME_RBINDFAIL: it will have nothing from us.
    let behaviour = Behaviour { error_percent: 100, error_status: 0x0D, ..Behaviour::default() };
    let (stage, smsc, sender) = stage(behaviour).await;
    sender.send_plain(1);
    sender.settled(1).await;
    assert_eq!(sender.circuits(), [], "one message may be what is unwelcome");
    sender.send_plain(1);
    let outcomes = sender.settled(2).await;
    assert!(outcomes.iter().all(|outcome| status(outcome) == Some(CommandStatus::EsmeRbindfail)), "{outcomes:?}");
    hears(&sender, Circuit::Open).await;
    assert_eq!(smsc.stats().refused, 2);
    sender.send_plain(10);
    let outcomes = sender.settled(3).await;
    assert_eq!(status(&outcomes[2]), Some(CommandStatus::EsmeRbindfail), "it was tried again");
    assert_eq!((smsc.stats().refused, sender.waiting()), (3, 9), "by one");
    smsc.behave(&Change { error_percent: Some(0), ..Change::default() });
    let outcomes = sender.settled(12).await;
    assert!(outcomes[3..].iter().all(|outcome| status(outcome) == Some(CommandStatus::EsmeRok)), "{outcomes:?}");
    stage.running.stop().await;
}

#[tokio::test]
async fn passing_faults_open_it_when_they_come_one_after_another_and_faults_of_messages_never_do() {
    let behaviour = Behaviour { error_percent: 100, error_status: 0x0B, ..Behaviour::default() };
    let (stage, smsc, sender) = stage(behaviour).await;
    sender.send_plain(30);
    let outcomes = sender.settled(30).await;
    assert!(outcomes.iter().all(|outcome| status(outcome) == Some(CommandStatus::EsmeRinvdstadr)));
    assert_eq!(circuit(&stage, Circuit::Closed).await.last_error, None);
    // ESME_RSYSERR.
    smsc.behave(&Change { error_status: Some(8), ..Change::default() });
    sender.send_plain(30);
    hears(&sender, Circuit::Open).await;
    let refused = smsc.stats().refused - 30;
    assert!((5..30).contains(&refused), "{refused} were tried");
    assert_eq!(circuit(&stage, Circuit::Open).await.last_error.and_then(|last| last.status), Some(8));
    stage.running.stop().await;
}

#[tokio::test]
async fn without_binds_it_is_open_and_with_them_closed() {
    let (stage, smsc, sender) = stage(Behaviour::default()).await;
    let address = smsc.address();
    smsc.stop().await;
    hears(&sender, Circuit::Open).await;
    let late = stage.sender(sender.tenant).await;
    hears(&late, Circuit::Open).await;
    let again = Options { listen: address, ..Options::default() };
    let second = until("the port", async || Smsc::start(again.clone()).await.ok()).await;
    hears(&late, Circuit::Closed).await;
    late.send_plain(3);
    late.settled(3).await;
    assert_eq!(second.stats().accepted, 3);
    stage.running.stop().await;
}

#[tokio::test]
async fn rate_queue_and_latency_are_there_to_see() {
    let behaviour = Behaviour { latency_ms: 20, ..Behaviour::default() };
    let (stage, _smsc, sender) = stage(behaviour).await;
    sender.send_plain(200);
    until("a live rate", async || (stage.metric("budstikke_connector_live_rate") > 20.0).then_some(())).await;
    assert!(stage.metric("budstikke_connector_demand") > 0.0, "what waits with senders");
    assert!(stage.metric("budstikke_connector_live_rate") <= 51.0);
    sender.settled(200).await;
    assert_eq!(stage.metric("budstikke_connector_submitted_total"), 200.0);
    assert_eq!(stage.metric("budstikke_connector_queue_seconds_count"), 200.0);
    assert_eq!(stage.metric("budstikke_connector_answer_seconds_count"), 200.0);
    assert!(stage.metric("budstikke_connector_answer_seconds_sum") >= 200.0 * 0.02);
    until("no rate any more", async || (stage.metric("budstikke_connector_live_rate") == 0.0).then_some(())).await;
    stage.running.stop().await;
}
