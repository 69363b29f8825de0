//! The upstream: lost and found, throttling, silent, with other credentials; and what its senders are told.
use std::time::Duration;

use budstikke::config::connector::{Bind, Settings};
use budstikke::domain::Secret;
use budstikke::simulator::{Behaviour, Change, Options, Smsc};
use budstikke::smpp::CommandStatus;
use budstikke::smpp::session::Outcome;
use budstikke::smpp::vendor::{NOT_WRITTEN, WRITTEN_UNANSWERED};

use super::stage::{Sender, Stage, message, settings, status, until};
use crate::support::postgres::Databases;

async fn smsc(options: Options) -> Smsc {
    Smsc::start(options).await.expect("an SMSC")
}

/// Sends again what was not written, as a sender does, until all of `count` are accepted or of unknown fate.
pub(super) async fn send_all(sender: &Sender, count: usize) -> Vec<Outcome> {
    let mut settled = 0;
    sender.send_plain(count);
    until("all submits", async || {
        let outcomes = sender.outcomes();
        let again = outcomes[settled..].iter().filter(|outcome| status(outcome) == Some(NOT_WRITTEN)).count();
        settled = outcomes.len();
        sender.send((0..again).map(|number| message(sender.tenant, 1_000 + number)));
        let known = |outcome: &&Outcome| status(outcome) != Some(NOT_WRITTEN);
        Some(outcomes.iter().filter(known).cloned().collect::<Vec<_>>()).filter(|known| known.len() >= count)
    })
    .await
}

#[tokio::test]
async fn an_smsc_that_dies_and_comes_back_costs_nothing_but_the_unanswered() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let behaviour = Behaviour { latency_ms: 50, ..Behaviour::default() };
    let first = smsc(Options { behaviour: behaviour.clone(), ..Options::default() }).await;
    let address = first.address();
    let stage = Stage::start(databases, &[(tenant, 1)], settings(address.port())).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;

    let (outcomes, (accepted, second)) = tokio::join!(send_all(&sender, 150), async {
        until("some submits", async || (first.stats().submitted >= 20).then_some(())).await;
        let stats = first.stats();
        first.stop().await;
        stage.bound(0).await;
        let again = Options { listen: address, behaviour, ..Options::default() };
        let second = until("the port", async || Smsc::start(again.clone()).await.ok()).await;
        (stats.accepted, second)
    });
    let of = |wanted| outcomes.iter().filter(|outcome| status(outcome) == Some(wanted)).count();
    let (ok, unanswered) = (of(CommandStatus::EsmeRok), of(WRITTEN_UNANSWERED));
    assert_eq!(ok + unanswered, 150, "each is settled, and none refused");
    assert!(unanswered <= 10, "at most a window: {unanswered}");
    let taken = accepted + second.stats().accepted;
    let most = (ok + unanswered) as u64 + 10;
    assert!((ok as u64..=most).contains(&taken), "{taken} taken, {ok} known of: nothing was sent twice");
    stage.running.stop().await;
}

#[tokio::test]
async fn throttled_submits_go_again_and_none_is_lost() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let behaviour = Behaviour { throttle_percent: 5, ..Behaviour::default() };
    let smsc = smsc(Options { behaviour, ..Options::default() }).await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    sender.send_plain(60);
    let outcomes = sender.settled(60).await;
    assert!(outcomes.iter().all(|outcome| status(outcome) == Some(CommandStatus::EsmeRok)), "{outcomes:?}");
    let stats = smsc.stats();
    assert_eq!(stats.accepted, 60);
    assert!(stats.throttled >= 3, "{}", stats.throttled);
    stage.running.stop().await;
}

#[tokio::test]
async fn refusals_are_told_as_the_upstream_gave_them() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let behaviour = Behaviour { error_percent: 100, ..Behaviour::default() };
    let smsc = smsc(Options { behaviour, ..Options::default() }).await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    sender.send_plain(1);
    assert_eq!(status(&sender.settled(1).await[0]), Some(CommandStatus::EsmeRsubmitfail));
    stage.running.stop().await;
}

#[tokio::test]
async fn a_silent_upstream_makes_the_fate_unknown() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let behaviour = Behaviour { stall: true, ..Behaviour::default() };
    let smsc = smsc(Options { behaviour, ..Options::default() }).await;
    let settings = Settings { response_millis: 300, ..settings(smsc.address().port()) };
    let stage = Stage::start(databases, &[(tenant, 1)], settings).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    sender.send_plain(3);
    let outcomes = sender.settled(3).await;
    assert!(outcomes.iter().all(|outcome| status(outcome) == Some(WRITTEN_UNANSWERED)), "{outcomes:?}");
    assert_eq!(smsc.stats().submitted, 3, "none was sent again");
    stage.running.stop().await;
}

