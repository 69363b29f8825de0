//! A sender's own database login, as its pod has it, sees its tenant's rows alone, and does not exist beside the keys. The
//! integration tests try it on every function too; here it is the login of the running installation, on all its tables.
use std::collections::BTreeSet;
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::support::caller::{message, numbers};
use crate::support::forward::Forward;
use crate::support::manifests::NAMESPACE;
use crate::support::stage;
use crate::support::wait::eventually;
use crate::support::world::{SOON, World};

/// What PostgreSQL says of a table that one may not read.
const DENIED: &str = "42501";
/// What it says of a login that does not exist.
const NO_LOGIN: &str = "28P01";

/// The sender's login, turned to one of the two instances; the way to it ends with the first value.
async fn login(world: &World, tenant: &str, instance: &str) -> (Forward, PgConnectOptions) {
    let secret = format!("sender-{tenant}");
    let authority = world.secret(&secret, "database-ca.crt").await;
    let target = format!("service/budstikke-{instance}");
    let forward = eventually(&target, SOON, async || Forward::open(NAMESPACE, &target, 5432).await).await;
    let login = PgConnectOptions::from_str(&world.secret(&secret, "database-url").await).expect("a URL");
    let login = login.host("127.0.0.1").port(forward.port).ssl_mode(PgSslMode::VerifyCa);
    (forward, login.ssl_root_cert_from_pem(authority.into_bytes()))
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// Everything in the catalogue that holds rows, but for PostgreSQL's own; and whether any column of it may be read.
async fn relations(session: &mut PgConnection) -> Vec<(String, bool)> {
    let query = "select oid::regclass::text, has_any_column_privilege(oid, 'select') from pg_class \
                 where relkind in ('r', 'p', 'v', 'm', 'f') \
                   and relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast') order by 1";
    sqlx::query_as(query).fetch_all(session).await.expect("the catalogue")
}

#[tokio::test]
async fn a_senders_login_reads_its_own_rows_and_no_others() {
    stage::beside_others("isolate", async |world| {
        let smsc = world.smsc(&[]).await;
        let route = world.route("main", &smsc, |_| {}).await;
        let (a, b) = (world.tenant("a", &[&route], |_| {}).await, world.tenant("b", &[&route], |_| {}).await);
        for tenant in [&a, &b] {
            world.tenant_ready(tenant).await;
            let caller = world.caller(tenant).await;
            let accepted = caller.send(&numbers(1, 1)).await;
            caller.until(accepted.messages[0], "delivered", SOON).await;
            // And one that waits.
            let mut later = message(&numbers(2, 1));
            later["sendAt"] = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)).to_string().into();
            let answer = caller.call(reqwest::Method::POST, "/v1/messages", Some(&later)).await;
            assert_eq!(answer.status, reqwest::StatusCode::ACCEPTED, "{}", answer.body);
        }
        let account = async |tenant: &str| {
            let tenant = world.api::<budstikke::crd::Tenant>().get(tenant).await.expect("the Tenant");
            tenant.status.and_then(|status| status.account_id).expect("an account id")
        };
        let (own, other) = (account(&a).await, account(&b).await);
        let (_forward, options) = login(world, &a, "postgres").await;
        let mut session = options.connect().await.expect("a session");

        let mut shown = BTreeSet::new();
        let relations = relations(&mut session).await;
        for (table, readable) in &relations {
            let select = format!("select {} from {table}", if *readable { "tenant_id" } else { "*" });
            let seen = sqlx::query(AssertSqlSafe(select)).fetch_all(&mut session).await;
            if !readable {
                let refused = seen.err().and_then(|error| code(&error));
                assert_eq!(refused.as_deref(), Some(DENIED), "{table} is not read");
                continue;
            }
            let seen = seen.unwrap_or_else(|error| panic!("{table} is readable and says whose rows it has: {error}"));
            let seen: BTreeSet<i64> = seen.iter().map(|row| sqlx::Row::get(row, 0)).collect();
            assert!(seen.iter().all(|tenant| *tenant == own), "{table} shows rows of {seen:?}, not of {own} alone");
            if !seen.is_empty() {
                shown.insert(table.rsplit('.').next().expect("a name"));
            }
        }
        assert!(relations.len() > 10, "the catalogue lists {relations:?}");
        assert!(shown.is_superset(&BTreeSet::from(["enforcement", "queue"])), "its own: {shown:?}");

        for forbidden in [
            format!("update budstikke.message_log set state = 8 where tenant_id = {other}"),
            format!("delete from budstikke.queue where tenant_id = {other}"),
            "do $$ begin lock table budstikke.queue in access exclusive mode; end $$".to_owned(),
            "update budstikke.enforcement set may_send = true".to_owned(),
            "delete from budstikke.usage".to_owned(),
        ] {
            let refused = sqlx::query(AssertSqlSafe(forbidden.clone())).execute(&mut session).await;
            assert_eq!(refused.err().and_then(|error| code(&error)).as_deref(), Some(DENIED), "{forbidden}");
        }

        let (_forward, options) = login(world, &a, "keyring").await;
        let refused = options.connect().await.err().and_then(|error| code(&error));
        assert_eq!(refused.as_deref(), Some(NO_LOGIN), "the login does not exist beside the keys");
    })
    .await;
}
