//! Tenants that are no longer in the cluster: their accounts are closed, and the account-deletion clock starts (A6).
//!
//! The database follows the resources only from a synced list, and not at once: when more than a tenth of a namespace's
//! Tenants are gone together, somebody probably deleted the wrong thing. Then nothing is closed, and the owner is
//! alerted, until the Tenants are back or the owner confirms their number on the operator's Lease:
//! `kubectl annotate lease <lease> vanished.budstikke.dev/<namespace>=<number>`.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use kube::{Api, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use super::Args;
use super::controller::Scope;
use super::world::World;
use crate::crd::conditions::reasons;
use crate::domain::TenantId;
use crate::store::accounts::{self, Account};

/// How often the accounts are compared with the cluster.
const LOOK: Duration = Duration::from_secs(2);
/// Accounts that vanished so recently count as vanishing together, minutes.
const TOGETHER_MINUTES: i32 = 5;

/// What to do about accounts that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// Too many at once: close none.
    Hold,
    /// Close those that have been gone for long enough.
    Close,
}

/// More than a tenth of them, and more than one.
fn decide(living: usize, gone: usize, recent: usize, confirmed: Option<usize>) -> Decision {
    let together = gone + recent;
    let too_many = together > 1 && together * 10 > living + recent;
    if too_many && confirmed != Some(gone) { Decision::Hold } else { Decision::Close }
}

/// Watches one namespace until `stop`.
pub(super) async fn run(scope: &Scope, args: &Args, stop: CancellationToken) {
    let mut watch = Watch { scope, args, gone_since: HashMap::new(), held: 0 };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if let Err(error) = watch.look().await {
            tracing::warn!(namespace = scope.world.namespace, %error, "cannot compare accounts with Tenants");
        }
    }
}

/// A Tenant of the account's name and organisation is in the cluster.
fn stands(world: &World, account: &Account) -> bool {
    let tenant = world.get(&world.tenants, &account.name);
    tenant.is_some_and(|tenant| tenant.spec.organisation.registration.identity() == account.registration)
}

struct Watch<'a> {
    scope: &'a Scope,
    args: &'a Args,
    gone_since: HashMap<TenantId, Instant>,
    held: usize,
}

impl Watch<'_> {
    async fn look(&mut self) -> Result<(), accounts::Error> {
        let Scope { world, context } = self.scope;
        let (living, recent) = accounts::living(&context.pool, &world.namespace, TOGETHER_MINUTES).await?;
        let gone: Vec<&Account> = living.iter().filter(|account| !stands(world, account)).collect();
        let settled = self.settled(&gone);
        if gone.is_empty() || settled.is_empty() {
            if gone.is_empty() {
                self.hold(0).await;
            }
            return Ok(());
        }
        match decide(living.len(), gone.len(), recent, self.confirmed().await) {
            Decision::Hold => self.hold(gone.len()).await,
            Decision::Close => {
                accounts::vanish(&context.pool, &settled).await?;
                tracing::info!(namespace = world.namespace, accounts = ?settled, "closed: their Tenants are gone");
                self.hold(0).await;
            }
        }
        Ok(())
    }

    /// Those that have been gone for long enough for others to follow, were they deleted together.
    fn settled(&mut self, gone: &[&Account]) -> Vec<TenantId> {
        let now = Instant::now();
        self.gone_since.retain(|tenant, _| gone.iter().any(|account| account.tenant == *tenant));
        let settle = Duration::from_secs(self.args.settle_seconds);
        gone.iter()
            .map(|account| account.tenant)
            .filter(|tenant| now.duration_since(*self.gone_since.entry(*tenant).or_insert(now)) >= settle)
            .collect()
    }

    async fn confirmed(&self) -> Option<usize> {
        let leases = Api::<Lease>::namespaced(self.scope.context.client.clone(), &self.args.namespace);
        let lease = leases.get_opt(&self.args.lease).await.ok()??;
        let key = format!("vanished.budstikke.dev/{}", self.scope.world.namespace);
        lease.annotations().get(&key)?.parse().ok()
    }

    /// Says so by metric always, by event and log when it begins, grows or ends.
    async fn hold(&mut self, tenants: usize) {
        let Scope { world, context } = self.scope;
        context.metrics.held(&world.namespace, tenants);
        if std::mem::replace(&mut self.held, tenants) == tenants || tenants == 0 {
            return;
        }
        let note = format!(
            "{tenants} Tenants of namespace {} vanished at once: their accounts are kept open until they are back, or until \
             `kubectl annotate lease {} vanished.budstikke.dev/{}={tenants}` confirms it",
            world.namespace, self.args.lease, world.namespace
        );
        tracing::error!(namespace = world.namespace, tenants, "{note}");
        let event = Event {
            type_: EventType::Warning,
            reason: reasons::HELD.to_owned(),
            note: Some(note),
            action: "CloseAccounts".to_owned(),
            secondary: None,
        };
        let lease = ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            name: Some(self.args.lease.clone()),
            namespace: Some(self.args.namespace.clone()),
            ..ObjectReference::default()
        };
        if let Err(error) = context.recorder.publish(&event, &lease).await {
            tracing::debug!(%error, "an event could not be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_may_go_and_a_tenth_may_but_no_more() {
        assert_eq!(decide(1, 1, 0, None), Decision::Close);
        assert_eq!(decide(20, 2, 0, None), Decision::Close);
        assert_eq!(decide(20, 3, 0, None), Decision::Hold);
        assert_eq!(decide(3, 2, 0, None), Decision::Hold);
    }

    #[test]
    fn those_that_went_just_before_count() {
        assert_eq!(decide(19, 1, 1, None), Decision::Close);
        assert_eq!(decide(18, 1, 2, None), Decision::Hold, "one by one is at once too");
    }

    #[test]
    fn the_owner_confirms_their_very_number() {
        assert_eq!(decide(20, 5, 0, Some(5)), Decision::Close);
        assert_eq!(decide(20, 6, 0, Some(5)), Decision::Hold);
    }
}
