//! What several benches stand on: an installation whose roles are processes of this machine.
pub(crate) mod accounts;
pub(crate) mod api;
pub(crate) mod installation;
pub(crate) mod place;
pub(crate) mod process;
