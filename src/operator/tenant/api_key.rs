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

/// Lets the key open the account. When the account was just taken up, keys that were given out before stay good: the
/// tenant is as before.
pub(super) async fn provide(scope: &Scope, tenant: &Tenant, id: TenantId, taken_up: bool) -> Result<Verdict, Failure> {
    let name = secret_name(tenant);
    let minted = name == minted_name(tenant);
    let secret = if minted {
        scope.own_secret(&name).await?.map(|secret| (*secret).clone())
    } else {
        scope.read_secret(&name).await?
    };
    let text = material::text(secret.as_ref(), ENTRY).map(str::trim_end);
    let key = match (text, minted) {
        (Some(text), _) => match text.parse::<ApiKey>() {
            Ok(key) => key,
            Err(wrong) => return Ok(bad(reasons::SECRET_INVALID, format!("Secret {name}: {wrong}"))),
        },
        (None, true) => mint(scope, tenant, &name).await?,
        (None, false) if secret.is_some() => {
            return Ok(bad(reasons::SECRET_INVALID, format!("Secret {name}: write the key as {ENTRY}")));
        }
        (None, false) => {
            let message =
                format!("Secret {name} does not exist: create it with {ENTRY}, or leave `api.keySecretRef` out");
            return Ok(bad(reasons::SECRET_NOT_FOUND, message));
        }
    };
    let source = if minted { KeySource::Minted } else { KeySource::Secret };
    let registered = accounts::register_first_key(&scope.context.pool, id, &key, source, !taken_up);
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

fn bad(reason: &'static str, message: String) -> Verdict {
    Verdict::no(types::CREDENTIALS_READY, reason, message)
}

async fn mint(scope: &Scope, tenant: &Tenant, name: &str) -> Result<ApiKey, Failure> {
    let key = ApiKey::mint().map_err(|_| Failure::Random)?;
    let secret = Secret {
        metadata: build::metadata(tenant, &scope.world.namespace, name.to_owned()),
        data: Some([material::entry(ENTRY, key.reveal())].into()),
        ..Secret::default()
    };
    let applier = Applier { client: &scope.context.client, namespace: &scope.world.namespace, manager: MANAGER };
    applier.apply(None, &secret).await.map_err(Failure::Apply)?;
    Ok(key)
}
