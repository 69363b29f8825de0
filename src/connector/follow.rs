//! Follows the database: who shares the route, whose numbers are whose, whose queue has something new. Notifications make
//! it quick, reading again every few seconds makes it certain.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::database::{Database, Ear};
use super::exchange::Exchange;
use super::intake::Intake;
use crate::smpp::backoff::Backoff;
use crate::store::AGAIN;
use crate::store::shares::{Error, Notice};

/// Between two readings, whatever was heard.
const ANYHOW: Duration = Duration::from_secs(10);
/// Between two readings at the least, whatever happens.
const SELDOM: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct Follow<D> {
    pub(super) database: D,
    pub(super) exchange: Arc<Exchange>,
    pub(super) intake: Arc<Intake>,
    /// Something may have changed.
    pub(super) changed: Arc<Notify>,
}

impl<D: Database> Follow<D> {
    /// Reads shares and numbers when told and every ten seconds.
    pub(super) async fn read(self: Arc<Self>) {
        loop {
            if let Err(error) = self.read_once().await {
                tracing::warn!(%error, "shares stay as they were");
            }
            sleep(SELDOM).await;
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep(ANYHOW) => {}
            }
        }
    }

    async fn read_once(&self) -> Result<(), Error> {
        self.exchange.share(&self.database.shares().await?);
        self.intake.inbox.set_rules(self.database.opt_outs().await?);
        self.intake.inbox.set_numbers(self.database.numbers().await?);
        Ok(())
    }

    /// Listens to notifications, again and again.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            match self.database.listen().await {
                Ok(mut ear) => {
                    backoff.reset();
                    self.missed();
                    if let Err(error) = self.hear(&mut ear).await {
                        tracing::warn!(%error, "listening begins again");
                    }
                }
                Err(error) => tracing::warn!(%error, "not listening"),
            }
            sleep(backoff.delay()).await;
        }
    }

    async fn hear(&self, ear: &mut D::Ear) -> Result<(), Error> {
        let mut check = Instant::now() + ANYHOW;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(check) => {
                    ear.check().await?;
                    check = Instant::now() + ANYHOW;
                }
                notice = ear.next() => match notice? {
                    Notice::Wake(tenants) => self.exchange.wake(Some(&tenants)),
                    Notice::Change => self.changed.notify_one(),
                    Notice::Gap => self.missed(),
                },
            }
        }
    }

    /// Notifications may have gone by unheard.
    fn missed(&self) {
        self.changed.notify_one();
        self.exchange.wake(None);
    }
}
