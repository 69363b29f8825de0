//! The client side: keeps the route's binds to its upstream.
//!
//! Never more binds than agreed, at any moment: one that is to be made anew (other credentials, another address) is
//! closed before its successor opens, and only one at a time, so that wrong credentials cost one bind and not the route.
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, select_all};
use rustls_pki_types::ServerName;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::binds::{BindNumber, Binds};
use super::brake::Brake;
use super::exchange::Exchange;
use super::https;
use super::intake::Intake;
use super::line::{Ended, Line};
use super::metrics::Metrics;
use super::report::LastFailure;
use super::standing::Standing;
use crate::config::connector::{Addressing, Bind, ConnectorConfig, Https, IdFormat, Settings};
use crate::domain::RouteId;
use crate::pki;
use crate::smpp::backoff::Backoff;
use crate::smpp::client::{self, BindError, ConnectError, Credentials, Dial, Target, Tls};
use crate::smpp::session::{BindKind, Incoming, Options, Session};
use crate::store::upstream_reports::Failure;

/// A bind that held for so long starts anew with the shortest delay.
const HELD: Duration = Duration::from_secs(10);
/// The upstream's requests that wait for their commit, per bind, at most.
const UNANSWERED: usize = 200;

/// Why there is no bind.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The name its certificate must carry.
    #[error("read the upstream's name: {0}")]
    Name(#[source] rustls_pki_types::InvalidDnsNameError),
    /// The authorities to trust.
    #[error("prepare TLS: {0}")]
    Tls(#[source] pki::Error),
    /// The connection.
    #[error(transparent)]
    Connect(ConnectError),
    /// The bind.
    #[error(transparent)]
    Bind(BindError),
    /// The connection to an upstream over HTTPS.
    #[error(transparent)]
    Https(https::Error),
}

impl Error {
    /// In a word, for the route's status.
    fn failure(&self) -> Failure {
        match self {
            Self::Name(_) | Self::Tls(_) | Self::Connect(ConnectError::Tls(_)) => Failure::Tls,
            Self::Connect(ConnectError::Connect(_) | ConnectError::TimedOut(_)) => Failure::Connect,
            Self::Bind(BindError::Refused(status)) => Failure::Refused(u32::from(*status)),
            Self::Bind(BindError::Handshake(_)) => Failure::Lost,
            Self::Https(error) => error.failure(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Upstream<D> {
    pub(super) exchange: Arc<Exchange>,
    pub(super) binds: Arc<Binds>,
    pub(super) brake: Arc<Brake>,
    pub(super) last_failure: Arc<LastFailure>,
    pub(super) standing: Arc<Standing>,
    pub(super) intake: Arc<Intake>,
    pub(super) config: watch::Receiver<Arc<ConnectorConfig>>,
    /// How long a bind that is closed waits for the answers still due.
    pub(super) drain: Duration,
    pub(super) metrics: Metrics,
    /// How the upstream is reached over SMPP.
    pub(super) dial: D,
    /// Whose turn it is to be made anew.
    pub(super) turn: Arc<Mutex<()>>,
    /// Held while the list of binds changes, so that "open" is told in the same order.
    pub(super) gate: std::sync::Mutex<()>,
    /// Those who take what the binds bring.
    pub(super) reading: TaskTracker,
}

/// What a bind consists of: what takes submits, and what brings something. Not all do both.
struct Opened {
    lines: Vec<Line>,
    /// Of the lines, the one that takes submits.
    submits: Option<Line>,
    incoming: Vec<Incoming>,
}

/// Why a bind ended.
enum Over {
    Lost(Failure),
    Stopped,
    /// It is to be made anew, and it is its turn.
    Outdated(OwnedMutexGuard<()>),
}

impl<D: Dial> Upstream<D> {
    /// Keeps as many binds as the configuration says, until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut config = self.config.clone();
        let tasks = TaskTracker::new();
        let mut running: Vec<(CancellationToken, JoinHandle<()>)> = Vec::new();
        while !stop.is_cancelled() {
            let wanted = config.borrow_and_update().settings.binds;
            // Fewer: gone before others may come in their place.
            while running.len() > usize::from(wanted) {
                if let Some((stop, task)) = running.pop() {
                    stop.cancel();
                    let _ = task.await;
                }
            }
            while let Some(number) = BindNumber::try_from(running.len()).ok().filter(|number| *number < wanted) {
                let stop = stop.child_token();
                running.push((stop.clone(), tasks.spawn(Arc::clone(&self).keep(number, stop))));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = changed(&mut config) => {}
            }
        }
        for tasks in [&tasks, &self.reading] {
            tasks.close();
            tasks.wait().await;
        }
    }

    async fn keep(self: Arc<Self>, number: BindNumber, stop: CancellationToken) {
        let mut config = self.config.clone();
        let mut backoff = backoff(&config.borrow());
        // Held from when a bind is closed for a change until its successor stands.
        let mut turn = None;
        loop {
            let current = Arc::clone(&config.borrow_and_update());
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                opened = self.open(&current) => opened,
            };
            match opened {
                Ok(opened) => {
                    tracing::info!(bind = number, "bound to the upstream");
                    drop(turn.take());
                    let since = Instant::now();
                    match self.serve(number, opened, &current, &mut config, &stop).await {
                        Over::Stopped => return,
                        Over::Lost(failure) => {
                            self.metrics.bind_lost();
                            self.failed(failure);
                        }
                        Over::Outdated(guard) => {
                            turn = Some(guard);
                            backoff = self::backoff(&config.borrow());
                            continue;
                        }
                    }
                    if since.elapsed() >= HELD {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    self.metrics.bind_failed();
                    self.failed(error.failure());
                    tracing::warn!(bind = number, %error, "no bind to the upstream");
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = changed(&mut config) => backoff = self::backoff(&config.borrow()),
                () = sleep(backoff.delay()) => {}
            }
        }
    }

    async fn serve(
        &self,
        number: BindNumber,
        opened: Opened,
        current: &ConnectorConfig,
        config: &mut watch::Receiver<Arc<ConnectorConfig>>,
        stop: &CancellationToken,
    ) -> Over {
        let Opened { lines, submits, incoming } = opened;
        for incoming in incoming {
            // Outlives a lost bind: what it brought is still stored.
            self.reading.spawn(Arc::clone(&self.intake).run(incoming));
        }
        self.change(|binds| submits.into_iter().for_each(|line| binds.add(number, line)));
        let over = tokio::select! {
            biased;
            (Ended { failure, reason }, ..) = select_all(lines.iter().map(|line| Box::pin(line.over()))) => {
                let reason = reason.map(tracing::field::display);
                tracing::warn!(bind = number, ?failure, reason, "the bind to the upstream is over");
                Over::Lost(failure)
            }
            guard = self.outdated(current, config) => Over::Outdated(guard),
            () = stop.cancelled() => Over::Stopped,
        };
        self.change(|binds| binds.remove(number));
        // Closed for certain before anything else is opened in its place.
        join_all(lines.iter().map(async |line| {
            line.end(self.drain).await;
            line.over().await
        }))
        .await;
        over
    }

    /// Waits until the bind is not what the configuration says, and it is its turn to be made anew.
    async fn outdated(
        &self,
        current: &ConnectorConfig,
        config: &mut watch::Receiver<Arc<ConnectorConfig>>,
    ) -> OwnedMutexGuard<()> {
        loop {
            if makes_other_bind(current, &config.borrow_and_update()) {
                let turn = Arc::clone(&self.turn).lock_owned().await;
                // It may have been taken back meanwhile.
                if makes_other_bind(current, &config.borrow_and_update()) {
                    return turn;
                }
            }
            changed(config).await;
        }
    }

    async fn open(&self, config: &ConnectorConfig) -> Result<Opened, Error> {
        if let Some(settings) = &config.settings.https {
            let (exchange, brake, clock) = (&self.exchange, &self.brake, &self.intake.clock);
            let line = https::open(config, settings, exchange, brake, clock).await.map_err(Error::Https)?;
            let line = Line::Https(line);
            // What it brings arrives by callbacks.
            return Ok(Opened { submits: Some(line.clone()), lines: vec![line], incoming: Vec::new() });
        }
        let (sessions, incoming): (Vec<_>, _) = open(config, &self.dial).await?.into_iter().unzip();
        let submits = sessions.iter().find(|session| session.kind() != BindKind::Receiver).cloned();
        let lines = sessions.into_iter().map(Line::Smpp).collect();
        Ok(Opened { submits: submits.map(Line::Smpp), lines, incoming })
    }

    fn failed(&self, failure: Failure) {
        self.last_failure.set(failure);
        self.standing.bind_failed(failure);
    }

    fn change(&self, change: impl FnOnce(&Binds)) {
        let _gate = self.gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&self.binds);
        self.exchange.set_open(self.binds.count() > 0);
        self.standing.look(self.binds.any_soon());
    }
}

fn backoff(config: &ConnectorConfig) -> Backoff {
    let settings = &config.settings;
    Backoff::new(
        Duration::from_millis(settings.reconnect_min_millis),
        Duration::from_millis(settings.reconnect_max_millis),
    )
}

/// Waits for a new configuration; for ever when none can come any more.
async fn changed(config: &mut watch::Receiver<Arc<ConnectorConfig>>) {
    if config.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether a bind of the one configuration is not what the other says. What the bind itself does not depend on changes
/// without a new one.
fn makes_other_bind(one: &ConnectorConfig, other: &ConnectorConfig) -> bool {
    let of_bind = |config: &ConnectorConfig| Settings {
        route_id: RouteId(0),
        name: String::new(),
        binds: 0,
        rate_millis: 0,
        tenant_rate_millis: None,
        id_format: IdFormat::Same,
        addressing: Addressing::default(),
        reconnect_min_millis: 0,
        reconnect_max_millis: 0,
        https: config.settings.https.clone().map(|https| Https { callback_path: String::new(), ..https }),
        ..config.settings.clone()
    };
    of_bind(one) != of_bind(other)
        || (&one.system_id, &one.password, &one.upstream_ca) != (&other.system_id, &other.password, &other.upstream_ca)
}

async fn open(config: &ConnectorConfig, dial: &impl Dial) -> Result<Vec<(Session, Incoming)>, Error> {
    let kinds: &[BindKind] = match config.settings.bind {
        Bind::Transceiver => &[BindKind::Transceiver],
        Bind::Separate => &[BindKind::Transmitter, BindKind::Receiver],
    };
    let mut sessions = Vec::new();
    for kind in kinds {
        sessions.push(open_one(config, *kind, dial).await?);
    }
    Ok(sessions)
}

async fn open_one(config: &ConnectorConfig, kind: BindKind, dial: &impl Dial) -> Result<(Session, Incoming), Error> {
    let settings = &config.settings;
    let tls = match &settings.tls_name {
        Some(name) => Some(Tls {
            config: pki::upstream_config(config.upstream_ca.as_deref()).map_err(Error::Tls)?,
            server_name: ServerName::try_from(name.clone()).map_err(Error::Name)?,
        }),
        None => None,
    };
    let timeout = settings.connect_timeout();
    let target = Target { host: settings.host.clone(), port: settings.port, tls, timeout };
    let credentials = Credentials {
        system_id: config.system_id.expose().to_owned(),
        password: config.password.clone(),
        system_type: settings.system_type.clone(),
        address_range: settings.address_range.clone(),
    };
    let options = Options {
        window: usize::from(settings.window),
        request_timeout: settings.response_timeout(),
        enquire_after: settings.enquire_interval(),
        unanswered: UNANSWERED,
        ..Options::default()
    };
    let stream = dial.dial(&target).await.map_err(Error::Connect)?;
    client::bind(stream, kind, &credentials, settings.bind_timeout(), options).await.map_err(Error::Bind)
}
