//! Writes statuses, only where they differ, and tells events of what changed.
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::conditions::{self, Standing, conditions};
use super::controller::Scope;
use super::failure::Failure;
use crate::crd::conditions::types;
use crate::crd::{
    BillingPlan, BillingPlanStatus, RetentionPolicy, RetentionPolicyStatus, SmsRoute, SmsRouteStatus, Tenant,
    TenantStatus,
};

const MANAGER: &str = "budstikke-operator/status";
/// Conditions whose turns are told as events.
const TOLD: &[&str] = &[types::READY, types::ACTIVE, types::UPSTREAM_READY, types::STALLED, types::SUSPENDED];
/// Of these, the ones that are good when True.
const GOOD: &[&str] = &[types::READY, types::ACTIVE, types::UPSTREAM_READY];
/// The three that summarise the others.
const SUMMARY: &[&str] = &[types::READY, types::RECONCILING, types::STALLED];

/// A kind with conditions.
pub(super) trait HasStatus {
    /// Its status.
    type Status: Clone + Default + PartialEq + Serialize + Send + Sync + 'static;

    /// What the status says now.
    fn told(&self) -> Option<&Self::Status>;
    /// Makes the object say this.
    fn tell(&mut self, status: Option<Self::Status>);
    /// Its conditions.
    fn conditions(status: &Self::Status) -> &[Condition];
    /// The status with other conditions, of this generation.
    fn with(status: Self::Status, generation: i64, conditions: Vec<Condition>) -> Self::Status;
}

macro_rules! has_status {
    ($($kind:ty: $status:ty),+) => {$(
        impl HasStatus for $kind {
            type Status = $status;

            fn told(&self) -> Option<&$status> {
                self.status.as_ref()
            }

            fn tell(&mut self, status: Option<$status>) {
                self.status = status;
            }

            fn conditions(status: &$status) -> &[Condition] {
                &status.conditions
            }

            fn with(mut status: $status, observed_generation: i64, conditions: Vec<Condition>) -> $status {
                status.observed_generation = observed_generation;
                status.conditions = conditions;
                status
            }
        }
    )+};
}

has_status!(
    Tenant: TenantStatus,
    SmsRoute: SmsRouteStatus,
    RetentionPolicy: RetentionPolicyStatus,
    BillingPlan: BillingPlanStatus
);

/// The conditions that an object has now.
pub(super) fn current<K: HasStatus>(object: &K) -> &[Condition] {
    object.told().map(K::conditions).unwrap_or_default()
}

/// Writes the status where it differs, and tells what turned.
pub(super) async fn write<K>(scope: &Scope, object: &K, status: K::Status) -> Result<(), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + HasStatus + Clone + Debug + DeserializeOwned,
{
    if object.told() == Some(&status) {
        return Ok(());
    }
    // With its UID: another object that has the name by now is told nothing.
    let body = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.uid()}, "status": status,
    });
    let written = Api::<K>::namespaced(scope.context.client.clone(), &scope.world.namespace)
        .patch_status(&object.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(body))
        .await
        .map_err(Failure::WriteStatus)?;
    scope.context.told.remember(&written);
    for turned in turned(current(object), K::conditions(&status)) {
        tell(scope, object, turned).await;
    }
    Ok(())
}

/// Tells in the status that a reconciliation failed; what else it says stays.
pub(super) async fn report<K>(scope: &Scope, object: &K, failure: &Failure)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + HasStatus + Clone + Debug + DeserializeOwned,
{
    let standing = Standing::Reconciling(failure.reason(), failure.to_string());
    if let Err(error) = stand(scope, object, &standing).await {
        tracing::debug!(%error, "a failure could not be told in the status");
    }
}

/// Tells how the object stands as a whole; what else its status says stays.
pub(super) async fn stand<K>(scope: &Scope, object: &K, standing: &Standing) -> Result<(), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + HasStatus + Clone + Debug + DeserializeOwned,
{
    let before = object.told().cloned().unwrap_or_default();
    let generation = object.meta().generation.unwrap_or_default();
    let now = scope.context.clock.now();
    let mut all = conditions(K::conditions(&before), standing, "", &[], generation, now);
    all.extend(K::conditions(&before).iter().filter(|old| !SUMMARY.contains(&old.type_.as_str())).cloned());
    write(scope, object, K::with(before, generation, all)).await
}

/// Conditions that turned, or that say another reason now.
fn turned<'a>(before: &[Condition], now: &'a [Condition]) -> impl Iterator<Item = &'a Condition> {
    now.iter().filter(|condition| TOLD.contains(&condition.type_.as_str())).filter(move |condition| {
        let old = before.iter().find(|old| old.type_ == condition.type_);
        match old {
            Some(old) => (&old.status, &old.reason) != (&condition.status, &condition.reason),
            // A first False is the ordinary beginning of Suspended, not news.
            None => condition.type_ != types::SUSPENDED || condition.status == "True",
        }
    })
}

async fn tell<K: Resource<DynamicType = ()>>(scope: &Scope, object: &K, condition: &Condition) {
    let good = (condition.status == "True") == GOOD.contains(&condition.type_.as_str());
    let event = Event {
        type_: if good { EventType::Normal } else { EventType::Warning },
        reason: condition.reason.clone(),
        note: Some(format!("{}={}: {}", condition.type_, condition.status, condition.message)),
        action: condition.type_.clone(),
        secondary: None,
    };
    if let Err(error) = scope.context.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::debug!(%error, "an event could not be told");
    }
}

/// An object is as its last status says, for those that depend on it.
pub(super) fn is_ready<K: HasStatus>(object: &K) -> bool {
    conditions::holds(current(object), types::READY)
}

/// What the last status says is missing.
pub(super) fn why_not<K: HasStatus>(object: &K) -> String {
    let ready = current(object).iter().find(|condition| condition.type_ == types::READY);
    ready.map_or_else(|| "not looked at yet".to_owned(), |condition| condition.message.clone())
}
