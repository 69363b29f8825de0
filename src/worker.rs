//! The worker: tells tenants' webhooks what happened. Any number of pods; an endpoint is one pod's at a time. It also gives up parts of
//! received messages that never came, so that what there is of those is told.
//!
//! Each endpoint has its jobs in a line, and the head of the line is tried until it is delivered or given up: so an endpoint is told in
//! order. What a try comes to is in `line` and `schedule`, where it may go in `post`, what it says in `payload`.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod line;
mod metrics;
mod payload;
mod post;
mod schedule;

pub use metrics::Metrics;

use crate::domain::{Clock, SystemClock};
use crate::keyring::{self, Kek, KekArgs, KekError, Keyring};
use crate::store::received;
use crate::store::webhooks::{self, claims};
use crate::telemetry::health::{self, Ready};
use crate::{pki, store};

/// Arguments of the role.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File with the URL of the data instance.
    #[arg(long, env = "BUDSTIKKE_DATABASE_URL_FILE")]
    database_url_file: PathBuf,
    /// File with the URL of the keyring's instance.
    #[arg(long, env = "BUDSTIKKE_KEYRING_URL_FILE")]
    keyring_url_file: PathBuf,
    /// Where the key-encryption key is.
    #[command(flatten)]
    kek: KekArgs,
    /// Where health and metrics are served.
    #[arg(long, env = "BUDSTIKKE_HEALTH_LISTEN", default_value = "0.0.0.0:8080")]
    health_listen: SocketAddr,
    /// Connections to the data instance.
    #[arg(long, env = "BUDSTIKKE_DATABASE_CONNECTIONS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=100))]
    database_connections: u32,
    /// Endpoints that are told at once.
    #[arg(long, env = "BUDSTIKKE_WEBHOOKS_AT_ONCE", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    webhooks_at_once: u16,
    /// Ports that endpoints may be on, separated by commas.
    #[arg(long, env = "BUDSTIKKE_WEBHOOK_PORTS", value_delimiter = ',', default_value = "443")]
    webhook_ports: Vec<u16>,
    /// Go to private addresses too: for tests alone, since it opens what is inside the cluster to tenants.
    #[arg(long, env = "BUDSTIKKE_WEBHOOKS_ALLOW_PRIVATE", default_value_t = false, action = clap::ArgAction::Set)]
    webhooks_allow_private: bool,
    /// File with the certificates that signed those of endpoints, for tests; without it the public authorities are trusted.
    #[arg(long, env = "BUDSTIKKE_WEBHOOK_CA_FILE")]
    webhook_ca_file: Option<PathBuf>,
}

/// What may be set about deliveries.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Endpoints that are told at once.
    pub at_once: usize,
    /// Ports that endpoints may be on; empty: any.
    pub ports: Vec<u16>,
    /// Private addresses are gone to as well.
    pub allow_private: bool,
    /// Certificates (PEM) that sign those of endpoints; `None`: the public authorities.
    pub authority: Option<String>,
}

