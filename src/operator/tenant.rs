//! Tenant: its account, what is enforced on it, its keys and login, its first API key, and its sender.
//!
//! Enforcement comes first and alone: it holds within milliseconds, whatever the pods do. Then the things that can be
//! missing; what is there goes on meanwhile.
mod account;
mod api_key;
mod build;
mod dereference;
mod provision;
mod services;
#[cfg(test)]
mod tests;
mod validate;

use std::time::Duration;

use kube::ResourceExt as _;
use tokio::time::Instant;

use self::account::Taken;
use self::dereference::Dereferenced;
use self::validate::Judgement;
use super::conditions::{Standing, Verdict, conditions};
use super::controller::{Controlled, Scope};
use super::failure::Failure;
use super::idle::Rest;
use super::{midnight, restored, status};
use crate::crd::conditions::{reasons, types};
use crate::crd::tenant::{RouteStatus, Sender, SenderStatus};
use crate::crd::values::Day;
use crate::crd::{Tenant, TenantStatus};
use crate::domain::{TenantId, copenhagen_day};
use crate::store::accounts::{self, Identity, Written};

/// Between two looks at keys that are not in the archive yet.
const UNTIL_SAFE: Duration = Duration::from_secs(2);
/// Between two looks whether another account has given up a number that this one wants.
const UNTIL_FREE: Duration = Duration::from_secs(15);
/// Until the watch has brought that what another account has left is emptied.
const UNTIL_EMPTY: Duration = Duration::from_secs(1);

impl Controlled for Tenant {
    async fn reconcile(&self, scope: &Scope) -> Result<Duration, Failure> {
        match self.bring_in_line(scope).await {
            Err(Failure::Outdated) => account::outdated(scope, self).await,
            done => done,
        }
    }
}

impl Tenant {
    async fn bring_in_line(&self, scope: &Scope) -> Result<Duration, Failure> {
        let tenant = match account::take_up(scope, self).await? {
            Identity::Own(tenant) => tenant,
            Identity::Outdated => return Err(Failure::Outdated),
            Identity::NameInUse => return stall(scope, self, Taken::NameInUse).await,
            Identity::Erased => {
                provision::empty(scope, self).await?;
                return stall(scope, self, Taken::Erased).await;
            }
        };
        if provision::left_by_another(scope, self, tenant) {
            // What an erased account of this name has left opens nothing of this one.
            provision::empty(scope, self).await?;
            return Ok(UNTIL_EMPTY);
        }
        let today = copenhagen_day(scope.context.clock.now());
        // At once, whatever cannot be read, reached or made.
        if let Some((code, reason)) = validate::closed_by_spec(&self.spec, today) {
            account::close(scope, self, tenant, code, &reason).await?;
        }
        let found = dereference::dereference(scope, self, tenant).await?;
        let mut judgement = validate::validate(&self.spec, &found, today);
        if judgement.closed.is_none() && scope.context.closed_since.borrow().is_some() {
            judgement.active = Verdict::no(types::ACTIVE, reasons::RESTORED, restored::TODO);
        }
        let mut wait = midnight::until_next(scope.context.clock.now());
        if let Some(orders) = build::orders(self, &found, &judgement, today) {
            let written = accounts::write(&scope.context.pool, tenant, &orders.borrow(self.uid().as_deref()))
                .await
                .map_err(Failure::Account)?;
            match written {
                Written::InForce(taken) => {
                    judgement.numbers = validate::numbers(&taken);
                    if !taken.is_empty() {
                        wait = wait.min(UNTIL_FREE);
                    }
                }
                Written::Outdated => return Err(Failure::Outdated),
            }
            let wanted = build::kept(self, &found, orders.log_days());
            if !provision::keys(scope, tenant, orders.log_days(), today).await? {
                let message = "today's keys are on one machine alone: nothing is accepted until the archive has them";
                judgement.active = Verdict::no(types::ACTIVE, reasons::KEYS_NOT_SAFE, message);
                wait = wait.min(UNTIL_SAFE);
            }
            provision::mail_keys(scope, self, tenant, &found).await?;
            provision::keep(scope, tenant, wanted, judgement.erased_on, today).await?;
            provision::keep_mail(scope, self, tenant, &found).await?;
            match rest(scope, self, tenant, &found) {
                Rest::Awake(until) => wait = wait.min(until),
                Rest::Asleep => judgement.asleep = judgement.closed.is_none(),
            }
            wait = wait.min(provision::sender(scope, self, tenant, &found, &judgement).await?);
        } else if let Some((code, reason)) = &judgement.closed {
            account::close(scope, self, tenant, code, reason).await?;
        }
        judgement.credentials = api_key::provide(scope, self, tenant).await?;
        status::write(scope, self, told(self, scope, tenant, &found, &judgement)).await?;
        Ok(wait)
    }
}

