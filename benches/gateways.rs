//! Budstikke and Kannel side by side, on the same cores and against the same message centre, which answers at once and returns a
//! receipt for every message: how many messages a second are accepted, and how many have their receipt stored; and what CPU each
//! process takes for it.
//!
//! Ours runs as it is released: the API, senders and a connector in processes of their own, TLS in and between them, encryption and
//! row-level security, `fsync` and `synchronous_commit` on. Kannel's two boxes run with the spool as store, once with receipts in
//! memory and once in a PostgreSQL with the same settings. Both are called by 32 clients that keep their connections, one recipient a
//! call.
//!
//! `cargo bench --features simulate --bench gateways -- [PART …] [MESSAGES] [tenants=N] [statements] [postgres.SETTING=VALUE …]
//! [rows=N] [rate=N] [seconds=N] [rounds=N]`: how many messages each is given, 40,000 without a word; Kannel with PostgreSQL gets a tenth, 200
//! tenants a quarter. What is compared with something is measured in three rounds, or so many. The parts are in `gateways/parts.rs`; all without a word. `tenants` is for the part `ours`, `statements` also has it tell
//! what PostgreSQL's statements take and wait for, `rows` is for the part `log`, `rate` and `seconds` are for the
//! part `pacing`. What was measured goes into
//! `bench/summary.json` under the target directory, beside what is there.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::cast_precision_loss, reason = "rates of some thousands")]

#[path = "search/fill.rs"]
mod fill;
#[path = "../tests/integration/support/postgres.rs"]
#[allow(dead_code)]
mod postgres;
mod gateways {
    pub(crate) mod batch;
    pub(crate) mod centre;
    pub(crate) mod cpu;
    pub(crate) mod goals;
    pub(crate) mod kannel;
    pub(crate) mod line;
    pub(crate) mod load;
    pub(crate) mod ours;
    pub(crate) mod pacing;
    pub(crate) mod parts;
    pub(crate) mod processes;
    pub(crate) mod receipts;
    pub(crate) mod recording;
    pub(crate) mod report;
    pub(crate) mod sender;
    pub(crate) mod statements;

    pub(crate) use crate::{PATIENCE, SETTINGS};
}
#[path = "support/summary.rs"]
mod summary;
#[path = "support/shared.rs"]
#[allow(dead_code)]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use crate::gateways::kannel::{self, Receipts};
use crate::gateways::ours::Beside;
use crate::gateways::parts::{Part, Wanted};
use crate::gateways::report::Report;
use crate::gateways::{batch, centre, goals, load, ours, pacing, sender};

/// Of the chart's embedded data instance.
const SETTINGS: &[&str] = &["shared_buffers=128MB", "wal_compression=lz4", "max_wal_size=2GB", "autovacuum_naptime=5s"];
/// Of the part that has many.
const TENANTS: usize = 200;
/// Of the part that has some.
const IDLE: usize = 1000;
/// Recipients of batch calls for each message of the others: it takes so much less time.
const RECIPIENTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq(centre::WORD).is_some() {
        centre::serve(arguments).await;
        return ExitCode::SUCCESS;
    }
    let wanted = Wanted::read(arguments);
    // To look costs something, and other settings are no product: what is measured then is no figure.
    let mut report = Report::new(wanted.is_plain());
    report.set("settings", SETTINGS);
    report.set("clients", load::CLIENTS);
    for part in wanted.turns() {
        measure(part, &wanted, &mut report).await;
    }
    report.ratio("by_kannel_pg", "e2e_per_s", "kannel_pg_per_s");
    report.ratio("by_kannel_mem", "e2e_per_s", "kannel_mem_per_s");
    report.ratio("idle_e2e", "e2e_idle_per_s", "e2e_per_s");
    report.ratio("idle_accept", "accept_idle_per_s", "accept_per_s");
    report.ratio("log_e2e", "e2e_log_per_s", "e2e_per_s");
    report.ratio("accept_by_kannel", "accept_per_s", "kannel_accept_per_s");
    let (figures, missed) = goals::judge(&report);
    println!("{}{figures}", report.table());
    if missed == 0 {
        return ExitCode::SUCCESS;
    }
    println!("\n{missed} figures are not as wanted");
    ExitCode::FAILURE
}

async fn measure(part: Part, wanted: &Wanted, report: &mut Report) {
    let messages = wanted.messages;
    match part {
        Part::Ours => end_to_end(messages, wanted.tenants, wanted, report).await,
        Part::Tenants => end_to_end(messages / 4, TENANTS, wanted, report).await,
        Part::Idle => {
            let beside = Beside { idle: IDLE, ..Beside::default() };
            let run = ours::through(messages, 1, beside, wanted).await;
            report.run("Budstikke, 1,000 idle tenants", "e2e_idle_per_s", "e2e_idle_cpu_us_per_message", run);
            let run = ours::accept(messages, beside).await;
            report.run("– and nobody sends", "accept_idle_per_s", "accept_idle_cpu_us_per_message", run);
        }
        Part::Log => {
            let beside = Beside { rows: wanted.rows, ..Beside::default() };
            let run = ours::through(messages, 1, beside, wanted).await;
            report.set("log_rows", wanted.rows);
            report.run("Budstikke, a long log", "e2e_log_per_s", "e2e_log_cpu_us_per_message", run);
        }
        Part::Accept => {
            let run = ours::accept(messages, Beside::default()).await;
            report.run("Budstikke, nobody sends", "accept_per_s", "accept_cpu_us_per_message", run);
        }
        Part::KannelAccept => {
            let run = kannel::accept(messages).await;
            report.run("Kannel, no upstream", "kannel_accept_per_s", "kannel_accept_cpu_us_per_message", run);
        }
        Part::Batch => {
            let run = batch::accept(messages * RECIPIENTS).await;
            report.run("Budstikke, 10,000 recipients a call", "batch_per_s", "batch_cpu_us_per_message", run);
        }
        Part::Sender => sender::measure(messages, report).await,
        Part::Pacing => pacing::measure(wanted.rate, wanted.seconds, report).await,
        Part::KannelMem => {
            let run = kannel::through(messages, Receipts::InMemory).await;
            report.run("Kannel, receipts in memory", "kannel_mem_per_s", "kannel_mem_cpu_us_per_message", run);
        }
        Part::KannelPg => {
            let run = kannel::through(messages / 10, Receipts::InPostgres).await;
            report.run("Kannel, receipts in PostgreSQL", "kannel_pg_per_s", "kannel_pg_cpu_us_per_message", run);
        }
    }
}

async fn end_to_end(messages: usize, tenants: usize, wanted: &Wanted, report: &mut Report) {
    let run = ours::through(messages, tenants, Beside::default(), wanted).await;
    if tenants == 1 {
        report.run("Budstikke", "e2e_per_s", "cpu_us_per_message", run);
    } else {
        let key = format!("e2e_{tenants}_per_s");
        let cpu = format!("e2e_{tenants}_cpu_us_per_message");
        report.run(&format!("Budstikke, {tenants} tenants"), &key, &cpu, run);
    }
}
