//! Logs as JSON lines, metrics as Prometheus text, and the two health end-points, the same for every role (D10:
//! nothing personal reaches any of them; `domain::Personal` makes it so by construction).
pub mod health;

use tracing_subscriber::EnvFilter;

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("set up logging: {0}")]
pub struct InitError(#[from] tracing_subscriber::util::TryInitError);

/// Starts logging to standard output, one JSON object a line, filtered by `BUDSTIKKE_LOG` (default `info`).
///
/// # Errors
/// When a global subscriber is set already.
pub fn init() -> Result<(), InitError> {
    use tracing_subscriber::util::SubscriberInitExt as _;
    let filter = EnvFilter::try_from_env("BUDSTIKKE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).finish().try_init()?;
    Ok(())
}
