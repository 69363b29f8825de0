//! Partitions of the coming days. `migrate` makes the first ones, the operator those that follow.
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgPool;

/// The partitions could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make partitions: {0}")]
pub struct MakeError(#[source] sqlx::Error);

/// Makes the partitions from yesterday until `days` after `today`, where they are missing; those that were.
///
/// # Errors
/// When the database says no.
pub async fn ensure(pool: &PgPool, today: Date, days: i64) -> Result<Vec<String>, MakeError> {
    let made = sqlx::query_scalar!(
        r#"select ensure_partitions($1, $2) as "name!""#,
        today.saturating_sub(1.day()).to_sqlx() as jiff_sqlx::Date,
        today.saturating_add(days.days()).to_sqlx() as jiff_sqlx::Date,
    );
    made.fetch_all(pool).await.map_err(MakeError)
}
