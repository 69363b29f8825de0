//! What must be there before it is needed, whoever asks: partitions of the coming days; what has done its work and goes; and receipts
//! that never came, which are given up. Tenants' keys are made ahead when they are reconciled.
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::domain::copenhagen_day;
use crate::store::partitions;
use crate::store::unheard::{self, Days};

const EVERY: Duration = Duration::from_secs(3600);
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Keeps them there until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    // The last day on which the whole log was looked through.
    let mut looked = None;
    loop {
        let mut wait = match once(&context).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "will try again");
                AFTER_FAILURE
            }
        };
        if let Err(error) = give_up(&context, &mut looked).await {
            tracing::warn!(%error, "will try again");
            wait = AFTER_FAILURE;
        }
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

/// Gives up receipts that never came. Once a day the whole log is looked through.
async fn give_up(context: &Context, looked: &mut Option<Date>) -> Result<(), unheard::Error> {
    let now = context.clock.now();
    let today = copenhagen_day(now);
    let days = if *looked == Some(today) { Days::Due } else { Days::All };
    let given_up = unheard::give_up(&context.pool, now, days).await?;
    *looked = Some(today);
    if given_up > 0 {
        tracing::info!(given_up, "gave up receipts that never came");
    }
    Ok(())
}
