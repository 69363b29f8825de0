//! History search for one number over all days of the log: how long a call takes short of HTTP, keys and opened entries included.
//! Fails where the slowest in a hundred takes longer than wanted.
//!
//! `cargo bench --bench search -- [ROWS]`, or `BUDSTIKKE_SEARCH_ROWS`: rows of the log in all, 50,000,000 without a word; about
//! 0.5 KB of disk each. Half of them are one tenant's, who searches.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/integration/support/postgres.rs"]
#[allow(dead_code)]
mod postgres;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use budstikke::api::search::Search;
use budstikke::domain::content::to_bytes;
use budstikke::domain::{
    Clock as _, Entry, MessageId, Msisdn, Personal, SenderId, SystemClock, TenantId, copenhagen_day,
};
use budstikke::keyring::seal::Field;
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::store::partitions;
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use sqlx::{AssertSqlSafe, PgPool};

use crate::postgres::Databases;

const ROWS: i64 = 50_000_000;
const DAYS: i64 = 90;
/// Tenants that share the log.
const TENANTS: usize = 8;
/// Numbers that are searched for; each has this many messages, on as many days.
const NUMBERS: u32 = 300;
const MESSAGES: i64 = 6;
const SEARCHES: u32 = 2000;
/// The slowest in a hundred, milliseconds.
const WANTED: f64 = 50.0;
/// Of the chart's embedded data instance; and what makes filling bearable.
const SETTINGS: &[&str] =
    &["shared_buffers=128MB", "wal_compression=on", "max_wal_size=2GB", "synchronous_commit=off", "fsync=off"];
