//! A handset writes a word that stops: stored with the SMS before that is acknowledged, sealed to the account's key.
use budstikke::domain::TenantId;
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::simulator::{self, Inbound};
use sqlx::PgPool;
use uuid::Uuid;

use super::inbox::Inbox;
use super::stage::{Stage, settings, until};
use crate::support::postgres::Databases;

/// What was asked, in order: whether it stops, and who asks.
async fn asked(owner: &PgPool, keyring: &Keyring, tenant: TenantId) -> Vec<(bool, String)> {
    let rows: Vec<(Uuid, bool, Vec<u8>)> = sqlx::query_as(
        "select request_id, stops, sealed from opt_out_request where tenant_id = $1 order by request_id",
    )
    .bind(tenant.0)
    .fetch_all(owner)
    .await
    .expect("requests");
    let key = keyring.account_key(tenant).await.expect("the account's key");
    let open = |(id, stops, sealed): (Uuid, bool, Vec<u8>)| {
        let from = key.open_request(id, &sealed).expect("sealed to the account's key, for this row");
        (stops, String::from_utf8(from.to_vec()).expect("a number"))
    };
    rows.into_iter().map(open).collect()
}

#[tokio::test]
async fn a_word_that_stops_is_stored_with_the_sms_and_others_are_not() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let inbox = Inbox::open(&databases, tenant).await;
    let kek = Kek::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
    let keyring = Keyring::open(keyring::connect(&databases.keyring.dsn("budstikke_api"), 2, "test"), kek);
    let key = keyring.account_key(tenant).await.expect("the account's key");
    let owner = databases.data.pool("budstikke_owner");
    sqlx::query("insert into opt_out_key (tenant_id, key_name, key) values ($1, $2, $3)")
        .bind(tenant.0)
        .bind(key.name())
        .bind(key.requests_key().to_vec())
        .execute(&owner)
        .await
        .expect("publish the key");
    sqlx::query("update enforcement set stop_words = '{STOP,FÆRDIG}', start_words = '{START}' where tenant_id = $1")
        .bind(tenant.0)
        .execute(&owner)
        .await
        .expect("words");
    let smsc = simulator::Smsc::start(simulator::Options::default()).await.expect("an SMSC");
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    stage.bound(1).await;
    let write = |text: &str| {
        let inbound = Inbound { from: "4520123456".into(), to: "1204".into(), text: text.into(), reversed: false };
        assert!(smsc.inbound(&inbound) > 0, "nobody receives");
    };
    let stored = "budstikke_connector_inbound_total{result=\"stored\"}";
    // Nobody's until the connector knows the number; it knows the words then too.
    inbox.give(&stage, "1204").await;
    until("the number is known", async || {
        write("Hej");
        (stage.metric(stored) > 0.0).then_some(())
    })
    .await;
    assert!(asked(&owner, &keyring, tenant).await.is_empty(), "an ordinary SMS asks for nothing");

    write("jeg vil ikke stoppe");
    write("Stop!");
    until("the word is stored", async || (!asked(&owner, &keyring, tenant).await.is_empty()).then_some(())).await;
    write("start");
    until("the other one", async || (asked(&owner, &keyring, tenant).await.len() > 1).then_some(())).await;
    write("Færdig");
    until("the tenant's own", async || (asked(&owner, &keyring, tenant).await.len() > 2).then_some(())).await;
    let from = || "4520123456".to_owned();
    assert_eq!(asked(&owner, &keyring, tenant).await, [(true, from()), (false, from()), (true, from())]);
    until("all SMS", async || {
        let texts = inbox.texts().await;
        ["Færdig", "Stop!", "jeg vil ikke stoppe", "start"]
            .iter()
            .all(|text| texts.iter().any(|it| it == text))
            .then_some(())
    })
    .await;
    stage.running.stop().await;
}
