//! A connector at work in a simulation: all of ours, but for the database, the network, and the TLS that says who a sender is.
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prometheus_client::registry::Registry;
use rustls::pki_types::CertificateDer;
use sqlx::PgPool;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::database::{Database as Followed, Ear};
use super::follow::Follow;
use super::inbound::Inbox;
use super::message_id;
use super::metrics::Metrics;
use super::receipts::Books;
use super::senders::Senders;
use super::tag::TagKey;
use super::works::Works;
use crate::config::connector::{ConnectorConfig, IdFormat};
use crate::domain::{Clock, Secret};
use crate::simulation::database::{Database, Listener};
use crate::smpp::client::Dial;
use crate::smpp::server::{self, Limits, Peer, Service as _};
use crate::store::shares::{Error, InboundNumber, Notice, OptOutRule, Share};

/// See the module.
pub(crate) struct Simulated {
    service: Arc<Senders>,
    limits: Arc<Limits>,
    tasks: Mutex<JoinSet<()>>,
    binds: JoinHandle<()>,
    stop: CancellationToken,
    _config: watch::Sender<Arc<ConnectorConfig>>,
}

/// The key of every connector here.
pub(crate) fn tag_key() -> Secret {
    Secret::new(BASE64_STANDARD.encode([7; 32]))
}

/// What an id that an upstream writes into a receipt is known by to senders and the database.
pub(crate) fn known_by(id: &str) -> String {
    static KEY: OnceLock<TagKey> = OnceLock::new();
    let key = KEY.get_or_init(|| TagKey::new(&tag_key()).expect("a key"));
    key.id(&message_id::from_receipt(id, IdFormat::Same))
}

impl Simulated {
    pub(crate) fn start(
        config: ConnectorConfig,
        tls: Arc<rustls::ServerConfig>,
        facts: &Database,
        dial: impl Dial,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let key = TagKey::new(&config.tag_key).expect("a key");
        let (limits, name) = (super::limits(&config), config.settings.name.clone());
        let (rate, of_tenant) = (config.settings.rate_millis, config.settings.tenant_rate_millis);
        let (config, following) = watch::channel(Arc::new(config));
        let metrics = Metrics::new(&mut Registry::default(), &name);
        let works = Works::new(key, following, clock, metrics.clone());
        works.exchange.set_rate(rate, of_tenant);
        let mut tasks = JoinSet::new();
        // No SMS comes from a handset here, so it is never asked.
        let nowhere = PgPool::connect_lazy("postgres://nobody@localhost/none").expect("an address");
        let intake = works.intake(books(facts), Inbox::new(nowhere));
        let stop = CancellationToken::new();
        let binds = works.start(&mut tasks, Arc::clone(&intake), dial, Duration::from_secs(5), stop.clone());
        let changed = Arc::new(Notify::new());
        let follow = Arc::new(Follow {
            database: facts.clone(),
            exchange: Arc::clone(&works.exchange),
            intake: Arc::clone(&intake),
            changed: Arc::clone(&changed),
        });
        tasks.spawn(Arc::clone(&follow).read());
        tasks.spawn(follow.listen());
        tasks.spawn(retry(facts.clone()));
        let service = Arc::new(Senders {
            exchange: Arc::clone(&works.exchange),
            tls: Arc::new(ArcSwap::new(tls)),
            key: Arc::clone(&works.key),
            unknown: changed,
            stop: stop.clone(),
            metrics,
        });
        Self { service, limits: Arc::new(limits), tasks: Mutex::new(tasks), binds, stop, _config: config }
    }

    /// Serves a connection of somebody who has this certificate.
    pub(crate) fn accept<S>(&self, stream: S, certificate: CertificateDer<'static>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (service, limits) = (Arc::clone(&self.service), Arc::clone(&self.limits));
        let peer = Peer { address: ([127, 0, 0, 1], 1).into(), certificate: Some(certificate) };
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            let binding = server::accept(stream, &limits, async |bind| service.authenticate(bind, &peer).await);
            if let Ok(Ok(Some((sender, session, incoming)))) = timeout(limits.bind_timeout, binding).await {
                service.serve(sender, session, incoming).await;
            }
        });
    }

    /// Ends it as a crash does, once its connections are cut.
    pub(crate) fn crash(&self) {
        self.stop.cancel();
        self.binds.abort();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.crash();
    }
}

fn books(facts: &Database) -> Books {
    let (asked, applied, parked) = (facts.clone(), facts.clone(), facts.clone());
    Books {
        owners: Batch::start(move |keys| {
            let facts = asked.clone();
            async move { facts.owners(&keys).await.ok() }
        }),
        apply: Batch::start(move |receipts| {
            let facts = applied.clone();
            async move { facts.apply_upstream(&receipts).await.ok() }
        }),
        park: Batch::start(move |receipts| {
            let facts = parked.clone();
            async move { facts.park(&receipts).await.ok().map(|()| vec![(); receipts.len()]) }
        }),
    }
}

impl Followed for Database {
    type Ear = Listener;

    async fn shares(&self) -> Result<Vec<Share>, Error> {
        Self::shares(self).await.map_err(|ill| Error::ReadShares(ill.into()))
    }

    async fn opt_outs(&self) -> Result<Vec<OptOutRule>, Error> {
        Ok(Vec::new())
    }

    async fn numbers(&self) -> Result<Vec<InboundNumber>, Error> {
        Ok(Vec::new())
    }

    async fn listen(&self) -> Result<Listener, Error> {
        Self::listen(self).await.map_err(|ill| Error::Listen(ill.into()))
    }
}

impl Ear for Listener {
    async fn next(&mut self) -> Result<Notice, Error> {
        Self::next(self).await.map_err(|ill| Error::Listen(ill.into()))
    }

    async fn check(&mut self) -> Result<(), Error> {
        Self::check(self).await.map_err(|ill| Error::Listen(ill.into()))
    }
}

async fn retry(facts: Database) {
    loop {
        sleep(Duration::from_secs(5)).await;
        // Failed, it is tried again.
        let _ = facts.retry().await;
    }
}
