//! What is enforced on an account, written as one: what it may do, under which plan and policy, at which prices, by
//! which routes, with which numbers. Accept and claim read it in their own transactions, so it holds within
//! milliseconds.
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use serde_json::Value;
use sqlx::{PgPool, Postgres, Transaction};

use super::super::is_lock_timeout;
use super::Error;
use crate::domain::{MilliOre, RouteId, TenantId};

/// What an account may do now, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enforcement {
    /// Of the resource that says so; an older one than the stored is refused.
    pub generation: i64,
    /// New messages are accepted.
    pub may_accept: bool,
    /// Queued messages are sent.
    pub may_send: bool,
    /// Why not, as a stable word.
    pub code: Option<String>,
    /// Why not, in the owner's words.
    pub reason: Option<String>,
    /// The services that it may use, as its spec writes them (A9).
    pub services: Vec<String>,
    /// Sender ids, the default one first.
    pub sender_ids: Vec<String>,
    /// Of each, the service that it needs and the account lacks; empty: none.
    pub sender_lacks: Vec<String>,
    /// Of each, the countries in which it may be used, between commas; empty: every one.
    pub sender_countries: Vec<String>,
    /// What recipients' numbers begin with; none: anything.
    pub allowed_prefixes: Vec<String>,
    /// Country of numbers without one, ISO 3166-1.
    pub default_region: String,
    /// Parts of one message, at most.
    pub max_parts: i16,
    /// Recipients of one call, at most.
    pub recipients_per_call: i32,
    /// Messages of one clock hour, at most.
    pub messages_per_hour: Option<i32>,
    /// Messages of one day, at most.
    pub messages_per_day: Option<i32>,
    /// Within so many seconds the same text to the same number is a duplicate; `None`: it never is.
    pub duplicate_seconds: Option<i32>,
    /// Days that the log is kept (D2); 0: nothing is logged (D4).
    pub log_days: i32,
    /// Characters of the text that are logged (D1).
    pub log_characters: i16,
    /// Seconds that a message may wait.
    pub validity_seconds: i32,
    /// When messages go out; `None`: always.
    pub window: Option<Window>,
    /// `resend` or `hold`.
    pub crash_policy: String,
    /// From when on receipts go to webhooks though nothing is logged; `None`: never (D4).
    pub receipts_by_webhook_from: Option<Date>,
    /// Words by which a handset gets nothing more, in capitals; none: by no word.
    pub stop_words: Vec<String>,
    /// Words by which it gets something again.
    pub start_words: Vec<String>,
}

/// Hours in which messages go out, in Copenhagen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// ISO days of the week, Monday 1; none: every day.
    pub days: Vec<i16>,
    /// Minute of the day, included.
    pub from: i16,
    /// Minute of the day, excluded.
    pub until: i16,
}

/// The plan or policy an account is under: its name and the last valid form of its spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The resource's name.
    pub name: String,
    /// Its spec.
    pub spec: Value,
}

/// A share of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The route.
    pub route: RouteId,
    /// The weight beside the other tenants on it, 1 to 1000.
    pub weight: i32,
}

/// A number, or a keyword on it, whose inbound messages on a route are the account's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundNumber {
    /// The route they come in by.
    pub route: RouteId,
    /// The number, digits only.
    pub number: String,
    /// The keyword; empty: what no keyword takes.
    pub keyword: String,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is in force; these numbers are another account's and were left there.
    InForce(Vec<InboundNumber>),
    /// A newer generation of the resource, or a newer resource, has spoken already.
    Outdated,
}

/// Everything that is enforced on one account.
#[derive(Debug)]
pub struct Orders<'a> {
    /// What it may do.
    pub enforcement: &'a Enforcement,
    /// The UID of the resource that says so.
    pub resource_uid: &'a str,
    /// The plan in force.
    pub plan: Option<&'a Terms>,
    /// The policy in force.
    pub policy: Option<&'a Terms>,
    /// Price of a part by prefix.
    pub prices: &'a [(String, MilliOre)],
    /// The routes it shares.
    pub shares: &'a [Share],
    /// The numbers it receives on.
    pub numbers: &'a [InboundNumber],
}

