//! What the upstream brings: receipts in all their spellings and at all the wrong times, and SMS from handsets.
use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use budstikke::config::connector::{IdFormat, Settings};
use budstikke::domain::inbound::{Inbound, Received};
use budstikke::domain::{Clock as _, SystemClock, TenantId, content, copenhagen_day};
use budstikke::keyring::seal::Field;
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::simulator::{self, Behaviour, Change, Options, Smsc};
use budstikke::smpp::server::{self, BindRequest, Limits, Peer, Service};
use budstikke::smpp::session::{self, Event, Incoming, Session};
use budstikke::smpp::{CommandStatus, Pdu};
use jiff_sqlx::ToSqlx as _;
use rusmpp::pdus::DeliverSm;
use rusmpp::types::OctetString;
use rusmpp::values::MessageState;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::stage::{Stage, id_and_tag, settings, until};
use crate::support::postgres::Databases;

async fn smsc(behaviour: Behaviour) -> Smsc {
    Smsc::start(Options { behaviour, ..Options::default() }).await.expect("an SMSC")
}

#[tokio::test]
async fn receipts_reach_their_sender_however_the_id_is_written() {
    let databases = Databases::start().await;
    let tenants = [databases.tenant("one").await, databases.tenant("other").await];
    let smsc = smsc(Behaviour::default()).await;
    let shares = tenants.map(|tenant| (tenant, 1));
    let stage = Stage::start(databases, &shares, settings(smsc.address().port())).await;
    let senders = [stage.sender(tenants[0]).await, stage.sender(tenants[1]).await];
    stage.bound(1).await;
    let mut sent = 0;
    for (theirs, ours) in [
        (simulator::IdFormat::Decimal, IdFormat::Same),
        (simulator::IdFormat::Uuid, IdFormat::Same),
        (simulator::IdFormat::Padded, IdFormat::Same),
        (simulator::IdFormat::Hex, IdFormat::HexThenDecimal),
    ] {
        smsc.behave(&Change { id_format: Some(theirs), ..Change::default() });
        stage.configure(|config| config.settings.id_format = ours);
        sent += 5;
        for sender in &senders {
            sender.send_plain(5);
        }
        for sender in &senders {
            let outcomes = sender.settled(sent).await;
            let mut wanted: Vec<_> = outcomes.iter().map(id_and_tag).collect();
            let receipts = until("receipts", async || Some(sender.receipts()).filter(|all| all.len() >= sent)).await;
            assert!(receipts.iter().all(|receipt| receipt.state == MessageState::Delivered));
            let mut got: Vec<_> = receipts.into_iter().map(|receipt| (receipt.id, receipt.tag)).collect();
            wanted.sort();
            got.sort();
            assert_eq!(got, wanted, "{theirs:?}");
        }
    }
    stage.running.stop().await;
}

/// Puts a message into the log as its sender would have, after this submit's answer.
pub(super) async fn log(stage: &Stage, tenant: TenantId, (id, tag): (String, u32)) -> Uuid {
    let (message, now) = (Uuid::now_v7(), SystemClock.now());
    let owner = stage.databases.data.pool("budstikke_owner");
    sqlx::query(
        "insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, route_id, upstream_id, tag, \
            submitted_at, log_key, entry, number_hash) \
         values ($1, $2, $3, $2, 2, 1, 0, $4, $5, $6, now(), '', '', '')",
    )
    .bind(tenant.0)
    .bind(message)
    .bind(copenhagen_day(now).to_sqlx())
    .bind(stage.route.0)
    .bind(id)
    .bind(tag.cast_signed())
    .execute(&owner)
    .await
    .expect("insert a message");
    owner.close().await;
    message
}

pub(super) async fn becomes(stage: &Stage, message: Uuid, wanted: i16) {
    let owner = stage.databases.data.pool("budstikke_owner");
    until("the state", async || {
        let state: Option<i16> = sqlx::query_scalar("select state from message_log where message_id = $1")
            .bind(message)
            .fetch_one(&owner)
            .await
            .ok();
        (state == Some(wanted)).then_some(())
    })
    .await;
    owner.close().await;
}

