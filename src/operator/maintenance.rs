//! What must be there before it is needed, whoever asks: partitions of the coming days. Tenants' keys are made ahead
//! when they are reconciled.
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::domain::copenhagen_day;
use crate::store::partitions;

const EVERY: Duration = Duration::from_secs(3600);
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// Partitions are made this many days ahead: how long the operator may be away before accepting stops.
const DAYS_AHEAD: i64 = 7;

/// Keeps them there until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    loop {
        let today = copenhagen_day(context.clock.now());
        let wait = match partitions::ensure(&context.pool, today, DAYS_AHEAD).await {
            Ok(made) => {
                if !made.is_empty() {
                    tracing::info!(?made, "made partitions");
                }
                EVERY
            }
            Err(error) => {
                tracing::warn!(%error, "will try again");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
