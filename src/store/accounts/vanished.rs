//! Accounts whose resource is gone: closed, and kept until the account-deletion clock has run out (A6).
use sqlx::PgPool;

use super::Error;
use crate::domain::TenantId;

/// An account whose resource is, or was until now, in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account.
    pub tenant: TenantId,
    /// Its resource's name.
    pub name: String,
    /// Its registration number: another organisation's resource of the same name does not stand for it.
    pub registration: String,
}

/// The accounts of a namespace that are neither erased nor vanished, and how many vanished in the last `minutes`.
///
/// # Errors
/// When the database says no.
pub async fn living(pool: &PgPool, namespace: &str, minutes: i32) -> Result<(Vec<Account>, usize), Error> {
    let accounts = sqlx::query!(
        "select tenant_id, name, registration from tenant where namespace = $1 and vanished_at is null and erased_at is null",
        namespace,
    )
    .fetch_all(pool)
    .await
    .map_err(Error::List)?
    .into_iter()
    .map(|row| Account { tenant: TenantId(row.tenant_id), name: row.name, registration: row.registration })
    .collect();
    let vanished = sqlx::query_scalar!(
        r#"select count(*) as "count!" from tenant
           where namespace = $1 and erased_at is null and vanished_at > now() - make_interval(mins => $2)"#,
        namespace,
        minutes,
    )
    .fetch_one(pool)
    .await
    .map_err(Error::List)?;
    Ok((accounts, usize::try_from(vanished).unwrap_or(0)))
}

/// Closes the accounts, starts their clock, and tells the connectors. Those that vanished before keep their day.
///
/// # Errors
/// When the database says no.
pub async fn vanish(pool: &PgPool, tenants: &[TenantId]) -> Result<(), Error> {
    let tenants: Vec<i64> = tenants.iter().map(|TenantId(tenant)| *tenant).collect();
    let mut transaction = pool.begin().await.map_err(Error::Vanish)?;
    sqlx::query!(
        "update tenant set vanished_at = now() where tenant_id = any($1) and vanished_at is null and erased_at is null",
        &tenants,
    )
    .execute(&mut *transaction)
    .await
    .map_err(Error::Vanish)?;
    sqlx::query!(
        "update enforcement set may_accept = false, may_send = false, code = 'deleted',
                reason = 'The account''s resource was deleted.' where tenant_id = any($1)",
        &tenants,
    )
    .execute(&mut *transaction)
    .await
    .map_err(Error::Vanish)?;
    sqlx::query!("delete from route_share where tenant_id = any($1)", &tenants)
        .execute(&mut *transaction)
        .await
        .map_err(Error::Vanish)?;
    sqlx::query!("delete from inbound_number where tenant_id = any($1)", &tenants)
        .execute(&mut *transaction)
        .await
        .map_err(Error::Vanish)?;
    sqlx::query!("select pg_notify('budstikke_change', 'tenant:' || t) from unnest($1::bigint[]) as t", &tenants)
        .execute(&mut *transaction)
        .await
        .map_err(Error::Vanish)?;
    transaction.commit().await.map_err(Error::Vanish)
}