/// Writes what is enforced where it differs, in one transaction, and tells the connectors once it holds.
///
/// # Errors
/// When the database says no.
pub async fn write(pool: &PgPool, tenant: TenantId, orders: &Orders<'_>) -> Result<Written, Error> {
    let mut transaction = pool.begin().await.map_err(Error::Enforce)?;
    let written = write_all(&mut transaction, tenant, orders).await.map_err(Error::Enforce)?;
    transaction.commit().await.map_err(Error::Enforce)?;
    Ok(written)
}

/// Why an account is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing<'a> {
    /// Of the resource that says so.
    pub generation: i64,
    /// The UID of that resource.
    pub resource_uid: &'a str,
    /// A stable word.
    pub code: &'a str,
    /// The owner's words.
    pub reason: &'a str,
}

/// Closes an account, whatever else is to be enforced on it: this needs neither a plan nor a policy. Whether the resource
/// may say so; an outdated one may not. A sender that keeps the row locked loses its sessions.
///
/// # Errors
/// When the database says no.
pub async fn close(pool: &PgPool, tenant: TenantId, closing: Closing<'_>) -> Result<bool, Error> {
    match try_close(pool, tenant, closing).await {
        Err(error) if is_lock_timeout(&error) => {
            sqlx::query_scalar!("select evict_sender($1)", tenant.0).fetch_one(pool).await.map_err(Error::Evict)?;
            try_close(pool, tenant, closing).await
        }
        tried => tried,
    }
    .map_err(Error::Enforce)
}

async fn try_close(pool: &PgPool, tenant: TenantId, closing: Closing<'_>) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // A claim takes milliseconds.
    sqlx::query("set local lock_timeout = '2s'").execute(&mut *transaction).await?;
    if is_outdated(&mut transaction, tenant, closing.resource_uid, closing.generation).await? {
        return Ok(false);
    }
    let closed = sqlx::query!(
        "update enforcement set generation = $2, may_accept = false, may_send = false, code = $3, reason = $4
         where tenant_id = $1 and (may_accept or may_send or (generation, code, reason) is distinct from ($2, $3, $4))",
        tenant.0,
        closing.generation,
        closing.code,
        closing.reason,
    )
    .execute(&mut *transaction)
    .await?;
    if closed.rows_affected() > 0 {
        notify(&mut transaction, tenant, Vec::new()).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

async fn write_all(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: TenantId,
    orders: &Orders<'_>,
) -> Result<Written, sqlx::Error> {
    if is_outdated(transaction, tenant, orders.resource_uid, orders.enforcement.generation).await? {
        return Ok(Written::Outdated);
    }
    let mut changed = write_enforcement(transaction, tenant, orders.enforcement).await?;
    for (kind, terms) in [("plan", orders.plan), ("policy", orders.policy)] {
        if let Some(terms) = terms {
            changed |= write_terms(transaction, tenant, kind, terms).await?;
        }
    }
    changed |= write_prices(transaction, tenant, orders.prices).await?;
    let mut routes = write_shares(transaction, tenant, orders.shares).await?;
    routes.extend(write_numbers(transaction, tenant, orders.numbers).await?);
    if changed || !routes.is_empty() {
        notify(transaction, tenant, routes).await?;
    }
    Ok(Written::InForce(taken_numbers(transaction, tenant, orders.numbers).await?))
}

async fn is_outdated(
    transaction: &mut Transaction<'_, Postgres>,
    TenantId(tenant): TenantId,
    resource_uid: &str,
    generation: i64,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select t.resource_uid <> $2 or t.vanished_at is not null or t.erased_at is not null
                  or coalesce(e.generation > $3, false) as "outdated!"
           from tenant t left join enforcement e using (tenant_id) where t.tenant_id = $1 for update of t"#,
        tenant,
        resource_uid,
        generation,
    )
    .fetch_optional(&mut **transaction)
    .await
    .map(|outdated| outdated.unwrap_or(true))
}

async fn write_enforcement(
    transaction: &mut Transaction<'_, Postgres>,
    TenantId(tenant): TenantId,
    row: &Enforcement,
) -> Result<bool, sqlx::Error> {
    sqlx::query!(
        "insert into enforcement as e (tenant_id, generation, may_accept, may_send, code, reason, sender_ids, default_region,
                max_parts, recipients_per_call, messages_per_day, log_days, log_characters, validity_seconds, crash_policy,
                receipts_by_webhook_from, sender_countries, allowed_prefixes, window_days, window_from, window_until,
                messages_per_hour, duplicate_seconds, stop_words, start_words, services, sender_lacks)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
                $25, $26, $27)
         on conflict (tenant_id) do update set generation = excluded.generation, may_accept = excluded.may_accept,
                may_send = excluded.may_send, code = excluded.code, reason = excluded.reason,
                sender_ids = excluded.sender_ids, default_region = excluded.default_region, max_parts = excluded.max_parts,
                recipients_per_call = excluded.recipients_per_call, messages_per_day = excluded.messages_per_day,
                log_days = excluded.log_days, log_characters = excluded.log_characters,
                validity_seconds = excluded.validity_seconds, crash_policy = excluded.crash_policy,
                receipts_by_webhook_from = excluded.receipts_by_webhook_from,
                sender_countries = excluded.sender_countries, allowed_prefixes = excluded.allowed_prefixes,
                window_days = excluded.window_days, window_from = excluded.window_from,
                window_until = excluded.window_until, messages_per_hour = excluded.messages_per_hour,
                duplicate_seconds = excluded.duplicate_seconds, stop_words = excluded.stop_words,
                start_words = excluded.start_words, services = excluded.services, sender_lacks = excluded.sender_lacks
         where e is distinct from excluded",
        tenant,
        row.generation,
        row.may_accept,
        row.may_send,
        row.code.as_deref(),
        row.reason.as_deref(),
        &row.sender_ids,
        row.default_region,
        row.max_parts,
        row.recipients_per_call,
        row.messages_per_day,
        row.log_days,
        row.log_characters,
        row.validity_seconds,
        row.crash_policy,
        row.receipts_by_webhook_from.map(|day| day.to_sqlx()) as Option<SqlDate>,
        &row.sender_countries,
        &row.allowed_prefixes,
        row.window.as_ref().map_or(&[][..], |window| &window.days),
        row.window.as_ref().map(|window| window.from),
        row.window.as_ref().map(|window| window.until),
        row.messages_per_hour,
        row.duplicate_seconds,
        &row.stop_words,
        &row.start_words,
        &row.services,
        &row.sender_lacks,
    )
    .execute(&mut **transaction)
    .await
    .map(|done| done.rows_affected() > 0)
}

