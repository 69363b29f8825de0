//! One tenant's sender: claims its queue, submits to the connectors of its routes, stores results and receipts.
//!
//! - `place`: one sends, others stand by. `engine`: the one loop, and what it has the database do. `reader`: when to look
//!   into the queue.
//! - `database`: what it asks of PostgreSQL.
//! - `book`, `lane`, `ledger`: the messages on their way, what waits for each route, what is to be stored.
//! - `link`, `route`: the session with a connector, and what it allows.
//! - `opener`, `compose`, `verdict`, `receipt`: between ciphertext, message and PDU.
//!
//! One thread and little memory: a thousand of these run beside each other. An idle one holds its sessions and nothing
//! else; no database connection (but where others stand by: then it gives signs of life).
mod book;
mod compose;
mod database;
mod engine;
mod lane;
mod ledger;
mod link;
mod metrics;
mod opener;
mod place;
mod reader;
mod receipt;
mod route;
#[cfg(test)]
pub(crate) mod simulation;
mod verdict;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use engine::End;
use place::Place;

use crate::config::sender::SenderConfig;
use crate::config::{self, Mount};
use crate::domain::{Clock, SystemClock};
use crate::smpp::client::Network;
use crate::store::{self, Dsn, DsnError, claim};
use crate::telemetry::health::{self, Ready};

/// Database connections while there is work; none while there is not.
const CONNECTIONS: u32 = 3;
/// How long they may take to close.
const CLOSES: Duration = Duration::from_secs(5);
/// Signals that the engine has not looked at, at most.
const SIGNALS: usize = 256;

/// Arguments of the role.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    mount: Mount,
    /// Where health and metrics are served.
    #[arg(long, env = "BUDSTIKKE_HEALTH", default_value = "0.0.0.0:8080")]
    health: SocketAddr,
    /// The UID of the pod it runs in.
    #[arg(long, env = "BUDSTIKKE_POD", default_value_t = Uuid::nil())]
    pod: Uuid,
}

/// Why the role stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod's files.
    #[error("read the pod's files: {0}")]
    Config(#[source] config::Error),
    /// The database's address.
    #[error(transparent)]
    Dsn(DsnError),
    /// The health end-points.
    #[error("serve health on {address}: {source}")]
    Health {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The signals that end the role.
    #[error("listen for signals: {0}")]
    Signal(#[source] std::io::Error),
    /// The login is not a tenant's.
    #[error("begin: {0}")]
    Begin(#[source] claim::Error),
}

/// How much at a time, and how long between. The defaults are for production.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two looks into the queue when nothing wakes the sender: from, to.
    pub poll: (Duration, Duration),
    /// How long there is nothing to do before the database's connections are given back.
    pub lull: Duration,
    /// How long a flight or a batch waits for company.
    pub gather: Duration,
    /// Messages in a flight, at most.
    pub batch: usize,
    /// Results or receipts in a batch, at most: about what fits in one TLS record ([`store`] says why).
    pub results: usize,
    /// Messages read ahead of their flight, at most.
    pub ahead: usize,
    /// Messages in flights or not stored, at most.
    pub unsettled: usize,
    /// How long a sender that stops waits for answers and for the database.
    pub drain: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: (Duration::from_secs(60), Duration::from_secs(75)),
            lull: Duration::from_secs(10),
            gather: Duration::from_millis(20),
            batch: 250,
            results: 60,
            ahead: 500,
            unsettled: 2_000,
            drain: Duration::from_secs(20),
        }
    }
}

/// A sender, ready to run.
pub struct Sender {
    /// What the operator tells it; certificates and keys may change.
    pub config: watch::Receiver<Arc<SenderConfig>>,
    /// The data instance, with the tenant's own login.
    pub pool: PgPool,
    /// The pod it runs in; nil for those that run in none.
    pub pod: Uuid,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// How much at a time.
    pub pace: Pace,
    /// Set while at least one session stands.
    pub ready: Ready,
}

