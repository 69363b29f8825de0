//! A sender at work in a simulation: all of ours, but for the database, the network, and how a pod takes its place.
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::database::Database;
use super::engine::{End, Engine, Setup};
use super::link::Link;
use super::metrics::Metrics;
use super::opener::Opener;
use super::{Pace, SIGNALS};
use crate::config::sender::SenderConfig;
use crate::domain::{Clock, MessageId, RouteId, TenantId};
use crate::simulation::database::Database as Facts;
use crate::smpp::client::Dial;
use crate::store::claim::{Adopted, Error as ClaimError, Gate, Launched, Queued};
use crate::store::receipts::{Error as ReceiptsError, Outcome, Receipt};
use crate::store::results::{Error as ResultsError, Settled};

/// See the module.
pub(crate) struct Simulated {
    engine: JoinHandle<End>,
    link: JoinHandle<()>,
    stop: CancellationToken,
    /// Nobody changes it, but it must be there to be read.
    _config: watch::Sender<Arc<SenderConfig>>,
}

impl Simulated {
    /// Starts one with the tenant's next epoch.
    pub(crate) fn start(config: SenderConfig, facts: &Facts, dial: impl Dial, clock: Arc<dyn Clock>) -> Self {
        let tenant = config.settings.tenant_id;
        let legs = config.settings.routes.clone();
        let epoch = facts.begin(tenant);
        let (_config, config) = watch::channel(Arc::new(config));
        let (signals, hearing) = mpsc::channel(SIGNALS);
        let stop = CancellationToken::new();
        let link = Link {
            index: 0,
            leg: legs[0].clone(),
            epoch,
            config: config.clone(),
            clock: Arc::clone(&clock),
            signals,
            dial,
            stop: CancellationToken::new(),
        };
        let setup = Setup {
            database: Own { facts: facts.clone(), tenant },
            tenant,
            epoch,
            legs,
            opener: Opener::new(config),
            clock,
            pace: Pace::default(),
            metrics: Metrics::new(&mut Registry::default()),
            ready: Default::default(),
        };
        let engine = tokio::spawn(Engine::new(setup).run(hearing, stop.clone()));
        Self { engine, link: tokio::spawn(link.run()), stop, _config }
    }

    /// Whether it has ended by itself.
    pub(crate) fn is_over(&self) -> bool {
        self.engine.is_finished()
    }

    /// Ends it as a crash does, once its connections are cut.
    pub(crate) fn crash(&self) {
        self.engine.abort();
        self.link.abort();
    }

    /// Tells it to end in good order.
    pub(crate) fn tell_to_stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.crash();
    }
}

/// What a tenant's login sees.
#[derive(Clone)]
struct Own {
    facts: Facts,
    tenant: TenantId,
}

impl Database for Own {
    async fn gate(&self, epoch: i64) -> Result<Gate, ClaimError> {
        self.facts.gate(self.tenant, epoch).await.map_err(|ill| ClaimError::Gate(ill.into()))
    }

    async fn adopt(&self, epoch: i64, hold: bool, attempts: i16) -> Result<(Vec<Adopted>, usize), ClaimError> {
        let adopted = self.facts.adopt(self.tenant, epoch, hold, attempts).await;
        adopted.map_err(|ill| ClaimError::Adopt(ill.into()))
    }

    async fn read_urgent(
        &self,
        tenant: TenantId,
        after: MessageId,
        have: &[Uuid],
        most: i64,
    ) -> Result<Vec<Queued>, ClaimError> {
        self.facts.read(tenant, after, have, true, most).await.map_err(|ill| ClaimError::Read(ill.into()))
    }

    async fn read(
        &self,
        tenant: TenantId,
        after: MessageId,
        have: &[Uuid],
        _now: jiff::Timestamp,
        most: i64,
    ) -> Result<Vec<Queued>, ClaimError> {
        self.facts.read(tenant, after, have, false, most).await.map_err(|ill| ClaimError::Read(ill.into()))
    }

    async fn read_these(&self, tenant: TenantId, ids: &[Uuid]) -> Result<Vec<Queued>, ClaimError> {
        self.facts.read_these(tenant, ids).await.map_err(|ill| ClaimError::Read(ill.into()))
    }

    async fn next_due(&self, _: TenantId, _: jiff::Timestamp) -> Result<Option<jiff::Timestamp>, ClaimError> {
        // Nothing here is scheduled.
        Ok(None)
    }

    async fn launch(&self, epoch: i64, flight: Uuid, _route: RouteId, wanted: &[Uuid]) -> Result<Launched, ClaimError> {
        let launched = self.facts.launch(self.tenant, epoch, flight, wanted).await;
        launched.map_err(|ill| ClaimError::Launch(ill.into()))
    }

    async fn settle(&self, batch: &[Settled], flights: &[Uuid]) -> Result<(), ResultsError> {
        let settled = self.facts.settle(self.tenant, batch, flights).await;
        settled.map_err(|ill| ResultsError::Settle(ill.into()))
    }

    async fn apply(&self, receipts: &[Receipt]) -> Result<Vec<Outcome>, ReceiptsError> {
        self.facts.apply(self.tenant, receipts).await.map_err(|ill| ReceiptsError::Apply(ill.into()))
    }

    async fn rest(&self) {}
}
