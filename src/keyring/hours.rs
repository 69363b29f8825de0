//! Keys of the hour: one for the copies of a tenant's mail that are made in it (D3).
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgExecutor;

use super::kek::Wrapped;
use super::seal::{MailKey, WrappingKey};
use super::sql::{self, Row, Stored};
use super::{ATTEMPTS, Class, Error, Keyring, Named, fresh};
use crate::domain::{Hour, TenantId};

/// Keys are made this many hours ahead: how long the operator may be away before nothing of mail is kept any more.
pub const HOURS_AHEAD: u32 = 48;
/// How late a key may be destroyed before that is shown, seconds: the run after the full hour takes its time.
const LATE_SECONDS: i64 = 600;

impl Keyring {
    /// Makes what is missing of a tenant's keys for copies of mail: one for each hour from `now` to [`HOURS_AHEAD`] later, each to
    /// be destroyed `lives` hours after its hour began; without `lives` none, and none is left of hours to come. Idempotent; two at
    /// once make one key. This hour's key keeps the time it was made with; later ones are made anew where `lives` has changed. Whether
    /// any was made.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] before [`Keyring::provide`] gave the tenant a wrapping key; else when the keyring does not answer.
    pub async fn provide_mail(&self, tenant: TenantId, now: Timestamp, lives: u32) -> Result<bool, Error> {
        let this = Hour::of(now);
        if Wanted::of(&present(&self.pool, tenant, this).await.map_err(Error::LookUp)?, this, lives).is_nothing() {
            return Ok(false);
        }
        for _ in 0..ATTEMPTS {
            let stored = sql::wrapping(&self.pool, tenant).await.map_err(Error::LookUp)?;
            let stored = stored.ok_or(Error::KeyMissing { tenant, class: Class::Mail })?;
            let wrapping = self.wrapping_of(tenant, &stored).await?;
            if let Some(made) = self.make_hours(tenant, this, lives, &stored, &wrapping.1).await? {
                return Ok(made);
            }
        }
        Err(Error::Changed(tenant))
    }

    /// Under the tenant's lock, so that a second creator finds what the first one made. `None` where the wrapping key is another
    /// one by now.
    async fn make_hours(
        &self,
        tenant: TenantId,
        this: Hour,
        lives: u32,
        stored: &Wrapped,
        wrapping: &WrappingKey,
    ) -> Result<Option<bool>, Error> {
        let class = Class::Mail;
        let mut transaction = self.pool.begin().await.map_err(Error::Store)?;
        sql::lock(&mut transaction, tenant).await.map_err(Error::Store)?;
        if sql::wrapping(&mut *transaction, tenant).await.map_err(Error::LookUp)?.as_ref() != Some(stored) {
            return Ok(None);
        }
        let wanted = Wanted::of(&present(&mut *transaction, tenant, this).await.map_err(Error::LookUp)?, this, lives);
        withdraw(&mut *transaction, tenant, &wanted.unused).await.map_err(Error::Store)?;
        let after = sql::made(&mut transaction, tenant).await.map_err(Error::Store)?;
        let mut made = Vec::new();
        for hour in &wanted.missing {
            let (hour, gone_at) = (*hour, hour.plus(lives));
            let name = sql::name(class, gone_at, hour, after);
            let wrapped = wrapping.wrap(tenant, class, &name, &fresh()?).map_err(|_| Error::Make)?;
            made.push(NewKey { hour, gone_at, name, wrapped });
        }
        if !made.is_empty() {
            make_room(&mut *transaction, &made).await.map_err(Error::Store)?;
            insert(&mut *transaction, tenant, &made).await.map_err(Error::Store)?;
        }
        transaction.commit().await.map_err(Error::Store)?;
        Ok(Some(!made.is_empty()))
    }

    /// The key that copies of mail made at `at` are sealed with.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] where nothing of mail is kept, or the operator did not make it, [`Error::NotSafe`] while it is on one
    /// machine alone; else when the keyring does not answer.
    pub async fn mail_key(&self, tenant: TenantId, at: Timestamp) -> Result<Arc<MailKey>, Error> {
        let (hour, class) = (Hour::of(at), Class::Mail);
        if let Some(key) = self.mail_by_hour.get(&(tenant, hour)) {
            return Ok(key);
        }
        let stored = of_hour(&self.pool, tenant, hour).await.map_err(Error::LookUp)?;
        let (name, bytes) = self.unwrap_safe(tenant, class, stored).await?;
        let key = MailKey::new(tenant, &name, &bytes).map_err(|_| Error::Unwrap { tenant, class })?;
        Ok(self.mail_by_hour.put((tenant, hour), Arc::new(key)))
    }

