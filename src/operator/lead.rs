//! What the leader does: reconcile the four kinds of every namespace, close accounts whose Tenants are gone, keep the coming
//! days' partitions there, and have what must be gone go.
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::controller::{Scope, run};
use super::world::World;
use super::{Args, expiry, idle, maintenance, restored, rotation, route, vanished};
use crate::crd::{BillingPlan, RetentionPolicy, SmsRoute, Tenant};

/// What has begun may take this long to end.
const DRAIN: Duration = Duration::from_secs(20);

/// Leads until `stop`, then ends what has begun.
pub(super) async fn lead(context: &Arc<Context>, worlds: &[Arc<World>], args: &Arc<Args>, stop: CancellationToken) {
    context.metrics.leading.set(1);
    let mut tasks = JoinSet::new();
    // First: an account or a key that is made in a restored database may be another's.
    restored::look(context).await;
    for world in worlds {
        tasks.spawn(serve(Arc::clone(context), Arc::clone(world), Arc::clone(args), stop.clone()));
    }
    tasks.spawn(maintenance::run(Arc::clone(context), stop.clone()));
    tasks.spawn(expiry::run(Arc::clone(context), stop.clone()));
    tasks.spawn(restored::run(Arc::clone(context), worlds.to_vec(), Arc::clone(args), stop.clone()));
    tasks.spawn(rotation::run(Arc::clone(context), stop.clone()));
    tasks.spawn(idle::run(Arc::clone(context), worlds.to_vec(), stop.clone()));
    tasks.spawn(route::follow_upstreams(Arc::clone(context), worlds.to_vec(), stop.clone()));
    tracing::info!("leading");
    stop.cancelled().await;
    if tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("some reconciliations did not end in time");
    }
    context.metrics.leading.set(0);
    context.metrics.kek_behind.set(0);
}

/// One namespace, from the moment on that everything in it was listed: what was not seen yet is not gone. The others do
/// not wait for it.
async fn serve(context: Arc<Context>, world: Arc<World>, args: Arc<Args>, stop: CancellationToken) {
    tokio::select! {
        () = world.synced() => {}
        () = stop.cancelled() => return,
    }
    let work = world.queues.open();
    let scope = Arc::new(Scope { world: Arc::clone(&world), context });
    let mut tasks = JoinSet::new();
    tasks.spawn(run::<RetentionPolicy>(Arc::clone(&scope), world.policies.clone(), work.policies));
    tasks.spawn(run::<BillingPlan>(Arc::clone(&scope), world.plans.clone(), work.plans));
    tasks.spawn(run::<SmsRoute>(Arc::clone(&scope), world.routes.clone(), work.routes));
    tasks.spawn(run::<Tenant>(Arc::clone(&scope), world.tenants.clone(), work.tenants));
    let begin = Arc::clone(&world);
    tasks.spawn(async move {
        for target in begin.everything() {
            begin.queues.push(&begin.namespace, target).await;
        }
    });
    let watching = stop.clone();
    tasks.spawn(async move { vanished::run(&scope, &args, watching).await });
    stop.cancelled().await;
    world.queues.close();
    while tasks.join_next().await.is_some() {}
}
