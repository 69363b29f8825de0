//! Which account a Tenant stands for.
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::super::controller::Scope;
use super::super::failure::Failure;
use crate::crd::Tenant;
use crate::crd::conditions::reasons;
use crate::store::accounts::{self, Identity, Resource};

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
    let registration = tenant.spec.organisation.registration.identity();
    let since = tenant.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |made| made.0);
    let resource = Resource {
        namespace: &scope.world.namespace,
        name: &tenant.name_any(),
        registration: &registration,
        uid: &tenant.uid().unwrap_or_default(),
        since,
    };
    accounts::take_up(&scope.context.pool, resource).await.map_err(Failure::Account)
}
