//! Urgent messages overtake the tenant's others, and finding them costs no more in a long queue.
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use budstikke::domain::MessageState;
use rusmpp::values::MessageState as Reported;

use super::connector::Fate;
use super::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_urgent_message_overtakes_what_was_read_before_it_came() {
    let world = World::new(1, 4).await;
    let connector = &world.connectors[0];
    // The backlog is read as far as a sender reads ahead, and four of it are under way.
    let late = Arc::new(Mutex::new(HashSet::new()));
    let remembered = Arc::clone(&late);
    connector.script(move |part| {
        remembered.lock().expect("not poisoned").insert(part.message);
        Fate::Late
    });
    world.queue(1_200, "Nyhedsbrev").await;
    let sender = world.start();
    world.until("a window", async || (connector.state().written.len() == 4).then_some(())).await;
    let urgent = world.queue(2, "Din kode er 4711").await;
    world.hurry(&urgent).await;
    let scheduled = world.queue_with(
        1,
        "Kode",
        Some(jiff::Timestamp::now()),
        jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1),
    );
    let scheduled = scheduled.await;
    world.hurry(&scheduled).await;
    connector.wake();
    // Four at a time go on, each time one looks.
    let written = async || {
        connector.answer_late();
        let written: Vec<_> = connector.state().written.iter().map(|part| part.message).collect();
        urgent.iter().map(|id| written.iter().position(|written| *written == id.0)).collect::<Option<Vec<_>>>()
    };
    let places = world.until("the urgent ones", written).await;
    assert!(places.iter().all(|place| *place < 250), "before the sender reads on: {places:?}");
    connector.script(|_| Fate::Taken(Some(Reported::Delivered)));
    // Those that went until then have no receipt.
    let late = late.lock().expect("not poisoned").len();
    let all = HashMap::from([(MessageState::Delivered, 1_203 - late), (MessageState::Sent, late)]);
    let sent = async || {
        connector.answer_late();
        (world.tally().await == all).then_some(())
    };
    world.until("all", sent).await;
    let written = connector.state().written.len();
    assert_eq!(written, 1_203, "each once");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urgent_messages_are_found_by_an_index_of_their_own() {
    let world = World::new(1, 4).await;
    world.queue(2_000, "Nyhedsbrev").await;
    let urgent = world.queue(3, "Kode").await;
    world.hurry(&urgent).await;
    let plan = "explain (analyze, buffers off, costs off, timing off, summary off)
        select message_id from queue where tenant_id = $1 and message_id > '00000000-0000-0000-0000-000000000000'
        and state = 0 and urgent and not_before is null order by message_id limit 500";
    let lines: Vec<String> =
        sqlx::query_scalar(plan).bind(world.tenant.0).fetch_all(&world.owner).await.expect("a plan");
    let plan = lines.join("\n");
    assert!(plan.contains("queue_urgent") && plan.contains("rows=3"), "{plan}");
}
