//! How a receipt finds its message: by route, upstream id and destination, never by guessing; and what it changes there.
use budstikke::domain::{Clock as _, RouteId, SystemClock, TenantId, copenhagen_day};
use budstikke::store::unheard::{self, Days};
use jiff::SignedDuration;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::support::postgres::Databases;

const SENT: i16 = 2;
const DELIVERED: i16 = 3;
const FAILED: i16 = 4;
const UNKNOWN: i16 = 8;

struct Scene {
    databases: Databases,
    owner: PgPool,
    tenant: TenantId,
    route: RouteId,
    connector: PgPool,
}

impl Scene {
    async fn set() -> Self {
        let databases = Databases::start().await;
        let tenant = databases.tenant("tenant").await;
        let route = databases.route("route", &[(tenant, 1)]).await;
        let connector = budstikke::store::connect(&databases.connector_login(route).await, 2, "test");
        let owner = databases.data.pool("budstikke_owner");
        Self { databases, owner, tenant, route, connector }
    }

    /// A message that was sent `days` ago as these parts.
    async fn sent(&self, tenant: TenantId, upstream_ids: &[&str], days: i32) -> Uuid {
        let mut connection = self.owner.acquire().await.expect("a connection");
        self.store(&mut connection, tenant, upstream_ids, days).await
    }

    async fn store(&self, to: &mut PgConnection, tenant: TenantId, upstream_ids: &[&str], days: i32) -> Uuid {
        let id = Uuid::now_v7();
        let whole = (upstream_ids.len() == 1).then(|| upstream_ids[0]);
        sqlx::query(
            "insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, route_id, upstream_id, tag)
             values ($1, $2, (now() at time zone 'Europe/Copenhagen')::date - $3, $2, $4, $5, 1, $6, $7, 1)",
        )
        .bind(tenant.0)
        .bind(id)
        .bind(days)
        .bind(SENT)
        .bind(i16::try_from(upstream_ids.len()).expect("few"))
        .bind(self.route.0)
        .bind(whole)
        .execute(&mut *to)
        .await
        .expect("log a message");
        for (upstream_id, part) in upstream_ids.iter().zip(1_i16..).filter(|_| whole.is_none()) {
            sqlx::query(
                "insert into message_part (tenant_id, message_id, part, day, state, route_id, upstream_id, tag)
                 select tenant_id, message_id, $2, day, $3, route_id, $4, 1 from message_log where message_id = $1",
            )
            .bind(id)
            .bind(part)
            .bind(SENT)
            .bind(upstream_id)
            .execute(&mut *to)
            .await
            .expect("log a part");
        }
        id
    }

    /// The outcomes of these receipts: 0 unknown, 1 applied, 2 final already.
    async fn receive(&self, receipts: &[(&str, i16)]) -> Vec<i16> {
        let ids: Vec<&str> = receipts.iter().map(|(id, _)| *id).collect();
        let states: Vec<i16> = receipts.iter().map(|(_, state)| *state).collect();
        sqlx::query_scalar(
            "select receipts_apply($1, array_fill(1, array[cardinality($1)]), $2, array_fill(null::integer, array[cardinality($1)]), \
                array_fill(now(), array[cardinality($1)]))",
        )
        .bind(&ids)
        .bind(&states)
        .fetch_one(&self.connector)
        .await
        .expect("apply receipts")
    }

    async fn state(&self, message: Uuid) -> i16 {
        let state = sqlx::query_scalar("select state from message_log where message_id = $1").bind(message);
        state.fetch_one(&self.owner).await.expect("read the state")
    }

    async fn retry(&self) -> (i64, i64, i64) {
        sqlx::query("update parked_receipt set retry_at = now()").execute(&self.owner).await.expect("let time pass");
        sqlx::query_as("select applied, kept, dropped from receipts_retry(100)")
            .fetch_one(&self.connector)
            .await
            .expect("retry")
    }
}

