//! Looks every few seconds whether a database was restored, marks every minute how far the data has come, and tells: Tenants say
//! so in their status, a metric and an event on the Lease say it to people. The database itself does the closing.
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Args;
use super::context::Context;
use super::world::World;
use crate::crd::conditions::reasons;
use crate::retention::restored;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// Between two marks.
const MARK: Duration = Duration::from_secs(60);

/// What to do about it, for people.
pub(super) const TODO: &str = "a database was restored, so messages are accepted and wait: `budstikke restored`, run in the \
     operator's pod, tells what was lost and how to release the queue";

/// One look, before anything is made or changed by what the databases say.
pub(super) async fn look(context: &Context) {
    match restored::look(&context.pool, &context.keyring).await {
        Ok(stands) => {
            let since = stands.closed_since;
            context.metrics.sending_closed.set(i64::from(since.is_some()));
            let changed = context.closed_since.send_if_modified(|before| std::mem::replace(before, since) != since);
            if changed && since.is_some() {
                // What was brought back must go before anything else.
                context.expire_now.notify_one();
            }
        }
        Err(error) => tracing::warn!(%error, "it is not known whether a database was restored"),
    }
}

/// Looks and marks until `stop`.
pub(super) async fn run(context: Arc<Context>, worlds: Vec<Arc<World>>, args: Arc<Args>, stop: CancellationToken) {
    let mut told = context.closed_since.subscribe();
    told.mark_changed();
    let mut mark_at = Instant::now();
    loop {
        look(&context).await;
        if told.has_changed().unwrap_or(false) {
            let since = *told.borrow_and_update();
            tell(&context, &worlds, &args, since).await;
        }
        if Instant::now() >= mark_at {
            mark_at = Instant::now() + MARK;
            if let Err(error) = restored::mark(&context.pool, &context.keyring).await {
                tracing::warn!(%error, "how far the data has come is not marked");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Every status says it, and an event where sending is closed.
async fn tell(context: &Context, worlds: &[Arc<World>], args: &Args, since: Option<Timestamp>) {
    for world in worlds {
        for target in world.everything() {
            world.queues.push(&world.namespace, target).await;
        }
    }
    let Some(since) = since else { return };
    let event = Event {
        type_: EventType::Warning,
        reason: reasons::RESTORED.to_owned(),
        note: Some(format!("sending is closed since {since:.0}: {TODO}")),
        action: "CloseSending".to_owned(),
        secondary: None,
    };
    let lease = ObjectReference {
        api_version: Some("coordination.k8s.io/v1".to_owned()),
        kind: Some("Lease".to_owned()),
        name: Some(args.lease.clone()),
        namespace: Some(args.namespace.clone()),
        ..ObjectReference::default()
    };
    if let Err(error) = context.recorder.publish(&event, &lease).await {
        tracing::debug!(%error, "an event could not be told");
    }
}
