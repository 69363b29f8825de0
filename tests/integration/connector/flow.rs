//! Senders: who may bind, who gets how much, and what wakes them.
use budstikke::domain::TenantId;
use budstikke::simulator::{self, Smsc, Submit};
use budstikke::smpp::CommandStatus;
use budstikke::smpp::client::BindError;
use budstikke::smpp::session::CloseReason;
use budstikke::smpp::vendor::NO_CREDIT;
use uuid::Uuid;

use super::stage::{Stage, message, part, settings, status, tenant_of, until};
use crate::support::postgres::Databases;

async fn smsc() -> Smsc {
    Smsc::start(simulator::Options::default()).await.expect("an SMSC")
}

async fn tenants(databases: &Databases, count: usize) -> Vec<TenantId> {
    let mut tenants = Vec::new();
    for number in 0..count {
        tenants.push(databases.tenant(&format!("tenant-{number}")).await);
    }
    tenants
}

async fn submitted(smsc: &Smsc, count: usize) -> Vec<Submit> {
    until("submits at the upstream", async || Some(smsc.submits(0)).filter(|submits| submits.len() >= count)).await
}

fn count(submits: &[Submit], tenant: TenantId) -> usize {
    submits.iter().filter(|submit| tenant_of(submit) == tenant).count()
}

#[tokio::test]
async fn tenants_share_by_weight_and_the_rate_is_never_exceeded() {
    let databases = Databases::start().await;
    let tenants = tenants(&databases, 4).await;
    let shares = [(tenants[0], 1), (tenants[1], 3), (tenants[2], 4), (tenants[3], 1)];
    let smsc = smsc().await;
    let stage = Stage::start(databases, &shares, settings(smsc.address().port())).await;
    let (one, three, late, small) = (
        stage.sender(tenants[0]).await,
        stage.sender(tenants[1]).await,
        stage.sender(tenants[2]).await,
        stage.sender(tenants[3]).await,
    );
    stage.bound(1).await;
    one.send_plain(10_000);
    three.send_plain(10_000);

    // Who asked first may have had all of the first half second.
    let first = submitted(&smsc, 225).await;
    let steady = &first[25..225];
    let of_one = count(steady, one.tenant);
    assert!((45..=55).contains(&of_one), "weight 1 beside 3 has {of_one} of 200");

    // A third joins: its share is half; 50 is one second.
    let before = smsc.submits(0).len();
    late.send_plain(10_000);
    let then = submitted(&smsc, before + 150).await;
    let of_late = count(&then[before..before + 50], late.tenant);
    assert!(of_late >= 10, "{of_late} of 50 in the first second");
    let of_late = count(&then[before + 50..before + 150], late.tenant);
    assert!((45..=55).contains(&of_late), "weight 4 of 8 has {of_late} of 100");

    // One message beside tens of thousands goes within a second.
    let before = smsc.submits(0).len();
    small.send([message(small.tenant, 0)]);
    let then = submitted(&smsc, before + 50).await;
    assert_eq!(count(&then[before..before + 50], small.tenant), 1);

    // What comes in a second here is spread by what else the machine does; over the whole time the rate holds.
    let all = smsc.submits(0);
    let (first, last) = (all[0].at_ms, all[all.len() - 1].at_ms);
    let most = 50 * (last - first) / 1000 + 51;
    assert!(i64::try_from(all.len()).expect("a count") <= most, "{} in {} ms", all.len(), last - first);
    stage.running.stop().await;
}

#[tokio::test]
async fn one_tenant_gets_its_part_of_the_rate_at_most_and_the_others_get_the_rest() {
    let databases = Databases::start().await;
    let tenants = tenants(&databases, 3).await;
    let shares = [(tenants[0], 18), (tenants[1], 1), (tenants[2], 1)];
    let smsc = smsc().await;
    let settings =
        budstikke::config::connector::Settings { tenant_rate_millis: Some(20_000), ..settings(smsc.address().port()) };
    let stage = Stage::start(databases, &shares, settings).await;
    let (heavy, one, other) =
        (stage.sender(tenants[0]).await, stage.sender(tenants[1]).await, stage.sender(tenants[2]).await);
    stage.bound(1).await;

    // Alone: 20 of 50 a second. What comes in a second here is spread by what else the machine does; over the whole time it holds.
    heavy.send_plain(10_000);
    let alone = submitted(&smsc, 80).await;
    let most = 20 * (alone[alone.len() - 1].at_ms - alone[0].at_ms) / 1000 + 21;
    assert!(i64::try_from(alone.len()).expect("a count") <= most, "{} in {most}", alone.len());

    // By weight it would have nine tenths. It has its two fifths, and so the others have all of the rest.
    one.send_plain(10_000);
    other.send_plain(10_000);
    let before = smsc.submits(0).len();
    let then = submitted(&smsc, before + 250).await;
    let steady = &then[before + 50..before + 250];
    let (of_heavy, of_one, of_other) =
        (count(steady, heavy.tenant), count(steady, one.tenant), count(steady, other.tenant));
    assert!((74..=86).contains(&of_heavy), "{of_heavy} of 200");
    assert!(of_one.abs_diff(of_other) <= 4, "{of_one} and {of_other}");

    // The owner's word reaches a running connector.
    stage.configure(|config| config.settings.tenant_rate_millis = None);
    let before = smsc.submits(0).len();
    let then = submitted(&smsc, before + 250).await;
    let of_heavy = count(&then[before + 50..before + 250], heavy.tenant);
    assert!(of_heavy >= 170, "weight 18 of 20 has {of_heavy} of 200");
    stage.running.stop().await;
}

