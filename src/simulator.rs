//! An SMSC for demos and tests: as strict, slow, forgetful or rude as it is told to be.
//!
//! `budstikke simulate smsc` runs it alone; tests start [`Smsc`] inside their own process. Built only with the feature
//! `simulate`, which release images lack. Everything it remembers is bounded.
use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

pub use behaviour::{Behaviour, Change, IdFormat, Receipts};
pub use control::Inbound;
pub use record::{Stats, Submit};
pub use smsc::{Options, Smsc};

mod behaviour;
mod control;
mod outbox;
mod record;
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
    /// The certificate or its key cannot be used.
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
    let Part::Smsc(options) = args.part;
    let smsc = Smsc::start(*options).await?;
    tracing::info!(smpp = %smsc.address(), control = ?smsc.control_address(), "SMSC is up");
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Error::Signal)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Error::Signal)?,
        _ = terminate.recv() => {}
    }
    smsc.stop().await;
    Ok(())
}

/// Tells everything to stop when the last one who could is gone.
#[derive(Debug)]
struct StopOnDrop(CancellationToken);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
