//! Where scenarios run: beside others, or alone when they take down what all share. What a scenario made is removed after
//! it; of one that failed, pods and logs are shown first.
use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt as _;
use tokio::sync::{OnceCell, RwLock};

use super::world::World;
use super::{helm, report};
use crate::delivery;

static SHARED: RwLock<()> = RwLock::const_new(());
static BASICS: OnceCell<bool> = OnceCell::const_new();

/// Whether one SMS of one tenant arrives at all; tried once.
pub(crate) async fn basics() -> bool {
    let try_it = async || AssertUnwindSafe(run("basics", delivery::one_sms, unchanged)).catch_unwind().await.is_ok();
    *BASICS.get_or_init(try_it).await
}

async fn assert_basics() {
    assert!(basics().await, "not even one SMS is delivered: see delivery::an_sms_is_delivered_with_its_receipt");
}

/// Runs a scenario that disturbs nobody.
pub(crate) async fn beside_others(name: &str, body: impl AsyncFnOnce(&World)) {
    assert_basics().await;
    let _shared = SHARED.read().await;
    run(name, body, unchanged).await;
}

/// Runs a scenario that takes shared parts down, or measures rates.
pub(crate) async fn alone(name: &str, body: impl AsyncFnOnce(&World)) {
    assert_basics().await;
    let _mine = SHARED.write().await;
    run(name, body, unchanged).await;
}

/// Runs a scenario alone that changes the chart's release. Whatever came of it, the release is as before afterwards.
pub(crate) async fn changing_the_release(name: &str, body: impl AsyncFnOnce(&World)) {
    assert_basics().await;
    let _mine = SHARED.write().await;
    run(name, body, async |_: &World| helm::install(&[]).await).await;
}

async fn unchanged(_: &World) {}

async fn run(name: &str, body: impl AsyncFnOnce(&World), restore: impl AsyncFnOnce(&World)) {
    let world = World::open(name).await;
    let outcome = AssertUnwindSafe(body(&world)).catch_unwind().await;
    if outcome.is_err() {
        report::failure(&world).await;
    }
    let restored = AssertUnwindSafe(restore(&world)).catch_unwind().await;
    world.clear().await;
    if let Err(panic) = outcome.and(restored) {
        resume_unwind(panic);
    }
}
