//! Tenants that are no longer in the cluster: their accounts are closed, and the account-deletion clock starts (A6).
//!
//! The database follows the resources only from a synced list, and not at once: when more than a tenth of a namespace's
//! Tenants are gone together, somebody probably deleted the wrong thing. Then nothing is closed, and the owner is
//! alerted, until the Tenants are back or the owner confirms their number on the operator's Lease:
//! `kubectl annotate lease <lease> vanished.budstikke.dev/<namespace>=<number>`. The hold stands on the Lease too, as
//! `held.budstikke.dev/<namespace>`, so that neither time nor another leader releases it; a confirmation is taken away
//! once it was used.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, ResourceExt as _};
use serde_json::json;
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

/// More than a tenth of them, and more than one; and whatever is held, until the owner confirms its very number.
fn decide(living: usize, gone: usize, recent: usize, word: Word) -> Decision {
    let together = gone + recent;
    let too_many = together > 1 && together * 10 > living + recent;
    if (too_many || word.held) && word.confirmed != Some(gone) { Decision::Hold } else { Decision::Close }
}

/// What the Lease says of a namespace.
#[derive(Debug, Default, Clone, Copy)]
struct Word {
    /// A hold is in force.
    held: bool,
    /// The number that the owner confirmed.
    confirmed: Option<usize>,
}

