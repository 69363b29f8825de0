//! A sender between a real database and a connector that does what a test wants.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use budstikke::domain::{Clock as _, LocalError, MessageState, SystemClock};
use budstikke::sender::End;
use budstikke::smpp::{CommandStatus, vendor};
use budstikke::store::claim::{self, Beginner};
use jiff_sqlx::ToSqlx as _;
use rusmpp::values::MessageState as Reported;
use uuid::Uuid;

use connector::Fate;
use world::{Running, World};

mod connector;
mod failover;
mod idle;
mod priority;
mod routing;
mod silent;
mod world;

const BILLED: &str = "select count(*) from usage where tenant_id = $1";

/// Waits until a sender that starts now has asked for the place and not got it.
async fn waits_for_its_turn(world: &World, start: impl FnOnce() -> Running) -> Running {
    let (now, running) = (SystemClock.now(), start());
    let asks =
        "select exists (select from pg_stat_activity where query like '%sender_begin%' and pid <> pg_backend_pid()
        and datname = current_database() and query_start > $1)";
    let asked = async || {
        sqlx::query_scalar::<_, bool>(asks).bind(now.to_sqlx()).fetch_one(&world.owner).await.expect("an answer")
    };
    world.until("it has asked", async || asked().await.then_some(())).await;
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_sent_logged_billed_and_delivered() {
    let world = World::new(1, 100).await;
    let sender = world.start();
    world.queue(300, "Hej").await;
    world.connectors[0].wake();
    world.all(MessageState::Delivered, 300).await;
    world.no_flights().await;
    assert_eq!(world.number(BILLED).await, 300);
    let whole = "select count(*) from message_log where tenant_id = $1 and upstream_id like 'up-%' and tag is not null
        and submitted_at is not null and final_at is not null and route_id is not null and entry = '\\x01'";
    assert_eq!(world.number(whole).await, 300);
    assert_eq!(world.connectors[0].state().written.len(), 300, "each once");
    assert_eq!(sender.stop().await, End::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_sender_holds_no_connection_and_wakes_up() {
    let mut world = World::new(1, 100).await;
    world.pace.poll = (Duration::from_secs(3600), Duration::from_secs(3600));
    let sender = world.start();
    let bound = async || (!world.connectors[0].state().is_unbound()).then_some(());
    world.until("a session", bound).await;
    world.queue(1, "Hej").await;
    world.connectors[0].wake();
    world.all(MessageState::Delivered, 1).await;
    let connections = "select count(*) from pg_stat_activity where application_name = 'sender-test'
        and datname = current_database() and $1::bigint is not null";
    world.until("no connection", async || (world.number(connections).await == 0).then_some(())).await;
    world.queue(1, "Hej igen").await;
    world.connectors[0].wake();
    world.all(MessageState::Delivered, 2).await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_text_is_final_with_its_last_receipt() {
    let world = World::new(1, 100).await;
    let connector = &world.connectors[0];
    connector.script(|part| match part.part {
        2 => Fate::Taken(Some(Reported::Undeliverable)),
        _ => Fate::Taken(Some(Reported::Delivered)),
    });
    let sender = world.start();
    let failing = world.queue(20, &"x".repeat(400)).await;
    world.all(MessageState::Failed, 20).await;
    connector.script(|_| Fate::Taken(Some(Reported::Delivered)));
    world.queue(20, &"ж".repeat(100)).await;
    world
        .until("20 delivered", async || (world.tally().await.get(&MessageState::Delivered) == Some(&20)).then_some(()))
        .await;
    assert_eq!(world.number(BILLED).await, 20 * 3 + 20 * 2);
    assert_eq!(world.number("select count(*) from message_part where tenant_id = $1").await, 100);
    let states = world.states().await;
    assert!(failing.iter().all(|id| states[id] == MessageState::Failed));
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_may_come_before_its_answer() {
    let world = World::new(1, 20).await;
    world.connectors[0].script(|_| Fate::ReceiptFirst(Reported::Delivered));
    let sender = world.start();
    world.queue(50, "Hej").await;
    world.all(MessageState::Delivered, 50).await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_whose_message_is_not_known_yet_is_asked_for_again() {
    const LOCK: &str = "lock table message_log in access exclusive mode";
    let waiting = "select count(*) from pg_locks where not granted and relation = 'message_log'::regclass
        and $1::bigint is not null";
    let world = World::new(1, 20).await;
    let connector = &world.connectors[0];
    connector.script(|_| Fate::LateAfterReceipt(Reported::Delivered));
    let sender = world.start();
    world.until("a session", async || (!connector.state().is_unbound()).then_some(())).await;
    let mut first = world.owner.begin().await.expect("a transaction");
    sqlx::query(LOCK).execute(&mut *first).await.expect("a lock");
    world.queue(1, "Hej").await;
    let waiters = async |what: &str, count| {
        world.until(what, async || (world.number(waiting).await == count).then_some(())).await;
    };
    waiters("the receipt is asked for", 1).await;
    // Behind that question, and before the next one.
    let owner = world.owner.clone();
    let second = tokio::spawn(async move {
        let mut second = owner.begin().await.expect("a transaction");
        sqlx::query(LOCK).execute(&mut *second).await.expect("a lock");
        second
    });
    waiters("the second lock", 2).await;
    first.rollback().await.expect("unlocked");
    let second = second.await.expect("no panic");
    waiters("it is asked for again", 1).await;
    connector.answer_late();
    waiters("the answer is to be stored", 2).await;
    second.rollback().await.expect("unlocked");
    world.all(MessageState::Delivered, 1).await;
    assert_eq!(connector.state().refused_receipts, 0, "the connector had to keep it");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_final_and_not_billed() {
    let world = World::new(1, 20).await;
    world.connectors[0].script(|_| Fate::Refused(CommandStatus::EsmeRinvdstadr));
    let sender = world.start();
    world.queue(10, "Hej").await;
    world.all(MessageState::Rejected, 10).await;
    world.no_flights().await;
    assert_eq!(world.number(BILLED).await, 0);
    assert_eq!(world.number("select count(*) from message_log where tenant_id = $1 and error = 11").await, 10);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_tried_again_until_it_has_passed() {
    for status in [CommandStatus::EsmeRthrottled, vendor::NOT_WRITTEN, vendor::NO_CREDIT, CommandStatus::EsmeRsyserr] {
        let world = World::new(1, 5).await;
        let mut refusals = 4;
        world.connectors[0].script(move |_| {
            refusals -= 1;
            if refusals >= 0 { Fate::Refused(status) } else { Fate::Taken(Some(Reported::Delivered)) }
        });
        let sender = world.start();
        world.queue(20, "Hej").await;
        world.all(MessageState::Delivered, 20).await;
        assert_eq!(world.connectors[0].state().written.len(), 20, "{status:?}: each once");
        world.no_flights().await;
        sender.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_route_cannot_take_goes_by_the_next() {
    let world = World::new(2, 10).await;
    world.connectors[0].script(|_| Fate::Refused(vendor::NOT_WRITTEN));
    let sender = world.start();
    world.queue(50, "Hej").await;
    world.all(MessageState::Delivered, 50).await;
    assert_eq!(world.connectors[1].state().written.len(), 50);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_route_serves_while_the_first_is_away() {
    let mut world = World::new(2, 10).await;
    let first = world.connectors.remove(0);
    drop(first);
    let sender = world.start();
    world.queue(20, &"x".repeat(200)).await;
    world.all(MessageState::Delivered, 20).await;
    assert_eq!(world.connectors[0].state().written.len(), 40);
    let route = world.routes[1].0;
    let by_second = "select count(distinct route_id) * 1000000 + max(route_id) from message_part where tenant_id = $1";
    assert_eq!(world.number(by_second).await, 1_000_000 + route);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedule_and_validity_are_honoured() {
    let world = World::new(1, 10).await;
    let sender = world.start();
    let now = jiff::Timestamp::now();
    let (second, hour) = (jiff::SignedDuration::from_millis(1500), jiff::SignedDuration::from_hours(1));
    let later = world.queue_with(3, "Senere", Some(now + second), now + hour).await;
    let stale = world.queue_with(3, "For sent", None, now - second).await;
    world.queue(3, "Nu").await;
    let both = HashMap::from([(MessageState::Delivered, 6), (MessageState::Expired, 3)]);
    world.until("6 delivered, 3 expired", async || (world.tally().await == both).then_some(())).await;
    assert!(jiff::Timestamp::now() >= now + second);
    let states = world.states().await;
    assert!(later.iter().all(|id| states[id] == MessageState::Delivered));
    assert!(stale.iter().all(|id| states[id] == MessageState::Expired));
    assert_eq!(world.number(BILLED).await, 6);
    let errors = "select coalesce(sum(error), 0) from message_log where tenant_id = $1";
    assert_eq!(world.number(errors).await, 3 * i64::from(LocalError::TooLate.code()));
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_midway_nothing_more_is_claimed_and_lifted_it_goes_on() {
    let world = World::new(1, 100).await;
    let sender = world.start();
    world.queue(6_000, "Hej").await;
    world.connectors[0].wake();
    world.until("a beginning", async || (world.connectors[0].state().written.len() > 500).then_some(())).await;
    world.enforce("update enforcement set may_send = false where tenant_id = $1").await;
    let flights = "select coalesce(sum(cardinality(message_ids)), 0)::bigint from flight where tenant_id = $1";
    let sent = world.connectors[0].state().written.len();
    let begun = world.number(flights).await;
    world.no_flights().await;
    let after = world.connectors[0].state().written.len();
    assert!(after < 6_000, "it was suspended in the middle");
    assert!(
        after - sent <= usize::try_from(begun).expect("few") + 200,
        "{sent} sent, {begun} begun, then {after} sent"
    );
    let queued = world.tally().await[&MessageState::Queued];
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.tally().await[&MessageState::Queued], queued, "nothing is claimed");
    assert_eq!(world.connectors[0].state().written.len(), after, "nothing is sent");
    world.enforce("update enforcement set may_send = true where tenant_id = $1").await;
    world.all(MessageState::Delivered, 6_000).await;
    assert_eq!(world.connectors[0].state().written.len(), 6_000, "each once");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_the_hours_in_which_messages_go_out_they_wait() {
    let world = World::new(1, 10).await;
    // Every day but today, whatever hour it is; then every hour of today.
    let closed = "update enforcement set window_from = 0, window_until = 1440, window_days = array(
        select d::smallint from generate_series(1, 7) d where d <> extract(isodow from now() at time zone 'Europe/Copenhagen')
    ) where tenant_id = $1";
    world.enforce(closed).await;
    world.queue(5, "Hej").await;
    let sender = world.start();
    world.connectors[0].wake();
    let begun = "select epoch from sender_epoch where tenant_id = $1";
    world.until("it has begun", async || (world.number(begun).await > 0).then_some(())).await;
    let open = "select count(*) from enforcement e where tenant_id = $1 and within_window(e)";
    assert_eq!(world.number(open).await, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.tally().await, HashMap::from([(MessageState::Queued, 5)]));
    assert_eq!(world.connectors[0].state().written.len(), 0, "nothing is sent");
    world.enforce("update enforcement set window_days = '{}' where tenant_id = $1").await;
    world.connectors[0].wake();
    world.all(MessageState::Delivered, 5).await;
    sender.stop().await;
    // In one transaction, in which it is always the same minute.
    let mut transaction = world.owner.begin().await.expect("begin");
    for (from, until, is_open) in [(0, 1, 1), (-1, 0, 0), (1, 2, 0), (-5, 5, 1)] {
        let change = "update enforcement set (window_from, window_until) = (
            select m + $2, m + $3 from (
                select extract(hour from l) * 60 + extract(minute from l) from (select now() at time zone 'Europe/Copenhagen') t (l)
            ) t (m)
        ) where tenant_id = $1";
        let change = sqlx::query(change).bind(world.tenant.0).bind(from).bind(until);
        change.execute(&mut *transaction).await.expect("enforced");
        let found: i64 =
            sqlx::query_scalar(open).bind(world.tenant.0).fetch_one(&mut *transaction).await.expect("an answer");
        assert_eq!(found, is_open, "{from} to {until} minutes from now");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_unknown_fates_are_held_where_that_is_the_policy() {
    let world = World::new(1, 10).await;
    world.enforce("update enforcement set crash_policy = 'hold' where tenant_id = $1").await;
    world.connectors[0].script(|_| Fate::Silence);
    world.queue(100, "Hej").await;
    let sender = world.start();
    world.until("a window", async || (world.connectors[0].state().written.len() == 10).then_some(())).await;
    sender.kill().await;
    world.connectors[0].script(|_| Fate::Taken(Some(Reported::Delivered)));
    let sender = world.start();
    let both = HashMap::from([(MessageState::Delivered, 90), (MessageState::Held, 10)]);
    world.until("90 delivered, 10 held", async || (world.tally().await == both).then_some(())).await;
    world.no_flights().await;
    assert_eq!(world.connectors[0].state().written.len(), 100, "each once");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flight_that_keeps_crashing_its_sender_is_set_aside() {
    let world = World::new(1, 10).await;
    world.connectors[0].script(|_| Fate::Silence);
    world.queue(10, "Hej").await;
    for round in 1..=7 {
        let sender = world.start();
        let begun = async || {
            let held = world.tally().await.contains_key(&MessageState::Held);
            (held || world.connectors[0].state().written.len() == round * 10).then_some(())
        };
        world.until("another attempt", begun).await;
        sender.kill().await;
    }
    world.all(MessageState::Held, 10).await;
    world.no_flights().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_over_is_given_again_where_the_answer_was_lost() {
    let world = World::new(1, 10).await;
    let (database, ids) = (world.login(), world.queue(3, "Hej").await);
    let begin = async || claim::begin(&database, Beginner::ALONE).await.expect("begun").expect("an epoch");
    let (first, wanted) = (begin().await, ids.iter().map(|id| id.0).collect::<Vec<_>>());
    claim::launch(&database, first, Uuid::from_u128(7), world.routes[0], &wanted).await.expect("launched");
    let second = begin().await;
    for time in 1..=7 {
        let (adopted, held) = claim::adopt(&database, second, false, 5).await.expect("adopted");
        let given: Vec<_> = adopted.iter().map(|flight| flight.ids.as_slice()).collect();
        assert_eq!((given, held), (vec![ids.as_slice()], 0), "asked {time} times");
    }
    let attempts = "select sum(attempt)::bigint from flight where tenant_id = $1";
    assert_eq!(world.number(attempts).await, 2, "nothing was submitted meanwhile");
    let sender = world.start();
    world.all(MessageState::Delivered, 3).await;
    world.no_flights().await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_key_is_missing_waits_and_one_that_cannot_be_opened_is_rejected() {
    let world = World::new(1, 10).await;
    world.configure(|config| config.queue_keys[0].name = "queue/2".to_owned());
    let sender = world.start();
    world.queue(5, "Hej").await;
    world.enforce("update queue set body = '\\x00' where tenant_id = $1 and message_id = (select min(message_id::text)::uuid from queue)").await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(world.tally().await, HashMap::from([(MessageState::Queued, 5)]));
    world.configure(|config| config.queue_keys[0].name = "queue/1".to_owned());
    let both = HashMap::from([(MessageState::Delivered, 4), (MessageState::Rejected, 1)]);
    world.until("4 delivered, 1 rejected", async || (world.tally().await == both).then_some(())).await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_pods_one_sends_and_another_takes_over() {
    let world = World::new(1, 10).await;
    world.configure(|config| config.settings.stands_by = true);
    let epoch = "select epoch from sender_epoch where tenant_id = $1";
    let first = world.start();
    world.queue(20, "Hej").await;
    world.all(MessageState::Delivered, 20).await;
    let second = waits_for_its_turn(&world, || world.start()).await;
    world.queue(20, "Hej").await;
    world.connectors[0].wake();
    world.all(MessageState::Delivered, 40).await;
    assert_eq!(world.number(epoch).await, 1, "the first sends");

    assert_eq!(first.stop().await, End::Stopped);
    world.queue(20, "Hej").await;
    world.all(MessageState::Delivered, 60).await;
    assert_eq!(world.number(epoch).await, 2, "the second has taken over");

    let third = world.start();
    second.kill().await;
    world.queue(20, "Hej").await;
    world.all(MessageState::Delivered, 80).await;
    assert_eq!(world.number(epoch).await, 3, "without a word, too");
    assert_eq!(world.connectors[0].state().written.len(), 80, "each once");
    third.stop().await;
}

/// Of two senders of 400 messages the first stops with a full window, and the second begins, after that or before: each message goes
/// once. Gives the second.
async fn hand_over(world: &World, second_begins_first: bool) -> Running {
    let connector = &world.connectors[0];
    connector.script(|_| Fate::Late);
    world.queue(400, "Hej").await;
    let first = world.start_in(Uuid::from_u128(1));
    world.until("its window is full", async || (connector.state().written.len() == 20).then_some(())).await;
    let begin = || waits_for_its_turn(world, || world.start_in(Uuid::from_u128(2)));
    let early = if second_begins_first { Some(begin().await) } else { None };
    first.tell_to_stop();
    let said = "select count(*) from sender_epoch where tenant_id = $1 and alive_until > now()";
    world.until("it keeps its place", async || (world.number(said).await > 0).then_some(())).await;
    let second = match early {
        Some(second) => second,
        None => begin().await,
    };
    connector.script(|_| Fate::Taken(None));
    connector.answer_late();
    assert_eq!(first.ended().await, End::Stopped, "and not superseded");
    world.all(MessageState::Sent, 400).await;
    assert_eq!(connector.state().written.len(), 400, "each went once");
    second
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_told_to_stop_settles_what_is_under_way_before_its_successor_starts() {
    let world = World::new(1, 20).await;
    hand_over(&world, false).await.stop().await;
}

/// Kubernetes may start a pod before it has told the one that it replaces to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_in_another_pod_gives_its_predecessor_a_moment_to_say_that_it_is_alive() {
    let world = World::new(1, 20).await;
    hand_over(&world, true).await.kill().await;

    // Where none will ever say it, it is not waited for long.
    let third = world.start_in(Uuid::from_u128(3));
    world.queue(20, "Hej").await;
    world.all(MessageState::Sent, 420).await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_loses_nothing() {
    let world = World::new(1, 20).await;
    world.queue(2_000, "Hej").await;
    for round in 1..=4 {
        let sender = world.start();
        let written = async || (world.connectors[0].state().written.len() >= round * 300).then_some(());
        world.until("messages flow", written).await;
        sender.kill().await;
    }
    let sender = world.start();
    world.all(MessageState::Delivered, 2_000).await;
    world.no_flights().await;
    assert_eq!(world.number(BILLED).await, 2_000, "each billed once");
    let twice = world.connectors[0].state().written.len() - 2_000;
    assert!(twice <= 4 * 20, "{twice} went twice: at most a window a crash");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_breaks_in_the_middle_loses_nothing() {
    let world = World::new(1, 20).await;
    let sender = world.start();
    world.queue(2_000, "Hej").await;
    world.connectors[0].wake();
    for round in 1..=4 {
        let written = async || (world.connectors[0].state().written.len() >= round * 300).then_some(());
        world.until("messages flow", written).await;
        world.connectors[0].break_sessions();
    }
    world.all(MessageState::Delivered, 2_000).await;
    world.no_flights().await;
    assert_eq!(world.number(BILLED).await, 2_000, "each billed once");
    sender.stop().await;
}

/// Not a promise, a figure to read: the sender, the stand-in and PostgreSQL share this machine with other tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_fast_it_is() {
    const MESSAGES: usize = 10_000;
    let world = World::new(1, 1_000).await;
    world.queue(MESSAGES, "Hej").await;
    let began = Instant::now();
    let sender = world.start();
    world.all(MessageState::Delivered, MESSAGES).await;
    let rate = MESSAGES as f64 / began.elapsed().as_secs_f64();
    eprintln!("sender: {rate:.0} messages/s, claimed, submitted, logged, billed and delivered");
    sender.stop().await;
}
