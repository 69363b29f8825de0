//! The end of a day of the log: how long it takes to drop a partition of millions of rows, and for how long those who accept, store
//! results and look things up meanwhile are kept waiting. Fails where anybody waits longer than wanted, or the day is in its table for
//! longer. What the files take to go, which nobody waits for, is told by itself, beside what files of the same size take that nobody
//! has made a database of. A real day is months old: so its files are written out and not in memory, and a vacuum of it is waited
//! for first.
//!
//! `cargo bench --bench expiry -- [ROWS]`: rows of the day, 5,000,000 without a word.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "support/cold.rs"]
mod cold;
#[path = "../tests/integration/support/postgres.rs"]
#[allow(dead_code)]
mod postgres;

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use budstikke::domain::{Clock as _, MessageId, SystemClock, TenantId, copenhagen_day};
use budstikke::store::history::{self, Filter};
use budstikke::store::{partitions, retention};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::postgres::Databases;

const ROWS: i64 = 5_000_000;
/// Of the chart's embedded data instance.
const SETTINGS: &[&str] = &["shared_buffers=128MB", "wal_compression=lz4", "max_wal_size=2GB", "autovacuum_naptime=5s"];
/// Days after which nothing of a day can be read any more, and a few.
const OLD: i64 = 95;
const WRITERS: usize = 8;
const READERS: usize = 4;
/// What each of them waits between two calls: some hundred calls a second, so that it is the drop that is seen and not that
/// the machine is full.
const PAUSE: Duration = Duration::from_millis(10);
/// How long they are watched before.
const BEFORE: Duration = Duration::from_secs(10);
/// The longest that a day may take to expire, and anybody may wait, milliseconds.
const WANTED: u64 = 200;

/// The longest that anybody waited, microseconds.
#[derive(Debug, Default)]
struct Longest(AtomicU64);

impl Longest {
    fn saw(&self, since: Instant) {
        let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(took, Ordering::Relaxed);
    }

