//! The keyring's rows.
use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;

use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::kek::Wrapped;
use super::seal::{PrivateKey, WrappingKey};
use super::{Class, Error, PublicDay, fresh};
use crate::domain::period::{gone_on, queue_days};
use crate::domain::{RouteId, TenantId};

// Whoever reads several tables comes to them in the order of `forget_tenant`, the wrapping keys first: in another one the two might
// wait for each other.

/// A key as it is stored, with the wrapping key that it is under at that moment.
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) wrapped: Vec<u8>,
    pub(super) wrapping: Wrapped,
    /// Whether it is on another machine too: see `safe_until` of the schema.
    pub(super) safe: bool,
}

/// The row of a key and of its wrapping key.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) wrapped: Vec<u8>,
    pub(super) wrapping: Vec<u8>,
    pub(super) kek: String,
    pub(super) safe: bool,
}

impl From<Row> for Stored {
    fn from(Row { name, wrapped, wrapping, kek, safe }: Row) -> Self {
        Self { name, wrapped, wrapping: Wrapped { kek, bytes: wrapping }, safe }
    }
}

/// Which of a tenant's keys there are; of those by day, when each must be gone.
pub(super) struct Present {
    lasting: Vec<Class>,
    by_day: HashMap<(Class, Date), Date>,
}

/// A key of a day that is to be made.
#[derive(Debug, PartialEq)]
pub(super) struct Missing {
    pub(super) class: Class,
    pub(super) day: Date,
    pub(super) gone_on: Date,
    /// One that must be gone on another day is in its place.
    pub(super) replaces: bool,
}

impl Present {
    /// Those that live as long as the account and are not there.
    pub(super) fn unmade_lasting(&self) -> Vec<Class> {
        [Class::Repeat, Class::Account].into_iter().filter(|class| !self.lasting.contains(class)).collect()
    }

    /// What is missing of `days`, the first of which is today: its keys may be in use and keep their date, while those of
    /// later days follow what is promised now. Nothing is logged with `log_days` 0, so there is no log key then.
    pub(super) fn missing(&self, days: &[Date], log_days: u32) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (nth, day) in days.iter().enumerate() {
            let kept =
                [(Class::Queue, queue_days(log_days)), (Class::Log, log_days), (Class::Inbound, log_days.max(1))];
            for (class, days) in kept.into_iter().filter(|(_, days)| *days > 0) {
                let gone_on = gone_on(*day, days);
                let known = self.by_day.get(&(class, *day));
                if !known.is_some_and(|known| nth == 0 || *known == gone_on) {
                    missing.push(Missing { class, day: *day, gone_on, replaces: known.is_some() });
                }
            }
        }
        missing
    }

    /// Log keys of `days` but the first that are not wanted: nothing is logged any more (D4). They were never used.
    pub(super) fn surplus(&self, days: &[Date], log_days: u32) -> Vec<(Class, Date)> {
        let later = days.iter().skip(1).map(|day| (Class::Log, *day));
        later.filter(|key| log_days == 0 && self.by_day.contains_key(key)).collect()
    }
}

/// A key that is not stored yet.
pub(super) struct NewKey {
    class: Class,
    name: String,
    usable_from: Date,
    gone_on: Date,
    wrapped: Vec<u8>,
    public: Option<Vec<u8>>,
}

impl NewKey {
    /// A fresh key, wrapped.
    pub(super) fn make(tenant: TenantId, missing: &Missing, wrapping: &WrappingKey, made: Made) -> Result<Self, Error> {
        let Missing { class, day: usable_from, gone_on, .. } = *missing;
        let name = name(class, gone_on, usable_from, made);
        let bytes = fresh()?;
        let public = match class {
            Class::Inbound => {
                let pair = PrivateKey::new(tenant, &name, &bytes).map_err(|_| Error::Make)?;
                Some(pair.public_bytes().to_vec())
            }
            Class::Queue | Class::Log | Class::Mail | Class::Repeat | Class::Account => None,
        };
        let wrapped = wrapping.wrap(tenant, class, &name, &bytes).map_err(|_| Error::Make)?;
        Ok(Self { class, name, usable_from, gone_on, wrapped, public })
    }
}

