//! The SMSC itself: who may bind, and what all connections share.
mod desk;
mod reply;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusmpp::CommandStatus;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::desk::Desk;
use super::behaviour::{Behaviour, Change};
use super::control::{self, Inbound};
use super::outbox::{Fate, Outbox, Parcel};
use super::record::{Record, Stats, Submit};
use super::{Error, StopOnDrop};
use crate::domain::Secret;
use crate::smpp::server::{self, BindRequest, Limits, Peer, Service};
use crate::smpp::session::{self, Incoming, Session};

/// Systems that may bind; the last resort against filling the memory when anybody is let in.
const SYSTEMS: usize = 1_000;
/// Between two looks at whether this process gets its time.
const AWAKE: Duration = Duration::from_millis(10);
/// From a socket's octets to a counted submit it takes so many turns of the runtime, and one to spare.
const TURNS: usize = 4;

/// How to start.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where to listen for SMPP.
    #[arg(long, default_value = "127.0.0.1:2775")]
    pub listen: SocketAddr,
    /// Where to listen for control over HTTP; no control without.
    #[arg(long)]
    pub control: Option<SocketAddr>,
    /// Who may bind; anybody without.
    #[arg(long)]
    pub system_id: Option<String>,
    /// With which password; any without.
    #[arg(long, env = "BUDSTIKKE_SMSC_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Binds at once.
    #[arg(long, default_value_t = 100)]
    pub max_binds: usize,
    /// Unanswered PDUs on a bind, in each direction; then it is no longer read.
    #[arg(long, default_value_t = 100)]
    pub window: usize,
    /// How many submits are remembered.
    #[arg(long, default_value_t = 20_000)]
    pub record: usize,
    /// Speak TLS with this certificate chain (PEM).
    #[arg(long, requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    #[command(flatten)]
    /// How it behaves at first.
    pub behaviour: Behaviour,
}

impl Default for Options {
    /// On free ports of this machine.
    fn default() -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen: free,
            control: Some(free),
            system_id: None,
            password: None,
            max_binds: 100,
            window: 100,
            record: 20_000,
            tls_certificate: None,
            tls_key: None,
            behaviour: Behaviour::default(),
        }
    }
}

/// A running SMSC; it stops when dropped.
#[derive(Debug)]
pub struct Smsc {
    address: SocketAddr,
    control: Option<SocketAddr>,
    centre: Arc<Centre>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop: StopOnDrop,
}

