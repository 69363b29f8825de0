//! Messages that wait: none needs a key after its date (D2).
use std::collections::BTreeSet;

use budstikke::domain::{LocalError, MessageState, RouteId};
use budstikke::store::results::{self, SentPart, Settled};

use super::*;

/// A message accepted on a day that waits: for its time, or held.
async fn waits(world: &World, day: Date, log_days: u32, state: MessageState) -> Uuid {
    partitions::ensure(&world.owner, day).await.expect("partitions");
    world.keyring.provide(world.tenant, day, day, log_days).await.expect("keys");
    let key = world.keyring.queue_key(world.tenant, day).await.expect("a key").name().to_owned();
    let log_key = match log_days {
        0 => None,
        _ => Some(world.keyring.log_key(world.tenant, day).await.expect("a key").name().to_owned()),
    };
    let id = MessageId::new(noon(day)).0;
    sqlx::query(
        "insert into queue (tenant_id, message_id, batch_id, state, day, not_before, expires_at, parts, amount, queue_key, body,
                            log_key, entry)
         values ($1, $2, $2, $3, $4, '2100-01-01', '2100-01-01', 1, 0, $5, '\\x00', $6, case when $6 is not null then '\\x00'::bytea end)",
    )
    .bind(world.tenant.0)
    .bind(id)
    .bind(state.code())
    .bind(day.to_sqlx() as SqlDate)
    .bind(key)
    .bind(log_key)
    .execute(&world.owner)
    .await
    .expect("accepted");
    id
}

/// How a message ended; `None` while it waits.
async fn end(world: &World, id: Uuid) -> Option<(i16, Option<i32>)> {
    let logged =
        sqlx::query_as("select state, error from message_log where message_id = $1 and final_at is not null").bind(id);
    let logged = logged.fetch_optional(&world.owner).await.expect("looked up");
    let waiting: bool = sqlx::query_scalar("select exists (select from queue where message_id = $1)")
        .bind(id)
        .fetch_one(&world.owner)
        .await
        .expect("looked up");
    assert_ne!(waiting, logged.is_some(), "it is in one of the two");
    logged
}

const EXPIRED: Option<(i16, Option<i32>)> = Some((MessageState::Expired as i16, Some(LocalError::TooLate as i32)));

#[tokio::test]
async fn what_waits_too_long_is_ended_before_its_key_goes() {
    let world = World::new().await;
    let held = waits(&world, DAY, 89, MessageState::Held).await;
    let scheduled = waits(&world, DAY, 89, MessageState::Queued).await;
    let last = DAY.saturating_add(37.days());
    assert_eq!(world.run(last).await.expect("run").messages, 0);
    let last = last.saturating_add(1.day());
    assert_eq!(world.run(last).await.expect("run").messages, 2);
    assert_eq!((end(&world, held).await, end(&world, scheduled).await), (EXPIRED, EXPIRED));
    world.fresh_keyring().queue_key(world.tenant, DAY).await.expect("its key is there until the day after");
    world.run(last.saturating_add(1.day())).await.expect("run");
    let missing = world.fresh_keyring().queue_key(world.tenant, DAY).await;
    assert!(matches!(missing, Err(KeyError::KeyMissing { .. })));
}

#[tokio::test]
async fn it_is_ended_with_the_beginning_of_the_day_also_when_clocks_change() {
    let world = World::new().await;
    // Their keys go on 29 March and on 1 November: they are ended on days of 23 and 25 hours.
    for (gone_on, before, begins) in [
        (date(2027, 3, 29), "2027-03-27T22:59:59Z", "2027-03-27T23:00:00Z"),
        (date(2027, 11, 1), "2027-10-30T21:59:59Z", "2027-10-30T22:00:00Z"),
    ] {
        let id = waits(&world, gone_on.saturating_sub(39.days()), 89, MessageState::Held).await;
        world.run_at(at(before)).await.expect("run");
        assert_eq!(end(&world, id).await, None, "{before}");
        world.run_at(at(begins)).await.expect("run");
        assert_eq!(end(&world, id).await, EXPIRED, "{begins}");
    }
}

#[tokio::test]
async fn what_flew_when_its_sender_went_for_good_ends_as_of_unknown_fate() {
    let world = World::new().await;
    let id = waits(&world, DAY, 89, MessageState::Queued).await;
    sqlx::query("insert into flight (tenant_id, flight_id, epoch, route_id, message_ids) values ($1, gen_random_uuid(), 1, 1, array[$2])")
        .bind(world.tenant.0)
        .bind(id)
        .execute(&world.owner)
        .await
        .expect("in flight");
    let last = DAY.saturating_add(38.days());
    assert_eq!(world.run(last).await.expect("run").waiting, 1);
    assert_eq!(end(&world, id).await, None, "its sender may be about to end it");
    world.run(last.saturating_add(1.day())).await.expect("run");
    assert_eq!(end(&world, id).await, Some((MessageState::Unknown as i16, Some(LocalError::TooLate as i32))));
    assert_eq!(world.count("select count(*) from usage").await, 0, "what nobody knows of is not billed");
    world.run(last.saturating_add(60.days())).await.expect("run");
    assert_eq!(world.logged().await, 0, "nothing keeps its day from going");
}