/// Why the role stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Where a database is could not be read.
    #[error("read where a database is: {0}")]
    ReadDsn(#[source] store::DsnError),
    /// The key-encryption key could not be read.
    #[error("read the key-encryption key: {0}")]
    ReadKek(#[source] KekError),
    /// The certificates that sign those of endpoints could not be read.
    #[error("read {path}: {source}")]
    ReadAuthority {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// They cannot be used.
    #[error("use the authority of endpoints: {0}")]
    UseAuthority(#[source] pki::Error),
    /// The address is taken, or not ours.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Signals cannot be received.
    #[error("listen for signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// Connections to the keyring: keys are remembered, so it is asked rarely.
const KEYRING_CONNECTIONS: u32 = 4;
/// Between two looks for what is due, while nothing comes to an end.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks for received messages whose parts are awaited no longer.
const GIVE_UP: Duration = Duration::from_secs(15);
/// Between two looks at how late it is.
const MEASURE: Duration = Duration::from_secs(15);
/// How long an endpoint is ours without a word: several times what one try may take.
const CLAIM: SignedDuration = SignedDuration::from_secs(60);

/// What all deliveries share.
#[derive(Debug)]
struct Shared {
    pool: PgPool,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    poster: post::Poster,
    metrics: Metrics,
}

/// One process that delivers.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    at_once: usize,
    at_work: JoinSet<u64>,
    stop: CancellationToken,
}

impl Worker {
    /// One that has taken up nothing yet. What is under way ends after its next answer once `stop` says so.
    ///
    /// # Errors
    /// When the authority of endpoints cannot be used.
    pub fn new(
        pool: PgPool,
        keyring: Keyring,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        settings: Settings,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let Settings { at_once, ports, allow_private, authority } = settings;
        let poster = post::Poster::new(authority.as_deref(), ports, allow_private).map_err(Error::UseAuthority)?;
        let shared = Arc::new(Shared { pool, keyring, clock, poster, metrics });
        Ok(Self { shared, at_once, at_work: JoinSet::new(), stop })
    }

    /// Takes up what is due, as far as there is room: how many endpoints.
    async fn take_up(&mut self) -> Result<usize, webhooks::Error> {
        let room = self.at_once.saturating_sub(self.at_work.len());
        if room == 0 {
            return Ok(0);
        }
        let now = self.shared.clock.now();
        let until = now.saturating_add(CLAIM).unwrap_or(now);
        let claimed = claims::claim(&self.shared.pool, now, until, i64::try_from(room).unwrap_or(1)).await?;
        let count = claimed.len();
        for endpoint in claimed {
            let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
            self.at_work.spawn(async move { line::deliver(&shared, &endpoint, &stop).await });
        }
        Ok(count)
    }

    /// Delivers what is due now, and what that makes due, until nothing is: how many tries that took.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn pass(&mut self) -> Result<u64, webhooks::Error> {
        let mut tries = 0;
        loop {
            let taken = self.take_up().await?;
            while let Some(done) = self.at_work.join_next().await {
                tries += done.unwrap_or_default();
            }
            if taken == 0 {
                return Ok(tries);
            }
        }
    }

    /// Delivers until it is told to stop, and what is under way then.
    pub async fn run(mut self) {
        let mut failing = false;
        while !self.stop.is_cancelled() {
            match self.take_up().await {
                Ok(_) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "webhooks wait");
                    }
                    failing = true;
                    tokio::time::sleep(LOOK).await;
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                Some(done) = self.at_work.join_next() => {
                    if let Err(error) = done {
                        tracing::error!(%error, "a delivery failed; it is taken up again in a minute");
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        while self.at_work.join_next().await.is_some() {}
    }
}

/// Runs until told to stop.
///
/// # Errors
/// When something it needs to begin with is missing. A database that is away is not: it may come back.
pub async fn run(args: Args) -> Result<(), Error> {
    let database = store::Dsn::read(&args.database_url_file).map_err(Error::ReadDsn)?;
    let keys = store::Dsn::read(&args.keyring_url_file).map_err(Error::ReadDsn)?;
    let kek = Kek::read(&args.kek).map_err(Error::ReadKek)?;
    let read = |path: PathBuf| std::fs::read_to_string(&path).map_err(|source| Error::ReadAuthority { path, source });
    let settings = Settings {
        at_once: args.webhooks_at_once.into(),
        ports: args.webhook_ports,
        allow_private: args.webhooks_allow_private,
        authority: args.webhook_ca_file.map(read).transpose()?,
    };
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let pool = store::connect(&database, args.database_connections, "budstikke-worker");
    let keyring = Keyring::open(keyring::connect(&keys, KEYRING_CONNECTIONS, "budstikke-worker"), kek);
    let stop = CancellationToken::new();
    let worker = Worker::new(pool, keyring, Arc::new(SystemClock), metrics, settings, stop.clone())?;

    let ready = Ready::default();
    let mut health = tokio::spawn(health::serve(args.health_listen, registry, ready.clone(), stop.child_token()));
    let watch = tokio::spawn(readiness(Arc::clone(&worker.shared), ready.clone()));
    let measure = tokio::spawn(measure(Arc::clone(&worker.shared)));
    let give_up = tokio::spawn(give_up(worker.shared.pool.clone()));
    let mut working = tokio::spawn(worker.run());
    tracing::info!("delivering");
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Error::Signals)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        failed = &mut health => {
            if let Ok(Err(source)) = failed {
                return Err(Error::Listen { address: args.health_listen, source });
            }
        }
    }
    tracing::info!("stopping: what is under way is answered first");
    watch.abort();
    measure.abort();
    give_up.abort();
    ready.set(false);
    stop.cancel();
    let _ = (&mut working).await;
    Ok(())
}

/// Says whether the role can work, again every two seconds.
async fn readiness(shared: Arc<Shared>, ready: Ready) {
    loop {
        let recent = matches!(store::schema_is_recent(store::asking(&shared.pool)).await, Ok(true));
        ready.set(recent && shared.keyring.answers().await);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Gives up parts of received messages that were awaited for an hour, for as long as the worker runs.
async fn give_up(pool: PgPool) {
    loop {
        if let Err(error) = received::give_up(&pool).await {
            tracing::warn!(%error, "received messages that lack parts wait");
        }
        tokio::time::sleep(GIVE_UP).await;
    }
}

/// Looks how late the latest delivery is.
async fn measure(shared: Arc<Shared>) {
    loop {
        let now = shared.clock.now();
        match claims::oldest_due(&shared.pool, now).await {
            Ok(since) => {
                shared.metrics.oldest_due(since.map_or(SignedDuration::ZERO, |since| now.duration_since(since)))
            }
            Err(error) => tracing::debug!(%error, "how late deliveries are is not known"),
        }
        tokio::time::sleep(MEASURE).await;
    }
}
