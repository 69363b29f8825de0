//! Budstikke: an operator, and the data plane it runs. This file is the map of the rooms.
//!
//! Arrows point down only: the roles use the services, those use `crd` and `domain`.
//! `tests/integration/architecture.rs` holds it.

pub mod cli;

// Roles: one per pod.
pub mod api;
pub mod connector;
pub mod operator;
pub mod sender;
#[cfg(feature = "simulate")]
pub mod simulator;
pub mod worker;

// Services the roles share.
pub mod config;
pub mod keyring;
pub mod pki;
pub mod retention;
pub mod smpp;
pub mod store;
pub mod telemetry;
pub mod web;

// Pure: no tokio, sqlx, axum or role.
pub mod crd;
pub mod domain;

// Beside the rooms: the roles at work in a world of their own.
#[cfg(test)]
mod simulation;

// And what the fuzz targets of `fuzz/` try of them.
#[cfg(feature = "simulate")]
#[doc(hidden)]
pub mod fuzzing;