/// Why accounts were not compared with Tenants.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The accounts were not listed.
    #[error(transparent)]
    List(accounts::Error),
    /// What stands on the Lease is not known: nothing is closed then.
    #[error("read the Lease: {0}")]
    ReadLease(#[source] kube::Error),
    /// A hold could not be written to the Lease, or not taken away from it.
    #[error("annotate the Lease: {0}")]
    AnnotateLease(#[source] kube::Error),
}

/// Watches one namespace until `stop`.
pub(super) async fn run(scope: &Scope, args: &Args, stop: CancellationToken) {
    let mut watch = Watch { scope, args, gone_since: HashMap::new(), held: None };
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
    /// How many are held, as the Lease has it; `None`: that is not known.
    held: Option<usize>,
}

impl Watch<'_> {
    async fn look(&mut self) -> Result<(), Error> {
        let Scope { world, context } = self.scope;
        let (living, recent) =
            accounts::living(&context.pool, &world.namespace, TOGETHER_MINUTES).await.map_err(Error::List)?;
        let gone: Vec<&Account> = living.iter().filter(|account| !stands(world, account)).collect();
        let settled = self.settled(&gone);
        if gone.is_empty() {
            return self.release().await;
        }
        if settled.is_empty() {
            return Ok(());
        }
        let word = self.word().await?;
        match decide(living.len(), gone.len(), recent, word) {
            Decision::Hold => self.hold(gone.len()).await,
            Decision::Close if word.confirmed == Some(gone.len()) => {
                let left = self.close(&gone).await;
                // Those that could not be closed yet stay confirmed.
                self.annotate((left > 0).then_some(left), (left > 0).then_some(left)).await
            }
            Decision::Close => {
                self.close(&settled).await;
                Ok(())
            }
        }
    }

    /// Each by itself, so that one whose row is locked holds up no other. How many are left.
    async fn close(&self, accounts: &[&Account]) -> usize {
        let Scope { world, context } = self.scope;
        let mut left = 0;
        for account in accounts {
            match accounts::vanish(&context.pool, account).await {
                Ok(true) => {
                    tracing::info!(namespace = world.namespace, account = %account.tenant, "closed: its Tenant is gone");
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(namespace = world.namespace, account = %account.tenant, %error, "not closed yet");
                    left += 1;
                }
            }
        }
        left
    }

    /// Those that have been gone for long enough for others to follow, were they deleted together.
    fn settled<'a>(&mut self, gone: &[&'a Account]) -> Vec<&'a Account> {
        let now = Instant::now();
        self.gone_since.retain(|tenant, _| gone.iter().any(|account| account.tenant == *tenant));
        let settle = Duration::from_secs(self.args.settle_seconds);
        let mut settled = gone.to_vec();
        settled.retain(|account| now.duration_since(*self.gone_since.entry(account.tenant).or_insert(now)) >= settle);
        settled
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.scope.context.client.clone(), &self.args.namespace)
    }

    fn annotations(&self) -> [String; 2] {
        ["held", "vanished"].map(|what| format!("{what}.budstikke.dev/{}", self.scope.world.namespace))
    }

    async fn word(&self) -> Result<Word, Error> {
        let lease = self.leases().get_opt(&self.args.lease).await.map_err(Error::ReadLease)?;
        let Some(lease) = lease else { return Ok(Word::default()) };
        let [held, confirmed] = self.annotations();
        let confirmed = lease.annotations().get(&confirmed).and_then(|number| number.parse().ok());
        Ok(Word { held: lease.annotations().contains_key(&held), confirmed })
    }

    async fn annotate(&mut self, held: Option<usize>, confirmed: Option<usize>) -> Result<(), Error> {
        let [held_key, confirmed_key] = self.annotations();
        let text = |number: Option<usize>| number.map(|number| number.to_string());
        let annotations = json!({held_key: text(held), confirmed_key: text(confirmed)});
        let change = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        self.held = None;
        self.leases().patch(&self.args.lease, &PatchParams::default(), &change).await.map_err(Error::AnnotateLease)?;
        self.held = Some(held.unwrap_or(0));
        let Scope { world, context } = self.scope;
        context.metrics.held(&world.namespace, held.unwrap_or(0));
        Ok(())
    }

    /// All are there: nothing is held, and nothing that was confirmed is for later.
    async fn release(&mut self) -> Result<(), Error> {
        if self.held == Some(0) {
            return Ok(());
        }
        let word = self.word().await?;
        if word.held || word.confirmed.is_some() {
            return self.annotate(None, None).await;
        }
        self.held = Some(0);
        self.scope.context.metrics.held(&self.scope.world.namespace, 0);
        Ok(())
    }

    /// Says so by metric and on the Lease always, by event and log when it begins or its number changes.
    async fn hold(&mut self, tenants: usize) -> Result<(), Error> {
        if self.held == Some(tenants) {
            return Ok(());
        }
        // A confirmation of another number is none of this one, and must not become one later.
        self.annotate(Some(tenants), None).await?;
        let Scope { world, context } = self.scope;
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(held: bool, confirmed: Option<usize>) -> Word {
        Word { held, confirmed }
    }

    #[test]
    fn one_may_go_and_a_tenth_may_but_no_more() {
        assert_eq!(decide(1, 1, 0, word(false, None)), Decision::Close);
        assert_eq!(decide(20, 2, 0, word(false, None)), Decision::Close);
        assert_eq!(decide(20, 3, 0, word(false, None)), Decision::Hold);
        assert_eq!(decide(3, 2, 0, word(false, None)), Decision::Hold);
    }

    #[test]
    fn those_that_went_just_before_count() {
        assert_eq!(decide(19, 1, 1, word(false, None)), Decision::Close);
        assert_eq!(decide(18, 1, 2, word(false, None)), Decision::Hold, "one by one is at once too");
    }

    #[test]
    fn the_owner_confirms_their_very_number() {
        assert_eq!(decide(20, 5, 0, word(true, Some(5))), Decision::Close);
        assert_eq!(decide(20, 6, 0, word(true, Some(5))), Decision::Hold);
    }

    #[test]
    fn what_is_held_stays_held_without_the_owners_word() {
        assert_eq!(decide(20, 2, 0, word(true, None)), Decision::Hold, "some are back");
        assert_eq!(decide(90, 3, 0, word(true, None)), Decision::Hold, "others were made");
        assert_eq!(decide(1, 1, 0, word(true, None)), Decision::Hold, "time went by");
    }
}
