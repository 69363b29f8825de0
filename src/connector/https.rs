//! An upstream over HTTPS, in the form of Sinch's SMS REST API (M1): batches out, callbacks in.
//!
//! - `line`: one of the route's connections; what waits for it, and what goes together. `wire`: the connection itself, and
//!   whether a call was written. `answer`: what an answer means.
//! - `message`: a submit as the API has it, and the call for several.
//! - `callback`: where receipts and SMS from handsets arrive. `signature`: whose they are. `notice`: what they say.
//!
//! **A text goes out whole**, as `mt_text`: the upstream splits it. The API has no data coding: what it calls `mt_binary` goes
//! out as 8-bit data, which a handset does not show, so parts with headers cannot carry text. Senders know it
//! (`concatenation: payload`) and submit a long text as one; it is billed by its parts, takes as many of the route's rate,
//! and has one receipt. A part of a text that some SMPP client made itself is refused.
//!
//! **What waits goes together.** While a connection is busy, messages gather for it; those with the same text, sender, expiry
//! and wish for receipts share the next call, up to the window and to a thousand. Nobody waits for company. The answer
//! names the batch alone, so a message's id is the batch and the number: both stand in the receipt as well. A number is in a batch once.
//! A batch that is refused is refused whole, mostly for one of its numbers: its messages go again, each alone.
//!
//! **A bind** is a connection that the upstream has last answered well on: when it begins, and each `enquireLinkSeconds` that
//! are quiet, it is asked for a list that holds nothing. So a token that is wrong, or an upstream that is away, is known before
//! a message meets it.
mod answer;
mod callback;
#[cfg(feature = "simulate")]
pub(super) mod fuzzing;
mod line;
mod message;
mod notice;
mod signature;
mod wire;

use std::sync::Arc;

pub(super) use callback::Callbacks;
pub(super) use line::{Line, Place};
pub(super) use message::Message;
pub(super) use wire::Error;

use super::brake::Brake;
use super::exchange::Exchange;
use crate::config::connector::{ConnectorConfig, Https};
use crate::domain::Clock;
use crate::smpp::session::{CloseReason, Outcome, Pending, Promise};

/// Opens one connection, and asks whether the upstream knows us.
///
/// # Errors
/// When it cannot be reached, or does not.
pub(super) async fn open(
    config: &ConnectorConfig,
    https: &Https,
    exchange: &Arc<Exchange>,
    brake: &Arc<Brake>,
    clock: &Arc<dyn Clock>,
) -> Result<Line, Error> {
    let settings = &config.settings;
    let mut wire = wire::Wire::new(config, https)?;
    wire.probe(settings.bind_timeout()).await?;
    let rules = line::Rules {
        window: usize::from(settings.window),
        answer: settings.response_timeout(),
        probe: settings.bind_timeout(),
        quiet: settings.enquire_interval(),
        clock: Arc::clone(clock),
    };
    Ok(Line::start(wire, rules, Arc::clone(exchange), Arc::clone(brake)))
}

/// A submit that goes nowhere.
pub(super) fn unsent() -> Pending {
    let (promise, pending) = Promise::new();
    promise.settle(NOT_WRITTEN);
    pending
}

/// The upstream cannot have acted on it.
const NOT_WRITTEN: Outcome = Outcome::NotWritten(CloseReason::Closed);

/// What a message is known by in answer and receipt alike: the batch, and the number in its shortest form. Within a batch
/// the check of the destination alone would not tell a thousand numbers apart.
fn id(batch: &str, number: &str) -> String {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    format!("{batch}/{}", digits.trim_start_matches('0'))
}