#[tokio::test]
async fn without_a_bind_nothing_is_credited_and_nothing_written() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let behaviour = Behaviour { latch: true, ..Behaviour::default() };
    let smsc = smsc(Options { behaviour, ..Options::default() }).await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    let sender = stage.sender(tenant).await;
    until("attempts", async || (smsc.stats().binds_refused >= 3).then_some(())).await;
    let refused = async || status(&sender.session.request(message(tenant, 1)).await);
    assert_eq!(refused().await, Some(NOT_WRITTEN), "it may go elsewhere");
    sender.send_plain(5);
    smsc.behave(&Change { latch: Some(false), ..Change::default() });
    let outcomes = sender.settled(5).await;
    assert!(outcomes.iter().all(|outcome| status(outcome) == Some(CommandStatus::EsmeRok)), "{outcomes:?}");
    stage.running.stop().await;
}

#[tokio::test]
async fn other_credentials_never_take_more_binds_than_allowed() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let smsc = smsc(Options { max_binds: 2, ..Options::default() }).await;
    let settings = Settings { binds: 2, rate_millis: 200_000, ..settings(smsc.address().port()) };
    let stage = Stage::start(databases, &[(tenant, 1)], settings).await;
    let sender = stage.sender(tenant).await;
    stage.bound(2).await;
    let binds = |system: &str| smsc.stats().per_system.get(system).map_or(0, |system| system.binds);
    for name in ["second", "third", "fourth"] {
        stage.configure(|config| config.system_id = Secret::new(name));
        let (_, outcomes) =
            tokio::join!(until("both binds anew", async || (binds(name) == 2).then_some(())), send_all(&sender, 50),);
        assert!(outcomes.iter().all(|outcome| status(outcome) == Some(CommandStatus::EsmeRok)), "{outcomes:?}");
        sender.state.outcomes.lock().expect("a lock").clear();
    }
    let stats = smsc.stats();
    assert_eq!((stats.binds_refused, stats.binds, stats.bound), (0, 2, 8), "a third bind would have been refused");
    stage.running.stop().await;
}

#[tokio::test]
async fn wrong_credentials_cost_one_bind_and_not_the_route() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let smsc = smsc(Options { password: Some("secret".to_owned()), ..Options::default() }).await;
    let settings = Settings { binds: 2, ..settings(smsc.address().port()) };
    let stage = Stage::start(databases, &[(tenant, 1)], settings).await;
    let sender = stage.sender(tenant).await;
    stage.bound(2).await;
    stage.configure(|config| config.password = Secret::new("wrong"));
    until("refusals", async || (smsc.stats().binds_refused >= 3).then_some(())).await;
    assert_eq!(smsc.stats().binds, 1);
    sender.send_plain(5);
    sender.settled(5).await;
    stage.configure(|config| config.password = Secret::new("secret"));
    stage.bound(2).await;
    stage.running.stop().await;
}

#[tokio::test]
async fn a_pair_of_binds_sends_on_one_and_receives_on_the_other() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let smsc = smsc(Options::default()).await;
    let settings = Settings { bind: Bind::Separate, ..settings(smsc.address().port()) };
    let stage = Stage::start(databases, &[(tenant, 1)], settings).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    assert_eq!(smsc.stats().binds, 2);
    sender.send_plain(1);
    until("a receipt", async || sender.receipts().pop()).await;
    // One half lost takes the other along, and both come back.
    smsc.behave(&Change { drop_connections: true, ..Change::default() });
    until("both anew", async || (smsc.stats().bound == 4 && smsc.stats().binds == 2).then_some(())).await;
    stage.running.stop().await;
}

#[tokio::test]
async fn rate_and_number_of_binds_change_while_it_runs() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let smsc = smsc(Options::default()).await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    stage.configure(|config| {
        config.settings.binds = 3;
        config.settings.rate_millis = 400_000;
    });
    stage.bound(3).await;
    sender.send_plain(800);
    sender.settled(800).await;
    assert!(smsc.stats().busiest_second > 51, "no longer 50 a second");
    stage.configure(|config| config.settings.binds = 1);
    stage.bound(1).await;
    until("fewer binds", async || (smsc.stats().binds == 1).then_some(())).await;
    stage.running.stop().await;
}

#[tokio::test]
async fn a_connector_that_stops_settles_what_is_under_way() {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let behaviour = Behaviour { latency_ms: 300, ..Behaviour::default() };
    let smsc = smsc(Options { behaviour, ..Options::default() }).await;
    let stage = Stage::start(databases, &[(tenant, 1)], settings(smsc.address().port())).await;
    let sender = stage.sender(tenant).await;
    stage.bound(1).await;
    sender.send_plain(25);
    until("some submits", async || (smsc.stats().submitted >= 5).then_some(())).await;
    tokio::time::timeout(Duration::from_secs(10), stage.running.stop()).await.expect("it stops");
    let outcomes = sender.outcomes();
    let of = |wanted| outcomes.iter().filter(|outcome| status(outcome) == Some(wanted)).count() as u64;
    assert_eq!(of(CommandStatus::EsmeRok), smsc.stats().submitted, "all that was written is answered");
    assert_eq!(of(CommandStatus::EsmeRok) + of(NOT_WRITTEN), 25 - sender.waiting() as u64);
    assert_eq!(smsc.stats().binds, 0);
}
