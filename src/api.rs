//! The REST API: checks a call, seals what is personal, and answers when it is stored.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub mod auth;
pub mod copy;
pub mod cursor;
pub mod decide;
pub mod disclosures;
pub mod extract;
#[cfg(feature = "simulate")]
pub(crate) mod fuzzing;
pub mod idempotency;
pub mod inbound;
pub mod large;
pub mod messages;
pub mod metrics;
pub mod openapi;
pub mod opt_outs;
pub mod owner;
pub mod privacy;
pub mod problem;
pub mod router;
pub mod seal;
pub mod search;
pub mod send;
pub mod server;
pub mod statistics;
pub mod view;
pub mod webhooks;

pub use metrics::Metrics;
pub use router::router;

use crate::domain::{Clock, SystemClock, load_numbering_plans};
use crate::keyring::{self, Kek, KekArgs, KekError, Keyring};
use crate::store::accept::Acceptor;
use crate::store::wake::Waker;
use crate::telemetry::health::{self, Ready};
use crate::{config, pki, store};

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
    /// Directory with tls.crt and tls.key; both may be renewed at any time.
    #[arg(long, env = "BUDSTIKKE_TLS_DIR", default_value = "/etc/budstikke/tls")]
    tls_dir: PathBuf,
    /// Where callers are served, over TLS.
    #[arg(long, env = "BUDSTIKKE_API_LISTEN", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where health and metrics are served.
    #[arg(long, env = "BUDSTIKKE_HEALTH_LISTEN", default_value = "0.0.0.0:8080")]
    health_listen: SocketAddr,
    /// Connections to the data instance.
    #[arg(long, env = "BUDSTIKKE_DATABASE_CONNECTIONS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(3..=100))]
    database_connections: u32,
    /// Calls a second that each tenant may make at this process on the average; a protection against abuse.
    #[arg(long, env = "BUDSTIKKE_API_CALLS_PER_SECOND", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    calls_per_second: u32,
    /// File with the SHA-256 of the owner's key, in hexadecimal; without it nobody can call as the owner.
    #[arg(long, env = "BUDSTIKKE_OWNER_KEY_HASH_FILE")]
    owner_key_hash_file: Option<PathBuf>,
    /// The least number of tenants in any figure of the statistics over all of them (D6).
    #[arg(long, env = "BUDSTIKKE_STATISTICS_MINIMUM_TENANTS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(3..=1000))]
    statistics_minimum_tenants: u32,
    /// Ports that tenants' webhooks may be on, separated by commas; as the worker has it.
    #[arg(long, env = "BUDSTIKKE_WEBHOOK_PORTS", value_delimiter = ',', default_value = "443")]
    webhook_ports: Vec<u16>,
    /// Take webhooks at private addresses: for tests alone; as the worker has it.
    #[arg(long, env = "BUDSTIKKE_WEBHOOKS_ALLOW_PRIVATE", default_value_t = false, action = clap::ArgAction::Set)]
    webhooks_allow_private: bool,
}

/// What may be set about calls.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Calls a second that each tenant may make on the average.
    pub calls_per_second: u32,
    /// Where the hash of the owner's key is; without it nobody can call as the owner.
    pub owner_key_hash_file: Option<PathBuf>,
    /// The least number of tenants in any figure of the statistics over all of them (D6).
    pub minimum_tenants: usize,
    /// Copies, statistics and searches at once: each may hold a connection of the pool.
    pub large_reads: usize,
    /// How long whoever takes a copy may read nothing of it.
    pub patience_with_readers: Duration,
    /// Where webhooks may be.
    pub webhooks: WebhookRules,
}