#[tokio::test]
async fn a_receipt_is_applied_once_today_and_within_a_week() {
    let scene = Scene::set().await;
    let (today, other) = (scene.sent(scene.tenant, &["a"], 0).await, scene.sent(scene.tenant, &["b"], 0).await);
    let owner = &scene.owner;
    sqlx::query("select ensure_partitions(current_date - 50, current_date)").execute(owner).await.expect("partitions");
    let (old, too_old) = (scene.sent(scene.tenant, &["c"], 6).await, scene.sent(scene.tenant, &["d"], 45).await);
    // Accepted a month before it was sent.
    let scheduled = [scene.sent(scene.tenant, &["e"], 31).await, scene.sent(scene.tenant, &["f1", "f2"], 31).await];

    let receipts = [("a", DELIVERED), ("c", FAILED), ("d", DELIVERED), ("nobody's", DELIVERED)];
    assert_eq!(scene.receive(&receipts).await, [1, 1, 0, 0]);
    assert_eq!(scene.receive(&[("e", DELIVERED), ("f1", DELIVERED), ("f2", DELIVERED)]).await, [1, 1, 1]);
    for message in scheduled {
        assert_eq!(scene.state(message).await, DELIVERED);
    }
    assert_eq!(
        scene.receive(&[("a", FAILED), ("b", DELIVERED)]).await,
        [2, 1],
        "the first word on a message is the last"
    );
    assert_eq!((scene.state(today).await, scene.state(other).await), (DELIVERED, DELIVERED));
    assert_eq!((scene.state(old).await, scene.state(too_old).await), (FAILED, SENT));
    assert_eq!(scene.receive(&[]).await, Vec::<i16>::new());
}

#[tokio::test]
async fn the_same_receipt_twice_in_one_batch_counts_once() {
    let scene = Scene::set().await;
    let message = scene.sent(scene.tenant, &["a"], 0).await;
    let mut outcomes = scene.receive(&[("a", DELIVERED), ("a", DELIVERED)]).await;
    outcomes.sort_unstable();
    assert_eq!(outcomes, [1, 2]);
    assert_eq!(scene.state(message).await, DELIVERED);
}

#[tokio::test]
async fn a_receipt_that_fits_two_messages_changes_neither() {
    let scene = Scene::set().await;
    let other = scene.databases.tenant("other").await;
    let one = scene.sent(scene.tenant, &["a"], 0).await;
    let two = scene.sent(other, &["a"], 0).await;
    let clear = scene.sent(scene.tenant, &["b"], 0).await;
    assert_eq!(scene.receive(&[("a", DELIVERED), ("b", DELIVERED)]).await, [0, 1]);
    assert_eq!((scene.state(one).await, scene.state(two).await, scene.state(clear).await), (SENT, SENT, DELIVERED));
    let owners: Vec<Option<i64>> = sqlx::query_scalar("select receipt_owners(array['a', 'b', 'c'], array[1, 1, 1])")
        .fetch_one(&scene.connector)
        .await
        .expect("ask for owners");
    assert_eq!(owners, [None, Some(scene.tenant.0), None]);
}

/// What is stored while receipts are being applied is unknown to them: taken for final, its receipt would be lost.
#[tokio::test]
async fn a_message_stored_meanwhile_keeps_its_receipt_for_the_next_try() {
    let scene = Scene::set().await;
    for (stored, coming) in [(&["old"][..], &["new"][..]), (&["old1", "old2"], &["new1", "new2"])] {
        let old = scene.sent(scene.tenant, stored, 0).await;
        let mut storing = scene.owner.begin().await.expect("begin");
        let lock = sqlx::query("select from message_log where message_id = $1 for update").bind(old);
        lock.execute(&mut *storing).await.expect("lock");
        let new = scene.store(&mut storing, scene.tenant, coming, 0).await;
        let commit = async {
            let waits = "select count(*) from pg_locks where not granted and transactionid = pg_current_xact_id()::xid";
            while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut *storing).await.expect("ask") == 0 {
                tokio::task::yield_now().await;
            }
            storing.commit().await.expect("commit");
        };
        let receipts: Vec<(&str, i16)> = [stored, coming].concat().into_iter().map(|id| (id, DELIVERED)).collect();
        let (outcomes, ()) = tokio::join!(scene.receive(&receipts), commit);
        let expected: Vec<i16> = [vec![1; stored.len()], vec![0; coming.len()]].concat();
        assert_eq!(outcomes, expected);
        assert_eq!(scene.receive(&receipts).await[stored.len()..], vec![1; coming.len()]);
        assert_eq!((scene.state(old).await, scene.state(new).await), (DELIVERED, DELIVERED));
    }
}

