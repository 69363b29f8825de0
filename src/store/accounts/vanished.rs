//! Accounts whose resource is gone: closed, and kept until the account-deletion clock has run out (A6).
use sqlx::{PgPool, Postgres, Transaction};

use super::Error;
use crate::domain::TenantId;

/// An account whose resource is, or was until now, in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account.
    pub tenant: TenantId,
    /// The UID of the resource that stands for it.
    pub uid: String,
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
        "select tenant_id, resource_uid, name, registration from tenant
         where namespace = $1 and vanished_at is null and erased_at is null",
        namespace,
    )
    .fetch_all(pool)
    .await
    .map_err(Error::List)?
    .into_iter()
    .map(|row| Account {
        tenant: TenantId(row.tenant_id),
        uid: row.resource_uid,
        name: row.name,
        registration: row.registration,
    })
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

/// Closes the account, starts its clock, and tells the connectors. Whether it did: an account that vanished before keeps
/// its day, and one that another resource has taken up since is left alone.
///
/// # Errors
/// When the database says no.
pub async fn vanish(pool: &PgPool, account: &Account) -> Result<bool, Error> {
    let mut transaction = pool.begin().await.map_err(Error::Vanish)?;
    let closed = close(&mut transaction, account).await.map_err(Error::Vanish)?;
    transaction.commit().await.map_err(Error::Vanish)?;
    Ok(closed)
}

async fn close(transaction: &mut Transaction<'_, Postgres>, account: &Account) -> Result<bool, sqlx::Error> {
    let TenantId(tenant) = account.tenant;
    let closed = sqlx::query!(
        "update tenant set vanished_at = now(), erase_on = least(erase_on, ((now() at time zone 'Europe/Copenhagen')
            + make_interval(months => coalesce((select (spec -> 'accounts' ->> 'deleteAfterMonths')::integer from in_force
                                                where in_force.tenant_id = $1 and kind = 'policy'), 3)))::date)
         where tenant_id = $1 and resource_uid = $2 and vanished_at is null and erased_at is null",
        tenant,
        account.uid,
    )
    .execute(&mut **transaction)
    .await?;
    if closed.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "update enforcement set may_accept = false, may_send = false, code = 'deleted',
                reason = 'The account''s resource was deleted.' where tenant_id = $1",
        tenant,
    )
    .execute(&mut **transaction)
    .await?;
    sqlx::query!("delete from route_share where tenant_id = $1", tenant).execute(&mut **transaction).await?;
    sqlx::query!("delete from inbound_number where tenant_id = $1", tenant).execute(&mut **transaction).await?;
    sqlx::query!("select pg_notify('budstikke_change', 'tenant:' || $1::bigint)", tenant)
        .execute(&mut **transaction)
        .await?;
    Ok(true)
}
