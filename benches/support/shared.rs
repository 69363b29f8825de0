//! What several benches, and the short run of the fault harness, stand on: an installation whose roles are processes of this machine.
use super::postgres;

pub(crate) mod accounts;
pub(crate) mod api;
pub(crate) mod installation;
pub(crate) mod place;
pub(crate) mod process;