    /// The key for copies of mail of this name.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] once it is destroyed; else when the keyring does not answer.
    pub async fn mail_key_named(&self, tenant: TenantId, name: &str) -> Result<Arc<MailKey>, Error> {
        let class = Class::Mail;
        match &*self.named(tenant, class, name).await? {
            Named::Mail(key) => Ok(Arc::clone(key)),
            _ => Err(Error::KeyMissing { tenant, class }),
        }
    }

    /// Destroys all keys of the hour that must be gone at `now` or before, whatever hours were missed. [`Keyring::destroy`] says
    /// what went.
    ///
    /// # Errors
    /// When the keyring does not answer; nothing is destroyed then.
    pub async fn destroy_hours(&self, now: Timestamp) -> Result<(), Error> {
        sqlx::query!("select keyring.destroy_hour_keys($1)", now.to_sqlx() as SqlTimestamp)
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(Error::Destroy)
    }

    /// Destroys a tenant's keys for copies of mail ahead of their time, those of hours to come included. How many.
    ///
    /// # Errors
    /// When the keyring does not answer; nothing is destroyed then.
    pub async fn erase_mail(&self, tenant: TenantId) -> Result<i64, Error> {
        let erased = sqlx::query_scalar!(r#"select keyring.erase_hour_keys($1, 'infinity') as "erased!""#, tenant.0);
        erased.fetch_one(&self.pool).await.map_err(Error::Destroy)
    }

    /// Destroys a tenant's keys for copies of mail that were made before the hour `before`, ahead of their time. How many.
    ///
    /// # Errors
    /// When the keyring does not answer; nothing is destroyed then.
    pub async fn erase_mail_before(&self, tenant: TenantId, before: Hour) -> Result<i64, Error> {
        let erased = sqlx::query_scalar!(
            r#"select keyring.erase_hour_keys($1, $2) as "erased!""#,
            tenant.0,
            at(before) as SqlTimestamp
        );
        erased.fetch_one(&self.pool).await.map_err(Error::Destroy)
    }

    /// The first hour of which these tenants have a key left; and how many of their keys should be gone at `now`.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn oldest_hour(&self, tenants: &[TenantId], now: Timestamp) -> Result<(Option<Hour>, i64), Error> {
        let ids: Vec<i64> = tenants.iter().map(|tenant| tenant.0).collect();
        let late = Timestamp::from_second(now.as_second().saturating_sub(LATE_SECONDS)).unwrap_or(now);
        let row = sqlx::query!(
            r#"select min(usable_from) filter (where usable_from <= $3) as "first: SqlTimestamp",
                 count(*) filter (where gone_at <= $2) as "overdue!" from keyring.hour_key where tenant_id = any($1)"#,
            &ids,
            late.to_sqlx() as SqlTimestamp,
            now.to_sqlx() as SqlTimestamp
        );
        let row = row.fetch_one(&self.pool).await.map_err(Error::LookUp)?;
        Ok((row.first.map(|first| Hour::of(first.to_jiff())), row.overdue))
    }
}

/// What is to be changed.
#[derive(Debug, PartialEq)]
struct Wanted {
    missing: Vec<Hour>,
    /// Of hours to come, that nobody has used.
    unused: Vec<Hour>,
}

impl Wanted {
    fn of(present: &BTreeMap<Hour, Hour>, this: Hour, lives: u32) -> Self {
        let right = |hour: Hour| present.get(&hour).is_some_and(|gone_at| hour == this || *gone_at == hour.plus(lives));
        let hours = (0..=HOURS_AHEAD).map(|ahead| this.plus(ahead)).filter(|_| lives > 0);
        let unused = present.keys().copied().filter(|hour| *hour > this && (lives == 0 || !right(*hour)));
        Self { missing: hours.filter(|hour| !right(*hour)).collect(), unused: unused.collect() }
    }

    fn is_nothing(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty()
    }
}

/// A key that is not stored yet.
struct NewKey {
    hour: Hour,
    gone_at: Hour,
    name: String,
    wrapped: Vec<u8>,
}

fn at(hour: Hour) -> SqlTimestamp {
    hour.begins().to_sqlx()
}