#[tokio::test]
async fn what_was_taken_is_billed_once_though_its_sender_comes_back_after_the_end() {
    let world = World::new().await;
    let id = waits(&world, DAY, 89, MessageState::Queued).await;
    let flight = Uuid::now_v7();
    sqlx::query(
        "insert into flight (tenant_id, flight_id, epoch, route_id, message_ids) values ($1, $2, 1, 1, array[$3])",
    )
    .bind(world.tenant.0)
    .bind(flight)
    .bind(id)
    .execute(&world.owner)
    .await
    .expect("in flight");
    world.run(DAY.saturating_add(39.days())).await.expect("run");
    assert_eq!(end(&world, id).await.map(|(state, _)| state), Some(MessageState::Unknown as i16));

    let sender = budstikke::store::connect(&world.databases.sender_login(world.tenant).await, 1, "sender");
    let taken = noon(DAY.saturating_add(37.days()));
    let part = SentPart { part: 1, state: MessageState::Sent, error: None, upstream_id: "u".into(), tag: 7, at: taken };
    let settled = Settled {
        id: MessageId(id),
        state: MessageState::Sent,
        error: None,
        route: Some(RouteId(1)),
        parts: vec![part],
        final_at: None,
        several: false,
    };
    // The commit of the first is in doubt.
    for _ in 0..2 {
        results::settle(&sender, std::slice::from_ref(&settled), &[flight]).await.expect("settled");
        sqlx::query(
            "insert into flight (tenant_id, flight_id, epoch, route_id, message_ids) values ($1, $2, 1, 1, array[$3])",
        )
        .bind(world.tenant.0)
        .bind(flight)
        .bind(id)
        .execute(&world.owner)
        .await
        .expect("in flight");
        assert_eq!(world.count("select count(*) from usage where month = '2027-01-01'").await, 1);
    }
    let told = "select count(*) from message_log where state = 2 and upstream_id = 'u' and tag = 7 and error is null";
    assert_eq!(world.count(told).await, 1, "and its receipt finds it");
}

#[tokio::test]
async fn of_a_batch_each_message_has_its_own_parts_whether_it_waited_or_had_ended() {
    let world = World::new().await;
    let ended = waits(&world, DAY, 89, MessageState::Queued).await;
    let flight = "insert into flight (tenant_id, flight_id, epoch, route_id, message_ids) values ($1, gen_random_uuid(), 1, 1, array[$2])";
    sqlx::query(flight).bind(world.tenant.0).bind(ended).execute(&world.owner).await.expect("in flight");
    world.run(DAY.saturating_add(39.days())).await.expect("run");
    let (two, one) = (DAY.saturating_add(40.days()), DAY.saturating_add(41.days()));
    let waiting =
        [waits(&world, two, 89, MessageState::Queued).await, waits(&world, one, 89, MessageState::Queued).await];

    let settled = |id: Uuid, parts: u8| Settled {
        id: MessageId(id),
        state: MessageState::Sent,
        error: None,
        route: Some(RouteId(1)),
        parts: (1..=parts)
            .map(|part| SentPart {
                part,
                state: MessageState::Sent,
                error: None,
                upstream_id: format!("{id}/{part}").into(),
                tag: 7,
                at: noon(two),
            })
            .collect(),
        final_at: None,
        several: parts > 1,
    };
    let batch = [settled(ended, 2), settled(waiting[1], 1), settled(waiting[0], 3)];
    let sender = budstikke::store::connect(&world.databases.sender_login(world.tenant).await, 1, "sender");
    results::settle(&sender, &batch, &[]).await.expect("settled");
    let parts: Vec<(Uuid, i16, SqlDate, String)> =
        sqlx::query_as("select message_id, part, day, upstream_id from message_part order by day, part")
            .fetch_all(&world.owner)
            .await
            .expect("parts");
    let of = |id: Uuid, part: u8, day: Date| (id, i16::from(part), day.to_sqlx() as SqlDate, format!("{id}/{part}"));
    let (late, long) = (|part| of(ended, part, DAY), |part| of(waiting[0], part, two));
    assert_eq!(parts, [late(1), late(2), long(1), long(2), long(3)]);
    // Each was accepted as one part, whatever a route's style made of it.
    let billed: Vec<(Uuid, i16)> =
        sqlx::query_as("select message_id, part from usage").fetch_all(&world.owner).await.expect("usage");
    assert_eq!(BTreeSet::from_iter(billed), BTreeSet::from([(ended, 1), (waiting[0], 1), (waiting[1], 1)]));
    assert_eq!(world.count("select count(*) from message_log where state = 2").await, 3);
}

#[tokio::test]
async fn a_policy_that_is_shortened_leaves_what_is_scheduled_its_key_and_its_end() {
    let world = World::new().await;
    let id = waits(&world, DAY, 89, MessageState::Queued).await;
    store::keep(&world.pool, world.tenant, Kept { days: 89, shortened_at: None }).await.expect("kept");
    let today = DAY.saturating_add(20.days());
    let shorter = Wanted { days: 10, opted_out: false, confirmed_before: Some(today) };
    let step = shortened::follow(&world.pool, &world.keyring, world.tenant, shorter, noon(today), today).await;
    assert!(matches!(step.expect("followed"), Step::Erase(..)));
    world.run(today).await.expect("run");
    assert_eq!(end(&world, id).await, None, "it is still to be sent");
    assert_eq!(world.run(today).await.expect("run").waiting_kept, 1, "and is counted, since it keeps its key");
    let fresh = world.fresh_keyring();
    fresh.queue_key(world.tenant, DAY).await.expect("and its sender can read it");
    assert!(matches!(fresh.log_key(world.tenant, DAY).await, Err(KeyError::KeyMissing { .. })), "history cannot");
    let run = world.run(DAY.saturating_add(38.days())).await.expect("run");
    assert_eq!(world.count("select count(*) from queue").await, 0);
    assert_eq!(world.logged().await, 0, "it has ended, and is older than the log is kept now");
    assert_eq!((run.waiting_kept, run.keys), (0, 1), "nothing needs its key any more");
}