#[tokio::test]
async fn with_the_sender_away_the_state_is_written_directly() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let smsc = smsc(Behaviour { receipt_delay_ms: 1_500, ..Behaviour::default() }).await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    sender.send_plain(1);
    let key = id_and_tag(&sender.settled(1).await[0]);
    let message = log(&stage, tenant, key).await;
    sender.session.unbind(Duration::from_secs(1)).await;
    becomes(&stage, message, 3).await;
    until("the upstream is rid of it", async || (smsc.stats().receipts_sent == 1).then_some(())).await;
    assert_eq!(stage.metric(r#"budstikke_connector_receipts_total{result="database"}"#), 1.0);
    stage.running.stop().await;
}

#[tokio::test]
async fn a_sender_that_cannot_store_leaves_it_to_the_connector() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let smsc =
        smsc(Behaviour { receipt_delay_ms: 500, receipts: simulator::Receipts::Failed, ..Behaviour::default() }).await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    sender.state.refuses.store(true, Ordering::Relaxed);
    sender.send_plain(1);
    let message = log(&stage, tenant, id_and_tag(&sender.settled(1).await[0])).await;
    becomes(&stage, message, 4).await;
    assert_eq!(sender.receipts(), []);
    stage.running.stop().await;
}

#[tokio::test]
async fn a_receipt_without_its_message_is_parked_and_tried_again() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let smsc = smsc(Behaviour { receipt_delay_ms: 500, ..Behaviour::default() }).await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    sender.send_plain(1);
    let key = id_and_tag(&sender.settled(1).await[0]);
    sender.session.unbind(Duration::from_secs(1)).await;
    until("a parked receipt", async || {
        (stage.metric(r#"budstikke_connector_receipts_total{result="parked"}"#) == 1.0).then_some(())
    })
    .await;
    until("the upstream is rid of it", async || (smsc.stats().receipts_sent == 1).then_some(())).await;
    // Its sender comes back and stores what it knew.
    let message = log(&stage, tenant, key).await;
    stage.run("update parked_receipt set retry_at = now() where $1 > 0", tenant).await;
    becomes(&stage, message, 3).await;
    let owner = stage.databases.data.pool("budstikke_owner");
    let left: i64 = sqlx::query_scalar("select count(*) from parked_receipt").fetch_one(&owner).await.expect("a count");
    assert_eq!(left, 0, "it is done with");
    stage.running.stop().await;
}

#[tokio::test]
async fn while_the_database_is_away_the_upstream_keeps_receipts() {
    let databases = Databases::alone().await;
    let tenant = databases.tenant("one").await;
    let smsc = smsc(Behaviour { receipt_delay_ms: 1_500, ..Behaviour::default() }).await;
    let mut stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    sender.send_plain(1);
    let key = id_and_tag(&sender.settled(1).await[0]);
    let message = log(&stage, tenant, key).await;
    sender.session.unbind(Duration::from_secs(1)).await;
    stage.databases.data.kill();
    until("a refusal", async || {
        (stage.metric(r#"budstikke_connector_receipts_total{result="failed"}"#) >= 1.0).then_some(())
    })
    .await;
    assert_eq!(smsc.stats().receipts_sent, 0);
    stage.databases.data.revive().await;
    becomes(&stage, message, 3).await;
    // Who is bound is woken: notifications may have gone by.
    let back = stage.sender(tenant).await;
    stage.run("select pg_notify('budstikke_wake', $1::text)", tenant).await;
    until("a wake-up", async || (back.wakes() > 0).then_some(())).await;
    stage.running.stop().await;
}

/// An upstream of the worst kind: sends the receipt before the answer, and on every bind but the one the submit came by.
#[derive(Default)]
struct Hasty {
    sessions: Mutex<Vec<Session>>,
    numbers: std::sync::atomic::AtomicU64,
    overtaken: AtomicBool,
}

impl Service for Hasty {
    type Identity = ();

    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        None
    }

    async fn authenticate(&self, _: &BindRequest, _: &Peer) -> Result<(), CommandStatus> {
        Ok(())
    }

    async fn serve(&self, (): (), session: Session, mut incoming: Incoming) {
        let own = {
            let mut sessions = self.sessions.lock().expect("a lock");
            sessions.push(session.clone());
            sessions.len() - 1
        };
        while let Some(event) = incoming.next().await {
            let Event::Request(request) = event else { continue };
            let Pdu::SubmitSm(submit) = &request.pdu else { continue };
            let id = self.numbers.fetch_add(1, Ordering::Relaxed).to_string();
            let text =
                format!("id:{id} sub:001 dlvrd:001 submit date:2601010000 done date:2601010000 stat:DELIVRD err:000");
            let receipt = DeliverSm::builder()
                .esm_class(0x04.into())
                .source_addr(submit.destination_addr.clone())
                .short_message(OctetString::from_str(&text).expect("a text"))
                .build();
            let elsewhere = {
                let sessions = self.sessions.lock().expect("a lock");
                sessions[(own + 1) % sessions.len()].clone()
            };
            let pending = elsewhere.reserve().await.expect("a place").send(receipt);
            // The answer comes once the receipt has been on its way for long; had it been awaited it never would.
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.overtaken.store(true, Ordering::Relaxed);
            request.responder.accept(&id);
            drop(pending);
        }
    }
}

#[tokio::test]
async fn receipts_that_overtake_their_answers_on_another_bind_reach_their_senders() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (hasty, stop) = (Arc::new(Hasty::default()), CancellationToken::new());
    let limits = Limits {
        connections: 10,
        bind_timeout: Duration::from_secs(5),
        system_id: "hasty".to_owned(),
        session: session::Options::default(),
    };
    tokio::spawn(server::serve(listener, limits, Arc::clone(&hasty), stop.clone()));
    let stage = Stage::start(databases, &[(tenant, 1)], Settings { binds: 2, ..settings(port) }).await;
    let sender = stage.sender(tenant).await;
    stage.bound(2).await;
    sender.send_plain(10);
    let mut wanted: Vec<_> = sender.settled(10).await.iter().map(id_and_tag).collect();
    assert!(wanted.iter().all(|(id, _)| id.parse::<u64>().is_err()), "the upstream's own ids stay with the connector");
    let receipts = until("receipts", async || Some(sender.receipts()).filter(|all| all.len() >= 10)).await;
    let mut got: Vec<_> = receipts.into_iter().map(|receipt| (receipt.id, receipt.tag)).collect();
    wanted.sort();
    got.sort();
    assert_eq!(got, wanted);
    assert!(hasty.overtaken.load(Ordering::Relaxed));
    assert_eq!(stage.metric(r#"budstikke_connector_receipts_total{result="parked"}"#), 0.0);
    stop.cancel();
    stage.running.stop().await;
}

#[tokio::test]
async fn inbound_is_sealed_for_the_owner_of_number_and_keyword() {
    let databases = Databases::start().await;
    let tenants = [databases.tenant("one").await, databases.tenant("other").await];
    let smsc = smsc(Behaviour::default()).await;
    let shares = tenants.map(|tenant| (tenant, 1));
    let kek = || Kek::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
    let open = |login: &str| Keyring::open(keyring::connect(&databases.keyring.dsn(login), 2, "test"), kek());
    let (operator, api) = (open("budstikke_operator"), open("budstikke_api"));
    let today = copenhagen_day(SystemClock.now());
    let owner = databases.data.pool("budstikke_owner");
    for tenant in tenants {
        // A day to either side: the test may run at midnight.
        let (from, to) = (today.yesterday().expect("a day"), today.tomorrow().expect("a day"));
        for day in operator.provide(tenant, from, to, 90).await.expect("keys") {
            sqlx::query("insert into public_key (tenant_id, day, key_name, key) values ($1, $2, $3, $4)")
                .bind(tenant.0)
                .bind(day.day.to_sqlx())
                .bind(day.name)
                .bind(day.key.to_vec())
                .execute(&owner)
                .await
                .expect("publish a key");
        }
    }
    let stage = Stage::start(databases, &shares, settings(smsc.address().port())).await;
    for (tenant, keyword) in [(tenants[0], "STEM"), (tenants[1], "")] {
        sqlx::query("insert into inbound_number (tenant_id, route_id, number, keyword) values ($1, $2, '1204', $3)")
            .bind(tenant.0)
            .bind(stage.route.0)
            .bind(keyword)
            .execute(&owner)
            .await
            .expect("give a number");
    }
    stage.bound(1).await;
    let long = format!("stem {}", "på rødgrød med fløde ".repeat(12));
    let write = |text: &str, reversed| {
        let inbound = simulator::Inbound { from: "4520123456".into(), to: "1204".into(), text: text.into(), reversed };
        assert!(smsc.inbound(&inbound) > 0, "nobody receives");
    };
    // Nobody's until the connector knows the number: refused, and tried again by nobody but us.
    until("the number is known", async || {
        write("Hej 😀", false);
        stage.run("select pg_notify('budstikke_change', 'tenant:' || $1)", tenants[0]).await;
        (stage.metric(r#"budstikke_connector_inbound_total{result="stored"}"#) > 0.0).then_some(())
    })
    .await;
    // In reverse: the parts without the keyword wait at the upstream for the first one.
    write(&long, true);
    type Row = (i64, Uuid, String, Vec<u8>);
    let rows = async |tenant: TenantId| -> Vec<Row> {
        sqlx::query_as("select tenant_id, inbound_id, key_name, sealed from inbound where tenant_id = $1")
            .bind(tenant.0)
            .fetch_all(&owner)
            .await
            .expect("rows")
    };
    let parts = until("all parts", async || Some(rows(tenants[0]).await).filter(|rows| rows.len() == 2)).await;
    let other = rows(tenants[1]).await;

    let mut opened = Vec::new();
    for (_, id, name, sealed) in &parts {
        assert!(!sealed.windows(4).any(|octets| octets == b"stem"), "it is sealed");
        let private = api.inbound_private(tenants[0], name).await.expect("the private half");
        let plain = private.open(*id, Field::Inbound, sealed).expect("opened");
        let inbound: Inbound = content::from_bytes(&plain).expect("an SMS");
        assert_eq!((inbound.from.reveal().as_str(), inbound.to.reveal().as_str()), ("4520123456", "1204"));
        opened.push(inbound);
    }
    let whole = Received::of(opened).expect("a message");
    assert_eq!((whole.parts, whole.missing, whole.text.expect("a text").reveal()), (2, vec![], &long));
    let (_, id, name, sealed) = &other[0];
    let private = api.inbound_private(tenants[1], name).await.expect("the private half");
    let inbound: Inbound =
        content::from_bytes(&private.open(*id, Field::Inbound, sealed).expect("opened")).expect("an SMS");
    assert_eq!(inbound.content.text(), Some("Hej 😀"));
    let strangers = api.inbound_private(tenants[0], name).await.expect("another's");
    assert!(strangers.open(*id, Field::Inbound, sealed).is_err(), "only its owner's key opens it");

    let refused = stage.metric(r#"budstikke_connector_inbound_total{result="unowned"}"#);
    let nobodys =
        simulator::Inbound { from: "4520123456".into(), to: "9999".into(), text: "Hej".into(), reversed: false };
    assert_eq!(smsc.inbound(&nobodys), 1);
    until("a refusal", async || {
        (stage.metric(r#"budstikke_connector_inbound_total{result="unowned"}"#) > refused).then_some(())
    })
    .await;
    stage.running.stop().await;
}
