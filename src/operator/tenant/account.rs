//! Which account a Tenant stands for.
use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use super::super::controller::{Scope, key};
use super::super::failure::Failure;
use crate::crd::Tenant;
use crate::crd::conditions::reasons;
use crate::domain::TenantId;
use crate::store::accounts::{self, Closing, Identity, Resource};

/// So many tries in a row the watch may take to bring a newer form.
const PATIENCE: u32 = 3;

/// Why a Tenant has no account.
#[derive(Debug, Clone, Copy)]
pub(super) enum Taken {
    /// The name is another organisation's.
    NameInUse,
    /// The account of this name and number was erased.
    Erased,
}

impl Taken {
    /// Nothing of the other account is told but that it is there.
    pub(super) fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::NameInUse => (
                reasons::NAME_IN_USE,
                "the account of this name belongs to another registration number: make a Tenant with another name",
            ),
            Self::Erased => (
                reasons::ACCOUNT_DELETED,
                "the account of this name was permanently deleted: make a Tenant with another name",
            ),
        }
    }
}

/// Finds, makes or takes up the Tenant's account.
pub(super) async fn take_up(scope: &Scope, tenant: &Tenant) -> Result<Identity, Failure> {
    let (name, registration, uid) = known_by(tenant);
    let resource = resource(scope, tenant, (&name, &registration, &uid));
    accounts::take_up(&scope.context.pool, resource).await.map_err(Failure::Account)
}

fn known_by(tenant: &Tenant) -> (String, String, String) {
    (tenant.name_any(), tenant.spec.organisation.registration.identity(), tenant.uid().unwrap_or_default())
}

fn resource<'a>(
    scope: &'a Scope,
    tenant: &Tenant,
    (name, registration, uid): (&'a str, &'a str, &'a str),
) -> Resource<'a> {
    let since = tenant.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |made| made.0);
    Resource { namespace: &scope.world.namespace, name, registration, uid, since }
}

/// What is to be done where a newer form of the Tenant has been seen before: to wait for the watch to bring it, and, since
/// a cluster may have been restored to an older one, to ask after a while what is true. Where the Tenant is as it was
/// seen, the account is its again.
pub(super) async fn outdated(scope: &Scope, tenant: &Tenant) -> Result<Duration, Failure> {
    let context = &scope.context;
    if context.backoff.failures(&key(tenant)) < PATIENCE {
        return Err(Failure::Outdated);
    }
    let api = Api::<Tenant>::namespaced(context.client.clone(), &scope.world.namespace);
    let live = api.get_opt(&tenant.name_any()).await.map_err(Failure::ReadObject)?;
    let form = |tenant: &Tenant| (tenant.uid(), tenant.metadata.generation);
    if live.is_none_or(|live| form(&live) != form(tenant)) {
        return Err(Failure::Behind);
    }
    let (name, registration, uid) = known_by(tenant);
    let resource = resource(scope, tenant, (&name, &registration, &uid));
    accounts::take_over(&context.pool, resource).await.map_err(Failure::Account)?;
    tracing::warn!(tenant = key(tenant), "an older form of the Tenant stands again: the cluster seems to be restored");
    Ok(Duration::ZERO)
}

/// Closes the account: neither plan nor policy are needed for that.
pub(super) async fn close(
    scope: &Scope,
    tenant: &Tenant,
    id: TenantId,
    code: &str,
    reason: &str,
) -> Result<(), Failure> {
    let uid = tenant.uid().unwrap_or_default();
    let generation = tenant.metadata.generation.unwrap_or_default();
    let closing = Closing { generation, resource_uid: &uid, code, reason };
    match accounts::close(&scope.context.pool, id, closing).await.map_err(Failure::Account)? {
        true => Ok(()),
        false => Err(Failure::Outdated),
    }
}
