//! A Tenant's first API key: from the Secret it names, or minted into one of the operator's (M4).
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::super::apply::Applier;
use super::super::conditions::Verdict;
use super::super::controller::Scope;
use super::super::failure::Failure;
use super::super::{labels, material};
use super::build;
use crate::crd::Tenant;
use crate::crd::conditions::{reasons, types};
use crate::domain::{ApiKey, TenantId};
use crate::store::accounts::{self, KeySource, Registered};

const MANAGER: &str = "budstikke-operator/api-key";
/// The key of the Secret.
const ENTRY: &str = "apiKey";

/// The Secret that holds the key.
pub(super) fn secret_name(tenant: &Tenant) -> String {
    let named = tenant.spec.api.as_ref().and_then(|api| api.key_secret_ref.as_ref());
    named.map_or_else(|| minted_name(tenant), |named| named.name.to_string())
}

fn minted_name(tenant: &Tenant) -> String {
    labels::short(&format!("{}-api-key", tenant.name_any()))
}

/// Lets the key open the account.
pub(super) async fn provide(scope: &Scope, tenant: &Tenant, id: TenantId) -> Result<Verdict, Failure> {
    let name = secret_name(tenant);
    let minted = name == minted_name(tenant);
    let key = if minted { minted_key(scope, tenant, &name).await? } else { named_key(scope, &name).await? };
    let key = match key {
        Ok(key) => key,
        Err(bad) => return Ok(bad),
    };
    let source = if minted { KeySource::Minted } else { KeySource::Secret };
    let uid = tenant.uid().unwrap_or_default();
    let registered = accounts::register_first_key(&scope.context.pool, id, &key, source, &uid);
    Ok(match registered.await.map_err(Failure::Account)? {
        Registered::Unchanged | Registered::Now => {
            Verdict::yes(types::CREDENTIALS_READY, reasons::SUCCEEDED, format!("Secret {name} holds the first API key"))
        }
        Registered::Refused => bad(
            reasons::SECRET_INVALID,
            format!("Secret {name}: this key is revoked or in use elsewhere: write another one"),
        ),
    })
}

/// Empties the operator's own Secret: the account is erased, and the key opens nothing.
pub(super) async fn empty(scope: &Scope, tenant: &Tenant) -> Result<(), Failure> {
    let name = minted_name(tenant);
    let Some(live) = scope.world.get(&scope.world.children.secrets, &name) else { return Ok(()) };
    let metadata = build::metadata(tenant, &scope.world.namespace, name);
    let secret = Secret { metadata, ..Secret::default() };
    let applier = Applier { client: &scope.context.client, namespace: &scope.world.namespace, manager: MANAGER };
    applier.apply(Some(&*live), &secret).await.map(|_| ()).map_err(Failure::Apply)
}

/// The key in the Secret that the Tenant names.
async fn named_key(scope: &Scope, name: &str) -> Result<Result<ApiKey, Verdict>, Failure> {
    let Some(secret) = scope.read_secret(name).await? else {
        let message = format!("Secret {name} does not exist: create it with {ENTRY}, or leave `api.keySecretRef` out");
        return Ok(Err(bad(reasons::SECRET_NOT_FOUND, message)));
    };
    Ok(match material::text(Some(&secret), ENTRY) {
        Some(text) => parse(name, text),
        None => Err(bad(reasons::SECRET_INVALID, format!("Secret {name}: write the key as {ENTRY}"))),
    })
}

/// The key in the operator's own Secret; a fresh one where there is none. A Secret that an earlier Tenant of this name
/// left becomes this one's, before the garbage collector comes for it.
async fn minted_key(scope: &Scope, tenant: &Tenant, name: &str) -> Result<Result<ApiKey, Verdict>, Failure> {
    let live = scope.own_secret(name).await?;
    let key = match material::text(live.as_deref(), ENTRY) {
        Some(text) => match parse(name, text) {
            Ok(key) => key,
            Err(bad) => return Ok(Err(bad)),
        },
        None => ApiKey::mint().map_err(|_| Failure::Random)?,
    };
    let secret = Secret {
        metadata: build::metadata(tenant, &scope.world.namespace, name.to_owned()),
        data: Some([material::entry(ENTRY, key.reveal())].into()),
        ..Secret::default()
    };
    let applier = Applier { client: &scope.context.client, namespace: &scope.world.namespace, manager: MANAGER };
    applier.apply(live.as_deref(), &secret).await.map_err(Failure::Apply)?;
    Ok(Ok(key))
}

fn parse(name: &str, text: &str) -> Result<ApiKey, Verdict> {
    text.trim_end().parse().map_err(|wrong| bad(reasons::SECRET_INVALID, format!("Secret {name}: {wrong}")))
}

fn bad(reason: &'static str, message: String) -> Verdict {
    Verdict::no(types::CREDENTIALS_READY, reason, message)
}
