//! The operator: brings PostgreSQL, pods and statuses in line with the four kinds.
//!
//! Watches keep a picture of every namespace (`world`); whoever holds the Lease (`leader`) works off what changed
//! (`lead`, `controller`). Each kind has a folder with the same steps: dereference → validate → build → apply → status,
//! of which validate and build take no client. Specs are never written, statuses only by the operator.
//!
//! What it may do, all by namespaced Roles:
//!
//! | where | resources | verbs |
//! |---|---|---|
//! | its own namespace | `secrets` (bootstrap) | create; get of those it makes or is told of; update of the key-encryption keys where another is wanted, and of the embedded instances' |
//! | | `leases.coordination.k8s.io` | create; get, patch of its own |
//! | | `events.events.k8s.io` | create, patch |
//! | each served namespace | `tenants`, `smsroutes`, `retentionpolicies`, `billingplans` `.budstikke.dev` | get, list, watch |
//! | | their `/status` | patch |
//! | | `deployments.apps`, `secrets`, `services` | get, list, watch, create, patch |
//! | | `networkpolicies.networking.k8s.io`, `poddisruptionbudgets.policy` | get, list, watch, create, patch, delete |
//! | | `events.events.k8s.io` | create, patch |
mod apply;
mod backoff;
mod billing_plan;
pub mod bootstrap;
mod conditions;
mod context;
mod controller;
mod expiry;
mod failure;
mod idle;
mod labels;
mod lead;
mod leader;
mod maintenance;
mod material;
mod metrics;
mod midnight;
mod network;
mod pods;
mod restored;
mod retention_policy;
mod rollout;
pub mod rotate;
mod rotation;
mod route;
mod status;
mod tenant;
mod told;
mod vanished;
mod window;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube_lease_manager::LeaseManagerError;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::backoff::Backoff;
use self::context::{Context, DataInstance, Embedded, Workloads};
use self::metrics::Metrics;
use self::told::Told;
use self::world::World;
use crate::domain::{Secret, SystemClock};
use crate::keyring::{self, Kek, KekArgs, KekError, Keyring};
use crate::pki::Authority;
use crate::store::{self, Dsn, DsnError};
use crate::telemetry::health::{self, Ready};

/// Where the operator works, and with what.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The installation's own namespace: the Lease is there.
    #[arg(long, env = "BUDSTIKKE_NAMESPACE")]
    pub namespace: String,
    /// The namespaces that are served, separated by commas.
    #[arg(long, env = "BUDSTIKKE_NAMESPACES", value_delimiter = ',', required = true)]
    pub namespaces: Vec<String>,
    /// This pod's name: its identity in the election.
    #[arg(long, env = "BUDSTIKKE_POD")]
    pub pod: String,
    /// The Lease of the election.
    #[arg(long, env = "BUDSTIKKE_LEASE", default_value = "budstikke-operator")]
    pub lease: String,
    /// What bootstrap handed out: `ca/`, `kek/`, `database/` and `keyring/`.
    #[arg(long, env = "BUDSTIKKE_OUT", default_value = "/etc/budstikke")]
    pub files: PathBuf,
    /// Where the key-encryption key is, beside what bootstrap handed out: the Secret itself, which learns of new keys.
    #[command(flatten)]
    pub kek: KekArgs,
    /// Days after which a tenant's wrapping key is exchanged; 0: never.
    #[arg(long, env = "BUDSTIKKE_WRAPPING_KEY_DAYS", default_value_t = 365)]
    pub wrapping_key_days: u32,
    /// The image that senders and connectors run.
    #[arg(long, env = "BUDSTIKKE_IMAGE")]
    pub image: String,
    /// Their pull policy.
    #[arg(long, env = "BUDSTIKKE_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub image_pull_policy: String,
    /// Their pull Secrets, separated by commas.
    #[arg(long, env = "BUDSTIKKE_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    pub image_pull_secrets: Vec<String>,
    /// Their log filter.
    #[arg(long, env = "BUDSTIKKE_WORKLOAD_LOG", default_value = "info")]
    pub workload_log: String,
    /// Whether they get network policies.
    #[arg(long, env = "BUDSTIKKE_NETWORK_POLICIES", default_value_t = true, action = clap::ArgAction::Set)]
    pub network_policies: bool,
    /// Whether the data instance is the embedded one: then its backups and standby are known.
    #[arg(long, env = "BUDSTIKKE_EMBEDDED_DATABASE", default_value_t = false, action = clap::ArgAction::Set)]
    pub embedded_database: bool,
    /// Whether the keyring instance is the embedded one.
    #[arg(long, env = "BUDSTIKKE_EMBEDDED_KEYRING", default_value_t = false, action = clap::ArgAction::Set)]
    pub embedded_keyring: bool,
    /// Whether backups are taken of the embedded instances.
    #[arg(long, env = "BUDSTIKKE_BACKUPS", default_value_t = false, action = clap::ArgAction::Set)]
    pub backups: bool,
    /// Reconciliations at once, over all namespaces and kinds.
    #[arg(long, env = "BUDSTIKKE_CONCURRENCY", default_value_t = 16)]
    pub concurrency: usize,
    /// How long a Tenant must be gone before its account is closed, seconds: others that were deleted with it are gone
    /// too by then.
    #[arg(long, env = "BUDSTIKKE_SETTLE_SECONDS", default_value_t = 10)]
    pub settle_seconds: u64,
    /// Address of the health end-points and metrics.
    #[arg(long, env = "BUDSTIKKE_HEALTH_ADDRESS", default_value = "0.0.0.0:8080")]
    pub health_address: SocketAddr,
}