#[tokio::test]
async fn a_long_message_is_final_with_its_last_part_and_as_bad_as_its_worst() {
    let scene = Scene::set().await;
    let (good, bad) =
        (scene.sent(scene.tenant, &["a1", "a2"], 0).await, scene.sent(scene.tenant, &["b1", "b2", "b3"], 0).await);
    assert_eq!(scene.receive(&[("a1", DELIVERED), ("b1", FAILED), ("b2", DELIVERED)]).await, [1, 1, 1]);
    assert_eq!((scene.state(good).await, scene.state(bad).await), (SENT, SENT));
    assert_eq!(scene.receive(&[("a1", DELIVERED)]).await, [2], "part 1 again does not stand for part 2");
    assert_eq!(scene.state(good).await, SENT);
    assert_eq!(scene.receive(&[("a2", DELIVERED), ("b3", DELIVERED)]).await, [1, 1]);
    assert_eq!((scene.state(good).await, scene.state(bad).await), (DELIVERED, FAILED));
}

#[tokio::test]
async fn a_long_message_is_final_when_its_own_last_part_was_done() {
    let scene = Scene::set().await;
    let (long, other) =
        (scene.sent(scene.tenant, &["a1", "a2"], 0).await, scene.sent(scene.tenant, &["b1", "b2"], 0).await);
    sqlx::query_scalar::<_, Vec<i16>>(
        "select receipts_apply(array['a1', 'a2', 'b1', 'b2'], array[1, 1, 1, 1], array[3, 3, 3, 3]::smallint[],
            array[null, null, null, null]::integer[],
            array['2026-01-01 10:00Z', '2026-01-01 10:05Z', '2026-01-01 11:00Z', '2026-01-01 10:30Z']::timestamptz[])",
    )
    .fetch_one(&scene.connector)
    .await
    .expect("apply");
    for (message, at) in [(long, "10:05"), (other, "11:00")] {
        let done: String = sqlx::query_scalar(
            "select to_char(final_at at time zone 'UTC', 'HH24:MI') from message_log where message_id = $1",
        )
        .bind(message)
        .fetch_one(&scene.owner)
        .await
        .expect("read");
        assert_eq!(done, at);
    }
}

#[tokio::test]
async fn parts_that_are_received_at_once_make_the_message_final() {
    let scene = Scene::set().await;
    for round in 0..5 {
        let ids = [format!("{round}-1"), format!("{round}-2"), format!("{round}-3")];
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let message = scene.sent(scene.tenant, &ids, 0).await;
        let outcomes =
            futures::future::join_all(ids.iter().map(|id| async { scene.receive(&[(id, DELIVERED)]).await })).await;
        assert_eq!(outcomes, [[1], [1], [1]]);
        assert_eq!(scene.state(message).await, DELIVERED, "round {round}");
    }
}

#[tokio::test]
async fn a_receipt_that_came_early_is_parked_and_applied_later() {
    let scene = Scene::set().await;
    let park = "select receipts_park(array['a', 'b'], array[1, 1], array[3, 3]::smallint[], array[null, null]::integer[], array[now(), now()])";
    sqlx::query(park).execute(&scene.connector).await.expect("park");
    let (applied, kept, dropped): (i64, i64, i64) =
        sqlx::query_as("select applied, kept, dropped from receipts_retry(100)")
            .fetch_one(&scene.connector)
            .await
            .expect("retry");
    assert_eq!((applied, kept, dropped), (0, 0, 0), "not due yet");
    assert_eq!(scene.retry().await, (0, 2, 0));

    let message = scene.sent(scene.tenant, &["a"], 0).await;
    assert_eq!(scene.retry().await, (1, 1, 0));
    assert_eq!(scene.state(message).await, DELIVERED);
    sqlx::query("update parked_receipt set parked_at = now() - interval '5 days'")
        .execute(&scene.owner)
        .await
        .expect("age");
    assert_eq!(scene.retry().await, (0, 0, 1), "nobody's, after four days");
    assert_eq!(scene.retry().await, (0, 0, 0));
}

