//! SMPP 3.4: framing, sessions, pacing and fair sharing, used by the senders and the connectors alike.
//!
//! PDU types and their encoding come from `rusmpp`; the session is ours, because what matters here is what happens
//! when things go wrong: whether a request was written, whether it was answered, and when to stop waiting.
//!
//! - [`frame`]: bytes to PDUs and back; tolerant of what real peers send.
//! - [`session`]: one bound connection from either side: window, time-outs, enquire_link, unbind.
//! - [`client`]: connect and bind. [`server`]: listen, authenticate, serve.
//! - [`vendor`]: what sender and connector say to each other beyond SMPP.
//! - [`fault`]: whose fault a refusal is.
//! - [`pacing`], [`fair`], [`backoff`], [`chance`]: how fast, whose turn, and when to try again.
pub mod backoff;
pub mod chance;
pub mod client;
pub mod fair;
pub mod fault;
pub mod frame;
mod handshake;
pub mod pacing;
pub mod server;
pub mod session;
pub mod vendor;

pub use rusmpp::{CommandId, CommandStatus, Pdu};
