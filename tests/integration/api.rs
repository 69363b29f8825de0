//! The REST API as callers meet it: over TLS, on real databases.
mod accepting;
mod deciding;
mod documented;
mod duplicates;
mod failing;
mod history;
mod limits;
mod opting;
mod privacy;
mod referring;
mod repeating;
mod rotating;
mod secrecy;
pub(crate) mod service;
mod serving;
mod statement;
mod webhooks;
