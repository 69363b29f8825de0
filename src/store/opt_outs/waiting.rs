//! What waits to be sent to those who have opted out since. No hash that outlives the log's keys stands with a message: it would tell
//! whom it went to when those are destroyed. So it is found as history finds it, by the hash under the key of its day; where nothing
//! is logged there is no hash, and the messages themselves are opened.
use sqlx::PgPool;
use uuid::Uuid;

use super::Error;
use crate::domain::TenantId;

/// Names of the log keys of what waits.
///
/// # Errors
/// When the database does not answer.
pub async fn log_keys(pool: &PgPool, tenant: TenantId) -> Result<Vec<String>, Error> {
    let names = sqlx::query_scalar!(
        r#"select distinct log_key as "log_key!" from queue where tenant_id = $1 and log_key is not null"#,
        tenant.0
    );
    names.fetch_all(pool).await.map_err(Error::ReadWaiting)
}

/// Messages that wait under a log key for numbers with these hashes under it.
///
/// # Errors
/// When the database does not answer.
pub async fn logged(pool: &PgPool, tenant: TenantId, log_key: &str, hashes: &[[u8; 16]]) -> Result<Vec<Uuid>, Error> {
    let hashes: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
    let ids = sqlx::query_scalar!(
        "select message_id from queue where tenant_id = $1 and log_key = $2 and number_hash = any($3)",
        tenant.0,
        log_key,
        &hashes as &[&[u8]],
    );
    ids.fetch_all(pool).await.map_err(Error::ReadWaiting)
}

/// A message that waits and is not logged, still sealed.
#[derive(Debug)]
pub struct Unlogged {
    /// Which.
    pub id: Uuid,
    /// Name of the key that opens `body`.
    pub queue_key: String,
    /// The sealed [`crate::domain::Body`].
    pub body: Vec<u8>,
}

/// At most `limit` messages that wait and are not logged, above an id.
///
/// # Errors
/// When the database does not answer.
pub async fn unlogged(pool: &PgPool, tenant: TenantId, above: Uuid, limit: i64) -> Result<Vec<Unlogged>, Error> {
    let rows = sqlx::query_as!(
        Unlogged,
        "select message_id as id, queue_key, body from queue
         where tenant_id = $1 and log_key is null and message_id > $2 order by message_id limit $3",
        tenant.0,
        above,
        limit
    );
    rows.fetch_all(pool).await.map_err(Error::ReadWaiting)
}