/// Whether the tenant has had nothing to send for as long as its owner says.
fn rest(scope: &Scope, tenant: &Tenant, id: TenantId, found: &Dereferenced) -> Rest {
    let idle = tenant.spec.sender.as_ref().map_or_else(|| Sender::default().idle_seconds(), Sender::idle_seconds);
    let idle = idle.map(|seconds| Duration::from_secs(seconds.into()));
    let place = (scope.world.namespace.as_str(), tenant.name_any());
    scope.context.work.rest(id, (place.0, &place.1), idle, found.live.is_at_zero(), Instant::now())
}

/// The account is not this resource's: nothing of it is touched or told.
async fn stall(scope: &Scope, tenant: &Tenant, taken: Taken) -> Result<Duration, Failure> {
    let (reason, message) = taken.told();
    let standing = Standing::Stalled(reason, message.to_owned());
    let active = Verdict::no(types::ACTIVE, reason, message);
    let generation = tenant.metadata.generation.unwrap_or_default();
    let now = scope.context.clock.now();
    let conditions = conditions(status::current(tenant), &standing, "", &[active], generation, now);
    let told = TenantStatus { observed_generation: generation, conditions, ..TenantStatus::default() };
    status::write(scope, tenant, told).await?;
    Ok(Duration::MAX)
}

fn told(
    tenant: &Tenant,
    scope: &Scope,
    TenantId(account): TenantId,
    found: &Dereferenced,
    judgement: &Judgement,
) -> TenantStatus {
    let (pods, sender) = sender(tenant, found, judgement);
    let asked = [
        &judgement.country,
        &judgement.plan,
        &judgement.services,
        &judgement.policy,
        &judgement.routes,
        &judgement.credentials,
        &judgement.numbers,
    ];
    let unsafe_keys = (judgement.active.reason == reasons::KEYS_NOT_SAFE).then_some(&judgement.active);
    let standing = Standing::of(asked.into_iter().chain([&sender]).chain(unsafe_keys));
    let all: Vec<Verdict> = judgement.told().chain([sender]).collect();
    let generation = tenant.metadata.generation.unwrap_or_default();
    let now = scope.context.clock.now();
    TenantStatus {
        observed_generation: generation,
        conditions: conditions(status::current(tenant), &standing, &judgement.active.message, &all, generation, now),
        account_id: Some(account),
        api_key_secret: Some(api_key::secret_name(tenant)),
        sender: Some(pods),
        routes: found.routes.iter().map(route).collect(),
        erased_on: judgement.erased_on.map(Day),
    }
}

fn route(route: &dereference::Route) -> RouteStatus {
    RouteStatus {
        name: route.name.clone(),
        ready: route.found.as_ref().is_some_and(|found| found.ready),
        weight: route.weight(),
    }
}

/// The sender's pods, and whether they are as wanted.
fn sender(tenant: &Tenant, found: &Dereferenced, judgement: &Judgement) -> (SenderStatus, Verdict) {
    let desired = build::replicas(&tenant.spec, found, judgement);
    let ready = found.live.ready_pods();
    let pods = SenderStatus { ready, desired, summary: format!("{ready}/{desired}") };
    let message = format!("{ready} of {desired} sender pods are ready");
    let verdict = if judgement.asleep {
        Verdict::yes(types::SENDER_READY, reasons::IDLE, "asleep: nothing to send; the next message starts its pods")
    } else if desired == 0 {
        Verdict::yes(types::SENDER_READY, judgement.active.reason, "no sender pods are wanted now")
    } else if ready >= desired {
        Verdict::yes(types::SENDER_READY, reasons::SUCCEEDED, message)
    } else {
        Verdict::no(types::SENDER_READY, reasons::PODS_NOT_READY, message)
    };
    (pods, verdict)
}