/// A fresh key that lives as long as the account: its name, and itself wrapped.
pub(super) fn lasting(
    tenant: TenantId,
    class: Class,
    wrapping: &WrappingKey,
) -> Result<(&'static str, Vec<u8>), Error> {
    let name = class.as_str();
    let wrapped = wrapping.wrap(tenant, class, name, &fresh()?).map_err(|_| Error::Make)?;
    Ok((name, wrapped))
}

/// One creator at a time for a tenant, and no mark in the log (see `close_segment`), until the transaction ends.
pub(super) async fn lock(db: &mut PgConnection, tenant: TenantId) -> sqlx::Result<()> {
    sqlx::query!("select pg_advisory_xact_lock($1)", tenant.0).execute(&mut *db).await?;
    sqlx::query!("select pg_advisory_xact_lock_shared(hashtext('keyring.make'))").execute(db).await.map(|_| ())
}

/// After what a tenant's keys are made now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// How often the keyring was restored.
    pub(super) restores: i32,
    /// How often keys of the tenant were erased ahead of their date.
    pub(super) renewals: i32,
}

/// What a key is called: first when it must be gone, last how often the keyring was restored and keys of the tenant were erased,
/// where either was. So a name is never given twice, also where a key was lost or erased, and what is sealed is bound to it.
pub(super) fn name(class: Class, gone: impl Display, from: impl Display, made: Made) -> String {
    let name = format!("{}/{gone}/{from}", class.as_str());
    match made {
        Made { restores: 0, renewals: 0 } => name,
        Made { restores, renewals: 0 } => format!("{name}/{restores}"),
        Made { restores, renewals } => format!("{name}/{restores}-{renewals}"),
    }
}

/// After what the tenant's keys are made now. Under the tenant's lock, so that none is erased meanwhile.
pub(super) async fn made(db: &mut PgConnection, tenant: TenantId) -> sqlx::Result<Made> {
    sqlx::query_as!(
        Made,
        r#"select keyring.restores() as "restores!",
             coalesce((select times from keyring.renewal where tenant_id = $1), 0) as "renewals!""#,
        tenant.0
    )
    .fetch_one(db)
    .await
}

pub(super) async fn wrapping(db: impl PgExecutor<'_>, tenant: TenantId) -> sqlx::Result<Option<Wrapped>> {
    sqlx::query_as!(Wrapped, "select kek, wrapped as bytes from keyring.wrapping_key where tenant_id = $1", tenant.0)
        .fetch_optional(db)
        .await
}

/// What is there in the end: this one, or what somebody else was faster with.
pub(super) async fn insert_wrapping(db: &PgPool, tenant: TenantId, made: &Wrapped) -> sqlx::Result<Wrapped> {
    sqlx::query!(
        "insert into keyring.wrapping_key (tenant_id, wrapped, kek) values ($1, $2, $3) on conflict do nothing",
        tenant.0,
        made.bytes,
        made.kek
    )
    .execute(db)
    .await?;
    wrapping(db, tenant).await?.ok_or(sqlx::Error::RowNotFound)
}

pub(super) async fn route_key(db: impl PgExecutor<'_>, RouteId(route): RouteId) -> sqlx::Result<Option<Wrapped>> {
    sqlx::query_as!(Wrapped, "select kek, wrapped as bytes from keyring.route_key where route_id = $1", route)
        .fetch_optional(db)
        .await
}

/// As [`insert_wrapping`].
pub(super) async fn insert_route_key(db: &PgPool, route: RouteId, made: &Wrapped) -> sqlx::Result<Wrapped> {
    sqlx::query!(
        "insert into keyring.route_key (route_id, wrapped, kek) values ($1, $2, $3) on conflict do nothing",
        route.0,
        made.bytes,
        made.kek
    )
    .execute(db)
    .await?;
    route_key(db, route).await?.ok_or(sqlx::Error::RowNotFound)
}

