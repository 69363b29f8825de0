//! An upstream for demos and tests, over SMPP or HTTPS: as strict, slow, forgetful or rude as it is told to be.
//!
//! `budstikke simulate smsc` and `budstikke simulate rest` run one alone; tests start [`Smsc`] or [`Rest`] inside their own process. Built only with the feature
//! `simulate`, which release images lack. Everything it remembers is bounded.
use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

pub use behaviour::{Behaviour, Change, IdFormat, Receipts};
pub use control::Inbound;
pub use record::{Stats, Submit};
pub use rest::{Batch, Call, CallbackStats, Rest, RestOptions, RestStats};
pub use smsc::{Options, Smsc};

mod behaviour;
mod control;
mod garbage;
mod outbox;
mod record;
mod rest;
mod smsc;
#[cfg(test)]
mod tests;

/// What to play.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Play an upstream's SMSC.
    Smsc(Box<Options>),
    /// Play an upstream's REST API, in the form of Sinch's.
    Rest(Box<RestOptions>),
}

/// Why the simulator stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is taken, or the address is not ours.
    #[error("listening on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A certificate or its key cannot be used.
    #[error("the certificate or its key: {0}")]
    Certificate(String),
    /// The signals of the system cannot be had.
    #[error("waiting for a signal: {0}")]
    Signal(#[source] std::io::Error),
}

/// Plays until told to stop by SIGINT or SIGTERM.
///
/// # Errors
/// See [`Error`].
pub async fn run(args: Args) -> Result<(), Error> {
    match args.part {
        Part::Smsc(options) => {
            let smsc = Smsc::start(*options).await?;
            tracing::info!(smpp = %smsc.address(), control = ?smsc.control_address(), "SMSC is up");
            told_to_stop().await?;
            smsc.stop().await;
        }
        Part::Rest(options) => {
            let rest = Rest::start(*options).await?;
            tracing::info!(https = %rest.address(), control = ?rest.control_address(), "REST API is up");
            told_to_stop().await?;
            rest.stop().await;
        }
    }
    Ok(())
}

async fn told_to_stop() -> Result<(), Error> {
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Error::Signal)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Error::Signal),
        _ = terminate.recv() => Ok(()),
    }
}

/// Tells everything to stop when the last one who could is gone.
#[derive(Debug)]
struct StopOnDrop(CancellationToken);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
