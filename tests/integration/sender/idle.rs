//! What a tenant costs the database that has nothing to send, as PostgreSQL itself counts it.
use std::time::Duration;

use budstikke::domain::MessageState;
use budstikke::sender::Pace;
use sqlx::PgPool;

use super::world::World;
use crate::support::postgres::Databases;

/// Looks into the queue that are watched.
const LOOKS: i64 = 4;
/// What one of them asks: whether it may send, what is urgent, what else there is, and when the next scheduled one is due.
const QUESTIONS: i64 = 4;

/// Looks, statements of all kinds, and connections of the tenant's login.
async fn cost(superuser: &PgPool, tenant: i64) -> (i64, i64, i64) {
    let asked = "with login as (select ('bst_' || $1)::regrole::oid as id)
        select coalesce(sum(calls) filter (where query like '%sender_gate%'), 0)::bigint, coalesce(sum(calls), 0)::bigint,
               (select count(*) from pg_stat_activity, login where usesysid = id)
        from login left join stats.pg_stat_statements on userid = id";
    sqlx::query_as(asked).bind(tenant).fetch_one(superuser).await.expect("what it costs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_sender_looks_once_a_minute_and_holds_no_connection_between() {
    let pace = Pace::default();
    assert!(pace.poll.0 >= Duration::from_secs(60) && pace.lull * 4 < pace.poll.0, "{pace:?}");

    let preload = "shared_preload_libraries=pg_stat_statements";
    let databases = Databases::bare_with(&["fsync=off", "full_page_writes=off", preload]).await;
    databases.migrate().await.expect("migrate");
    let superuser = databases.data.pool("postgres");
    for statement in ["create schema stats", "create extension pg_stat_statements schema stats"] {
        sqlx::query(statement).execute(&superuser).await.expect("count statements");
    }
    // The same in less time.
    let mut world = World::on(databases, 1, 100).await;
    (world.pace.poll, world.pace.lull) = ((Duration::from_secs(2), Duration::from_secs(2)), Duration::from_millis(200));
    let tenant = world.tenant.0;
    let sender = world.start();
    world.queue(1, "Hej").await;
    world.connectors[0].wake();
    world.all(MessageState::Delivered, 1).await;
    world.until("no connection", async || (cost(&superuser, tenant).await.2 == 0).then_some(())).await;
    sqlx::query("select stats.pg_stat_statements_reset()").execute(&superuser).await.expect("count anew");

    for look in 1..=LOOKS {
        // None of it is the next one's: its statements are counted only when they have ended.
        let (looks, statements) = world
            .until("a look, and no connection after it", async || {
                let (looks, statements, connections) = cost(&superuser, tenant).await;
                (looks >= look && connections == 0).then_some((looks, statements))
            })
            .await;
        assert_eq!(statements, looks * QUESTIONS, "in {looks} looks");
    }
    // It is there all the same.
    world.queue(1, "Hej igen").await;
    world.connectors[0].wake();
    world.all(MessageState::Delivered, 2).await;
    sender.stop().await;
}