/// Runs until told to stop.
///
/// # Errors
/// When its files, its port or its login are no good.
pub async fn run(args: Args) -> Result<(), Error> {
    let mut config = config::watch::<SenderConfig>(args.mount.config_dir.clone()).map_err(Error::Config)?;
    let stop = CancellationToken::new();
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Error::Signal)?;
    let mut registry = Registry::default();
    let metrics = metrics::Metrics::new(&mut registry);
    let ready = Ready::default();
    // Served to the end: were it to stop with the first word, the role would be over before what is under way is settled.
    let health = health::serve(args.health, registry, ready.clone(), CancellationToken::new());
    let health = async { health.await.map_err(|source| Error::Health { address: args.health, source }) };
    let work = async {
        loop {
            let current = Arc::clone(&config.borrow_and_update());
            let dsn = Dsn::parse(current.database_url.expose()).map_err(Error::Dsn)?;
            let dsn = dsn.verified_by(current.database_ca.exists().then_some(current.database_ca.as_path()));
            let sender = Sender {
                pool: store::connect(&dsn, CONNECTIONS, "budstikke-sender"),
                config: config.clone(),
                pod: args.pod,
                clock: Arc::new(SystemClock),
                pace: Pace::default(),
                ready: ready.clone(),
            };
            let child = stop.child_token();
            let running = sender.serve(metrics.clone(), child.clone());
            tokio::pin!(running);
            let end = tokio::select! {
                end = &mut running => end?,
                () = outdated(&mut config, &current) => {
                    tracing::info!("routes or database have changed: beginning anew");
                    child.cancel();
                    running.await?
                }
            };
            // Beside others it stands by from here on; alone, the pod that has taken over is its successor.
            if stop.is_cancelled() || (end == End::Superseded && !config.borrow().settings.stands_by) {
                return Ok(());
            }
        }
    };
    tokio::select! {
        ended = work => ended,
        failed = health => failed,
        () = async {
            terminate.recv().await;
            stop.cancel();
            std::future::pending().await
        } => Ok(()),
    }
}

/// Waits until the files ask for what a running sender cannot change.
async fn outdated(config: &mut watch::Receiver<Arc<SenderConfig>>, current: &SenderConfig) {
    let same = |new: &SenderConfig| {
        new.settings == current.settings
            && new.database_url == current.database_url
            && new.database_ca == current.database_ca
    };
    while config.changed().await.is_ok() {
        if !same(&config.borrow_and_update()) {
            return;
        }
    }
    std::future::pending().await
}

impl Sender {
    /// Runs until stopped or superseded, with metrics of its own.
    ///
    /// # Errors
    /// When the login is not a tenant's.
    pub async fn run(self, registry: &mut Registry, stop: CancellationToken) -> Result<End, Error> {
        let metrics = metrics::Metrics::new(registry);
        self.serve(metrics, stop).await
    }

    async fn serve(self, metrics: metrics::Metrics, stop: CancellationToken) -> Result<End, Error> {
        let config = Arc::clone(&self.config.borrow());
        let place = Place {
            pool: self.pool.clone(),
            pod: self.pod,
            stands_by: config.settings.stands_by,
            ready: self.ready.clone(),
        };
        let Some(epoch) = place.take(&stop).await? else { return Ok(End::Stopped) };
        self.ready.set(false);
        tracing::info!(tenant = %config.settings.tenant_id, epoch, "sending");
        let (sender, signals) = mpsc::channel(SIGNALS);
        let unlink = CancellationToken::new();
        let links = TaskTracker::new();
        for (index, leg) in config.settings.routes.iter().enumerate() {
            let link = link::Link {
                index,
                leg: leg.clone(),
                epoch,
                config: self.config.clone(),
                clock: Arc::clone(&self.clock),
                signals: sender.clone(),
                dial: Network,
                stop: unlink.clone(),
            };
            links.spawn(link.run());
        }
        drop(sender);
        let _unlink = unlink.drop_guard();
        let setup = engine::Setup {
            database: self.pool.clone(),
            tenant: config.settings.tenant_id,
            epoch,
            legs: config.settings.routes.clone(),
            opener: opener::Opener::new(self.config.clone()),
            clock: self.clock,
            pace: self.pace,
            metrics,
            ready: self.ready,
        };
        let end = tokio::select! {
            end = engine::Engine::new(setup).run(signals, stop.clone()) => end,
            () = place.keep(epoch, &stop) => End::Stopped,
        };
        place.leave(epoch).await;
        // One that has died without a word would be waited for.
        let _ = tokio::time::timeout(CLOSES, self.pool.close()).await;
        Ok(end)
    }
}