    /// In milliseconds; begins anew.
    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed) / 1000
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(ROWS);
    let databases = Databases::bare_with(SETTINGS).await;
    databases.migrate().await.expect("migrate");
    let tenant = databases.tenant("tenant").await;
    let owner = databases.data.pool("budstikke_owner");
    let today = copenhagen_day(SystemClock.now());
    let old = today.saturating_sub(OLD.days());
    partitions::ensure(&owner, old.saturating_add(1.day())).await.expect("partitions");
    let filled = Instant::now();
    fill(&owner, tenant, old, rows).await;
    println!("{rows} rows of {old} after {:.0} s", filled.elapsed().as_secs_f64());
    let superuser = databases.data.pool("postgres");
    sqlx::query("checkpoint").execute(&superuser).await.expect("checkpoint");
    let bytes: i64 = sqlx::query_scalar("select pg_total_relation_size(to_regclass($1))")
        .bind(format!("budstikke.message_log_{}", old.strftime("%Y%m%d")))
        .fetch_one(&superuser)
        .await
        .expect("a size");
    superuser.close().await;
    let forgotten = cold::forget();

    let (writing, reading) = (Arc::new(Longest::default()), Arc::new(Longest::default()));
    let mut busy = JoinSet::new();
    for _ in 0..WRITERS {
        busy.spawn(write(owner.clone(), tenant, today, Arc::clone(&writing)));
    }
    for _ in 0..READERS {
        busy.spawn(read(databases.data.pool("budstikke_api"), tenant, Arc::clone(&reading)));
    }
    // The first calls open connections.
    sleep(Duration::from_secs(2)).await;
    let _ = (writing.take(), reading.take());
    sleep(BEFORE).await;
    let before = (writing.take(), reading.take());

    let vacuum = vacuumed(&owner, old).await;
    let operator = databases.data.pool("budstikke_operator");
    let days = retention::expirable(&operator, today, today).await.expect("days");
    let day = days.iter().find(|day| day.day == old && day.parent == "message_log").expect("the day can go");
    let began = Instant::now();
    retention::detach_day(&operator, day).await.expect("taken out");
    let took = milliseconds(began);
    let began = Instant::now();
    retention::drop_day(&operator, day).await.expect("dropped");
    let dropped = milliseconds(began);
    sleep(Duration::from_secs(1)).await;
    let during = (writing.take(), reading.take());
    busy.shutdown().await;
    let plain = plain_files(u64::try_from(bytes).expect("a size"));
    let report = serde_json::json!({
        "rows": rows, "megabytes": bytes / 1_000_000, "page_cache_emptied": forgotten, "vacuum_wait_ms": vacuum, "expire_ms": took, "drop_files_ms": dropped, "plain_files_ms": plain, "wanted_ms": WANTED, "settings": SETTINGS,
        "longest_write_ms": {"before": before.0, "during": during.0},
        "longest_read_ms": {"before": before.1, "during": during.1},
    });
    println!("{report}");
    let failures = [
        (took, "to take the day out took longer than"),
        (during.0, "somebody who wrote was kept waiting longer than"),
        (during.1, "somebody who read was kept waiting longer than"),
    ];
    let failed: Vec<_> = failures.iter().filter(|(took, _)| *took > WANTED).collect();
    for (_, what) in &failed {
        println!("{what} {WANTED} ms");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// How many milliseconds the system takes to remove files of so many octets in all, a gigabyte each as PostgreSQL's, which are not in
/// memory.
fn plain_files(mut bytes: u64) -> u64 {
    const SEGMENT: u64 = 1 << 30;
    let mut files = Vec::new();
    while bytes > 0 {
        let file = std::env::temp_dir().join(format!("budstikke-{}-plain-{}", std::process::id(), files.len()));
        let zeros = std::io::repeat(0).take(bytes.min(SEGMENT));
        std::io::copy(&mut BufReader::with_capacity(1 << 20, zeros), &mut File::create(&file).expect("a file"))
            .expect("written");
        files.push(file);
        bytes = bytes.saturating_sub(SEGMENT);
    }
    cold::forget();
    let began = Instant::now();
    for file in files {
        std::fs::remove_file(file).expect("removed");
    }
    milliseconds(began)
}

/// Rows as a day leaves them: an entry of an ordinary text, a hash, an id of the upstream.
async fn fill(owner: &PgPool, tenant: TenantId, day: Date, rows: i64) {
    sqlx::query(
        "insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, route_id, upstream_id, tag, submitted_at,
                                  final_at, log_key, entry, number_hash)
         select $1, gen_random_uuid(), $2, gen_random_uuid(), 3, 1, 250, 1, 'up-' || n, n, now(), now(), 'log/2026-01-01/2025-10-01',
                decode(repeat(md5(n::text), 4), 'hex'), decode(md5(n::text), 'hex')
         from generate_series(1, $3) as n",
    )
    .bind(tenant.0)
    .bind(day.to_sqlx() as SqlDate)
    .bind(i32::try_from(rows).expect("millions"))
    .execute(owner)
    .await
    .expect("filled");
    // A day of a hundred days ago has been vacuumed long since.
    let vacuum = format!("vacuum analyze message_log_{}", day.strftime("%Y%m%d"));
    sqlx::query(AssertSqlSafe(vacuum)).execute(owner).await.expect("vacuumed");
}

/// Waits until no vacuum is at work on this day: for how many milliseconds.
async fn vacuumed(owner: &PgPool, day: Date) -> u64 {
    let began = Instant::now();
    let table = format!("message_log_{}", day.strftime("%Y%m%d"));
    let busy =
        "select exists (select from pg_locks where relation = to_regclass($1) and mode = 'ShareUpdateExclusiveLock')";
    while sqlx::query_scalar(busy).bind(&table).fetch_one(owner).await.expect("an answer") {
        sleep(Duration::from_millis(50)).await;
    }
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// One who stores: into the queue, as accepting does, and into the log, as a sender's results do.
async fn write(pool: PgPool, tenant: TenantId, today: Date, longest: Arc<Longest>) {
    loop {
        let since = Instant::now();
        let id = MessageId::new(SystemClock.now()).0;
        let stored = sqlx::query(
            "with accepted as (
                 insert into queue (tenant_id, message_id, batch_id, day, expires_at, parts, amount, queue_key, body)
                 values ($1, $2, $2, $3, now(), 1, 250, 'queue', '\\x00') returning message_id
             )
             insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount)
             select $1, message_id, $3, message_id, 3, 1, 250 from accepted",
        )
        .bind(tenant.0)
        .bind(id)
        .bind(today.to_sqlx() as SqlDate)
        .execute(&pool)
        .await;
        stored.expect("stored");
        longest.saw(since);
        sleep(PAUSE).await;
    }
}

/// One who looks through the history.
async fn read(pool: PgPool, tenant: TenantId, longest: Arc<Longest>) {
    loop {
        let since = Instant::now();
        history::list(&pool, tenant, Filter::everything(SystemClock.now()), 50).await.expect("a page");
        longest.saw(since);
        sleep(PAUSE).await;
    }
}
