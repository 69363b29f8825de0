//! A tenant's first API key: from a Secret that its owner wrote, or minted into one by the operator (M4).
use sqlx::PgPool;
use uuid::Uuid;

use super::Error;
use crate::domain::{ApiKey, Scope, TenantId};

/// Where a first key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// A Secret that the Tenant names.
    Secret,
    /// A Secret that the operator made.
    Minted,
}

impl KeySource {
    fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Minted => "minted",
        }
    }
}

/// What became of a first key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// It was so already.
    Unchanged,
    /// It opens the account from now on.
    Now,
    /// Another account has a key with its prefix, or this key was revoked.
    Refused,
}

/// Lets `key` open the account. A new key closes it to other first keys of the same resource: so a key is rotated by
/// writing another one. Keys that were given out under an earlier resource stay good when the account is taken up: the
/// tenant is as before.
///
/// # Errors
/// When the database says no.
pub async fn register_first_key(
    pool: &PgPool,
    TenantId(tenant): TenantId,
    key: &ApiKey,
    source: KeySource,
    resource_uid: &str,
) -> Result<Registered, Error> {
    let scopes = Scope::ALL.map(|scope| scope.as_str().to_owned());
    let mut transaction = pool.begin().await.map_err(Error::RegisterKey)?;
    let hash = key.hash();
    let known = sqlx::query!(
        r#"select tenant_id = $2 and hash = $3 and revoked_at is null as "good!", resource_uid = $4 as "same!"
           from api_key where prefix = $1"#,
        key.prefix(),
        tenant,
        &hash,
        resource_uid,
    )
    .fetch_optional(&mut *transaction)
    .await
    .map_err(Error::RegisterKey)?;
    match known.map(|row| (row.good, row.same)) {
        Some((true, true)) => return Ok(Registered::Unchanged),
        Some((false, _)) => return Ok(Registered::Refused),
        Some((true, false)) => {
            sqlx::query!("update api_key set resource_uid = $2 where prefix = $1", key.prefix(), resource_uid)
                .execute(&mut *transaction)
                .await
                .map_err(Error::RegisterKey)?;
            transaction.commit().await.map_err(Error::RegisterKey)?;
            return Ok(Registered::Unchanged);
        }
        None => {}
    }
    sqlx::query!(
        "insert into api_key (tenant_id, key_id, prefix, hash, scopes, source, resource_uid)
         values ($1, $2, $3, $4, $5, $6, $7)",
        tenant,
        Uuid::now_v7(),
        key.prefix(),
        &hash,
        &scopes,
        source.as_str(),
        resource_uid,
    )
    .execute(&mut *transaction)
    .await
    .map_err(Error::RegisterKey)?;
    sqlx::query!(
        "update api_key set revoked_at = now()
         where tenant_id = $1 and source in ('secret', 'minted') and resource_uid = $3 and prefix <> $2 and revoked_at is null",
        tenant,
        key.prefix(),
        resource_uid,
    )
    .execute(&mut *transaction)
    .await
    .map_err(Error::RegisterKey)?;
    transaction.commit().await.map_err(Error::RegisterKey)?;
    Ok(Registered::Now)
}
