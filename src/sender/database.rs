//! What the engine asks of the database, and nothing else: so that a simulation can answer in PostgreSQL's place.
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{MessageId, RouteId, TenantId};
use crate::store::claim::{self, Adopted, Gate, Launched, Queued};
use crate::store::receipts::{self, Outcome, Receipt};
use crate::store::results::{self, Settled};
use crate::store::{self, asking};

/// See the module. Clones ask the same database.
pub(super) trait Database: Clone + Send + Sync + 'static {
    /// See [`claim::gate`].
    fn gate(&self, epoch: i64) -> impl Future<Output = Result<Gate, claim::Error>> + Send;

    /// See [`claim::adopt`].
    fn adopt(
        &self,
        epoch: i64,
        hold: bool,
        attempts: i16,
    ) -> impl Future<Output = Result<(Vec<Adopted>, usize), claim::Error>> + Send;

    /// See [`claim::read_urgent`].
    fn read_urgent(
        &self,
        tenant: TenantId,
        after: MessageId,
        have: &[Uuid],
        most: i64,
    ) -> impl Future<Output = Result<Vec<Queued>, claim::Error>> + Send;

    /// See [`claim::read`].
    fn read(
        &self,
        tenant: TenantId,
        after: MessageId,
        have: &[Uuid],
        now: jiff::Timestamp,
        most: i64,
    ) -> impl Future<Output = Result<Vec<Queued>, claim::Error>> + Send;

    /// See [`claim::read_these`].
    fn read_these(
        &self,
        tenant: TenantId,
        ids: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Queued>, claim::Error>> + Send;

    /// See [`claim::next_due`].
    fn next_due(
        &self,
        tenant: TenantId,
        now: jiff::Timestamp,
    ) -> impl Future<Output = Result<Option<jiff::Timestamp>, claim::Error>> + Send;

    /// See [`claim::launch`].
    fn launch(
        &self,
        epoch: i64,
        flight: Uuid,
        route: RouteId,
        wanted: &[Uuid],
    ) -> impl Future<Output = Result<Launched, claim::Error>> + Send;

    /// See [`results::settle`].
    fn settle(&self, batch: &[Settled], flights: &[Uuid]) -> impl Future<Output = Result<(), results::Error>> + Send;

    /// See [`receipts::apply`].
    fn apply(&self, receipts: &[Receipt]) -> impl Future<Output = Result<Vec<Outcome>, receipts::Error>> + Send;

    /// Nothing is asked for a while: gives back what is held for asking.
    fn rest(&self) -> impl Future<Output = ()> + Send;
}

impl Database for PgPool {
    async fn gate(&self, epoch: i64) -> Result<Gate, claim::Error> {
        claim::gate(asking(self), epoch).await
    }

    async fn adopt(&self, epoch: i64, hold: bool, attempts: i16) -> Result<(Vec<Adopted>, usize), claim::Error> {
        claim::adopt(self, epoch, hold, attempts).await
    }

    async fn read_urgent(
        &self,
        tenant: TenantId,
        after: MessageId,
        have: &[Uuid],
        most: i64,
    ) -> Result<Vec<Queued>, claim::Error> {
        claim::read_urgent(self, tenant, after, have, most).await
    }

    async fn read(
        &self,
        tenant: TenantId,
        after: MessageId,
        have: &[Uuid],
        now: jiff::Timestamp,
        most: i64,
    ) -> Result<Vec<Queued>, claim::Error> {
        claim::read(self, tenant, after, have, now, most).await
    }

    async fn read_these(&self, tenant: TenantId, ids: &[Uuid]) -> Result<Vec<Queued>, claim::Error> {
        claim::read_these(self, tenant, ids).await
    }

    async fn next_due(&self, tenant: TenantId, now: jiff::Timestamp) -> Result<Option<jiff::Timestamp>, claim::Error> {
        claim::next_due(self, tenant, now).await
    }

    async fn launch(
        &self,
        epoch: i64,
        flight: Uuid,
        route: RouteId,
        wanted: &[Uuid],
    ) -> Result<Launched, claim::Error> {
        claim::launch(self, epoch, flight, route, wanted).await
    }

    async fn settle(&self, batch: &[Settled], flights: &[Uuid]) -> Result<(), results::Error> {
        results::settle(self, batch, flights).await
    }

    async fn apply(&self, receipts: &[Receipt]) -> Result<Vec<Outcome>, receipts::Error> {
        receipts::apply(self, receipts).await
    }

    async fn rest(&self) {
        store::release(self).await;
    }
}
