//! Receipts in disorder, and receipts that call messages by other names than the route says.
use std::time::Duration;

use budstikke::config::connector::{IdFormat, Settings};
use budstikke::smpp::CommandStatus;
use budstikke::store::upstream_reports::ReceiptIds;
use uuid::Uuid;

use super::mouth::Mouth;
use super::receipts::{becomes, log};
use super::report::proposed;
use super::stage::{Stage, id_and_tag, settings};
use crate::support::postgres::Databases;

const TAKEN: CommandStatus = CommandStatus::EsmeRok;
const SENT: i16 = 2;
const DELIVERED: i16 = 3;
const UNKNOWN: i16 = 8;

async fn state(stage: &Stage, message: Uuid) -> i16 {
    let owner = stage.databases.data.pool("budstikke_owner");
    let state = sqlx::query_scalar("select state from message_log where message_id = $1").bind(message);
    state.fetch_one(&owner).await.expect("the message")
}

#[tokio::test]
async fn what_comes_before_or_after_the_final_word_changes_nothing() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let mouth = Mouth::open().await;
    let stage = Stage::start(databases, &[(tenant, 1)], Settings { binds: 2, ..settings(mouth.port) }).await;
    let sender = stage.sender(tenant).await;
    stage.bound(2).await;
    mouth.answers(["0007001".to_owned(), "0007002".to_owned()]);
    sender.send_plain(2);
    let mut messages = Vec::new();
    for outcome in sender.settled(2).await {
        messages.push(log(&stage, tenant, id_and_tag(&outcome)).await);
    }
    sender.session.unbind(Duration::from_secs(1)).await;
    let say = async |bind: usize, esm_class: u8, text: &str| {
        assert_eq!(mouth.say(bind, mouth.receipt(0, esm_class, text)).await, TAKEN, "{text}");
    };
    // On its way: as an intermediate notification, as a receipt, and in both orders.
    for (bind, esm_class, word) in
        [(0, 0x20, "ENROUTE"), (1, 0x04, "ACCEPTD"), (0, 0x04, "SCHEDLD"), (1, 0x24, "ENROUTE")]
    {
        say(bind, esm_class, &format!("id:7001 stat:{word} err:000")).await;
    }
    assert_eq!(stage.metric(r#"budstikke_connector_receipts_total{result="under_way"}"#), 4.0);
    let mut states = Vec::new();
    for message in &messages {
        states.push(state(&stage, *message).await);
    }
    assert_eq!(states, [SENT, SENT]);

    say(1, 0x04, "id:7001 stat:DELIVRD err:000").await;
    say(0, 0x20, "id:7001 stat:ENROUTE err:000").await;
    say(0, 0x04, "id:7001 stat:UNDELIV err:001").await;
    say(1, 0x04, "id:7001 stat:DELIVRD err:000").await;
    assert_eq!(stage.metric(r#"budstikke_connector_receipts_total{result="repeated"}"#), 2.0);
    let (mut now, mut other) = (0, None);
    for message in &messages {
        match state(&stage, *message).await {
            SENT => other = Some(*message),
            state => now = state,
        }
    }
    assert_eq!(now, DELIVERED);
    let other = other.expect("the other one is as it was");

    // The upstream does not know first, and does in the end; so too what was given up meanwhile.
    assert_eq!(mouth.say(0, mouth.receipt(1, 0x04, "id:7002 stat:UNKNOWN")).await, TAKEN);
    assert_eq!(state(&stage, other).await, UNKNOWN);
    assert_eq!(mouth.say(1, mouth.receipt(1, 0x04, "id:7002 stat:DELIVRD")).await, TAKEN);
    assert_eq!(state(&stage, other).await, DELIVERED);
    stage.running.stop().await;
}

#[tokio::test]
async fn another_spelling_that_would_fit_is_proposed_and_nobody_is_guessed() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let mouth = Mouth::open().await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(mouth.port)).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    // Hexadecimal in the answer, decimal in the receipt; the route says that they are the same.
    let submitted = async |from: u32, to: u32| {
        mouth.answers((from..to).map(|number| format!("{number:X}")));
        sender.send_plain((to - from) as usize);
        sender.settled(to as usize - 1000).await
    };
    let receipt =
        |number: u32| mouth.receipt(number as usize - 1000, 0x04, &format!("id:{number} stat:DELIVRD err:000"));
    submitted(1000, 1001).await;
    assert_eq!(mouth.say(0, receipt(1000)).await, TAKEN);
    let outcomes = submitted(1001, 1006).await;
    let message = log(&stage, tenant, id_and_tag(&outcomes[5])).await;
    for number in 1001..1006 {
        assert_eq!(mouth.say(0, receipt(number)).await, TAKEN);
    }
    proposed(&stage, Some(ReceiptIds::HexThenDecimal)).await;
    assert_eq!(state(&stage, message).await, SENT, "it is proposed, and not acted on");
    assert_eq!(sender.receipts(), []);

    stage.configure(|config| config.settings.id_format = IdFormat::HexThenDecimal);
    proposed(&stage, None).await;
    let outcomes = submitted(1006, 1007).await;
    let message = log(&stage, tenant, id_and_tag(&outcomes[6])).await;
    sender.session.unbind(Duration::from_secs(1)).await;
    assert_eq!(mouth.say(0, receipt(1006)).await, TAKEN);
    becomes(&stage, message, DELIVERED).await;
    stage.running.stop().await;
}
