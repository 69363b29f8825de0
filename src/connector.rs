//! One route's connector: holds the binds to the upstream, and shares them among the tenants on the route.
//!
//! - `senders`: SMPP server for the tenants' senders. `exchange`, `credit`, `queue`, `refused`: who may submit, and what waits.
//!   `reply`: how they are answered.
//! - `dispatch`, `brake`: sends what waits, in order and at the route's rate. `binds`, `upstream`: the client side.
//!   `line`: what takes submits there, over SMPP or HTTPS. `https`: everything that is of HTTPS alone.
//! - `circuit`, `standing`: whether the upstream takes anything, told to senders, metrics and the route's status.
//! - `answers`, `owners`, `message_id`, `tag`: what became of a submit, and whose it is when its receipt comes.
//! - `intake`, `delivery`: what the upstream brings. `receipt`, `receipts`, `batch`, `spelling`: receipts. `inbound`: SMS from handsets.
//! - `works`: how these work together. `follow`, `database`: what the database says. `report`: what it is told of the upstream, for the
//!   route's status. `metrics`, `speed`.
//!
//! It has no key that opens anything, and no right to a table: a few functions of its route's login.
mod answers;
mod batch;
mod binds;
mod brake;
mod cap;
mod circuit;
mod credit;
mod database;
mod delivery;
mod dispatch;
mod exchange;
mod follow;
#[cfg(feature = "simulate")]
pub(crate) mod fuzzing;
mod https;
mod inbound;
mod intake;
mod line;
mod message_id;
mod metrics;
mod owners;
mod queue;
mod receipt;
mod receipts;
mod refused;
mod reply;
mod report;
mod senders;
#[cfg(test)]
pub(crate) mod simulation;
mod speed;
mod spelling;
mod standing;
mod tag;
mod upstream;
mod works;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use tag::InvalidTagKey;

use crate::config::connector::ConnectorConfig;
use crate::config::{self, Mount};
use crate::domain::{Clock, SystemClock};
use crate::pki;
use crate::smpp::client::Network;
use crate::smpp::server::{self, Limits};
use crate::smpp::session::Options;
use crate::store::{self, Dsn, DsnError};
use crate::telemetry::health::{self, Ready};
use crate::web;

/// What the database sees as our name.
const NAME: &str = "budstikke-connector";
/// Database connections: one listens, the others ask.
const CONNECTIONS: u32 = 5;
/// Senders at once.
const SENDERS: usize = 10_000;
/// Receipts that one sender has not stored, at most.
const RECEIPTS: usize = 400;
/// Between two looks at unused credit and figures.
const TICK: Duration = Duration::from_millis(250);

/// Arguments of the role.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    mount: Mount,
    /// Where senders bind.
    #[arg(long, env = "BUDSTIKKE_LISTEN", default_value = "0.0.0.0:2775")]
    listen: SocketAddr,
    /// Where an upstream over HTTPS brings its callbacks.
    #[arg(long, env = "BUDSTIKKE_CALLBACKS", default_value = "0.0.0.0:8443")]
    callbacks: SocketAddr,
    /// Where health and metrics are served.
    #[arg(long, env = "BUDSTIKKE_HEALTH", default_value = "0.0.0.0:8080")]
    health: SocketAddr,
    /// How many pods share the route's binds and rate. It comes with the pod and not with the files, which pods of two
    /// counts may read at once: what each takes must fit the pods that there are.
    #[arg(long, env = "BUDSTIKKE_PODS", default_value = "1")]
    pods: NonZeroU16,
}

/// Why the role stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod's files.
    #[error("read the pod's files: {0}")]
    ReadConfig(#[source] config::Error),
    /// The database's address.
    #[error(transparent)]
    ReadDsn(DsnError),
    /// The key of the checks of destinations.
    #[error(transparent)]
    ReadTagKey(InvalidTagKey),
    /// The own certificate.
    #[error("prepare TLS for senders: {0}")]
    PrepareTls(#[source] pki::Error),
    /// A port is taken.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The signals that end the role.
    #[error("listen for signals: {0}")]
    ListenForSignals(#[source] std::io::Error),
}

/// A connector, ready to run.
#[derive(Debug)]
pub struct Connector {
    /// What the operator tells it, with this pod's share; everything but the tag key may change while it runs.
    pub config: watch::Receiver<Arc<ConnectorConfig>>,
    /// The data instance, with the route's own login.
    pub pool: PgPool,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Where senders bind.
    pub listener: TcpListener,
    /// Where an upstream over HTTPS brings its callbacks; none for one over SMPP.
    pub callbacks: Option<TcpListener>,
    /// How long a stopping connector waits for answers that are due.
    pub drain: Duration,
}

/// Runs until told to stop.
///
/// # Errors
/// When its files, its ports or its certificate are no good.
pub async fn run(args: Args) -> Result<(), Error> {
    let config = config::watch::<ConnectorConfig>(args.mount.config_dir).map_err(Error::ReadConfig)?;
    let config = share(config, args.pods);
    let dsn = database(&config.borrow()).map_err(Error::ReadDsn)?;
    let pool = store::connect(&dsn, CONNECTIONS, NAME);
    tokio::spawn(follow_database(config.clone(), pool.clone()));
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Error::ListenForSignals)?;
    let listen = async |address| TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source });
    let listener = listen(args.listen).await?;
    // A route keeps its kind.
    let https = config.borrow().settings.https.is_some();
    let callbacks = if https { Some(listen(args.callbacks).await?) } else { None };
    let (clock, drain) = (Arc::new(SystemClock), Duration::from_secs(15));
    let connector = Connector { config, pool, clock, listener, callbacks, drain };
    let stop = CancellationToken::new();
    let mut registry = Registry::default();
    let work = connector.start(&mut registry)?;
    let ready = Ready::default();
    // It is ready when senders can bind, bound upstream or not: a rollout must not wait for an upstream that is away.
    ready.set(true);
    let health = health::serve(args.health, registry, ready.clone(), stop.clone());
    tokio::select! {
        served = health => served.map_err(|source| Error::Listen { address: args.health, source }),
        () = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            tracing::info!("stopping");
            ready.set(false);
            work.stop().await;
        } => Ok(()),
    }
}

