//! Routes: an id for namespace + name, given once. Who shares a route is written with the tenants' accounts.
use serde_json::Value;
use sqlx::PgPool;

use crate::domain::RouteId;

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The route got no id.
    #[error("give the route its id: {0}")]
    Ensure(#[source] sqlx::Error),
    /// Who is behind it, and how long receipts are awaited, was not noted.
    #[error("note who is behind the route: {0}")]
    Note(#[source] sqlx::Error),
}

/// The route's id; the same for ever.
///
/// # Errors
/// When the database says no.
pub async fn ensure(pool: &PgPool, namespace: &str, name: &str) -> Result<RouteId, Error> {
    let known = sqlx::query_scalar!("select route_id from route where namespace = $1 and name = $2", namespace, name)
        .fetch_optional(pool)
        .await
        .map_err(Error::Ensure)?;
    if let Some(route) = known {
        return Ok(RouteId(route));
    }
    // Somebody may be faster: the update changes nothing, and lets the row be returned.
    sqlx::query_scalar!(
        "insert into route (namespace, name) values ($1, $2)
         on conflict (namespace, name) do update set name = excluded.name returning route_id",
        namespace,
        name,
    )
    .fetch_one(pool)
    .await
    .map(RouteId)
    .map_err(Error::Ensure)
}

/// Notes the company behind a route, for the privacy page (D6, D9), and after how many hours without a receipt its messages are
/// given up.
///
/// # Errors
/// When the database says no.
pub async fn note(pool: &PgPool, RouteId(route): RouteId, processor: &Value, give_up_hours: u16) -> Result<(), Error> {
    sqlx::query!(
        "update route set processor = $2, give_up_hours = $3
         where route_id = $1 and (processor, give_up_hours) is distinct from ($2, $3)",
        route,
        processor,
        i32::from(give_up_hours)
    )
    .execute(pool)
    .await
    .map(drop)
    .map_err(Error::Note)
}
