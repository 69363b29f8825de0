//! Tells through PostgreSQL how this pod stands with the upstream: a pod is ready without any bind, so the route's status
//! must say that some are missing, and why.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::binds::Binds;
use super::spelling::Spelling;
use super::standing::{Standing, Told};
use crate::config::connector::{ConnectorConfig, IdFormat};
use crate::store::upstream_reports::{self, Failure, LastError, ReceiptIds, Report};

/// Between two looks, and so between two reports at least.
const EVERY: Duration = Duration::from_secs(3);
/// Without any change a sign of life is given so often: a third of the time that a report counts.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// How long a connector that stops tries to take its report back.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why the last attempt at a bind failed.
#[derive(Debug, Default)]
pub(super) struct LastFailure(Mutex<Option<Failure>>);

impl LastFailure {
    pub(super) fn set(&self, failure: Failure) {
        *self.lock() = Some(failure);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    pub(super) pool: PgPool,
    /// Drawn for this pod's lifetime.
    pub(super) pod: Uuid,
    pub(super) binds: Arc<Binds>,
    pub(super) last_failure: Arc<LastFailure>,
    pub(super) spelling: Arc<Spelling>,
    pub(super) standing: Arc<Standing>,
    pub(super) config: watch::Receiver<Arc<ConnectorConfig>>,
}

impl Reporter {
    /// Tells what changed, and at times that it is still there.
    pub(super) async fn run(self) {
        let mut told: Option<(Report, Instant)> = None;
        let mut failing = false;
        let mut look = interval(EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let now = self.now();
            if told.is_some_and(|(report, at)| says_the_same(report, now) && at.elapsed() < SIGN_OF_LIFE) {
                continue;
            }
            match upstream_reports::tell(&self.pool, self.pod, now).await {
                Ok(()) => {
                    told = Some((now, Instant::now()));
                    failing = false;
                }
                // One line for an outage, not one a try.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "will try again");
                }
                Err(_) => {}
            }
        }
    }

    /// Takes back what was told: a pod that stops holds no bind. What it cannot take back counts for a while and no more.
    pub(super) async fn withdraw(&self) {
        if let Ok(Err(error)) = timeout(FAREWELL, upstream_reports::withdraw(&self.pool, self.pod)).await {
            tracing::debug!(%error, "the last report stays for a while");
        }
    }

    fn now(&self) -> Report {
        let binds = u16::try_from(self.binds.count()).unwrap_or(u16::MAX);
        let mut last = self.last_failure.lock();
        // Once all stand, what kept them from it is of no interest any more.
        if binds >= self.config.borrow().settings.binds {
            *last = None;
        }
        let id_format = self.spelling.proposed().map(|format| match format {
            IdFormat::Same => ReceiptIds::Same,
            IdFormat::HexThenDecimal => ReceiptIds::HexThenDecimal,
            IdFormat::DecimalThenHex => ReceiptIds::DecimalThenHex,
        });
        let Told { circuit, since, last_error } = self.standing.told();
        Report { binds, failure: *last, id_format, circuit, since, last_error }
    }
}

/// An error that comes again and again is told with the signs of life.
fn says_the_same(one: Report, other: Report) -> bool {
    let timeless = |report: Report| {
        let last_error = report.last_error.map(|error| LastError { at: Timestamp::UNIX_EPOCH, ..error });
        Report { last_error, ..report }
    };
    timeless(one) == timeless(other)
}
