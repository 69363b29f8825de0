//! A tenant that has nothing to send has no pods; its next message starts them (M1, K3).
use budstikke::crd::Tenant;
use serde_json::json;

use crate::support::caller::numbers;
use crate::support::shell::psql;
use crate::support::stage;
use crate::support::wait::{eventually, holds};
use crate::support::world::{SOON, World};

/// Looks at the database's sessions, a tenth of a second apart, while a tenant is idle.
const LOOKS: i64 = 300;

/// A sender that is awake with nothing to do holds no connection; half a minute has at most one of its looks into the queue.
async fn assert_costs_nothing(world: &World, tenant: &str) {
    let account = world.look::<Tenant>(tenant).await.expect("the Tenant")["status"]["accountId"].clone();
    let login = format!("bst_{account}");
    let none = format!("select count(*) from pg_stat_activity where usename = '{login}'");
    eventually("its sender gives back its connections", SOON, async || {
        let sessions = psql(&[&none]).await?;
        holds(sessions == ["0"], sessions)
    })
    .await;
    // What a session sees of the others stays as it was at first, unless it asks anew.
    let watch = format!(
        "do $$ begin for look in 1..{LOOKS} loop
            insert into seen select look, pid, backend_start from pg_stat_activity where usename = '{login}';
            perform pg_stat_clear_snapshot(), pg_sleep(0.1);
        end loop; end $$"
    );
    let told = "select count(distinct look), count(distinct (pid, begun)) from seen";
    let seen = psql(&["create temp table seen (look int, pid int, begun timestamptz)", &watch, told]).await;
    let seen = seen.expect("what was seen");
    println!("idle tenant: looks with a connection of it, and connections, in {} s: {seen:?}", LOOKS / 10);
    let [looks, sessions] =
        seen[0].split('|').map(|count| count.parse::<i64>().expect("a count")).collect::<Vec<_>>()[..]
    else {
        panic!("{seen:?}")
    };
    assert!(looks <= LOOKS / 20 && sessions <= 1, "{sessions} connections, seen {looks} times of {LOOKS}");
}

#[tokio::test]
async fn a_sender_goes_to_zero_after_its_idle_time_and_comes_back_with_the_next_message() {
    stage::beside_others("idle", async |world| {
        let smsc = world.smsc(&[]).await;
        let route = world.route("main", &smsc, |_| {}).await;
        let tenant = world.tenant("tenant", &[&route], |spec| spec["sender"]["idleSeconds"] = json!(60)).await;
        world.tenant_ready(&tenant).await;
        let caller = world.caller(&tenant).await;
        let first = caller.send(&numbers(1, 1)).await;
        caller.until(first.messages[0], "delivered", SOON).await;
        assert_costs_nothing(world, &tenant).await;

        world.asleep(&tenant).await;
        let asleep = world.condition::<Tenant>(&tenant, "SenderReady", "True").await;
        assert_eq!(asleep["reason"], "Idle", "{asleep}");
        let ready = world.condition::<Tenant>(&tenant, "Ready", "True").await;
        assert_eq!(ready["status"], "True", "nothing is missing: {ready}");

        let next = caller.send(&numbers(2, 1)).await;
        caller.until(next.messages[0], "delivered", SOON).await;
    })
    .await;
}
