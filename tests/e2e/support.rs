//! What the scenarios stand on.
pub(crate) mod caller;
pub(crate) mod crash;
pub(crate) mod forward;
pub(crate) mod helm;
pub(crate) mod manifests;
pub(crate) mod pulse;
pub(crate) mod report;
pub(crate) mod rest;
pub(crate) mod search;
pub(crate) mod shell;
pub(crate) mod smsc;
pub(crate) mod stage;
pub(crate) mod traffic;
pub(crate) mod wait;
pub(crate) mod world;
