//! End-to-end tests: real pods on the local cluster that `dev/e2e` brings up, reached by `eval "$(dev/cluster env)"`.
//!
//! Each scenario has routes, tenants and a simulated upstream of its own. The first one to run sends one SMS by itself;
//! when that fails, all others fail at once and say so.
#![allow(missing_docs, reason = "tests are read, not linked against")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a helper that fails, fails its test"
)]

mod admission;
mod backups;
mod chart;
mod databases;
mod delivery;
mod idle;
mod isolation;
mod leaks;
mod operator;
mod outages;
mod recovery;
mod retention;
mod rotation;
mod sharing;
mod standby;
mod support;
mod suspension;
mod webhooks;