#[tokio::test]
async fn a_receipt_that_never_comes_is_given_up_when_its_route_says_so() {
    let scene = Scene::set().await;
    let owner = &scene.owner;
    sqlx::query("select ensure_partitions(current_date - 50, current_date)").execute(owner).await.expect("partitions");
    sqlx::query("update route set give_up_hours = 10").execute(owner).await.expect("a setting");
    sqlx::query("insert into webhook (tenant_id, webhook_id, events, sealed, secret) values ($1, gen_random_uuid(), '{message.final}', '', '')")
        .bind(scene.tenant.0)
        .execute(owner)
        .await
        .expect("an endpoint");
    sqlx::query("update enforcement set log_days = 90").execute(owner).await.expect("logged");
    let now = SystemClock.now();
    let back = |hours| {
        let then = copenhagen_day(now.saturating_sub(SignedDuration::from_hours(hours)).expect("near"));
        copenhagen_day(now).since(then).expect("near").get_days()
    };
    let submitted = async |ids: &[&str], hours: i64, days: i32| {
        let message = scene.sent(scene.tenant, ids, days).await;
        sqlx::query("update message_log set submitted_at = now() - make_interval(hours => $2) where message_id = $1")
            .bind(message)
            .bind(i32::try_from(hours).expect("few"))
            .execute(owner)
            .await
            .expect("submitted");
        message
    };
    let silent = submitted(&["a"], 11, back(11)).await;
    let long = submitted(&["b1", "b2"], 11, back(11)).await;
    let young = submitted(&["c"], 9, back(9)).await;
    let scheduled = submitted(&["d"], 11, 31).await;
    let heard = submitted(&["e"], 11, back(11)).await;
    let without = submitted(&["f"], 11, back(11)).await;
    sqlx::query("update message_log set final_at = now() where message_id = $1")
        .bind(without)
        .execute(owner)
        .await
        .expect("final");
    assert_eq!(scene.receive(&[("e", FAILED), ("b1", DELIVERED)]).await, [1, 1]);

    let operator = scene.databases.data.pool("budstikke_operator");
    assert_eq!(unheard::give_up(&operator, now, Days::Due).await.expect("given up"), 2);
    assert_eq!(unheard::give_up(&operator, now, Days::Due).await.expect("given up"), 0);
    assert_eq!((scene.state(scheduled).await, scene.state(young).await), (SENT, SENT));
    assert_eq!(unheard::give_up(&operator, now, Days::All).await.expect("given up"), 1, "scheduled long ago");
    for message in [silent, long, scheduled] {
        assert_eq!(scene.state(message).await, UNKNOWN);
    }
    assert_eq!((scene.state(heard).await, scene.state(young).await, scene.state(without).await), (FAILED, SENT, SENT));
    let told: Vec<(Uuid, i16)> =
        sqlx::query_as("select subject, state from webhook_job order by place").fetch_all(owner).await.expect("jobs");
    assert_eq!(told.iter().filter(|(_, state)| *state == UNKNOWN).count(), 3, "{told:?}");

    // It comes after all.
    assert_eq!(scene.receive(&[("a", DELIVERED), ("b2", DELIVERED), ("c", DELIVERED)]).await, [1, 1, 1]);
    assert_eq!(
        (scene.state(silent).await, scene.state(long).await, scene.state(young).await),
        (DELIVERED, DELIVERED, DELIVERED)
    );
}