/// Why the operator stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No way to the Kubernetes API.
    #[error("connect to the Kubernetes API: {0}")]
    Connect(#[source] kube::Error),
    /// A file that bootstrap hands out.
    #[error("read {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A database's address.
    #[error(transparent)]
    Dsn(DsnError),
    /// The data instance's address cannot be given other logins.
    #[error("parse the database URL: want postgres://login:password@host:port/database")]
    DatabaseUrl,
    /// The key-encryption key.
    #[error(transparent)]
    Kek(KekError),
    /// The certificate authority.
    #[error(transparent)]
    Authority(crate::pki::Error),
    /// The election.
    #[error("take part in the election: {0}")]
    Elect(#[source] LeaseManagerError),
    /// The lead went to another operator, or nobody can tell: this one ends, to begin anew as a stand-by.
    #[error("the lead was lost")]
    Lost,
    /// The health end-points.
    #[error("serve the health end-points on {address}: {source}")]
    Health {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system's signals.
    #[error("listen to signals: {0}")]
    Signal(#[source] std::io::Error),
}

/// Runs until the process is told to stop.
///
/// # Errors
/// See [`Error`].
pub async fn run(args: Args) -> Result<(), Error> {
    let client = Client::try_default().await.map_err(Error::Connect)?;
    let stop = CancellationToken::new();
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Error::Signal)?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        told.cancel();
    });
    run_until(args, client, stop).await
}

/// Runs until `stop`: then what has begun is ended, and the lead given back.
///
/// # Errors
/// See [`Error`].
pub async fn run_until(args: Args, client: Client, stop: CancellationToken) -> Result<(), Error> {
    let args = Arc::new(args);
    let context = Arc::new(context(&args, &client)?);
    let mut registry = Registry::default();
    context.metrics.register(&mut registry);
    let ready = Ready::default();

    // Aborted when this function returns.
    let mut background = JoinSet::new();
    let worlds: Vec<Arc<World>> =
        args.namespaces.iter().map(|namespace| World::watch(&client, namespace, &mut background)).collect();
    for world in &worlds {
        background.spawn(Arc::clone(world).tell_until_synced(context.metrics.clone()));
    }
    background.spawn(become_ready(Arc::clone(&context), worlds.clone(), ready.clone()));
    // Answers to the last: also while what has begun is ended.
    let silence = CancellationToken::new();
    let health = health::serve(args.health_address, registry, ready.clone(), silence.clone());
    let mut health = tokio::spawn(health);
    let result = tokio::select! {
        served = &mut health => match served {
            Ok(Err(source)) => Err(Error::Health { address: args.health_address, source }),
            _ => Ok(()),
        },
        result = take_turns(&args, &client, &context, &worlds, stop) => result,
    };
    ready.set(false);
    silence.cancel();
    result
}

