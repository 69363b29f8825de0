//! Keys are safe before their first use: nothing is sealed with a key that a lost disk would take away.
//!
//! *Safe* means: with a synchronous standby, committed, since the standby has it then; with an archive of the write-ahead
//! log, that the archive has the segment of its commit; with neither there is no other machine, and nothing is waited for.
//! (How exposed such an installation is, the backups' own status says.)
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};

use super::{Error, Keyring};
use crate::domain::TenantId;

impl Keyring {
    /// Whether all keys of the tenant that are used on `day` are safe. If not, the log is closed for the archive, so that
    /// they soon are: ask again in seconds.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn secure(&self, tenant: TenantId, day: Date) -> Result<bool, Error> {
        let day: SqlDate = day.to_sqlx();
        let unsafe_yet = sqlx::query_scalar!(
            r#"select exists (select from keyring.key where tenant_id = $1 and usable_from = $2
                 and created_at >= keyring.safe_until()) as "unsafe!""#,
            tenant.0,
            day as SqlDate
        );
        if !unsafe_yet.fetch_one(&self.pool).await.map_err(Error::LookUp)? {
            return Ok(true);
        }
        sqlx::query!("select keyring.close_segment($1, $2)", tenant.0, day as SqlDate)
            .execute(&self.pool)
            .await
            .map_err(Error::Store)?;
        Ok(false)
    }
}
