//! A database that is gone and has not said so.
use budstikke::domain::MessageState;

use super::world::World;
use crate::support::relay::Relay;

/// A machine that loses its power says nothing: what it was asked is never answered, and nothing breaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_goes_on_when_its_connections_have_died_silently() {
    let mut world = World::new(1, 100).await;
    let relay = world.go_through(|url| Relay::start("sender", url));
    let sender = world.start();
    world.queue(1, "Hej").await;
    world.connectors[0].wake();
    world.all(MessageState::Delivered, 1).await;

    let mut barrier = world.owner.begin().await.expect("a transaction");
    sqlx::query("lock table flight in share mode").execute(&mut *barrier).await.expect("a lock");
    world.queue(1, "Hej igen").await;
    world.connectors[0].wake();
    let asked =
        "select count(*) from pg_locks where not granted and relation = 'flight'::regclass and $1::bigint is not null
        and database = (select oid from pg_database where datname = current_database())";
    world.until("a flight that waits", async || (world.number(asked).await > 0).then_some(())).await;
    relay.lose();
    barrier.rollback().await.expect("unlocked");

    world.all(MessageState::Delivered, 2).await;
    assert_eq!(world.connectors[0].state().written.len(), 2, "each once");
    world.no_flights().await;
    sender.stop().await;
}
