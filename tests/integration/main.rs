//! Integration tests: one binary, against real parts.
//!
//! Servers are shared by the tests of one run, so the plain test runner is used: one process, many threads.
#![allow(missing_docs, reason = "tests are read, not linked against")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a helper that fails, fails its test")]

mod api;
mod architecture;
mod attacker;
mod backups;
mod connector;
mod faults;
mod inventory;
mod isolation;
mod keyring;
mod manifests;
mod migrate;
mod operator;
mod receipts;
mod restored;
mod retention;
mod sender;
mod support;
mod transit;
