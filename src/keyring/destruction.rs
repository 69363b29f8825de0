//! The end of keys. What is destroyed here is unreadable from then on in every copy of the data; in copies of the keyring
//! itself when its write-ahead log and backups of that time are gone (D2, D3).
use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, Timestamp as SqlTimestamp, ToSqlx as _};

use super::{Class, Error, Keyring};
use crate::domain::TenantId;
use crate::domain::period::queue_days;
use crate::store::backups::{self, Copies};

/// Keys of one class and date that were destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destroyed {
    /// The day at whose start they had to be gone.
    pub gone_on: Date,
    /// As [`Class::as_str`] says it.
    pub class: String,
    /// How many.
    pub keys: i64,
    /// Of how many tenants.
    pub tenants: i64,
}

/// A key whose date has not come, though what it was made for is kept no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlived {
    /// Whose.
    pub tenant: TenantId,
    /// As [`Class::as_str`] says it.
    pub class: String,
    /// Its name.
    pub name: String,
    /// The day at whose start it would have had to be gone.
    pub due: Date,
}

/// How long the keyring's write-ahead log may hold what is destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalWindow {
    /// So many seconds at most.
    Bounded(i64),
    /// For ever; because of this setting of the server.
    Unbounded(String),
}

impl Keyring {
    /// Destroys all keys that must be gone on `today` or before, whatever days were missed. What went, oldest first, until
    /// [`Keyring::noted`] is told that the journal has it.
    ///
    /// # Errors
    /// When the keyring does not answer; nothing is destroyed then.
    pub async fn destroy(&self, today: Date) -> Result<Vec<Destroyed>, Error> {
        let day: SqlDate = today.to_sqlx();
        sqlx::query!("select keyring.destroy_keys($1)", day as SqlDate)
            .execute(&self.pool)
            .await
            .map_err(Error::Destroy)?;
        let rows = sqlx::query!(
            r#"select gone_on as "gone_on: SqlDate", class, keys, tenants from keyring.destruction order by gone_on, class"#
        );
        let rows = rows.fetch_all(&self.pool).await.map_err(Error::Destroy)?;
        let went = rows.into_iter().map(|row| Destroyed {
            gone_on: row.gone_on.to_jiff(),
            class: row.class,
            keys: row.keys,
            tenants: row.tenants,
        });
        Ok(went.collect())
    }

