//! Has what must be gone go, on the leader: soon after each full hour, midnight included, and every few minutes for what was missed. How it went is in
//! the status of each RetentionPolicy.
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::midnight;
use crate::retention::{Expiry, Run};

/// Between two runs, at most.
const EVERY: Duration = Duration::from_secs(300);

/// How the last run went; nothing before the first.
#[derive(Debug, Clone, Default)]
pub(super) struct Last {
    /// The last one that did all it had to.
    pub(super) run: Option<Run>,
    /// Why the last one did not.
    pub(super) failed: Option<String>,
}

impl Last {
    /// There was none yet.
    pub(super) fn is_unknown(&self) -> bool {
        self.run.is_none() && self.failed.is_none()
    }
}

/// Runs until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut expiry = Expiry::new(context.pool.clone(), Arc::clone(&context.keyring), Arc::clone(&context.clock));
    loop {
        let done = expiry.run().await;
        let wait = EVERY.min(midnight::until_hour(context.clock.now()));
        context.metrics.retention_held.set(i64::from(done.as_ref().is_err_and(crate::retention::Error::is_hold)));
        match done {
            Ok(run) => {
                let Run { keys, partitions, entries, messages, accounts, .. } = run;
                if (keys, partitions, entries, messages, accounts) != (0, 0, 0, 0, 0) {
                    tracing::info!(keys, partitions, entries, messages, accounts, "what had to be gone is gone");
                }
                if run.caught_up > 0 {
                    tracing::warn!(days = run.caught_up, "days without a run were caught up");
                }
                context.metrics.retention_ran.set(run.at.as_second());
                context.metrics.retention_waiting.set(run.waiting);
                context.metrics.retention_waiting_kept.set(run.waiting_kept);
                context.retention.send_replace(Last { run: Some(run), failed: None });
            }
            Err(error) => {
                tracing::warn!(%error, "not all that must be gone is gone");
                context.retention.send_modify(|last| last.failed = Some(error.to_string()));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = context.expire_now.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