const KEK: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[tokio::main]
async fn main() -> ExitCode {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let rows = asked.or_else(|| std::env::var("BUDSTIKKE_SEARCH_ROWS").ok()?.parse().ok()).unwrap_or(ROWS);
    let databases = Databases::bare_with(SETTINGS).await;
    databases.migrate().await.expect("migrate");
    let mut tenants = Vec::new();
    for nth in 0..TENANTS {
        tenants.push(databases.tenant(&format!("tenant-{nth}")).await);
    }
    let tenant = tenants[0];
    let today = copenhagen_day(SystemClock.now());
    let first = today.saturating_sub((DAYS - 1).days());
    let owner = databases.data.pool("budstikke_owner");
    let keys = |login| {
        Keyring::open(keyring::connect(&databases.keyring.dsn(login), 4, "bench"), Kek::parse(KEK).expect("a key"))
    };
    let operator = keys("budstikke_operator");
    operator.provide(tenant, first, today, 90).await.expect("keys");

    let filled = Instant::now();
    for day in first.series(1.day()).take_while(|day| *day <= today) {
        partitions::ensure(&owner, day).await.expect("partitions");
        // Every row is there in its last form at once: no room is left for a second one, which here would only take disk.
        let whole = format!("alter table message_log_{} set (fillfactor = 100)", day.strftime("%Y%m%d"));
        sqlx::query(AssertSqlSafe(whole)).execute(&owner).await.expect("set");
        fill(&owner, &tenants, day, rows / DAYS).await;
    }
    log_searched(&owner, &operator, tenant, first).await;
    for day in first.series(1.day()).take_while(|day| *day <= today) {
        let vacuum = format!("vacuum analyze message_log_{}", day.strftime("%Y%m%d"));
        sqlx::query(AssertSqlSafe(vacuum)).execute(&owner).await.expect("vacuumed");
    }
    let bytes: i64 =
        sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(&owner).await.expect("a size");
    println!("{} MB", bytes / 1_000_000);
    println!("{rows} rows over {DAYS} days after {:.0} s", filled.elapsed().as_secs_f64());

    let (pool, keyring) = (databases.data.pool("budstikke_api"), keys("budstikke_api"));
    let mut took = Vec::new();
    for nth in 0..SEARCHES {
        // Every fifth has no message; the others come in no order that the log knows.
        let known = nth % 5 != 0;
        let number = number(if known { nth.wrapping_mul(2_654_435_761) % NUMBERS } else { NUMBERS + nth });
        let since = Instant::now();
        let search = Search { pool: &pool, keyring: &keyring, tenant, now: SystemClock.now() };
        let page = search.page(&number, None, 50).await.expect("a page");
        took.push(since.elapsed());
        assert_eq!(page.len(), if known { usize::try_from(MESSAGES).unwrap() } else { 0 });
    }
    let first = took[0];
    took.sort();
    let at = |part: f64| milliseconds(took[(took.len() as f64 * part) as usize]);
    let (p50, p99) = (at(0.5), at(0.99));
    let report = serde_json::json!({
        "rows": rows, "days": DAYS, "searches": SEARCHES, "first_ms": milliseconds(first), "p50_ms": p50, "p99_ms": p99,
        "longest_ms": milliseconds(took[took.len() - 1]), "wanted_p99_ms": WANTED, "settings": SETTINGS,
    });
    println!("{report}");
    if p99 > WANTED {
        for line in plan(&databases, &keyring, tenant, today).await {
            println!("{line}");
        }
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

fn number(nth: u32) -> Msisdn {
    Msisdn::from_digits(&format!("4520{nth:06}")).expect("a number")
}

/// Rows as a day leaves them: ids by time of accept, an entry of an ordinary text, the hash of a number, that of an upstream's id.
async fn fill(owner: &PgPool, tenants: &[TenantId], day: Date, rows: i64) {
    let tenants: Vec<i64> = tenants.iter().map(|tenant| tenant.0).collect();
    sqlx::query(
        "insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, route_id, upstream_id, tag, submitted_at,
                                  final_at, log_key, entry, number_hash)
         select ($1::bigint[])[case n % 2 when 0 then 1 else 2 + n / 2 % ($4 - 1) end], id, $2, id, 3, 1, 250, 1,
                left(md5('up-' || $2 || n), 16), n % 65536, now(), now(), 'log/2026-04-01/2026-01-01',
                decode(repeat(md5(n::text), 8), 'hex'), decode(md5($2::text || n), 'hex')
         from (
             select n, (lpad(to_hex((extract(epoch from $2::timestamp) * 1000)::bigint + n * 86400000 / greatest($3, 1)), 12, '0')
                        || '7' || left(md5(n::text), 3) || '8' || substr(md5(n::text), 4, 15))::uuid as id
             from generate_series(1::bigint, $3) as n
         ) as numbered",
    )
    .bind(&tenants)
    .bind(day.to_sqlx() as SqlDate)
    .bind(rows)
    .bind(i64::try_from(tenants.len()).unwrap())
    .execute(owner)
    .await
    .expect("filled");
}

/// The messages that are searched for, sealed as accepting seals them.
async fn log_searched(owner: &PgPool, keyring: &Keyring, tenant: TenantId, first: Date) {
    for nth in 0..NUMBERS {
        for message in 0..MESSAGES {
            let day = first.saturating_add(((i64::from(nth) * 7 + message * (DAYS / MESSAGES)) % DAYS).days());
            let key = keyring.log_key(tenant, day).await.expect("a key");
            let noon = day.at(12, 0, 0, 0).in_tz("Europe/Copenhagen").unwrap().timestamp();
            let (id, to) = (MessageId::new(noon), number(nth));
            let number_hash = key.number_hash(&to);
            let text = Personal::new("Hej! Din tid er kl. 10.15. Svar AFLYS, hvis du ikke kan komme.".to_owned());
            let entry = to_bytes(&Entry { to, from: SenderId::parse("Budstikke").unwrap(), text }).unwrap();
            sqlx::query(
                "insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, log_key, entry, number_hash)
                 values ($1, $2, $3, $2, 3, 1, 250, $4, $5, $6)",
            )
            .bind(tenant.0)
            .bind(id.0)
            .bind(day.to_sqlx() as SqlDate)
            .bind(key.name())
            .bind(key.seal(id.0, Field::Entry, entry.reveal()).unwrap())
            .bind(number_hash.as_slice())
            .execute(owner)
            .await
            .expect("stored");
        }
    }
}

/// What the database does for one search, for whoever must find out why it is slow.
async fn plan(databases: &Databases, keyring: &Keyring, tenant: TenantId, today: Date) -> Vec<String> {
    let keys = keyring.log_keys(tenant, today.saturating_add(1.day())).await.expect("keys");
    let days: Vec<SqlDate> = keys.iter().map(|(day, _)| day.to_sqlx()).collect();
    let hashes: Vec<Vec<u8>> = keys.iter().map(|(_, key)| key.number_hash(&number(1)).to_vec()).collect();
    sqlx::query_scalar(
        "explain (analyze, buffers) select l.* from unnest($2::date[], $3::bytea[]) as wanted (day, hash)
         join message_log l on l.tenant_id = $1 and l.number_hash = wanted.hash and l.day = wanted.day",
    )
    .bind(tenant.0)
    .bind(&days)
    .bind(&hashes)
    .fetch_all(&databases.data.pool("budstikke_api"))
    .await
    .expect("a plan")
}