/// The configuration with one pod's share.
fn share(mut route: watch::Receiver<Arc<ConnectorConfig>>, pods: NonZeroU16) -> watch::Receiver<Arc<ConnectorConfig>> {
    let part = move |config: &ConnectorConfig| {
        Arc::new(ConnectorConfig { settings: config.settings.share(pods), ..config.clone() })
    };
    let (sender, receiver) = watch::channel(part(&route.borrow_and_update()));
    tokio::spawn(async move {
        while route.changed().await.is_ok() {
            sender.send_replace(part(&route.borrow_and_update()));
        }
    });
    receiver
}

fn database(config: &ConnectorConfig) -> Result<Dsn, DsnError> {
    Ok(Dsn::parse(config.database_url.expose())?.verified_by(Some(&config.database_ca)))
}

/// Takes another password or address of the database in; what stands stays.
async fn follow_database(mut config: watch::Receiver<Arc<ConnectorConfig>>, pool: PgPool) {
    let mut url = config.borrow().database_url.clone();
    while config.changed().await.is_ok() {
        let current = Arc::clone(&config.borrow_and_update());
        if current.database_url == url {
            continue;
        }
        match database(&current) {
            Ok(dsn) => store::readdress(&pool, &dsn, NAME),
            Err(error) => tracing::warn!(%error, "the database's address stays as it was"),
        }
        url = current.database_url.clone();
    }
}

/// A connector at work.
#[derive(Debug)]
pub struct Running {
    exchange: Arc<exchange::Exchange>,
    memory: Arc<owners::Memory>,
    reporter: report::Reporter,
    tasks: JoinSet<()>,
    senders: tokio::task::JoinHandle<()>,
    upstream: tokio::task::JoinHandle<()>,
    callbacks: Option<tokio::task::JoinHandle<()>>,
    no_senders: CancellationToken,
    no_upstream: CancellationToken,
    drain: Duration,
}

impl Connector {
    /// Starts it, with its metrics in `registry`.
    ///
    /// # Errors
    /// When the tag key or the certificate is no good.
    pub fn start(self, registry: &mut Registry) -> Result<Running, Error> {
        let Self { config, pool, clock, listener, callbacks, drain } = self;
        let current = Arc::clone(&config.borrow());
        let metrics = metrics::Metrics::new(registry, &current.settings.name);
        let key = tag::TagKey::new(&current.tag_key).map_err(Error::ReadTagKey)?;
        let tls = pki::mutual_server_config(&current.identity).map_err(Error::PrepareTls)?;
        let tls = Arc::new(ArcSwap::new(tls));
        let shown = callback_config(&current).map_err(Error::PrepareTls)?;
        let works = works::Works::new(key, config.clone(), clock, metrics.clone());
        let exchange = Arc::clone(&works.exchange);
        let changed = Arc::new(Notify::new());
        let (no_senders, no_upstream) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();

        let intake = works.intake(receipts::Books::of(&pool), inbound::Inbox::new(pool.clone()));
        let follow = Arc::new(follow::Follow {
            database: pool.clone(),
            exchange: Arc::clone(&exchange),
            intake: Arc::clone(&intake),
            changed: Arc::clone(&changed),
        });
        tasks.spawn(Arc::clone(&follow).read());
        tasks.spawn(follow.listen());
        let reporter = report::Reporter {
            pool: pool.clone(),
            pod: Uuid::now_v7(),
            binds: Arc::clone(&works.binds),
            last_failure: Arc::clone(&works.last_failure),
            spelling: Arc::clone(&works.spelling),
            standing: Arc::clone(&works.standing),
            config: config.clone(),
        };
        tasks.spawn(reporter.clone().run());
        tasks.spawn(receipts::Receipts::retry(pool, metrics.clone()));

        tasks.spawn(heed(config.clone(), Arc::clone(&exchange), Arc::clone(&tls), metrics.clone()));
        let upstream = works.start(&mut tasks, Arc::clone(&intake), Network, drain, no_upstream.clone());

        let limits = limits(&current);
        let service = Arc::new(senders::Senders {
            exchange: Arc::clone(&exchange),
            tls,
            key: Arc::clone(&works.key),
            unknown: changed,
            stop: no_senders.clone(),
            metrics: metrics.clone(),
        });
        let senders = tokio::spawn(server::serve(listener, limits, service, no_senders.clone()));
        let callbacks = callbacks.map(|listener| {
            let router = https::Callbacks::router(intake, metrics);
            tokio::spawn(web::serve(listener, callback_tls(config, shown), router, no_upstream.clone()))
        });
        let memory = works.memory;
        Ok(Running { exchange, memory, reporter, tasks, senders, upstream, callbacks, no_senders, no_upstream, drain })
    }
}