/// When the keys of this hour and later ones must be gone.
async fn present(db: impl PgExecutor<'_>, tenant: TenantId, from: Hour) -> sqlx::Result<BTreeMap<Hour, Hour>> {
    let rows = sqlx::query!(
        r#"select usable_from as "hour: SqlTimestamp", gone_at as "gone_at: SqlTimestamp" from keyring.hour_key
           where tenant_id = $1 and usable_from >= $2"#,
        tenant.0,
        at(from) as SqlTimestamp
    );
    let rows = rows.fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (Hour::of(row.hour.to_jiff()), Hour::of(row.gone_at.to_jiff()))).collect())
}

async fn withdraw(db: impl PgExecutor<'_>, tenant: TenantId, hours: &[Hour]) -> sqlx::Result<()> {
    let hours: Vec<SqlTimestamp> = hours.iter().copied().map(at).collect();
    sqlx::query!(
        "delete from keyring.hour_key where tenant_id = $1 and usable_from = any($2)",
        tenant.0,
        &hours as &[SqlTimestamp]
    )
    .execute(db)
    .await
    .map(|_| ())
}

async fn make_room(db: impl PgExecutor<'_>, keys: &[NewKey]) -> sqlx::Result<()> {
    let gone: Vec<SqlTimestamp> = keys.iter().map(|key| at(key.gone_at)).collect();
    sqlx::query!(
        "select keyring.ensure_hour_partition(hour) from (select distinct unnest($1::timestamptz[]) as hour order by hour) as hours",
        &gone as &[SqlTimestamp]
    )
    .fetch_all(db)
    .await
    .map(|_| ())
}

async fn insert(db: impl PgExecutor<'_>, tenant: TenantId, keys: &[NewKey]) -> sqlx::Result<()> {
    let hours: Vec<SqlTimestamp> = keys.iter().map(|key| at(key.hour)).collect();
    let gone: Vec<SqlTimestamp> = keys.iter().map(|key| at(key.gone_at)).collect();
    let names: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
    let wrapped: Vec<&[u8]> = keys.iter().map(|key| &*key.wrapped).collect();
    sqlx::query!(
        "insert into keyring.hour_key (tenant_id, usable_from, gone_at, name, wrapped, created_at)
         select $1, *, clock_timestamp() from unnest($2::timestamptz[], $3::timestamptz[], $4::text[], $5::bytea[])",
        tenant.0,
        &hours as &[SqlTimestamp],
        &gone as &[SqlTimestamp],
        &names as &[&str],
        &wrapped as &[&[u8]]
    )
    .execute(db)
    .await
    .map(|_| ())
}

async fn of_hour(db: impl PgExecutor<'_>, tenant: TenantId, hour: Hour) -> sqlx::Result<Option<Stored>> {
    let row = sqlx::query_as!(
        Row,
        r#"select k.name, k.wrapped, w.wrapped as wrapping, w.kek, k.created_at < keyring.safe_until() as "safe!"
           from keyring.wrapping_key w join keyring.hour_key k using (tenant_id) where tenant_id = $1 and usable_from = $2"#,
        tenant.0,
        at(hour) as SqlTimestamp
    );
    Ok(row.fetch_optional(db).await?.map(Stored::from))
}

pub(super) async fn named(db: impl PgExecutor<'_>, tenant: TenantId, name: &str) -> sqlx::Result<Option<Stored>> {
    let row = sqlx::query_as!(
        Row,
        r#"select k.name, k.wrapped, w.wrapped as wrapping, w.kek, true as "safe!" from keyring.wrapping_key w
           join keyring.hour_key k using (tenant_id) where tenant_id = $1 and name = $2"#,
        tenant.0,
        name
    );
    Ok(row.fetch_optional(db).await?.map(Stored::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_hours_key_keeps_its_time_and_later_ones_follow_the_policy() {
        let this = Hour::of("2026-10-25T00:30:00Z".parse().expect("a timestamp"));
        let all: BTreeMap<_, _> = (0..=HOURS_AHEAD).map(|ahead| (this.plus(ahead), this.plus(ahead + 46))).collect();
        assert!(Wanted::of(&all, this, 46).is_nothing());
        let longer = Wanted::of(&all, this, 70);
        assert_eq!((longer.missing.len(), longer.unused.len()), (48, 48));
        assert!(!longer.missing.contains(&this));
        let none = Wanted::of(&all, this, 0);
        assert_eq!((none.missing.len(), none.unused.len()), (0, 48));
        assert_eq!(Wanted::of(&BTreeMap::new(), this, 46).missing.len(), 49);
    }
}
