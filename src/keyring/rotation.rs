//! Rotation, while everything goes on: another key-encryption key around all wrapping keys, another wrapping key around a
//! tenant's keys. The keys that messages are sealed with stay the same, so no message is touched.
//!
//! A process that has a wrapping key in memory uses it only as long as the row that it came from stands; so one that comes in
//! the middle sees either what was or what is.
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};

use super::kek::{Owner, Wrapped};
use super::seal::WrappingKey;
use super::{ATTEMPTS, Class, Error, Keyring, fresh};
use crate::domain::{RouteId, TenantId};

/// How far everything is under the current key-encryption key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// The name of the current key.
    pub current: String,
    /// Rows that were moved under it by this call.
    pub moved: u64,
    /// Rows that are still under another one.
    pub behind: i64,
    /// The last one was moved, and nothing of what was under other keys is left in the tables.
    pub finished: bool,
}

/// A row that is not under the current key.
struct Behind {
    kind: String,
    id: i64,
    kek: String,
    wrapped: Vec<u8>,
}

impl Keyring {
    /// Moves at most `most` rows under the current key-encryption key. What is cut short goes on with the next call.
    ///
    /// # Errors
    /// When the keyring or the key-encryption key does not answer; what was moved before stays moved.
    pub async fn rewrap(&self, most: i64) -> Result<Rewrapped, Error> {
        let current = self.kek.current().await.map_err(Error::Kek)?;
        let rows = sqlx::query_as!(
            Behind,
            r#"select 'tenant' as "kind!", tenant_id as "id!", kek as "kek!", wrapped as "wrapped!"
               from keyring.wrapping_key where kek <> $1
               union all select 'route', route_id, kek, wrapped from keyring.route_key where kek <> $1 limit $2"#,
            current,
            most
        );
        let mut moved = 0;
        for row in rows.fetch_all(&self.pool).await.map_err(Error::LookUp)? {
            moved += u64::from(self.move_one(row).await?);
        }
        let behind = self.behind_of(&current).await?;
        let finished = behind == 0 && self.finish(&current).await?;
        Ok(Rewrapped { current, moved, behind, finished })
    }

    /// How many rows are not under the current key-encryption key, whether or not they can be moved.
    ///
    /// # Errors
    /// When the keyring or the key-encryption key does not answer.
    pub async fn behind(&self) -> Result<i64, Error> {
        self.behind_of(&self.kek.current().await.map_err(Error::Kek)?).await
    }

    async fn behind_of(&self, current: &str) -> Result<i64, Error> {
        let behind = sqlx::query_scalar!(
            r#"select (select count(*) from keyring.wrapping_key where kek <> $1)
                    + (select count(*) from keyring.route_key where kek <> $1) as "behind!""#,
            current
        );
        behind.fetch_one(&self.pool).await.map_err(Error::LookUp)
    }

    async fn move_one(&self, row: Behind) -> Result<bool, Error> {
        let Behind { kind, id, kek, wrapped } = row;
        let owner = if kind == "tenant" { Owner::Tenant(TenantId(id)) } else { Owner::Route(RouteId(id)) };
        let was = Wrapped { kek, bytes: wrapped };
        let bytes = self.kek.unwrap(owner, &was).await.map_err(Error::Kek)?;
        let becomes = self.kek.wrap(owner, &bytes).await.map_err(Error::Kek)?;
        let moved = sqlx::query_scalar!(
            r#"select keyring.rewrap($1, $2, $3, $4, $5) as "moved!""#,
            kind,
            id,
            was.bytes,
            becomes.bytes,
            becomes.kek
        );
        moved.fetch_one(&self.pool).await.map_err(Error::Store)
    }