async fn write_terms(
    transaction: &mut Transaction<'_, Postgres>,
    TenantId(tenant): TenantId,
    kind: &str,
    terms: &Terms,
) -> Result<bool, sqlx::Error> {
    sqlx::query!(
        "insert into in_force as f (tenant_id, kind, name, spec) values ($1, $2, $3, $4)
         on conflict (tenant_id, kind) do update set name = excluded.name, spec = excluded.spec
         where (f.name, f.spec) is distinct from (excluded.name, excluded.spec)",
        tenant,
        kind,
        terms.name,
        terms.spec,
    )
    .execute(&mut **transaction)
    .await
    .map(|done| done.rows_affected() > 0)
}

async fn write_prices(
    transaction: &mut Transaction<'_, Postgres>,
    TenantId(tenant): TenantId,
    prices: &[(String, MilliOre)],
) -> Result<bool, sqlx::Error> {
    let (prefixes, amounts): (Vec<String>, Vec<i64>) =
        prices.iter().map(|(prefix, MilliOre(amount))| (prefix.clone(), *amount)).unzip();
    let gone = sqlx::query!("delete from price where tenant_id = $1 and prefix <> all($2)", tenant, &prefixes)
        .execute(&mut **transaction)
        .await?;
    let written = sqlx::query!(
        "insert into price as p (tenant_id, prefix, amount) select $1, * from unnest($2::text[], $3::bigint[])
         on conflict (tenant_id, prefix) do update set amount = excluded.amount where p.amount <> excluded.amount",
        tenant,
        &prefixes,
        &amounts,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(gone.rows_affected() + written.rows_affected() > 0)
}

/// The routes whose shares changed.
async fn write_shares(
    transaction: &mut Transaction<'_, Postgres>,
    TenantId(tenant): TenantId,
    shares: &[Share],
) -> Result<Vec<i64>, sqlx::Error> {
    let (routes, weights): (Vec<i64>, Vec<i32>) = shares.iter().map(|share| (share.route.0, share.weight)).unzip();
    let mut touched = sqlx::query_scalar!(
        "delete from route_share where tenant_id = $1 and route_id <> all($2) returning route_id",
        tenant,
        &routes,
    )
    .fetch_all(&mut **transaction)
    .await?;
    let written = sqlx::query_scalar!(
        "insert into route_share as s (tenant_id, route_id, weight) select $1, * from unnest($2::bigint[], $3::integer[])
         on conflict (tenant_id, route_id) do update set weight = excluded.weight where s.weight <> excluded.weight
         returning route_id",
        tenant,
        &routes,
        &weights,
    )
    .fetch_all(&mut **transaction)
    .await?;
    touched.extend(written);
    Ok(touched)
}

/// The routes whose numbers changed. A number of another account stays there.
async fn write_numbers(
    transaction: &mut Transaction<'_, Postgres>,
    TenantId(tenant): TenantId,
    numbers: &[InboundNumber],
) -> Result<Vec<i64>, sqlx::Error> {
    let Columns { routes, numbers, keywords } = Columns::of(numbers);
    let mut touched = sqlx::query_scalar!(
        "delete from inbound_number where tenant_id = $1 and (route_id, number, keyword) not in
             (select * from unnest($2::bigint[], $3::text[], $4::text[])) returning route_id",
        tenant,
        &routes,
        &numbers,
        &keywords,
    )
    .fetch_all(&mut **transaction)
    .await?;
    let written = sqlx::query_scalar!(
        "insert into inbound_number (tenant_id, route_id, number, keyword)
         select $1, * from unnest($2::bigint[], $3::text[], $4::text[]) on conflict do nothing returning route_id",
        tenant,
        &routes,
        &numbers,
        &keywords,
    )
    .fetch_all(&mut **transaction)
    .await?;
    touched.extend(written);
    Ok(touched)
}

async fn taken_numbers(
    transaction: &mut Transaction<'_, Postgres>,
    TenantId(tenant): TenantId,
    numbers: &[InboundNumber],
) -> Result<Vec<InboundNumber>, sqlx::Error> {
    let Columns { routes, numbers, keywords } = Columns::of(numbers);
    let rows = sqlx::query!(
        "select n.route_id, n.number, n.keyword from inbound_number n
         join unnest($2::bigint[], $3::text[], $4::text[]) as w (route_id, number, keyword) using (route_id, number, keyword)
         where n.tenant_id <> $1 order by n.number, n.keyword",
        tenant,
        &routes,
        &numbers,
        &keywords,
    )
    .fetch_all(&mut **transaction)
    .await?;
    let number = |(route, number, keyword)| InboundNumber { route: RouteId(route), number, keyword };
    Ok(rows.into_iter().map(|row| number((row.route_id, row.number, row.keyword))).collect())
}

/// Numbers as three arrays.
struct Columns {
    routes: Vec<i64>,
    numbers: Vec<String>,
    keywords: Vec<String>,
}

impl Columns {
    fn of(numbers: &[InboundNumber]) -> Self {
        Self {
            routes: numbers.iter().map(|number| number.route.0).collect(),
            numbers: numbers.iter().map(|number| number.number.clone()).collect(),
            keywords: numbers.iter().map(|number| number.keyword.clone()).collect(),
        }
    }
}

async fn notify(
    transaction: &mut Transaction<'_, Postgres>,
    TenantId(tenant): TenantId,
    mut routes: Vec<i64>,
) -> Result<(), sqlx::Error> {
    routes.sort_unstable();
    routes.dedup();
    let payloads: Vec<String> = std::iter::once(format!("tenant:{tenant}"))
        .chain(routes.iter().map(|route| format!("route:{route}")))
        .collect();
    sqlx::query!("select pg_notify('budstikke_change', payload) from unnest($1::text[]) as payload", &payloads)
        .execute(&mut **transaction)
        .await
        .map(|_| ())
}

/// The last valid forms that an account is under.
#[derive(Debug, Default)]
pub struct InForce {
    /// Of its plan.
    pub plan: Option<Terms>,
    /// Of its policy.
    pub policy: Option<Terms>,
}

/// The plan and the policy that an account is under.
///
/// # Errors
/// When the database says no.
pub async fn in_force(pool: &PgPool, TenantId(tenant): TenantId) -> Result<InForce, Error> {
    let rows = sqlx::query!("select kind, name, spec from in_force where tenant_id = $1", tenant)
        .fetch_all(pool)
        .await
        .map_err(Error::ReadInForce)?;
    let mut in_force = InForce::default();
    for row in rows {
        let terms = Some(Terms { name: row.name, spec: row.spec });
        match row.kind.as_str() {
            "plan" => in_force.plan = terms,
            _ => in_force.policy = terms,
        }
    }
    Ok(in_force)
}