fn context(args: &Args, client: &Client) -> Result<Context, Error> {
    let file = |name: &str| args.files.join(name);
    let read =
        |name: &str| std::fs::read_to_string(file(name)).map_err(|source| Error::Read { path: file(name), source });
    let data = Dsn::read(&file("database/operator-url")).map_err(Error::Dsn)?;
    let authority = Authority::load(&read("ca/ca.crt")?, &Secret::new(read("ca/ca.key")?)).map_err(Error::Authority)?;
    Ok(Context {
        client: client.clone(),
        pool: store::connect(&data, 10, "budstikke-operator"),
        keyring: Arc::new(open_keyring(&args.files, &args.kek)?),
        wrapping_key_days: args.wrapping_key_days,
        retention: watch::Sender::default(),
        closed_since: watch::Sender::default(),
        work: idle::Work::default(),
        expire_now: Notify::new(),
        authority,
        database: DataInstance::read(&file("database/operator-url"))?,
        workloads: Workloads::of(args),
        embedded: Embedded { data: args.embedded_database, keyring: args.embedded_keyring, backups: args.backups },
        metrics: Metrics::default(),
        recorder: context::recorder(client.clone(), args),
        backoff: Backoff::default(),
        told: Told::default(),
        clock: Arc::new(SystemClock),
        permits: Semaphore::new(args.concurrency.max(1)),
    })
}

/// The keyring, with the key-encryption keys that bootstrap handed out and those that the Secret has now.
fn open_keyring(files: &Path, kek: &KekArgs) -> Result<Keyring, Error> {
    let keys = Dsn::read(&files.join("keyring/operator-url")).map_err(Error::Dsn)?;
    let mut kek = kek.clone();
    kek.dirs.insert(0, files.join("kek"));
    let kek = Kek::read(&kek).map_err(Error::Kek)?;
    Ok(Keyring::open(keyring::connect(&keys, 5, "budstikke-operator"), kek))
}

/// Ready once a namespace was listed and the schema is recent enough, also on a stand-by. One namespace is enough: another
/// may be gone, and its list refused for ever.
async fn become_ready(context: Arc<Context>, worlds: Vec<Arc<World>>, ready: Ready) {
    if !worlds.is_empty() {
        futures::future::select_all(worlds.iter().map(|world| Box::pin(world.synced()))).await;
    }
    loop {
        match store::schema_is_recent(store::asking(&context.pool)).await {
            Ok(true) => return ready.set(true),
            Ok(false) => tracing::info!("waiting for the schema to be migrated"),
            Err(error) => tracing::info!(%error, "waiting for the database"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Stands by, leads when it is this operator's turn, and gives the lead back when told to stop.
async fn take_turns(
    args: &Arc<Args>,
    client: &Client,
    context: &Arc<Context>,
    worlds: &[Arc<World>],
    stop: CancellationToken,
) -> Result<(), Error> {
    let (mut turn, election) = leader::elect(client, args).await.map_err(Error::Elect)?;
    let elected = tokio::select! {
        turn = turn.wait_for(|leading| *leading) => turn.is_ok(),
        () = stop.cancelled() => false,
    };
    let result = if elected { lead_until(args, client, context, worlds, &stop).await } else { Ok(()) };
    drop(turn);
    // The election ends by releasing the Lease; without the API it runs out by itself.
    let _ = tokio::time::timeout(Duration::from_secs(5), election).await;
    result
}

async fn lead_until(
    args: &Arc<Args>,
    client: &Client,
    context: &Arc<Context>,
    worlds: &[Arc<World>],
    stop: &CancellationToken,
) -> Result<(), Error> {
    let done = stop.child_token();
    let leading = lead::lead(context, worlds, args, done.clone());
    let watching = async {
        tokio::select! {
            () = leader::lost(client, args) => {}
            () = done.cancelled() => {}
        }
        done.cancel();
    };
    tokio::join!(leading, watching);
    if stop.is_cancelled() { Ok(()) } else { Err(Error::Lost) }
}
