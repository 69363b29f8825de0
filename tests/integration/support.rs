//! What the integration tests stand on: real servers, started once a run and gone with it.
pub(crate) mod apiserver;
pub(crate) mod faketime;
pub(crate) mod postgres;
pub(crate) mod relay;
#[path = "../e2e/support/search/words.rs"]
pub(crate) mod search;
pub(crate) mod vault;
