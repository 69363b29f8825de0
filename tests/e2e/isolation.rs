//! A sender's own database login, as its pod has it, sees its tenant's rows alone. The integration tests try it on every
//! table and function; here it is the login of the running installation.
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::support::caller::numbers;
use crate::support::forward::Forward;
use crate::support::stage;
use crate::support::world::SOON;

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
        }
        let account = async |tenant: &str| {
            let tenant = world.api::<budstikke::crd::Tenant>().get(tenant).await.expect("the Tenant");
            tenant.status.and_then(|status| status.account_id).expect("an account id")
        };
        let (own, other) = (account(&a).await, account(&b).await);

        let secret = format!("sender-{a}");
        let authority = world.secret(&secret, "database-ca.crt").await;
        let forward = Forward::open("service/budstikke-postgres", 5432).await.expect("a way to PostgreSQL");
        let login = PgConnectOptions::from_str(&world.secret(&secret, "database-url").await).expect("a URL");
        let login = login.host("127.0.0.1").port(forward.port).ssl_mode(PgSslMode::VerifyCa);
        let mut session = login.ssl_root_cert_from_pem(authority.into_bytes()).connect().await.expect("a session");

        for table in ["queue", "flight", "message_log", "message_part", "enforcement"] {
            let seen: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(format!("select tenant_id from budstikke.{table}")))
                .fetch_all(&mut session)
                .await
                .unwrap_or_else(|error| panic!("{table}: {error}"));
            assert!(seen.iter().all(|tenant| *tenant == own), "{table} shows rows of {seen:?}, not of {own} alone");
            if ["message_log", "enforcement"].contains(&table) {
                assert!(!seen.is_empty(), "{table} shows its own");
            }
        }
        let changed = sqlx::query("update budstikke.message_log set state = 8 where tenant_id = $1")
            .bind(other)
            .execute(&mut session)
            .await;
        assert!(changed.map_or(0, |done| done.rows_affected()) == 0, "no row of another is changed");
        for forbidden in ["update budstikke.enforcement set may_send = true", "delete from budstikke.usage"] {
            let outcome = sqlx::query(AssertSqlSafe(forbidden.to_owned())).execute(&mut session).await;
            assert!(outcome.is_err(), "{forbidden}");
        }
    })
    .await;
}