pub(super) async fn present(db: impl PgExecutor<'_>, tenant: TenantId, from: Date, to: Date) -> sqlx::Result<Present> {
    let rows = sqlx::query!(
        r#"select class as "class!", null::date as "day?: SqlDate", null::date as "gone_on?: SqlDate"
           from keyring.lasting_key where tenant_id = $1
           union all select class, usable_from, gone_on from keyring.key
           where tenant_id = $1 and usable_from between $2 and $3"#,
        tenant.0,
        from.to_sqlx() as SqlDate,
        to.to_sqlx() as SqlDate
    )
    .fetch_all(db)
    .await?;
    let lasting = rows.iter().filter(|row| row.day.is_none()).filter_map(|row| Class::named(&row.class)).collect();
    let by_day =
        rows.into_iter().filter_map(|row| Some(((Class::of(&row.class)?, row.day?.to_jiff()), row.gone_on?.to_jiff())));
    Ok(Present { lasting, by_day: by_day.collect() })
}

/// Takes away keys that were never used.
pub(super) async fn withdraw(db: &mut PgConnection, tenant: TenantId, keys: &[(Class, Date)]) -> sqlx::Result<()> {
    let classes: Vec<&str> = keys.iter().map(|(class, _)| class.as_str()).collect();
    let days: Vec<SqlDate> = keys.iter().map(|(_, day)| day.to_sqlx()).collect();
    sqlx::query!(
        "delete from keyring.key where tenant_id = $1
         and (class, usable_from) in (select * from unnest($2::text[], $3::date[]))",
        tenant.0,
        &classes as &[&str],
        &days as &[SqlDate],
    )
    .execute(db)
    .await
    .map(|_| ())
}

pub(super) async fn insert_lasting(
    db: &mut PgConnection,
    tenant: TenantId,
    class: Class,
    name: &str,
    wrapped: &[u8],
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into keyring.lasting_key (tenant_id, class, name, wrapped, created_at)
         values ($1, $2, $3, $4, clock_timestamp())",
        tenant.0,
        class.as_str(),
        name,
        wrapped
    )
    .execute(db)
    .await
    .map(|_| ())
}

/// Stores keys, after making room for the dates on which they must be gone.
pub(super) async fn insert(db: &mut PgConnection, tenant: TenantId, keys: &[NewKey]) -> sqlx::Result<()> {
    let dates: BTreeSet<Date> = keys.iter().map(|key| key.gone_on).collect();
    let dates: Vec<SqlDate> = dates.into_iter().map(|day| day.to_sqlx()).collect();
    sqlx::query!("select keyring.ensure_key_partition(day) from unnest($1::date[]) as day", &dates as &[SqlDate])
        .fetch_all(&mut *db)
        .await?;
    let classes: Vec<&str> = keys.iter().map(|key| key.class.as_str()).collect();
    let names: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
    let usable: Vec<SqlDate> = keys.iter().map(|key| key.usable_from.to_sqlx()).collect();
    let gone: Vec<SqlDate> = keys.iter().map(|key| key.gone_on.to_sqlx()).collect();
    let wrapped: Vec<&[u8]> = keys.iter().map(|key| &*key.wrapped).collect();
    let public: Vec<Option<&[u8]>> = keys.iter().map(|key| key.public.as_deref()).collect();
    sqlx::query!(
        "insert into keyring.key (tenant_id, class, name, usable_from, gone_on, wrapped, public, created_at)
         select $1, *, clock_timestamp()
         from unnest($2::text[], $3::text[], $4::date[], $5::date[], $6::bytea[], $7::bytea[])",
        tenant.0,
        &classes as &[&str],
        &names as &[&str],
        &usable as &[SqlDate],
        &gone as &[SqlDate],
        &wrapped as &[&[u8]],
        &public as &[Option<&[u8]>],
    )
    .execute(db)
    .await
    .map(|_| ())
}