impl Smsc {
    /// Starts one.
    ///
    /// # Errors
    /// When a port cannot be had or the certificate not be used.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let listen = async |address| {
            let failed = |source| Error::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            Ok((listener, bound))
        };
        let tls = tls(&options)?;
        let (listener, address) = listen(options.listen).await?;
        let stop = CancellationToken::new();
        let limits = Limits {
            connections: options.max_binds.saturating_add(16),
            bind_timeout: Duration::from_secs(5),
            system_id: "simulator".to_owned(),
            session: session::Options {
                window: options.window,
                unanswered: options.window,
                ..session::Options::default()
            },
        };
        let control_address = options.control;
        let centre = Arc::new(Centre {
            record: Mutex::new(Record::new(options.record)),
            behaviour: watch::Sender::new(options.behaviour.clone()),
            outboxes: Mutex::new(HashMap::new()),
            password: Mutex::new(options.password.clone().map(Secret::new)),
            places: Mutex::new(HashMap::new()),
            sessions: AtomicU64::new(0),
            messages: AtomicU64::new(1_000_000_000),
            options,
            tls,
            stop: stop.clone(),
        });
        let mut tasks = vec![
            tokio::spawn(server::serve(listener, limits, Arc::new(Arc::clone(&centre)), stop.clone())),
            tokio::spawn(Arc::clone(&centre).stay_awake()),
        ];
        let mut control = None;
        if let Some(wanted) = control_address {
            let (listener, bound) = listen(wanted).await?;
            control = Some(bound);
            tasks.push(tokio::spawn(control::serve(listener, Arc::clone(&centre), stop.clone())));
        }
        Ok(Self { address, control, centre, tasks, stop: StopOnDrop(stop) })
    }

    /// Where it listens for SMPP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for control.
    #[must_use]
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.centre.stats()
    }

    /// The submits from `number` on that it remembers, at most 10,000.
    #[must_use]
    pub fn submits(&self, number: u64) -> Vec<Submit> {
        self.centre.submits(number)
    }

    /// Sends an inbound message to a receiver; gives the number of parts, 0 when nobody is bound to receive it.
    #[must_use]
    pub fn inbound(&self, inbound: &Inbound) -> usize {
        self.centre.inbound(inbound)
    }

    /// Changes its behaviour.
    pub fn behave(&self, change: &Change) {
        self.centre.behave(change);
    }

    /// Stops it: connections are dropped without a word.
    pub async fn stop(self) {
        self.stop.0.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

fn tls(options: &Options) -> Result<Option<Arc<rustls::ServerConfig>>, Error> {
    let (Some(certificate), Some(key)) = (&options.tls_certificate, &options.tls_key) else { return Ok(None) };
    server_tls(certificate, key).map(Some)
}

/// TLS with this certificate chain and key (PEM).
pub(super) fn server_tls(certificate: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, Error> {
    let unfit = |error: &dyn std::fmt::Display| Error::Certificate(error.to_string());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| unfit(&error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unfit(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map(Arc::new)
        .map_err(|error| unfit(&error))
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Centre {
    options: Options,
    tls: Option<Arc<rustls::ServerConfig>>,
    behaviour: watch::Sender<Behaviour>,
    record: Mutex<Record>,
    outboxes: Mutex<HashMap<String, Arc<Outbox>>>,
    /// What a bind must say now; anything without.
    password: Mutex<Option<Secret>>,
    /// The binds that were let in, each with its session once it is served.
    places: Mutex<HashMap<u64, Option<Session>>>,
    sessions: AtomicU64,
    messages: AtomicU64,
    stop: CancellationToken,
}

/// A bind that was let in; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Bound {
    centre: Arc<Centre>,
    number: u64,
    system_id: String,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.centre.places().remove(&self.number);
        self.centre.record().system(&self.system_id).binds -= 1;
    }
}

impl Service for Arc<Centre> {
    type Identity = Bound;

    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.tls.clone()
    }

    async fn authenticate(&self, bind: &BindRequest, _peer: &Peer) -> Result<Bound, CommandStatus> {
        let judged = self.judge_bind(bind);
        let mut record = self.record();
        match &judged {
            Ok(bound) => {
                record.stats.bound += 1;
                record.system(&bound.system_id).binds += 1;
            }
            Err(_) => record.stats.binds_refused += 1,
        }
        judged
    }

    async fn serve(&self, bound: Bound, session: Session, incoming: Incoming) {
        let Some(outbox) = self.outbox(&bound.system_id) else { return };
        self.places().insert(bound.number, Some(session.clone()));
        outbox.add_session(bound.number, &session);
        let mut desk = Desk::new(self, &bound.system_id, &outbox, &session);
        let _ = self.stop.run_until_cancelled(desk.work(incoming)).await;
        outbox.remove_session(bound.number);
        session.close();
    }
}

impl Centre {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outboxes(&self) -> MutexGuard<'_, HashMap<String, Arc<Outbox>>> {
        self.outboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<u64, Option<Session>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn password(&self) -> MutexGuard<'_, Option<Secret>> {
        self.password.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the record tell a rush from submits that waited until this process was given its time.
    async fn stay_awake(self: Arc<Self>) {
        let mut ticks = interval(AWAKE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let looked = std::time::Instant::now();
            // On the one thread that this runs on, a turn of everybody lies between two yields: sockets are asked, readers
            // read, desks count. Only then is it certain that what had come by `looked` has been counted.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            self.record().awake(looked);
        }
    }

    fn judge_bind(self: &Arc<Self>, bind: &BindRequest) -> Result<Bound, CommandStatus> {
        let given = &bind.credentials;
        if self.behaviour.borrow().latch {
            return Err(CommandStatus::EsmeRbindfail);
        }
        if self.options.system_id.as_ref().is_some_and(|wanted| *wanted != given.system_id) {
            return Err(CommandStatus::EsmeRinvsysid);
        }
        if self.password().as_ref().is_some_and(|wanted| *wanted != given.password) {
            return Err(CommandStatus::EsmeRinvpaswd);
        }
        let mut places = self.places();
        if taken(&places) >= self.options.max_binds {
            return Err(CommandStatus::EsmeRbindfail);
        }
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        places.insert(number, None);
        Ok(Bound { centre: Arc::clone(self), number, system_id: given.system_id.clone() })
    }

    /// The outbox of a system, made at its first bind; `None` for one system too many.
    fn outbox(self: &Arc<Self>, system_id: &str) -> Option<Arc<Outbox>> {
        let mut outboxes = self.outboxes();
        if let Some(outbox) = outboxes.get(system_id) {
            return Some(Arc::clone(outbox));
        }
        if outboxes.len() >= SYSTEMS {
            return None;
        }
        let outbox = Arc::new(Outbox::default());
        outboxes.insert(system_id.to_owned(), Arc::clone(&outbox));
        let (centre, running) = (Arc::clone(self), Arc::clone(&outbox));
        tokio::spawn(async move {
            let stop = centre.stop.clone();
            stop.run_until_cancelled(running.run(move |fate| centre.settled(fate))).await;
        });
        Some(outbox)
    }

    fn settled(&self, fate: Fate) {
        let stats = &mut self.record().stats;
        match fate {
            Fate::Taken { receipt } => {
                stats.delivered += 1;
                stats.receipts_sent += u64::from(receipt);
            }
            Fate::Lost => stats.lost += 1,
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let waiting = self.outboxes().values().map(|outbox| outbox.waiting()).sum();
        Stats { binds: taken(&self.places()), waiting, ..self.record().stats() }
    }

    pub(super) fn submits(&self, number: u64) -> Vec<Submit> {
        self.record().since(number, 10_000)
    }

    pub(super) fn behaviour(&self) -> Behaviour {
        self.behaviour.borrow().clone()
    }

    pub(super) fn behave(&self, change: &Change) {
        if let Some(password) = &change.password {
            *self.password() = Some(password.clone());
        }
        self.behaviour.send_modify(|behaviour| behaviour.apply(change));
        if change.drop_connections {
            for outbox in self.outboxes().values() {
                outbox.drop_sessions();
            }
        }
    }

    pub(super) fn inbound(&self, inbound: &Inbound) -> usize {
        let outbox = self.outboxes().values().find(|outbox| outbox.has_receiver()).cloned();
        let Some(outbox) = outbox else { return 0 };
        let parts = inbound.parts();
        let count = parts.len();
        for pdu in parts {
            let number = self.messages.fetch_add(1, Ordering::Relaxed);
            let parcel = Parcel { due: Instant::now(), number, receipt: false, tries: 0, pdu: Box::new(pdu) };
            if !outbox.put(parcel) {
                self.settled(Fate::Lost);
            }
        }
        count
    }
}

/// How many binds stand. One that has said unbind does so no longer, though its session is not over yet: whoever was told
/// that it is gone may bind in its place.
fn taken(places: &HashMap<u64, Option<Session>>) -> usize {
    places.values().filter(|session| session.as_ref().is_none_or(Session::is_open)).count()
}
