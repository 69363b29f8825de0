//! Makes a Tenant's keys and sender.
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
use kube::ResourceExt as _;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::super::apply::Applier;
use super::super::controller::Scope;
use super::super::failure::Failure;
use super::super::material::{self, Data};
use super::super::{labels, retention_policy, rollout};
use super::api_key;
use super::build::{self, Parts};
use super::dereference::Dereferenced;
use super::validate::Judgement;
use crate::config::{NamedKey, names};
use crate::crd::Tenant;
use crate::domain::{TenantId, copenhagen_day};
use crate::keyring::{self, Class, WalWindow};
use crate::pki::{Leaf, sender_of};
use crate::retention::shortened::{self, Step, Wanted, mail};
use crate::store::accounts;
use crate::store::logins::Holder;
use crate::store::partitions;
use crate::store::retention::Gone;
use crate::store::retention::journal::{self, What};
use crate::{retention, store};

const MANAGER: &str = "budstikke-operator/tenant";
/// Keys are made this many days ahead: how long the operator may be away before nothing is accepted any more.
const DAYS_AHEAD: i64 = 7;

/// Makes the keys of today and the coming days, and publishes the public halves of those that are safe. Whether today's are.
pub(super) async fn keys(scope: &Scope, tenant: TenantId, log_days: u32, today: Date) -> Result<bool, Failure> {
    let context = &scope.context;
    let last = today.saturating_add(DAYS_AHEAD.days());
    let days = context.keyring.provide(tenant, today, last, log_days).await.map_err(Failure::Keyring)?;
    // First: whoever may store an SMS must be able to store what it asks for.
    let listening = opt_out_key(scope, tenant).await?;
    accounts::publish_keys(&context.pool, tenant, &days).await.map_err(Failure::Account)?;
    Ok(context.keyring.secure(tenant, today).await.map_err(Failure::Keyring)? && listening)
}

/// Publishes what opt-outs by SMS are sealed to, once its private half is safe. Whether it is.
async fn opt_out_key(scope: &Scope, tenant: TenantId) -> Result<bool, Failure> {
    let context = &scope.context;
    let key = match context.keyring.account_key(tenant).await {
        Ok(key) => key,
        Err(keyring::Error::NotSafe { .. }) => return Ok(false),
        Err(error) => return Err(Failure::Keyring(error)),
    };
    let published = accounts::publish_opt_out_key(&context.pool, tenant, key.name(), &key.requests_key()).await;
    published.map(|()| true).map_err(Failure::Account)
}

/// Makes the keys of the coming hours' copies of mail, where any are to be kept; who has opted out of logging has none left (D3, D4).
pub(super) async fn mail_keys(
    scope: &Scope,
    tenant: &Tenant,
    id: TenantId,
    found: &Dereferenced,
) -> Result<(), Failure> {
    let context = &scope.context;
    let now = context.clock.now();
    let lives = match build::keeps_mail(&tenant.spec, found) {
        Some(policy) => {
            retention_policy::mail_hours(policy, &context.keyring.wal_window().await.map_err(Failure::Keyring)?)
        }
        None => 0,
    };
    if context.keyring.provide_mail(id, now, lives).await.map_err(Failure::Keyring)? {
        partitions::ensure_mail(&context.pool, now).await.map_err(Failure::Partitions)?;
        // Until the archive has it nothing is sealed with it, and so no copy kept; the keys of later hours will be there by then.
        context.keyring.secure_hour(id, now).await.map_err(Failure::Keyring)?;
    }
    if tenant.spec.logging.is_some() {
        let keys = context.keyring.erase_mail(id).await.map_err(Failure::Keyring)?;
        if keys > 0 {
            let gone = Gone { items: keys, tenants: 1 };
            let noted =
                journal::append(&context.pool, What::Keys, Class::Mail.as_str(), copenhagen_day(now), gone).await;
            noted.map_err(|error| Failure::Retention(retention::Error::Store(error)))?;
        }
    }
    Ok(())
}

/// The sender's Secret is another account's: of one of this name that was erased while the resource stayed applied, with another
/// registration number since.
pub(super) fn left_by_another(scope: &Scope, tenant: &Tenant, id: TenantId) -> bool {
    let secret = scope.world.get(&scope.world.children.secrets, &labels::child("sender", &tenant.name_any()));
    material::text(secret.as_deref(), names::CERTIFICATE).is_some_and(|pem| !is_of(pem, id))
}

/// Empties what was made for a Tenant whose account is erased, though the resource is still applied: no key and no password
/// outlives it (A6). The hollow objects go with the resource. The sender's Secret, by which it is known whose they are, comes last.
pub(super) async fn empty(scope: &Scope, tenant: &Tenant) -> Result<(), Failure> {
    let Scope { world, context } = scope;
    let (name, namespace) = (tenant.name_any(), &world.namespace);
    let child = labels::child("sender", &name);
    let applier = Applier { client: &context.client, namespace, manager: MANAGER };
    let parts = Parts { tenant, name, namespace, workloads: &context.workloads, replicas: 0 };
    api_key::empty(scope, tenant).await?;
    if let Some(live) = world.get(&world.children.deployments, &child) {
        applier.apply(Some(&*live), &parts.deployment()).await.map_err(Failure::Apply)?;
    }
    applier.delete(world.get(&world.children.budgets, &child).as_deref()).await.map_err(Failure::Apply)?;
    if let Some(live) = world.get(&world.children.secrets, &child) {
        applier.apply(Some(&*live), &parts.secret(Data::new())).await.map_err(Failure::Apply)?;
    }
    Ok(())
}

