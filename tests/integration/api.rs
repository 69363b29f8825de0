//! The REST API as callers meet it: over TLS, on real databases.
mod accepting;
mod failing;
mod history;
mod privacy;
mod repeating;
mod secrecy;
mod service;
mod serving;
