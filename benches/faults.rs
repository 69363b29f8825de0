//! Everything goes wrong, again and again, while messages are sent; then the account: nothing lost, nothing sent twice but for a
//! reason, every receipt where it belongs, and nothing of one tenant's at another's.
//!
//! The API, three tenants' senders, a connector and a worker in processes of their own, both PostgreSQL instances, TLS between all of them, and
//! a message centre. Every connection goes through a proxy that can cut, delay and freeze it. What goes wrong is decided by a seed.
//!
//! `make faults`, or `cargo bench --profile dev --features simulate --bench faults -- [FAULTS [SEED]]`: 200 faults and a seed by
//! chance without a word. Writes `bench/faults.json` under the target directory; fails where something does not hold.
//! `BUDSTIKKE_KEEP` keeps the logs.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "faults/harness.rs"]
mod faults;
#[path = "../tests/integration/support/postgres.rs"]
#[allow(dead_code)]
mod postgres;
#[path = "support/shared.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use crate::faults::Scale;
use crate::support::installation::Route;

const FAULTS: usize = 200;
/// As released; as large upstreams allow, with time-outs that fit a run of minutes.
const SCALE: Scale = Scale {
    faults: FAULTS,
    every: Duration::from_millis(2200),
    load: 30,
    rounds: 5,
    route: Route { binds: 2, rate: 200, window: 25, response: Duration::from_secs(2), enquire: Duration::from_secs(3) },
    // Of the chart's embedded data instance.
    settings: &["shared_buffers=128MB", "wal_compression=lz4", "max_wal_size=2GB", "autovacuum_naptime=5s"],
    hurry: false,
};

#[tokio::main]
async fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let faults = numbers.next().map_or(FAULTS, |faults| usize::try_from(faults).expect("few"));
    let seed = numbers.next().unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("{faults} faults, seed {seed}");
    let rounds = if faults < FAULTS { 1 } else { SCALE.rounds };
    let report = faults::run(&Scale { faults, rounds, ..SCALE }, seed).await;
    println!("{}\n{:#}", report.tables(), report.json());
    report.write();
    if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