/// Brings what is logged already in line with the policy, and says on which day the account is erased, if it has ended.
pub(super) async fn keep(
    scope: &Scope,
    tenant: TenantId,
    wanted: Wanted,
    erased_on: Option<Date>,
    today: Date,
) -> Result<(), Failure> {
    let context = &scope.context;
    let of_store = |error| Failure::Retention(retention::Error::Store(error));
    store::retention::erase_on(&context.pool, tenant, erased_on).await.map_err(of_store)?;
    let now = context.clock.now();
    let step = shortened::follow(&context.pool, &context.keyring, tenant, wanted, now, today).await;
    if let Step::Erase(_, before) = step.map_err(Failure::Retention)? {
        tracing::info!(%tenant, %before, "the log is kept shorter: what was accepted before is unreadable now");
    }
    Ok(())
}

/// Brings the copies of mail that are there already in line with the policy.
pub(super) async fn keep_mail(
    scope: &Scope,
    tenant: &Tenant,
    id: TenantId,
    found: &Dereferenced,
) -> Result<(), Failure> {
    let context = &scope.context;
    let Some(policy) = found.policy.spec() else { return Ok(()) };
    let wal = context.keyring.wal_window().await.map_err(Failure::Keyring)?;
    let wanted = build::kept_mail(tenant, policy, &wal);
    // A setting of the keyring's server is no decision of the owner's: what is there goes at its own hour then.
    if matches!(wal, WalWindow::Unbounded(_)) && !wanted.opted_out {
        return Ok(());
    }
    let step = mail::follow(&context.pool, id, wanted, context.clock.now()).await;
    if let mail::Step::Erase(kept) = step.map_err(Failure::Retention)? {
        tracing::info!(tenant = %id, hours = kept.hours, "copies of mail are kept shorter: those that are older go now");
        context.expire_now.notify_one();
    }
    Ok(())
}

/// Until a new version is tried again that had to wait for others.
const HELD_BACK: Duration = Duration::from_secs(15);

/// Makes the sender, or lets it go while the account is closed. Returns the longest time until it wants to be asked again.
pub(super) async fn sender(
    scope: &Scope,
    tenant: &Tenant,
    id: TenantId,
    found: &Dereferenced,
    judgement: &Judgement,
) -> Result<Duration, Failure> {
    let context = &scope.context;
    let namespace = &scope.world.namespace;
    let live = &found.live;
    let deployments = scope.world.children.deployments.state();
    let held_back = rollout::hold_back(live.deployment.as_deref(), &context.workloads.image, &deployments);
    let wait = if held_back.is_some() { HELD_BACK } else { Duration::MAX };
    let mut workloads = context.workloads.clone();
    workloads.image = held_back.unwrap_or(workloads.image);
    let parts = Parts {
        tenant,
        name: tenant.name_any(),
        namespace,
        workloads: &workloads,
        replicas: build::replicas(&tenant.spec, found, judgement),
    };
    let applier = Applier { client: &context.client, namespace, manager: MANAGER };
    // Pods go before anything else is looked at; they come only once their Secret is there.
    if parts.replicas == 0 && live.deployment.is_some() {
        applier.apply(live.deployment.as_deref(), &parts.deployment()).await.map_err(Failure::Apply)?;
    }
    let data = data(scope, tenant, id, found).await?;
    applier.apply(live.secret.as_deref(), &parts.secret(data)).await.map_err(Failure::Apply)?;
    match parts.network_policy(context.database.port()) {
        Some(policy) => applier.apply(live.network_policy.as_deref(), &policy).await,
        None => applier.delete(live.network_policy.as_deref()).await,
    }
    .map_err(Failure::Apply)?;
    if parts.replicas > 0 || live.deployment.is_none() {
        applier.apply(live.deployment.as_deref(), &parts.deployment()).await.map_err(Failure::Apply)?;
    }
    match parts.budget() {
        Some(budget) => applier.apply(live.budget.as_deref(), &budget).await,
        None => applier.delete(live.budget.as_deref()).await,
    }
    .map_err(Failure::Apply)?;
    Ok(wait)
}

/// What the sender's Secret holds. Of its queue keys those that are not due to be gone, the coming days' included: a key's last
/// copy outside the keyring goes with the day on which it must be gone.
async fn data(scope: &Scope, tenant: &Tenant, id: TenantId, found: &Dereferenced) -> Result<Data, Failure> {
    let context = &scope.context;
    let secret = found.live.secret.as_deref();
    let json = |what| move |source| Failure::Serialize { what, source };
    let settings = build::settings(tenant, &scope.world.namespace, id, found);
    let settings = serde_json::to_string(&settings).map_err(json("a sender's settings"))?;
    let keys = context.keyring.queue_keys(id, copenhagen_day(context.clock.now())).await.map_err(Failure::Keyring)?;
    let keys: Vec<_> = keys.iter().map(|key| NamedKey { name: key.name().to_owned(), key: key.export() }).collect();
    let keys = serde_json::to_string(&keys).map_err(json("a sender's keys"))?;
    let client = Leaf::Client(format!("sender-{id}"));

    let mut data = Data::new();
    data.extend([material::entry(names::CONFIG, &settings), material::entry(names::QUEUE_KEYS, &keys)]);
    data.extend(material::database(context, secret, Holder::Tenant(id)).await?);
    data.extend(material::certificate(context, secret, &client, |pem| is_of(pem, id))?);
    Ok(data)
}

/// The certificate is this account's, not one that an account of the same name had before.
fn is_of(pem: &str, tenant: TenantId) -> bool {
    CertificateDer::from_pem_slice(pem.as_bytes()).is_ok_and(|certificate| sender_of(&certificate) == Some(tenant))
}