    /// Asked without a lock first: it is asked every minute.
    async fn finish(&self, current: &str) -> Result<bool, Error> {
        let done =
            sqlx::query_scalar!(r#"select exists (select from keyring.rotation where kek = $1) as "done!""#, current);
        if done.fetch_one(&self.pool).await.map_err(Error::LookUp)? {
            return Ok(false);
        }
        let finished = sqlx::query_scalar!(r#"select keyring.finish_rotation($1) as "finished!""#, current);
        finished.fetch_one(&self.pool).await.map_err(Error::Store)
    }

    /// Gives a tenant another wrapping key, and destroys the old one. How many keys are under it; `None` for a tenant without.
    ///
    /// # Errors
    /// When the keyring or the key-encryption key does not answer; then all is as it was.
    pub async fn rotate(&self, tenant: TenantId) -> Result<Option<i64>, Error> {
        for _ in 0..ATTEMPTS {
            let Some(was) = super::sql::wrapping(&self.pool, tenant).await.map_err(Error::LookUp)? else {
                return Ok(None);
            };
            let old = self.wrapping_of(tenant, &was).await?;
            let bytes = fresh()?;
            let new = WrappingKey::new(&bytes).map_err(|_| Error::Make)?;
            let becomes = self.kek.wrap(Owner::Tenant(tenant), &bytes).await.map_err(Error::Kek)?;
            match self.exchange(tenant, &was, &old.1, &becomes, &new).await {
                Ok(Some(keys)) => return Ok(Some(keys)),
                // Keys were made, or the row was moved, meanwhile.
                Ok(None) | Err(Error::Changed(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Changed(tenant))
    }

    async fn exchange(
        &self,
        tenant: TenantId,
        was: &Wrapped,
        old: &WrappingKey,
        becomes: &Wrapped,
        new: &WrappingKey,
    ) -> Result<Option<i64>, Error> {
        let mut transaction = self.pool.begin().await.map_err(Error::Store)?;
        // One at a time: two that read the table could not both lock it then.
        sqlx::query!("select pg_advisory_xact_lock(hashtext('keyring.rotate'))")
            .execute(&mut *transaction)
            .await
            .map_err(Error::Store)?;
        super::sql::lock(&mut transaction, tenant).await.map_err(Error::Store)?;
        // Another key may be in place of the one that `old` was.
        if super::sql::wrapping(&mut *transaction, tenant).await.map_err(Error::LookUp)?.as_ref() != Some(was) {
            return Err(Error::Changed(tenant));
        }
        let rows = sqlx::query!(
            r#"select class as "class!", name as "name!", wrapped as "wrapped!" from keyring.key where tenant_id = $1
               union all select 'mail', name, wrapped from keyring.hour_key where tenant_id = $1
               union all select class, name, wrapped from keyring.lasting_key where tenant_id = $1"#,
            tenant.0
        );
        let (mut names, mut rewrapped) = (Vec::new(), Vec::new());
        for row in rows.fetch_all(&mut *transaction).await.map_err(Error::LookUp)? {
            let class = Class::named(&row.class).ok_or(Error::Make)?;
            let key =
                old.unwrap(tenant, class, &row.name, &row.wrapped).map_err(|_| Error::Unwrap { tenant, class })?;
            rewrapped.push(new.wrap(tenant, class, &row.name, &key).map_err(|_| Error::Make)?);
            names.push(row.name);
        }
        let keys = sqlx::query_scalar!(
            "select keyring.rotate_wrapping($1, $2, $3, $4, $5, $6)",
            tenant.0,
            was.bytes,
            becomes.bytes,
            becomes.kek,
            &names,
            &rewrapped
        );
        let keys = keys.fetch_one(&mut *transaction).await.map_err(Error::Store)?;
        transaction.commit().await.map_err(Error::Store)?;
        Ok(keys)
    }

    /// Tenants whose wrapping key is older than `days`, oldest first, at most `most`.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn aged(&self, days: u32, now: Timestamp, most: i64) -> Result<Vec<TenantId>, Error> {
        let before = now.saturating_sub(SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(Timestamp::MIN);
        let before: SqlTimestamp = before.to_sqlx();
        let ids = sqlx::query_scalar!(
            "select tenant_id from keyring.wrapping_key where created_at < $1 order by created_at limit $2",
            before as SqlTimestamp,
            most
        );
        let ids = ids.fetch_all(&self.pool).await.map_err(Error::LookUp)?;
        Ok(ids.into_iter().map(TenantId).collect())
    }

    /// Every tenant that has a wrapping key.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn tenants(&self) -> Result<Vec<TenantId>, Error> {
        let ids = sqlx::query_scalar!("select tenant_id from keyring.wrapping_key order by tenant_id");
        Ok(ids.fetch_all(&self.pool).await.map_err(Error::LookUp)?.into_iter().map(TenantId).collect())
    }
}
