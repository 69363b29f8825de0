//! Which account a resource stands for. Its id is given once, for namespace + name + registration number.
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgPool, Postgres, Transaction};

use super::Error;
use crate::domain::TenantId;

/// A Tenant as the cluster knows it.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its registration number with the country in front (A1).
    pub registration: &'a str,
    /// Its UID: another one means that it was deleted and made anew.
    pub uid: &'a str,
    /// When it was made.
    pub since: jiff::Timestamp,
}

/// What a resource's account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Its own.
    Own(TenantId),
    /// The name belongs to a living account with another registration number.
    NameInUse,
    /// The account was erased (A6).
    Erased,
    /// A newer resource of the same name stands for the account: what was seen is out of date.
    Outdated,
}

struct Row {
    tenant_id: i64,
    registration: String,
    resource_uid: String,
    newer: bool,
    vanished: bool,
}

/// Finds the account of a resource, makes one for a new resource, and takes one up whose resource is back.
///
/// # Errors
/// When the database says no.
pub async fn take_up(pool: &PgPool, resource: Resource<'_>) -> Result<Identity, Error> {
    let mut transaction = pool.begin().await.map_err(Error::TakeUp)?;
    let identity = find_or_make(&mut transaction, resource).await.map_err(Error::TakeUp)?;
    transaction.commit().await.map_err(Error::TakeUp)?;
    Ok(identity)
}

/// Gives the account to a resource that a newer one, or a newer generation, had spoken for: the caller has made sure that
/// it is the one in the cluster. So it is after the cluster's own store was restored from a backup.
///
/// # Errors
/// When the database says no.
pub async fn take_over(pool: &PgPool, resource: Resource<'_>) -> Result<(), Error> {
    let mut transaction = pool.begin().await.map_err(Error::TakeUp)?;
    let row = living(&mut transaction, resource).await.map_err(Error::TakeUp)?;
    if let Some(row) = row.filter(|row| row.registration == resource.registration) {
        revive(&mut transaction, TenantId(row.tenant_id), resource).await.map_err(Error::TakeUp)?;
    }
    transaction.commit().await.map_err(Error::TakeUp)
}

async fn find_or_make(
    transaction: &mut Transaction<'_, Postgres>,
    resource: Resource<'_>,
) -> Result<Identity, sqlx::Error> {
    let Some(row) = living(transaction, resource).await? else {
        if was_erased(transaction, resource).await? {
            return Ok(Identity::Erased);
        }
        let tenant = make(transaction, resource).await?;
        return Ok(Identity::Own(tenant));
    };
    let tenant = TenantId(row.tenant_id);
    if row.registration != resource.registration {
        return Ok(Identity::NameInUse);
    }
    let same = row.resource_uid == resource.uid;
    if !same && row.newer {
        return Ok(Identity::Outdated);
    }
    if !same || row.vanished {
        revive(transaction, tenant, resource).await?;
    }
    Ok(Identity::Own(tenant))
}

async fn living(
    transaction: &mut Transaction<'_, Postgres>,
    resource: Resource<'_>,
) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select tenant_id, registration, resource_uid, resource_since > $3 as "newer!",
                  vanished_at is not null as "vanished!"
           from tenant where namespace = $1 and name = $2 and erased_at is null for update"#,
        resource.namespace,
        resource.name,
        resource.since.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .fetch_optional(&mut **transaction)
    .await
}

async fn was_erased(transaction: &mut Transaction<'_, Postgres>, resource: Resource<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from tenant
                          where namespace = $1 and name = $2 and registration = $3 and erased_at is not null) as "was!""#,
        resource.namespace,
        resource.name,
        resource.registration,
    )
    .fetch_one(&mut **transaction)
    .await
}

async fn make(transaction: &mut Transaction<'_, Postgres>, resource: Resource<'_>) -> Result<TenantId, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into tenant (namespace, name, registration, resource_uid, resource_since)
         values ($1, $2, $3, $4, $5) returning tenant_id",
        resource.namespace,
        resource.name,
        resource.registration,
        resource.uid,
        resource.since.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .fetch_one(&mut **transaction)
    .await
    .map(TenantId)
}

/// The clock stops, and generations begin anew: those of another resource say nothing about this one's.
async fn revive(
    transaction: &mut Transaction<'_, Postgres>,
    TenantId(tenant): TenantId,
    resource: Resource<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update tenant set vanished_at = null, erase_on = null, resource_uid = $2, resource_since = $3 where tenant_id = $1",
        tenant,
        resource.uid,
        resource.since.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .execute(&mut **transaction)
    .await?;
    sqlx::query!("update enforcement set generation = 0 where tenant_id = $1", tenant)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// The account of this name that is not erased.
///
/// # Errors
/// When the database does not answer.
pub async fn find(pool: &PgPool, namespace: &str, name: &str) -> Result<Option<TenantId>, Error> {
    let found = sqlx::query_scalar!(
        "select tenant_id from budstikke.tenant where namespace = $1 and name = $2 and erased_at is null",
        namespace,
        name
    );
    Ok(found.fetch_optional(pool).await.map_err(Error::TakeUp)?.map(TenantId))
}
