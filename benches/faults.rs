//! Everything goes wrong, again and again, while messages are sent; then the account: nothing lost, nothing sent twice but for a
//! reason, every receipt where it belongs.
//!
//! The API, a sender and a connector in processes of their own, both PostgreSQL instances, TLS between all of them, and a message
//! centre. Every connection goes through a proxy that can cut, delay and freeze it. What goes wrong is decided by a seed.
//!
//! `make faults`, or `cargo bench --profile dev --features simulate --bench faults -- [FAULTS [SEED]]`: 200 faults and a seed by
//! chance without a word. Writes `bench/faults.json` under the target directory; fails where something does not hold.
//! `BUDSTIKKE_KEEP` keeps the logs.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod faults {
    pub(crate) mod account;
    pub(crate) mod chance;
    pub(crate) mod inject;
    pub(crate) mod load;
    pub(crate) mod plan;
    pub(crate) mod proxy;
    pub(crate) mod recovery;
    pub(crate) mod report;
    pub(crate) mod seen;

    pub(crate) use crate::{ROUTE, now_ms};
}
#[path = "../tests/integration/support/postgres.rs"]
#[allow(dead_code)]
mod postgres;
#[path = "support/shared.rs"]
mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use budstikke::domain::{Clock as _, SystemClock};
use budstikke::simulator::{Options, Smsc};

use crate::faults::account::{self, Books, Check, Doubles};
use crate::faults::inject::Injector;
use crate::faults::load::Load;
use crate::faults::plan::plan;
use crate::faults::proxy::Proxy;
use crate::faults::recovery;
use crate::faults::report::Report;
use crate::faults::seen::Submits;
use crate::postgres::Databases;
use crate::support::installation::{Crew, Installation, Route};

/// Of the chart's embedded data instance.
const SETTINGS: &[&str] = &["shared_buffers=128MB", "wal_compression=lz4", "max_wal_size=2GB", "autovacuum_naptime=5s"];
const FAULTS: usize = 200;
/// Between two faults, on the average.
const EVERY: Duration = Duration::from_millis(2200);
/// Messages a second.
const LOAD: u32 = 30;
/// How often each is killed to measure how long it is missed.
const ROUNDS: usize = 5;
/// As large upstreams allow, with time-outs that fit a run of minutes.
const ROUTE: Route =
    Route { binds: 2, rate: 200, window: 25, response: Duration::from_secs(2), enquire: Duration::from_secs(3) };

/// The present in Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    SystemClock.now().as_millisecond()
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let faults = numbers.next().map_or(FAULTS, |faults| usize::try_from(faults).expect("few"));
    let seed = numbers.next().unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("{faults} faults, seed {seed}");
    let began = Instant::now();
    let mut databases = Databases::bare_with(SETTINGS).await;
    databases.migrate().await.expect("migrate");
    let smsc = Arc::new(Smsc::start(Options { record: 1_000_000, ..Options::default() }).await.expect("an SMSC"));
    let mut proxies = BTreeMap::new();
    let crew = Crew::one();
    let installation = Installation::start(&mut databases, SETTINGS, smsc.address(), &ROUTE, &crew, |link, address| {
        let proxy = Proxy::start(address);
        let seen = proxy.address;
        proxies.insert(link, proxy);
        seen
    })
    .await;
    let api = installation.api.clone();
    let submits = Submits::follow(Arc::clone(&smsc));
    let load = Load::start(&api, LOAD);
    let mut injector = Injector::new(databases, installation, smsc, proxies);

    let rounds = if faults < FAULTS { 1 } else { ROUNDS };
    let recoveries = recovery::measure(&mut injector, &load.calls, &submits, rounds).await;
    injector.run(&plan(seed, faults, EVERY)).await;
    let calls = load.stop().await;
    println!("[{:>6.1} s] no more faults, and no more calls; what is under way ends", began.elapsed().as_secs_f64());
    let (released, settled) = account::settle(&injector, &api).await;

    let books = Books::read(injector.superuser()).await;
    let seen = submits.all().clone();
    let log = calls.log();
    let doubles = Doubles::find(&seen, &injector.journal);
    let mut checks = vec![
        Check::new("every call is answered", log.wrong.is_empty(), log.wrong.join("; ")),
        Check::new("all comes to an end", settled, format!("{released} held ones were released")),
    ];
    let fallen = injector.fallen();
    checks.push(Check::new("nobody ends by itself", fallen.is_empty(), fallen.join("; ")));
    checks.extend(account::checks(&log.accepted, &seen, &injector.smsc().stats(), &books, &doubles));
    let report = Report {
        seed,
        seconds: began.elapsed().as_secs_f64(),
        accepted: log.accepted.len(),
        submits: seen.len(),
        released,
        again: &log.again,
        journal: &injector.journal,
        doubles: &doubles,
        recoveries: &recoveries,
        checks: &checks,
    };
    println!("{}\n{:#}", report.tables(), report.json());
    report.write();
    if checks.iter().all(|check| check.holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