impl Running {
    /// Stops in good order: what waits is refused as not written, what is under way is answered as far as the drain
    /// time allows, receipts are taken until the last moment.
    pub async fn stop(mut self) {
        self.exchange.close();
        let landed = async {
            let mut look = interval(Duration::from_millis(20));
            while self.memory.under_way() > 0 {
                look.tick().await;
            }
        };
        let _ = timeout(self.drain, landed).await;
        self.no_upstream.cancel();
        let _ = (&mut self.upstream).await;
        if let Some(callbacks) = self.callbacks.take() {
            let _ = callbacks.await;
        }
        self.no_senders.cancel();
        let _ = (&mut self.senders).await;
        self.tasks.shutdown().await;
        self.reporter.withdraw().await;
    }
}

/// Takes changes of the configuration in that need no new bind.
async fn heed(
    mut config: watch::Receiver<Arc<ConnectorConfig>>,
    exchange: Arc<exchange::Exchange>,
    tls: Arc<ArcSwap<rustls::ServerConfig>>,
    metrics: metrics::Metrics,
) {
    loop {
        let current = Arc::clone(&config.borrow_and_update());
        let settings = &current.settings;
        exchange.set_rate(settings.rate_millis, settings.tenant_rate_millis);
        metrics.allowed(settings.binds, settings.window, settings.rate_millis);
        match pki::mutual_server_config(&current.identity) {
            Ok(config) => tls.store(config),
            Err(error) => tracing::warn!(%error, "the certificate stays as it was"),
        }
        if config.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// What an upstream's callbacks are shown: the certificate that senders are shown too, and nobody is asked for one.
fn callback_config(config: &ConnectorConfig) -> Result<Arc<rustls::ServerConfig>, pki::Error> {
    let identity = &config.identity;
    pki::server_config(&identity.certificate, &identity.key, &[b"h2", b"http/1.1"])
}

/// Follows the certificate that is shown to callbacks.
fn callback_tls(
    mut config: watch::Receiver<Arc<ConnectorConfig>>,
    first: Arc<rustls::ServerConfig>,
) -> watch::Receiver<Arc<rustls::ServerConfig>> {
    let (sender, tls) = watch::channel(first);
    tokio::spawn(async move {
        while config.changed().await.is_ok() {
            let changed = callback_config(&config.borrow_and_update());
            match changed {
                Ok(tls) => {
                    if sender.send(tls).is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "the certificate shown to callbacks stays as it was"),
            }
        }
    });
    tls
}

/// What is looked at now and then.
struct Tick {
    exchange: Arc<exchange::Exchange>,
    binds: Arc<binds::Binds>,
    memory: Arc<owners::Memory>,
    standing: Arc<standing::Standing>,
    metrics: metrics::Metrics,
}

impl Tick {
    async fn run(self) {
        let (mut tick, mut speed) = (interval(TICK), speed::Speed::default());
        loop {
            tick.tick().await;
            self.exchange.reclaim();
            self.standing.look(self.binds.any_soon());
            let rate = speed.look(self.metrics.submitted_so_far(), Instant::now());
            self.metrics.now(self.exchange.figures(), self.binds.count(), self.memory.under_way(), rate);
        }
    }
}

/// What a sender's session may hold: all the credit there can be, and what was taken back and is still honoured.
fn limits(config: &ConnectorConfig) -> Limits {
    let rate = usize::try_from(config.settings.rate_millis / 1000).unwrap_or(usize::MAX);
    let windows = usize::from(config.settings.binds) * usize::from(config.settings.window);
    Limits {
        connections: SENDERS,
        bind_timeout: Duration::from_secs(10),
        system_id: "budstikke".to_owned(),
        session: Options {
            window: RECEIPTS,
            request_timeout: Duration::from_secs(10),
            unanswered: rate.saturating_mul(2).saturating_add(windows).clamp(1_000, 100_000),
            ..Options::default()
        },
    }
}