#[tokio::test]
async fn forty_senders_wait_for_a_slow_route_and_all_are_served() {
    let databases = Databases::start().await;
    let tenants = tenants(&databases, 40).await;
    let shares: Vec<_> = tenants.iter().map(|tenant| (*tenant, 1)).collect();
    let smsc = smsc().await;
    let stage = Stage::start(databases, &shares, settings(smsc.address().port())).await;
    let mut senders = Vec::new();
    for tenant in &tenants {
        senders.push(stage.sender(*tenant).await);
    }
    for sender in &senders {
        sender.send_plain(2);
    }
    for sender in &senders {
        let outcomes = sender.settled(2).await;
        assert!(outcomes.iter().all(|outcome| status(outcome) == Some(CommandStatus::EsmeRok)), "{outcomes:?}");
    }
    // In turn: nobody has both of theirs long before everybody has one.
    let submits = smsc.submits(0);
    let early: std::collections::BTreeSet<_> = submits[..55].iter().map(tenant_of).collect();
    assert_eq!(early.len(), 40);
    stage.running.stop().await;
}

#[tokio::test]
async fn the_newest_epoch_stays_and_older_ones_are_refused() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let stranger = databases.tenant("stranger").await;
    let smsc = smsc().await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    stage.bound(1).await;
    let refused = async |tenant, epoch| match stage.bind(tenant, epoch).await {
        Err(BindError::Refused(status)) => Some(status),
        _ => None,
    };
    let second = until("a bind", async || stage.bind(tenant, 2).await.ok()).await;
    assert_eq!(refused(tenant, 1).await, Some(CommandStatus::EsmeRbindfail));
    let third = stage.bind(tenant, 3).await.expect("a newer one");
    assert_eq!(second.closed().await, CloseReason::PeerUnbound);
    third.send_plain(1);
    assert_eq!(status(&third.settled(1).await[0]), Some(CommandStatus::EsmeRok));

    // The database knows of a newer one that has not bound yet.
    stage.run("insert into sender_epoch (tenant_id, epoch) values ($1, 7)", tenant).await;
    stage.run("select pg_notify('budstikke_change', 'tenant:' || $1)", tenant).await;
    assert_eq!(third.closed().await, CloseReason::PeerUnbound);
    assert_eq!(refused(tenant, 6).await, Some(CommandStatus::EsmeRbindfail));

    // The certificate says who it is.
    assert!(matches!(
        stage.bind_as(stranger, &format!("t{tenant}"), 9).await,
        Err(BindError::Refused(CommandStatus::EsmeRinvsysid))
    ));
    assert_eq!(refused(stranger, 1).await, Some(CommandStatus::EsmeRsyserr), "it has no share of the route");
    stage.bind(tenant, 7).await.expect("the newest one");
    stage.running.stop().await;
}

#[tokio::test]
async fn wake_ups_reach_the_sender_they_are_for() {
    let databases = Databases::start().await;
    let tenants = tenants(&databases, 2).await;
    let smsc = smsc().await;
    let shares = [(tenants[0], 1), (tenants[1], 1)];
    let stage = Stage::start(databases, &shares, settings(smsc.address().port())).await;
    let (one, other) = (stage.sender(tenants[0]).await, stage.sender(tenants[1]).await);
    // Until the connector listens, notifications go by.
    until("a wake-up", async || {
        stage.run("select pg_notify('budstikke_wake', '0,' || $1)", one.tenant).await;
        (one.wakes() > 0).then_some(())
    })
    .await;
    let before = (one.wakes(), other.wakes());
    stage.run("select pg_notify('budstikke_wake', $1::text)", one.tenant).await;
    until("a wake-up", async || (one.wakes() > before.0).then_some(())).await;
    assert_eq!(other.wakes(), before.1, "the other is let be");
    stage.running.stop().await;
}

#[tokio::test]
async fn submits_without_credit_are_refused() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let smsc = smsc().await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    assert_eq!(status(&sender.session.request(message(tenant, 1)).await), Some(NO_CREDIT));
    assert_eq!(smsc.stats().submitted, 0);
    stage.running.stop().await;
}

#[tokio::test]
async fn parts_go_in_order_and_without_what_is_ours() {
    let databases = Databases::start().await;
    let tenants = tenants(&databases, 2).await;
    let smsc = Smsc::start(simulator::Options {
        behaviour: simulator::Behaviour { latency_ms: 20, ..simulator::Behaviour::default() },
        ..simulator::Options::default()
    })
    .await
    .expect("an SMSC");
    let shares = [(tenants[0], 1), (tenants[1], 1)];
    let stage = Stage::start(
        databases,
        &shares,
        budstikke::config::connector::Settings {
            binds: 2,
            rate_millis: 500_000,
            window: 2,
            ..settings(smsc.address().port())
        },
    )
    .await;
    let (long, short) = (stage.sender(tenants[0]).await, stage.sender(tenants[1]).await);
    stage.bound(2).await;
    long.send(
        (0..20)
            .flat_map(|number| {
                let id = Uuid::now_v7();
                (1..=3).map(move |of| (number, id, of))
            })
            .map(|(number, id, of)| part(tenants[0], number, id, of, 3)),
    );
    short.send_plain(60);
    long.settled(60).await;
    short.settled(60).await;
    let submits = smsc.submits(0);
    assert!(submits.iter().all(|submit| submit.tlvs.iter().all(|tag| *tag < 0x1400)), "our parameters stay here");
    for number in 0..20 {
        let destination = format!("45{:06}{number:06}", tenants[0].0);
        let parts: Vec<_> = submits.iter().filter(|submit| submit.destination == destination).collect();
        let order: Vec<_> = parts.iter().map(|submit| submit.short_message.as_str()).collect();
        assert_eq!(order, ["01", "02", "03"], "message {number}");
    }
    stage.running.stop().await;
}
