//! Accounts: which resource stands for which account, what is enforced on it, and the clock that starts when its
//! resource is gone (A6). Only the operator writes here.
mod enforcement;
mod first_key;
mod identity;
mod public_keys;
mod vanished;

pub use enforcement::{
    Closing, Enforcement, InForce, InboundNumber, Orders, Share, Terms, Window, Written, close, in_force, write,
};
pub use first_key::{KeySource, Registered, register_first_key};
pub use identity::{Identity, Resource, find, take_over, take_up};
pub use public_keys::{publish_keys, publish_opt_out_key};
pub use vanished::{Account, living, vanish};

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account of a resource was not found out.
    #[error("take up the account: {0}")]
    TakeUp(#[source] sqlx::Error),
    /// What is enforced was not read.
    #[error("read what is in force: {0}")]
    ReadInForce(#[source] sqlx::Error),
    /// What is enforced was not written.
    #[error("write what is enforced: {0}")]
    Enforce(#[source] sqlx::Error),
    /// The sessions of a sender that kept its account's row locked were not ended.
    #[error("end the sessions of a sender that keeps its account locked: {0}")]
    Evict(#[source] sqlx::Error),
    /// The first API key was not registered.
    #[error("register the first API key: {0}")]
    RegisterKey(#[source] sqlx::Error),
    /// The public keys of the coming days were not published.
    #[error("publish the public keys of the coming days: {0}")]
    PublishKeys(#[source] sqlx::Error),
    /// The living accounts were not listed.
    #[error("list the living accounts: {0}")]
    List(#[source] sqlx::Error),
    /// An account whose resource is gone was not closed.
    #[error("close an account whose resource is gone: {0}")]
    Vanish(#[source] sqlx::Error),
}