pub(super) async fn public_days(
    db: impl PgExecutor<'_>,
    tenant: TenantId,
    from: Date,
    to: Date,
) -> sqlx::Result<Vec<PublicDay>> {
    let rows = sqlx::query!(
        r#"select usable_from as "day: SqlDate", name, public as "public!" from keyring.key
           where tenant_id = $1 and class = 'inbound' and usable_from between $2 and $3
             and created_at < keyring.safe_until() order by usable_from"#,
        tenant.0,
        from.to_sqlx() as SqlDate,
        to.to_sqlx() as SqlDate
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let key =
                row.public.try_into().map_err(|_| sqlx::Error::Decode("a public key of another length".into()))?;
            Ok(PublicDay { day: row.day.to_jiff(), name: row.name, key })
        })
        .collect()
}

pub(super) async fn lasting_of(
    db: impl PgExecutor<'_>,
    tenant: TenantId,
    class: Class,
) -> sqlx::Result<Option<Stored>> {
    let row = sqlx::query_as!(
        Row,
        r#"select k.name, k.wrapped, w.wrapped as wrapping, w.kek, k.created_at < keyring.safe_until() as "safe!"
           from keyring.wrapping_key w join keyring.lasting_key k using (tenant_id) where tenant_id = $1 and class = $2"#,
        tenant.0,
        class.as_str()
    );
    Ok(row.fetch_optional(db).await?.map(Stored::from))
}

pub(super) async fn living(
    db: impl PgExecutor<'_>,
    tenant: TenantId,
    class: Class,
    today: Date,
) -> sqlx::Result<Vec<Stored>> {
    let rows = sqlx::query_as!(
        Row,
        r#"select k.name, k.wrapped, w.wrapped as wrapping, w.kek, true as "safe!" from keyring.wrapping_key w
           join keyring.key k using (tenant_id)
           where tenant_id = $1 and class = $2 and gone_on > $3 order by usable_from desc"#,
        tenant.0,
        class.as_str(),
        today.to_sqlx() as SqlDate
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(Stored::from).collect())
}

pub(super) async fn before(
    db: impl PgExecutor<'_>,
    tenant: TenantId,
    class: Class,
    until: Date,
) -> sqlx::Result<Vec<(Date, Stored)>> {
    let rows = sqlx::query!(
        r#"select k.usable_from as "day: SqlDate", k.name, k.wrapped, w.wrapped as wrapping, w.kek
           from keyring.wrapping_key w join keyring.key k using (tenant_id)
           where tenant_id = $1 and class = $2 and usable_from < $3 order by usable_from"#,
        tenant.0,
        class.as_str(),
        until.to_sqlx() as SqlDate
    );
    let stored = rows.fetch_all(db).await?.into_iter().map(|row| {
        let wrapping = Wrapped { kek: row.kek, bytes: row.wrapping };
        (row.day.to_jiff(), Stored { name: row.name, wrapped: row.wrapped, wrapping, safe: true })
    });
    Ok(stored.collect())
}

pub(super) async fn of_day(
    db: impl PgExecutor<'_>,
    tenant: TenantId,
    class: Class,
    day: Date,
) -> sqlx::Result<Option<Stored>> {
    let row = sqlx::query_as!(
        Row,
        r#"select k.name, k.wrapped, w.wrapped as wrapping, w.kek, k.created_at < keyring.safe_until() as "safe!"
           from keyring.wrapping_key w join keyring.key k using (tenant_id)
           where tenant_id = $1 and class = $2 and usable_from = $3"#,
        tenant.0,
        class.as_str(),
        day.to_sqlx() as SqlDate
    );
    Ok(row.fetch_optional(db).await?.map(Stored::from))
}

pub(super) async fn named(
    db: impl PgExecutor<'_>,
    tenant: TenantId,
    class: Class,
    name: &str,
) -> sqlx::Result<Option<Stored>> {
    let row = sqlx::query_as!(
        Row,
        r#"select k.name, k.wrapped, w.wrapped as wrapping, w.kek, true as "safe!" from keyring.wrapping_key w
           join keyring.key k using (tenant_id) where tenant_id = $1 and class = $2 and name = $3"#,
        tenant.0,
        class.as_str(),
        name
    );
    Ok(row.fetch_optional(db).await?.map(Stored::from))
}

/// Looks at the table of keys, and at none of them.
pub(super) async fn answers(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query("select from keyring.key limit 0").execute(db).await.map(|_| ())
}
