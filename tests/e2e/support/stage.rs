//! Where scenarios run: beside others, or alone when they take down what all share. What a scenario made is removed after
//! it; of one that failed, pods and logs are shown first.
use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt as _;
use tokio::sync::{OnceCell, RwLock};

use super::report;
use super::world::World;
use crate::delivery;

static SHARED: RwLock<()> = RwLock::const_new(());
static BASICS: OnceCell<bool> = OnceCell::const_new();

/// Whether one SMS of one tenant arrives at all; tried once.
pub(crate) async fn basics() -> bool {
    *BASICS.get_or_init(async || AssertUnwindSafe(run("basics", delivery::one_sms)).catch_unwind().await.is_ok()).await
}

/// Runs a scenario that disturbs nobody.
pub(crate) async fn beside_others(name: &str, body: impl AsyncFnOnce(&World)) {
    assert!(basics().await, "not even one SMS is delivered: see delivery::an_sms_is_delivered_with_its_receipt");
    let _shared = SHARED.read().await;
    run(name, body).await;
}

/// Runs a scenario that takes shared parts down, or measures rates.
pub(crate) async fn alone(name: &str, body: impl AsyncFnOnce(&World)) {
    assert!(basics().await, "not even one SMS is delivered: see delivery::an_sms_is_delivered_with_its_receipt");
    let _mine = SHARED.write().await;
    run(name, body).await;
}

async fn run(name: &str, body: impl AsyncFnOnce(&World)) {
    let world = World::open(name).await;
    let outcome = AssertUnwindSafe(body(&world)).catch_unwind().await;
    if outcome.is_err() {
        report::failure(&world).await;
    }
    world.clear().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}
