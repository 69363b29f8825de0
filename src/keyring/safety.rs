//! Keys are safe before their first use: nothing is sealed with a key that a lost disk would take away.
//!
//! *Safe* means: with a synchronous standby, committed, since the standby has it then; with an archive of the write-ahead
//! log, that the archive has the segment of its commit; with neither there is no other machine, and nothing is waited for.
//! (How exposed such an installation is, the backups' own status says.)
use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, Timestamp as SqlTimestamp, ToSqlx as _};

use super::{Error, Keyring};
use crate::domain::{Hour, TenantId};

impl Keyring {
    /// Whether all keys of the tenant that are used on `day`, or at any time, are safe. If not, the log is closed for the archive, so that
    /// they soon are: ask again in seconds.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn secure(&self, tenant: TenantId, day: Date) -> Result<bool, Error> {
        let unsafe_yet = sqlx::query_scalar!(
            r#"select max(created_at) as "made: SqlTimestamp" from (
                   select created_at from keyring.lasting_key where tenant_id = $1
                   union all select created_at from keyring.key where tenant_id = $1 and usable_from = $2
               ) as used where created_at >= keyring.safe_until()"#,
            tenant.0,
            day.to_sqlx() as SqlDate
        );
        let unsafe_yet = unsafe_yet.fetch_one(&self.pool).await.map_err(Error::LookUp)?;
        self.close_segment(unsafe_yet).await
    }

    /// The same of the key that is used for copies of mail made at `at`.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn secure_hour(&self, tenant: TenantId, at: Timestamp) -> Result<bool, Error> {
        let unsafe_yet = sqlx::query_scalar!(
            r#"select max(created_at) as "made: SqlTimestamp" from keyring.hour_key
               where tenant_id = $1 and usable_from = $2 and created_at >= keyring.safe_until()"#,
            tenant.0,
            Hour::of(at).begins().to_sqlx() as SqlTimestamp
        );
        let unsafe_yet = unsafe_yet.fetch_one(&self.pool).await.map_err(Error::LookUp)?;
        self.close_segment(unsafe_yet).await
    }

    /// True where nothing waits for it.
    async fn close_segment(&self, made: Option<SqlTimestamp>) -> Result<bool, Error> {
        let Some(made) = made else { return Ok(true) };
        sqlx::query!("select keyring.close_segment($1)", made as SqlTimestamp)
            .execute(&self.pool)
            .await
            .map(|_| false)
            .map_err(Error::Store)
    }

    /// Marks where the write-ahead log is: by it what was made before is known to be safe once the archive has it, and that the
    /// archive is late; and what was destroyed leaves the log of an instance to which nothing else is written.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn mark_log(&self) -> Result<(), Error> {
        sqlx::query!("select keyring.mark_log()").execute(&self.pool).await.map(|_| ()).map_err(Error::Store)
    }
}
