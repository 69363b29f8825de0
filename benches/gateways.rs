//! Budstikke and Kannel side by side, on the same cores and against the same message centre, which answers at once and returns a
//! receipt for every message: how many messages a second are accepted, and how many have their receipt stored.
//!
//! Ours runs as it is released: the API, a sender and a connector in processes of their own, TLS in and between them, encryption and
//! row-level security, `fsync` and `synchronous_commit` on. Kannel's two boxes run with the spool as store, once with receipts in
//! memory and once in a PostgreSQL with the same settings. Both are called by 32 clients that keep their connections, one recipient a
//! call.
//!
//! `cargo bench --bench gateways -- [MESSAGES]`: how many messages each is given, 40,000 without a word; Kannel with PostgreSQL gets a
//! tenth. Writes `bench/summary.json` under the target directory.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::cast_precision_loss, reason = "rates of some thousands")]

#[path = "../tests/integration/support/postgres.rs"]
#[allow(dead_code)]
mod postgres;
mod gateways {
    pub(crate) mod centre;
    pub(crate) mod kannel;
    pub(crate) mod load;
    pub(crate) mod ours;
}
#[path = "support/shared.rs"]
#[allow(dead_code)]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gateways::kannel::{Kannel, Receipts};
use crate::gateways::load::Accepted;
use crate::gateways::{centre, load, ours};
use crate::postgres::Databases;
use crate::support::installation::Installation;
use crate::support::place::local;
use crate::support::process::busy_seconds;

const MESSAGES: usize = 40_000;
/// Of the chart's embedded data instance.
const SETTINGS: &[&str] = &["shared_buffers=128MB", "wal_compression=on", "max_wal_size=2GB", "autovacuum_naptime=5s"];
/// Our rate by Kannel's, receipts in PostgreSQL and in memory.
const WANTED: (f64, f64) = (12.0, 3.5);
/// Our accept rate by Kannel's.
const WANTED_ACCEPT: f64 = 2.0;
const PATIENCE: Duration = Duration::from_secs(600);

/// What one gateway did with so many messages.
struct Run {
    accepted: Accepted,
    messages: usize,
    /// From the first call until the last receipt was stored.
    seconds: f64,
    /// Of all processes of the machine, seconds.
    cpu: f64,
    /// Most memory of each process, by role, MiB.
    memory: Vec<(&'static str, f64)>,
}

impl Run {
    fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    fn row(&self, name: &str) -> String {
        let memory: Vec<String> = self.memory.iter().map(|(role, mib)| format!("{role} {mib:.0}")).collect();
        let [p50, p99, p99_9] = [500, 990, 999].map(|of| self.accepted.at(of));
        format!(
            "| {name} | {:.0} | {p50:.1} / {p99:.1} / {p99_9:.1} | {:.0} | {:.2} | {} |",
            self.accepted.rate(),
            self.rate(),
            self.cpu / self.messages as f64 * 1000.0,
            memory.join(", ")
        )
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if std::env::args().any(|argument| argument == centre::WORD) {
        let port = arguments.find_map(|argument| argument.parse().ok()).expect("a port");
        centre::serve(port).await;
        return ExitCode::SUCCESS;
    }
    let messages = arguments.find_map(|argument| argument.parse().ok()).unwrap_or(MESSAGES);
    let ours = budstikke(messages).await;
    let memory = kannel(messages, Receipts::InMemory).await;
    let database = kannel(messages / 10, Receipts::InPostgres).await;

    println!(
        "| gateway | accepted/s | p50 / p99 / p99.9, ms | receipt stored/s | CPU s per 1,000 | peak memory, MiB |"
    );
    println!("|---|---|---|---|---|---|");
    println!("{}", ours.row("Budstikke"));
    println!("{}", memory.row("Kannel, receipts in memory"));
    println!("{}", database.row("Kannel, receipts in PostgreSQL"));
    let kannel_accepts = memory.accepted.rate().max(database.accepted.rate());
    let report = json!({
        "messages": messages, "settings": SETTINGS, "clients": load::CLIENTS,
        "e2e_per_s": ours.rate().round(), "accept_per_s": ours.accepted.rate().round(),
        "kannel_mem_per_s": memory.rate().round(), "kannel_pg_per_s": database.rate().round(),
        "kannel_accept_per_s": kannel_accepts.round(),
        "by_kannel_pg": ours.rate() / database.rate(), "by_kannel_mem": ours.rate() / memory.rate(),
        "accept_by_kannel": ours.accepted.rate() / kannel_accepts,
        "wanted": {"by_kannel_pg": WANTED.0, "by_kannel_mem": WANTED.1, "accept_by_kannel": WANTED_ACCEPT},
        "sender_rss_mib": ours.memory.iter().find(|(role, _)| *role == "sender").map(|(_, mib)| mib),
    });
    println!("{report}");
    write(&report);
    let short = [
        (ours.rate() < WANTED.0 * database.rate(), "too little faster than Kannel with receipts in PostgreSQL"),
        (ours.rate() < WANTED.1 * memory.rate(), "too little faster than Kannel with receipts in memory"),
        (ours.accepted.rate() < WANTED_ACCEPT * kannel_accepts, "accepts too little faster than Kannel"),
    ];
    short.iter().filter(|(short, _)| *short).for_each(|(_, what)| println!("{what}"));
    if short.iter().any(|(short, _)| *short) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn write(report: &Value) {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let directory = std::path::Path::new(&target).join("bench");
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join("summary.json"), format!("{report:#}\n")).expect("the summary");
}

async fn budstikke(messages: usize) -> Run {
    let mut databases = Databases::bare_with(SETTINGS).await;
    databases.migrate().await.expect("migrate");
    let centre = centre::start();
    let upstream = local(centre.port);
    let budstikke = Installation::start(&mut databases, SETTINGS, upstream, &ours::ROUTE, |_, address| address).await;
    // Connections, prepared statements and keys.
    load::run(1000, |_, number| ours::call(&budstikke, number)).await;
    ours::settled(&budstikke, 1000, PATIENCE).await;

    let (began, cpu) = (Instant::now(), busy_seconds());
    let accepted = load::run(messages, |_, number| ours::call(&budstikke, number)).await;
    ours::settled(&budstikke, 1000 + messages, PATIENCE).await;
    Run {
        accepted,
        messages,
        seconds: began.elapsed().as_secs_f64(),
        cpu: busy_seconds() - cpu,
        memory: budstikke.memory(),
    }
}

async fn kannel(messages: usize, receipts: Receipts) -> Run {
    let databases = Databases::bare_with(SETTINGS).await;
    let centre = centre::start();
    let kannel = Kannel::start(&databases, centre.port, receipts).await;
    load::run(200, |_, number| kannel.call(number)).await;
    kannel.settled(200, PATIENCE).await;

    let (began, cpu) = (Instant::now(), busy_seconds());
    let accepted = load::run(messages, |_, number| kannel.call(number)).await;
    kannel.settled(200 + messages, PATIENCE).await;
    Run {
        accepted,
        messages,
        seconds: began.elapsed().as_secs_f64(),
        cpu: busy_seconds() - cpu,
        memory: kannel.memory(),
    }
}
