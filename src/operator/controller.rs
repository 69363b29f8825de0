//! Runs the reconciliations of one kind in one namespace: each object once at a time, a bounded number of objects at
//! once, failures again after a while. The steps of a kind are in its own folder.
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc::Receiver;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Action, Config, Error, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::backoff::jittered;
use super::conditions::Standing;
use super::context::Context;
use super::failure::Failure;
use super::labels::PAUSED;
use super::status::{self, HasStatus};
use super::world::World;

/// Reconciliations of one kind in one namespace at once; all together are bounded by the context's permits.
const CONCURRENCY: u16 = 32;
/// How often an object is looked at without any event: heals what no watch shows, such as the database.
const RESYNC: Duration = Duration::from_secs(600);

/// How long one reconciliation may take.
const LONGEST: Duration = Duration::from_secs(60);

/// A kind that is reconciled.
pub(super) trait Controlled:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Brings the world in line with the object, and its status in line with the world. What it returns is the longest
    /// time until it wants to be asked again.
    fn reconcile(&self, scope: &Scope) -> impl Future<Output = Result<Duration, Failure>> + Send;
}

/// Where a reconciliation happens.
pub(super) struct Scope {
    pub(super) world: Arc<World>,
    pub(super) context: Arc<Context>,
}

impl Scope {
    /// A Secret as the API has it now.
    pub(super) async fn read_secret(&self, name: &str) -> Result<Option<Secret>, Failure> {
        let api = Api::<Secret>::namespaced(self.context.client.clone(), &self.world.namespace);
        api.get_opt(name).await.map_err(|source| Failure::ReadSecret { name: name.to_owned(), source })
    }

    /// A Secret that the operator made. What the watch has not brought yet is asked for: a password must not be drawn
    /// anew because news travel slowly.
    pub(super) async fn own_secret(&self, name: &str) -> Result<Option<Arc<Secret>>, Failure> {
        match self.world.get(&self.world.children.secrets, name) {
            Some(secret) => Ok(Some(secret)),
            None => Ok(self.read_secret(name).await?.map(Arc::new)),
        }
    }
}

/// Works off `work` until it is closed and everything begun is done.
pub(super) async fn run<K: Controlled>(scope: Arc<Scope>, store: Store<K>, work: Receiver<ObjectRef<K>>) {
    let work = work.map(Ok::<_, Infallible>);
    let context = Arc::clone(&scope.context);
    let config = Config::default().concurrency(CONCURRENCY);
    applier(|object, scope| reconcile::<K>(object, scope).boxed(), again, scope, store, work, config)
        .for_each(|done| {
            if let Err(Error::ObjectNotFound(gone)) = done {
                let gone = key_of(&gone.dyntype.kind, gone.namespace.as_deref(), &gone.name);
                context.backoff.forget(&gone);
                context.told.forget(&gone);
            }
            std::future::ready(())
        })
        .await;
}

async fn reconcile<K: Controlled>(object: Arc<K>, scope: Arc<Scope>) -> Result<Action, Failure> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let object = scope.context.told.newest(object);
    if is_paused(&*object) {
        status::stand(&scope, &*object, &Standing::Paused).await?;
        return Ok(Action::await_change());
    }
    // Never closed; without a permit there would be no bound, so nothing is done.
    let Ok(_permit) = scope.context.permits.acquire().await else { return Ok(Action::await_change()) };
    let began = Instant::now();
    let result = bounded(LONGEST, object.reconcile(&scope)).await;
    let kind = K::kind(&());
    let failed = result.as_ref().err().map(Failure::label);
    scope.context.metrics.reconciled(kind_label(&kind), began.elapsed(), failed);
    match result {
        Ok(wait) => {
            scope.context.backoff.forget(&key(&*object));
            Ok(Action::requeue(jittered(wait.min(RESYNC))))
        }
        Err(failure) => {
            if !failure.is_quiet() {
                // With what the reconciliation itself has told before it failed.
                let object = scope.context.told.newest(Arc::clone(&object));
                status::report(&scope, &*object, &failure).await;
            }
            Err(failure)
        }
    }
}

/// Nothing that hangs keeps an object, and a permit that others wait for, for ever.
async fn bounded(
    longest: Duration,
    work: impl Future<Output = Result<Duration, Failure>>,
) -> Result<Duration, Failure> {
    tokio::time::timeout(longest, work).await.unwrap_or(Err(Failure::TimedOut))
}

fn again<K: Controlled>(object: Arc<K>, failure: &Failure, scope: Arc<Scope>) -> Action {
    let wait = scope.context.backoff.failed(key(&*object));
    if failure.is_quiet() {
        tracing::debug!(object = key(&*object), %failure, "left alone");
    } else {
        tracing::warn!(object = key(&*object), %failure, ?wait, "cannot reconcile yet");
    }
    Action::requeue(wait)
}

fn is_paused<K: Resource>(object: &K) -> bool {
    object.annotations().get(PAUSED).is_some_and(|paused| paused == "true")
}

/// What an object is remembered by.
pub(super) fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    key_of(&K::kind(&()), object.namespace().as_deref(), &object.name_any())
}

fn key_of(kind: &str, namespace: Option<&str>, name: &str) -> String {
    format!("{kind} {}/{name}", namespace.unwrap_or_default())
}

fn kind_label(kind: &str) -> &'static str {
    match kind {
        "Tenant" => "Tenant",
        "SmsRoute" => "SmsRoute",
        "RetentionPolicy" => "RetentionPolicy",
        _ => "BillingPlan",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_hangs_is_given_up() {
        let hung = bounded(Duration::ZERO, std::future::pending()).await;
        assert!(matches!(hung, Err(Failure::TimedOut)));
        let done = bounded(LONGEST, std::future::ready(Ok(RESYNC))).await;
        assert!(matches!(done, Ok(RESYNC)));
    }
}
