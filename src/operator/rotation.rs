//! Keeps all keys under the current key-encryption key, and exchanges wrapping keys that are old, on the leader. In steps:
//! nobody waits for it.
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::keyring::Error;

const EVERY: Duration = Duration::from_secs(60);
/// Keys moved in one step.
const BATCH: i64 = 100;
/// Wrapping keys exchanged in one round.
const AGED: i64 = 10;

/// Runs until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            done = once(&context) => if let Err(error) = done {
                tracing::warn!(%error, "keys could not be rotated: will try again");
            },
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn once(context: &Context) -> Result<(), Error> {
    loop {
        let done = context.keyring.rewrap(BATCH).await;
        // One that cannot be moved is behind too.
        if let Ok(behind) = context.keyring.behind().await {
            context.metrics.kek_behind.set(behind);
        }
        let done = done?;
        let (kek, moved, behind) = (&done.current, done.moved, done.behind);
        if moved > 0 {
            tracing::info!(kek, moved, behind, "moved keys under the current key-encryption key");
        }
        if done.finished {
            tracing::info!(
                kek,
                "nothing is wrapped by another key-encryption key any more: older ones can be taken out of \
                the Secret once no backup of the keyring from before is kept"
            );
        }
        if moved == 0 || behind == 0 {
            break;
        }
    }
    if context.wrapping_key_days > 0 {
        for tenant in context.keyring.aged(context.wrapping_key_days, context.clock.now(), AGED).await? {
            let keys = context.keyring.rotate(tenant).await?;
            tracing::info!(%tenant, keys, "exchanged the wrapping key");
        }
    }
    Ok(())
}
