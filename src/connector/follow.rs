//! Follows the database: who shares the route, whose numbers are whose, whose queue has something new. Notifications make
//! it quick, reading again every few seconds makes it certain.
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::exchange::Exchange;
use super::intake::Intake;
use crate::smpp::backoff::Backoff;
use crate::store::AGAIN;
use crate::store::shares::{self, Listener, Notice};

/// Between two readings, whatever was heard.
const ANYHOW: Duration = Duration::from_secs(10);
/// Between two readings at the least, whatever happens.
const SELDOM: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) pool: PgPool,
    pub(super) exchange: Arc<Exchange>,
    pub(super) intake: Arc<Intake>,
    /// Something may have changed.
    pub(super) changed: Arc<Notify>,
}

impl Follow {
    /// Reads shares and numbers when told and every ten seconds.
    pub(super) async fn read(self: Arc<Self>) {
        loop {
            if let Err(error) = self.read_once().await {
                tracing::warn!(%error, "shares stay as they were");
            }
            sleep(SELDOM).await;
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep(ANYHOW) => {}
            }
        }
    }

    async fn read_once(&self) -> Result<(), shares::Error> {
        self.exchange.share(&shares::read(&self.pool).await?);
        self.intake.inbox.set_rules(shares::opt_outs(&self.pool).await?);
        self.intake.inbox.set_numbers(shares::numbers(&self.pool).await?);
        Ok(())
    }

    /// Listens to notifications, again and again.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            match Listener::open(&self.pool).await {
                Ok(mut listener) => {
                    backoff.reset();
                    self.missed();
                    if let Err(error) = self.hear(&mut listener).await {
                        tracing::warn!(%error, "listening begins again");
                    }
                }
                Err(error) => tracing::warn!(%error, "not listening"),
            }
            sleep(backoff.delay()).await;
        }
    }

    async fn hear(&self, listener: &mut Listener) -> Result<(), shares::Error> {
        let mut check = Instant::now() + ANYHOW;
        loop {
            tokio::select! {
                notice = listener.next() => match notice? {
                    Notice::Wake(tenants) => self.exchange.wake(Some(&tenants)),
                    Notice::Change => self.changed.notify_one(),
                    Notice::Gap => self.missed(),
                },
                () = sleep_until(check) => {
                    listener.check().await?;
                    check = Instant::now() + ANYHOW;
                }
            }
        }
    }

    /// Notifications may have gone by unheard.
    fn missed(&self) {
        self.changed.notify_one();
        self.exchange.wake(None);
    }
}
