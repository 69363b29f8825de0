//! What must be there before it is needed, whoever asks: partitions of the coming days; and what has done its work and
//! goes. Tenants' keys are made ahead when they are reconciled.
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::domain::copenhagen_day;
use crate::store::partitions;

const EVERY: Duration = Duration::from_secs(3600);
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Keeps them there until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    loop {
        let wait = match once(&context).await {
            Ok(()) => EVERY,
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

async fn once(context: &Context) -> Result<(), partitions::Error> {
    let made = partitions::ensure(&context.pool, copenhagen_day(context.clock.now())).await?;
    if !made.is_empty() {
        tracing::info!(?made, "made partitions");
    }
    let removed = partitions::purge(&context.pool).await?;
    if removed > 0 {
        tracing::info!(removed, "removed rows that have done their work");
    }
    Ok(())
}