/// Where webhooks may be. The worker holds it too, when it goes there.
#[derive(Debug, Clone, Default)]
pub struct WebhookRules {
    /// Ports; empty: any.
    pub ports: Vec<u16>,
    /// Private addresses are taken as well.
    pub allow_private: bool,
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
    /// The server's certificate could not be read.
    #[error("read the server's certificate: {0}")]
    ReadCertificate(#[source] config::Error),
    /// The server's certificate cannot be used.
    #[error("use the server's certificate: {0}")]
    UseCertificate(#[source] pki::Error),
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
/// Calls worked on at once.
const CALLS: usize = 512;
/// How long whoever takes a copy may read nothing of it.
const PATIENCE_WITH_READERS: Duration = Duration::from_secs(60);

/// What all calls share.
#[derive(Debug)]
pub struct Shared {
    pool: PgPool,
    keyring: Keyring,
    acceptor: Acceptor,
    waker: Waker,
    clock: Arc<dyn Clock>,
    door: auth::Door,
    in_flight: idempotency::InFlight,
    calls: Arc<Semaphore>,
    statement: privacy::Cache,
    large: large::Large,
    settings: Settings,
    metrics: Metrics,
}

impl Shared {
    /// Starts accepting on `pool`, at `clock`'s time.
    #[must_use]
    pub fn start(
        pool: PgPool,
        keyring: Keyring,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        settings: Settings,
    ) -> Arc<Self> {
        let waker = Waker::start(&pool);
        let acceptor = Acceptor::start(&pool, &waker);
        let shared = Arc::new(Self {
            pool,
            keyring,
            acceptor,
            waker,
            clock,
            door: auth::Door::new(settings.calls_per_second),
            in_flight: idempotency::InFlight::default(),
            calls: Arc::new(Semaphore::new(CALLS)),
            statement: privacy::Cache::default(),
            large: large::Large::new(settings.large_reads),
            settings,
            metrics,
        });
        opt_outs::follow(&shared);
        shared
    }

    /// Both instances answer, and the schema is recent enough.
    async fn can_serve(&self) -> bool {
        matches!(store::schema_is_recent(store::asking(&self.pool)).await, Ok(true)) && self.keyring.answers().await
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
    let certificates = config::watch::<server::Certificate>(args.tls_dir).map_err(Error::ReadCertificate)?;
    let first = certificates.borrow().server_config().map_err(Error::UseCertificate)?;

    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let pool = store::connect(&database, args.database_connections, "budstikke-api");
    let keyring = Keyring::open(keyring::connect(&keys, KEYRING_CONNECTIONS, "budstikke-api"), kek);
    let settings = Settings {
        calls_per_second: args.calls_per_second,
        owner_key_hash_file: args.owner_key_hash_file,
        minimum_tenants: usize::try_from(args.statistics_minimum_tenants).unwrap_or(usize::MAX),
        // The other half stays for what accepts and looks up; one copy must not keep every search waiting.
        large_reads: usize::try_from((args.database_connections / 2).max(2)).unwrap_or(2),
        patience_with_readers: PATIENCE_WITH_READERS,
        webhooks: WebhookRules { ports: args.webhook_ports, allow_private: args.webhooks_allow_private },
    };
    let shared = Shared::start(pool, keyring, Arc::new(SystemClock), metrics, settings);

    let (ready, stop) = (Ready::default(), CancellationToken::new());
    let listen = |address, source| Error::Listen { address, source };
    let listener = TcpListener::bind(args.listen).await.map_err(|source| listen(args.listen, source))?;
    let mut health = tokio::spawn(health::serve(args.health_listen, registry, ready.clone(), stop.child_token()));
    let watch = tokio::spawn(readiness(Arc::clone(&shared), ready.clone()));
    let mut server =
        tokio::spawn(server::serve(listener, server::renew(certificates, first), router(&shared), stop.clone()));
    tracing::info!(address = %args.listen, "serving");
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Error::Signals)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        failed = &mut health => {
            if let Ok(Err(source)) = failed {
                return Err(listen(args.health_listen, source));
            }
        }
    }
    tracing::info!("stopping: calls at work are finished");
    watch.abort();
    ready.set(false);
    stop.cancel();
    let _ = (&mut server).await;
    Ok(())
}

/// Says whether the role can serve, again every two seconds.
async fn readiness(shared: Arc<Shared>, ready: Ready) {
    let _ = tokio::task::spawn_blocking(load_numbering_plans).await;
    loop {
        ready.set(shared.can_serve().await);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