    /// Keys of days gone by that were made for a longer log than the tenant's is now, which is kept so many days: what is sealed with
    /// them is kept no longer.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn outlived(&self, kept: &[(TenantId, u32)], today: Date) -> Result<Vec<Outlived>, Error> {
        let days = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
        let tenants: Vec<i64> = kept.iter().map(|(tenant, _)| tenant.0).collect();
        let logs: Vec<i32> = kept.iter().map(|(_, kept)| days(*kept)).collect();
        let queues: Vec<i32> = kept.iter().map(|(_, kept)| days(queue_days(*kept))).collect();
        let rows = sqlx::query!(
            r#"select k.tenant_id, k.class, k.name, k.usable_from + d.days as "due!: SqlDate"
               from unnest($1::bigint[], $2::integer[], $3::integer[]) as o (tenant_id, log, queue)
               join keyring.key k using (tenant_id)
               cross join lateral (
                   select case k.class when 'log' then o.log when 'inbound' then greatest(o.log, 1) else o.queue end
               ) as d (days)
               where k.gone_on > $4 and k.usable_from < $4 and k.usable_from + d.days <= $4"#,
            &tenants,
            &logs,
            &queues,
            today.to_sqlx() as SqlDate
        );
        let rows = rows.fetch_all(&self.pool).await.map_err(Error::LookUp)?;
        let outlived = rows.into_iter().map(|row| Outlived {
            tenant: TenantId(row.tenant_id),
            class: row.class,
            name: row.name,
            due: row.due.to_jiff(),
        });
        Ok(outlived.collect())
    }

    /// Destroys these. [`Keyring::destroy`] says what went.
    ///
    /// # Errors
    /// When the keyring does not answer; nothing is destroyed then.
    pub async fn destroy_outlived(&self, outlived: &[Outlived]) -> Result<(), Error> {
        if outlived.is_empty() {
            return Ok(());
        }
        let tenants: Vec<i64> = outlived.iter().map(|key| key.tenant.0).collect();
        let classes: Vec<&str> = outlived.iter().map(|key| &*key.class).collect();
        let names: Vec<&str> = outlived.iter().map(|key| &*key.name).collect();
        let dues: Vec<SqlDate> = outlived.iter().map(|key| key.due.to_sqlx()).collect();
        sqlx::query!(
            "select keyring.destroy_outlived($1, $2, $3, $4)",
            &tenants,
            &classes as &[&str],
            &names as &[&str],
            &dues as &[SqlDate]
        )
        .execute(&self.pool)
        .await
        .map(|_| ())
        .map_err(Error::Destroy)
    }

    /// The journal has it.
    ///
    /// # Errors
    /// When the keyring does not answer: then the journal may get it twice.
    pub async fn noted(&self, destroyed: &Destroyed) -> Result<(), Error> {
        let day: SqlDate = destroyed.gone_on.to_sqlx();
        sqlx::query!(
            "delete from keyring.destruction where gone_on = $1 and class = $2",
            day as SqlDate,
            destroyed.class
        )
        .execute(&self.pool)
        .await
        .map(|_| ())
        .map_err(Error::Destroy)
    }

    /// The first day of which a key of log or inbound is left; `None` without any.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn first_living_day(&self) -> Result<Option<Date>, Error> {
        let first = sqlx::query_scalar!(
            r#"select min(usable_from) as "first: SqlDate" from keyring.key where class in ('log', 'inbound')"#
        );
        first.fetch_one(&self.pool).await.map(|first| first.map(SqlDate::to_jiff)).map_err(Error::LookUp)
    }

    /// The first day of which these tenants have a key left, by class; and how many of their keys should be gone by `today`.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn oldest(&self, tenants: &[TenantId], today: Date) -> Result<(Vec<(Class, Date)>, i64), Error> {
        let ids: Vec<i64> = tenants.iter().map(|tenant| tenant.0).collect();
        let day: SqlDate = today.to_sqlx();
        let rows = sqlx::query!(
            r#"select class, min(usable_from) as "first!: SqlDate", count(*) filter (where gone_on <= $2) as "overdue!"
               from keyring.key where tenant_id = any($1) group by class order by class"#,
            &ids,
            day as SqlDate
        );
        let rows = rows.fetch_all(&self.pool).await.map_err(Error::LookUp)?;
        let overdue = rows.iter().map(|row| row.overdue).sum();
        let firsts = rows.iter().filter_map(|row| Some((Class::of(&row.class)?, row.first.to_jiff())));
        Ok((firsts.collect(), overdue))
    }

    /// Destroys a tenant's keys of a class for the days before `before`, ahead of their date. How many.
    ///
    /// # Errors
    /// When the keyring does not answer; nothing is destroyed then.
    pub async fn erase(&self, tenant: TenantId, class: Class, before: Date) -> Result<i64, Error> {
        let erased = sqlx::query_scalar!(
            r#"select keyring.erase_keys($1, $2, $3) as "erased!""#,
            tenant.0,
            class.as_str(),
            before.to_sqlx() as SqlDate
        );
        erased.fetch_one(&self.pool).await.map_err(Error::Destroy)
    }

    /// Destroys every key of a tenant whose account is erased. How many; none where it was done before.
    ///
    /// # Errors
    /// When the keyring does not answer; nothing is destroyed then.
    pub async fn forget(&self, tenant: TenantId) -> Result<i64, Error> {
        let forgotten = sqlx::query_scalar!(r#"select keyring.forget_tenant($1) as "forgotten!""#, tenant.0);
        forgotten.fetch_one(&self.pool).await.map_err(Error::Destroy)
    }

    /// How long the write-ahead log of the keyring goes back.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn wal_window(&self) -> Result<WalWindow, Error> {
        let row = sqlx::query!("select seconds, unbounded_by from keyring.wal_window()");
        let row = row.fetch_one(&self.pool).await.map_err(Error::LookUp)?;
        Ok(match (row.seconds, row.unbounded_by) {
            (Some(seconds), None) => WalWindow::Bounded(seconds),
            (_, setting) => WalWindow::Unbounded(setting.unwrap_or_default()),
        })
    }

    /// What is known of the keyring's copies; its standby is asked whether it has replayed all that was destroyed up to now.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn copies(&self) -> Result<Copies, Error> {
        backups::copies_of_keyring(&self.pool).await.map_err(Error::LookUp)
    }

    /// What the keyring's server takes the time to be.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn clock(&self) -> Result<Timestamp, Error> {
        let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!: SqlTimestamp""#);
        now.fetch_one(&self.pool).await.map(|now| now.to_jiff()).map_err(Error::LookUp)
    }
}
