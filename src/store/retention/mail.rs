//! For how long copies of mail that are there already are kept (D3): their keys have their own time, which a policy that was made
//! shorter since cuts.
use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;

use super::{AT_ONCE, Error, Gone};
use crate::domain::{Hour, TenantId};

/// For how long a tenant's copies of mail are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Hours after the beginning of the hour that a copy was made in.
    pub hours: u32,
    /// Since when a shorter time is asked for.
    pub shortened_at: Option<Timestamp>,
    /// Until then there may be copies that were to be kept longer.
    pub shorter_until: Option<Timestamp>,
}

/// For how long a tenant's copies of mail are kept; `None` before it was ever said.
///
/// # Errors
/// When the database does not answer.
pub async fn kept(pool: &PgPool, tenant: TenantId) -> Result<Option<Kept>, Error> {
    let row = sqlx::query!(
        r#"select mail_hours as "hours!", mail_shortened_at as "shortened_at: SqlTimestamp",
             mail_shorter_until as "shorter_until: SqlTimestamp"
           from retention where tenant_id = $1 and mail_hours is not null"#,
        tenant.0
    );
    let row = row.fetch_optional(pool).await.map_err(Error::Keep)?;
    Ok(row.map(|row| Kept {
        hours: row.hours.unsigned_abs(),
        shortened_at: row.shortened_at.map(SqlTimestamp::to_jiff),
        shorter_until: row.shorter_until.map(SqlTimestamp::to_jiff),
    }))
}

/// Says for how long, of a tenant of which it is said how long its log is kept.
///
/// # Errors
/// When the database says no.
pub async fn keep(pool: &PgPool, tenant: TenantId, kept: Kept) -> Result<(), Error> {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_sqlx());
    sqlx::query!(
        "update retention set mail_hours = $2, mail_shortened_at = $3, mail_shorter_until = $4 where tenant_id = $1",
        tenant.0,
        i32::try_from(kept.hours).unwrap_or(i32::MAX),
        time(kept.shortened_at) as Option<SqlTimestamp>,
        time(kept.shorter_until) as Option<SqlTimestamp>
    )
    .execute(pool)
    .await
    .map(|_| ())
    .map_err(Error::Keep)
}

/// Tenants that may have copies whose own time is longer than they are to be kept now: how many hours that is.
///
/// # Errors
/// When the database does not answer.
pub async fn cut(pool: &PgPool, now: Timestamp) -> Result<Vec<(TenantId, u32)>, Error> {
    let rows = sqlx::query!(
        r#"select tenant_id, mail_hours as "hours!" from retention
           where mail_shorter_until > $1 and mail_hours is not null order by tenant_id"#,
        now.to_sqlx() as SqlTimestamp
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Keep)?;
    Ok(rows.into_iter().map(|row| (TenantId(row.tenant_id), row.hours.unsigned_abs())).collect())
}

/// Erases copies of these tenants, each that were made before its hour; their keys are destroyed.
///
/// # Errors
/// When the database says no; what was erased until then stays so.
pub async fn purge(pool: &PgPool, before: &[(TenantId, Hour)]) -> Result<Gone, Error> {
    let tenants: Vec<i64> = before.iter().map(|(tenant, _)| tenant.0).collect();
    let moments: Vec<SqlTimestamp> = before.iter().map(|(_, hour)| hour.begins().to_sqlx()).collect();
    let mut all = Gone::default();
    loop {
        let gone = sqlx::query_as!(
            Gone,
            r#"select removed as "items!", tenants as "tenants!" from purge_mail($1, $2, $3)"#,
            &tenants,
            &moments as &[SqlTimestamp],
            AT_ONCE
        );
        if !all.add(gone.fetch_one(pool).await.map_err(Error::Purge)?) {
            return Ok(all);
        }
    }
}

/// What would be erased of tenants whose copies of mail are to be kept shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// How many tenants.
    pub tenants: i64,
    /// How many copies.
    pub copies: i64,
    /// Since when it is shown, of the one that has waited longest.
    pub since: Timestamp,
}

/// What waits to be erased of these tenants: what was made before the hour `before`. `None`: nothing.
///
/// # Errors
/// When the database does not answer.
pub async fn pending(
    pool: &PgPool,
    tenants: &[TenantId],
    before: Hour,
    now: Timestamp,
) -> Result<Option<Pending>, Error> {
    let ids: Vec<i64> = tenants.iter().map(|tenant| tenant.0).collect();
    let row = sqlx::query!(
        r#"select count(distinct tenant_id) as "tenants!", count(*) as "copies!",
             min(mail_shortened_at) as "since: SqlTimestamp"
           from retention r join mail_copy m using (tenant_id)
           where tenant_id = any($1) and mail_shortened_at is not null and m.made_at < $2 and m.gone_at > $3"#,
        &ids,
        before.begins().to_sqlx() as SqlTimestamp,
        now.to_sqlx() as SqlTimestamp
    );
    let row = row.fetch_one(pool).await.map_err(Error::Keep)?;
    Ok(row.since.map(|since| Pending { tenants: row.tenants, copies: row.copies, since: since.to_jiff() }))
}
