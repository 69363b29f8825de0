//! The accounts of an installation, as the operator would enter them: many are made over one connection.
use budstikke::config::NamedKey;
use budstikke::config::sender::CrashPolicy;
use budstikke::domain::{ApiKey, Clock as _, RouteId, Scope, SystemClock, TenantId, copenhagen_day};
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::store::scram;
use jiff::ToSpan as _;
use sqlx::PgPool;

use super::postgres::{Databases, PASSWORD};

pub(crate) const KEK: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// One tenant, and what it takes to be it.
pub(crate) struct Account {
    pub(crate) tenant: TenantId,
    pub(crate) key: ApiKey,
    pub(crate) queue_keys: Vec<NamedKey>,
}

/// How an account is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// What its share of the route weighs.
    pub(crate) weight: i32,
    /// What becomes of its messages of unknown fate.
    pub(crate) policy: CrashPolicy,
}

/// The sender id of the account with this number; nobody else may send from it.
pub(crate) fn sender_id(number: usize) -> String {
    format!("Tenant{number}")
}

/// Makes tenants that share a route, with their logins and keys, and the route's login.
pub(crate) async fn make(databases: &Databases, members: &[Member]) -> (RouteId, Vec<Account>) {
    let operator = databases.data.pool("budstikke_operator");
    let keys = keyring::connect(&databases.keyring.dsn("budstikke_operator"), 1, "bench");
    let keyring = Keyring::open(keys, Kek::parse(KEK).expect("a key"));
    let verifier = scram::verifier(PASSWORD).expect("a verifier");
    let route = databases.route("route", &[]).await;
    let login = sqlx::query("select route_login($1, $2)").bind(route.0).bind(&verifier);
    login.execute(&operator).await.expect("the route's login");

    let mut accounts = Vec::new();
    for (number, Member { weight, policy }) in members.iter().enumerate() {
        let tenant = tenant(&operator, number, *policy).await;
        let share = sqlx::query("insert into route_share (route_id, tenant_id, weight) values ($1, $2, $3)");
        share.bind(route.0).bind(tenant.0).bind(weight).execute(&operator).await.expect("share the route");
        let login = sqlx::query("select tenant_login($1, $2)").bind(tenant.0).bind(&verifier);
        login.execute(&operator).await.expect("a tenant's login");
        let key = mint(&operator, tenant).await;
        accounts.push(Account { tenant, key, queue_keys: queue_keys(&keyring, tenant).await });
    }
    operator.close().await;
    (route, accounts)
}

/// May send anything within generous limits, and as many recipients a call as the API takes.
async fn tenant(operator: &PgPool, number: usize, policy: CrashPolicy) -> TenantId {
    let tenant: i64 = sqlx::query_scalar(
        "insert into tenant (namespace, name, registration) values ('test', $1, 'DK10000009') returning tenant_id",
    )
    .bind(format!("tenant-{number}"))
    .fetch_one(operator)
    .await
    .expect("insert a tenant");
    let may = sqlx::query(
        "insert into enforcement (tenant_id, generation, may_accept, may_send, services, sender_ids, max_parts,
                                  recipients_per_call, log_days, log_characters, validity_seconds, crash_policy)
         values ($1, 1, true, true, '{api}', array[$2], 10, 10000, 90, 160, 172800, $3)",
    );
    let may = may.bind(tenant).bind(sender_id(number)).bind(policy.as_str());
    may.execute(operator).await.expect("what it may");
    let costs = sqlx::query("insert into price (tenant_id, prefix, amount) values ($1, '', 35000)").bind(tenant);
    costs.execute(operator).await.expect("what it costs");
    TenantId(tenant)
}

/// The tenant's keys, made as the operator makes them.
async fn queue_keys(keyring: &Keyring, tenant: TenantId) -> Vec<NamedKey> {
    let today = copenhagen_day(SystemClock.now());
    keyring.provide(tenant, today, today.saturating_add(1.day()), 90).await.expect("keys");
    let keys = keyring.queue_keys(tenant, today).await.expect("keys");
    keys.iter().map(|key| NamedKey { name: key.name().to_owned(), key: key.export() }).collect()
}

async fn mint(operator: &PgPool, tenant: TenantId) -> ApiKey {
    let key = ApiKey::mint().expect("a key");
    sqlx::query(
        "insert into api_key (tenant_id, key_id, prefix, hash, scopes, source)
         values ($1, gen_random_uuid(), $2, $3, $4, 'minted')",
    )
    .bind(tenant.0)
    .bind(key.prefix())
    .bind(key.hash().as_slice())
    .bind(Scope::ALL.map(|scope| scope.as_str()).to_vec())
    .execute(operator)
    .await
    .expect("insert a key");
    key
}
