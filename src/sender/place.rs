//! The tenant's one place to send from. Where several pods run, one keeps it and the others stand by until it is left, or
//! has not been heard of for a while. One that runs alone is silent: its successor in the same pod knows that it has died. Told to
//! stop, it keeps the place until what is under way is settled, and nothing goes twice; since that word may reach it later
//! than Kubernetes starts another pod, a successor there gives it a moment. That is courtesy: that nobody sends beside the
//! newest is held by its epoch.
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Error;
use crate::smpp::backoff::Backoff;
use crate::store::claim::Beginner;
use crate::store::{self, AGAIN, Lent, claim, silent};
use crate::telemetry::health::Ready;

/// Between two looks of one that stands by, and of a successor.
const LOOK: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(300));
/// Between two signs of life; three may be missed.
const SIGN: Duration = Duration::from_secs(5);
/// How long a sign of life holds, seconds.
const ALIVE: i32 = 15;
/// The same of the one sign that is given while stopping: what that may take, and a little.
const LEAVING: i32 = 25;
/// How long one in another pod that has not left may take to say that it is alive.
const MOMENT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) pool: PgPool,
    /// The pod this runs in.
    pub(super) pod: Uuid,
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
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let mut refused = None;
        loop {
            let insists = refused.is_some_and(|since: Instant| since.elapsed() >= MOMENT);
            let asked = stop.run_until_cancelled(self.ask(insists)).await;
            if let Some(Ok(Asked::Taken)) = asked {
                refused.get_or_insert_with(Instant::now);
            }
            let wait = match asked {
                None => return Ok(None),
                Some(Ok(Asked::Begun(epoch))) => return Ok(Some(epoch)),
                Some(Ok(Asked::Taken)) if self.stands_by => {
                    self.ready.set(true);
                    LOOK.0
                }
                Some(Ok(Asked::Taken)) => LOOK.1,
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

    /// Both questions on one connection: to open one takes longer than all else that a sender does before it sends, and one that was
    /// given back is not there for the next question yet.
    async fn ask(&self, insists: bool) -> Result<Asked, claim::Error> {
        let beginner = Beginner { stands_by: self.stands_by, pod: self.pod, insists };
        let lent = Lent::of(&self.pool).await.map_err(claim::Error::Begin)?;
        let asked = lent.hear(async |db| {
            if !store::schema_is_recent(&mut *db).await.map_err(claim::Error::Begin)? {
                return Ok(Asked::OldSchema);
            }
            Ok(claim::begin(db, beginner).await?.map_or(Asked::Taken, Asked::Begun))
        });
        asked.await.unwrap_or_else(|| Err(claim::Error::Begin(silent())))
    }

    /// Gives signs of life for as long as it is polled: where others stand by, and from `stop` on.
    pub(super) async fn keep(&self, epoch: i64, stop: &CancellationToken) {
        if self.stands_by {
            loop {
                sleep(SIGN).await;
                self.sign(epoch, ALIVE).await;
            }
        }
        stop.cancelled().await;
        self.sign(epoch, LEAVING).await;
        std::future::pending().await
    }

    async fn sign(&self, epoch: i64, seconds: i32) {
        if let Err(error) = claim::alive(&self.pool, epoch, seconds).await {
            tracing::warn!(%error, "no sign of life could be given: another may take over");
        }
    }

    /// Lets another have it at once.
    pub(super) async fn leave(&self, epoch: i64) {
        if let Err(error) = claim::alive(&self.pool, epoch, 0).await {
            tracing::debug!(%error, "the place could not be left: it is free in a while");
        }
    }
}

/// What the database says to one that wants to begin.
enum Asked {
    Begun(i64),
    /// Another sender is alive, or may be.
    Taken,
    OldSchema,
}
