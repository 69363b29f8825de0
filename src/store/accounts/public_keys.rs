//! Public keys that connectors seal to: a day's inbound, and who asks to be written to no more. The private halves are in the keyring.
use jiff_sqlx::ToSqlx as _;
use sqlx::PgPool;

use super::Error;
use crate::domain::TenantId;
use crate::keyring::PublicDay;

/// Publishes the keys of these days. A day's key changes before its day only, with what the policy promises.
///
/// # Errors
/// When the database says no.
pub async fn publish_keys(pool: &PgPool, TenantId(tenant): TenantId, days: &[PublicDay]) -> Result<(), Error> {
    let dates: Vec<jiff_sqlx::Date> = days.iter().map(|day| day.day.to_sqlx()).collect();
    let names: Vec<String> = days.iter().map(|day| day.name.clone()).collect();
    let keys: Vec<Vec<u8>> = days.iter().map(|day| day.key.to_vec()).collect();
    sqlx::query!(
        "insert into public_key as k (tenant_id, day, key_name, key)
         select $1, * from unnest($2::date[], $3::text[], $4::bytea[])
         on conflict (tenant_id, day) do update set key_name = excluded.key_name, key = excluded.key
         where k.key_name <> excluded.key_name",
        tenant,
        &dates as &[jiff_sqlx::Date],
        &names,
        &keys,
    )
    .execute(pool)
    .await
    .map(|_| ())
    .map_err(Error::PublishKeys)
}

/// Publishes the key that opt-outs by SMS are sealed to, and tells the connectors where it is new.
///
/// # Errors
/// When the database says no.
pub async fn publish_opt_out_key(pool: &PgPool, tenant: TenantId, name: &str, key: &[u8]) -> Result<(), Error> {
    sqlx::query!(
        "with written as (
             insert into opt_out_key as k (tenant_id, key_name, key) values ($1, $2, $3)
             on conflict (tenant_id) do update set key_name = excluded.key_name, key = excluded.key
             where (k.key_name, k.key) is distinct from (excluded.key_name, excluded.key)
             returning tenant_id
         )
         select pg_notify('budstikke_change', 'tenant:' || tenant_id) from written",
        tenant.0,
        name,
        key,
    )
    .execute(pool)
    .await
    .map(|_| ())
    .map_err(Error::PublishKeys)
}
