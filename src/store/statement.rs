//! What is in force for all accounts together, of which the privacy page is made (D9): not what somebody meant to be so.
use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use serde_json::Value;
use sqlx::PgPool;

/// The database did not answer.
#[derive(Debug, thiserror::Error)]
#[error("read what is in force: {0}")]
pub struct Error(#[source] sqlx::Error);

/// What is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct InForce {
    /// The different policies that accounts are under: the last valid form of each, as JSON of their spec.
    pub policies: Vec<Value>,
    /// For how many days after accept anything that is logged can be read, at most over all accounts (D2).
    pub log_days: i32,
    /// The different companies behind the routes that accounts share, as JSON.
    pub processors: Vec<Value>,
    /// When all that had to be gone was gone last.
    pub checked_at: Option<Timestamp>,
}

/// Reads it. Nothing in it tells one account from another.
///
/// # Errors
/// When the database does not answer.
pub async fn in_force(pool: &PgPool) -> Result<InForce, Error> {
    let row = sqlx::query!(
        r#"select
            array(select distinct f.spec from in_force f join tenant t using (tenant_id)
                  where f.kind = 'policy' and t.erased_at is null order by f.spec) as "policies!",
            coalesce(greatest((select max(log_days) from enforcement), (select max(kept_days) from retention)), 0) as "log_days!",
            array(select distinct r.processor from route r
                  where r.processor is not null and exists (select from route_share s where s.route_id = r.route_id)
                  order by r.processor) as "processors!",
            (select done_at from retention_run) as "checked_at: SqlTimestamp""#
    )
    .fetch_one(pool)
    .await
    .map_err(Error)?;
    Ok(InForce {
        policies: row.policies,
        log_days: row.log_days,
        processors: row.processors,
        checked_at: row.checked_at.map(SqlTimestamp::to_jiff),
    })
}
