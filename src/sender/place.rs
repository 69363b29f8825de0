//! The tenant's one place to send from. A sender that starts takes it at once from whoever had it; where several pods run,
//! one keeps it and the others stand by until it is left, or has not been heard of for a while. That is courtesy: that
//! nobody sends beside the newest is held by its epoch.
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::smpp::backoff::Backoff;
use crate::store::{self, claim};
use crate::telemetry::health::Ready;

/// Between two looks of one that stands by.
const LOOK: Duration = Duration::from_secs(2);
/// Between two signs of life; three may be missed.
const SIGN: Duration = Duration::from_secs(5);
/// How long a sign of life holds, seconds.
const ALIVE: i32 = 15;

/// See the module.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) pool: PgPool,
    /// Others run beside this one.
    pub(super) stands_by: bool,
    /// One that stands by is ready: it does what it is there for.
    pub(super) ready: Ready,
}

impl Place {
    /// Takes the place, and with it the next epoch, as soon as it can be had; `None` when stopped before.
    ///
    /// # Errors
    /// When the login is not a tenant's.
    pub(super) async fn take(&self, stop: &CancellationToken) -> Result<Option<i64>, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let wait = match stop.run_until_cancelled(self.ask()).await {
                None => return Ok(None),
                Some(Ok(Asked::Begun(epoch))) => return Ok(Some(epoch)),
                Some(Ok(Asked::Taken)) => {
                    self.ready.set(true);
                    LOOK
                }
                Some(Ok(Asked::OldSchema)) => {
                    tracing::warn!("the database's schema is older than this sender: waiting");
                    backoff.delay()
                }
                Some(Err(error @ claim::Error::NoTenant)) => return Err(Error::Begin(error)),
                Some(Err(error)) => {
                    tracing::warn!(%error, "the database gives no epoch: waiting");
                    backoff.delay()
                }
            };
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return Ok(None);
            }
        }
    }

    async fn ask(&self) -> Result<Asked, claim::Error> {
        if !store::schema_is_recent(&self.pool).await.map_err(claim::Error::Begin)? {
            return Ok(Asked::OldSchema);
        }
        Ok(claim::begin(&self.pool, self.stands_by).await?.map_or(Asked::Taken, Asked::Begun))
    }

    /// Gives signs of life for as long as it is polled; none where nobody waits for their end.
    pub(super) async fn keep(&self, epoch: i64) {
        while self.stands_by {
            sleep(SIGN).await;
            if let Err(error) = claim::alive(&self.pool, epoch, ALIVE).await {
                tracing::warn!(%error, "no sign of life could be given: one that stands by may take over");
            }
        }
        std::future::pending().await
    }

    /// Lets another have it at once.
    pub(super) async fn leave(&self, epoch: i64) {
        if self.stands_by
            && let Err(error) = claim::alive(&self.pool, epoch, 0).await
        {
            tracing::debug!(%error, "the place could not be left: it is free in a while");
        }
    }
}

/// What the database says to one that wants to begin.
enum Asked {
    Begun(i64),
    /// Another sender is alive.
    Taken,
    OldSchema,
}
