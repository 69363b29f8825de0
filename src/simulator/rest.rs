//! An upstream's REST API in the form of Sinch's: batches in, callbacks out.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::callback::CallbackStats;
use self::callback::Caller;
use self::record::Record;
pub use self::record::{Batch, Call, RestStats};
use super::behaviour::{Behaviour, Change};
use super::control::Inbound;
use super::smsc::server_tls;
use super::{Error, StopOnDrop};
use crate::domain::{Clock as _, Secret, SystemClock};
use crate::web;

mod callback;
mod control;
mod record;
mod server;

/// How to start.
#[derive(Debug, Clone, clap::Args)]
pub struct RestOptions {
    /// Where to listen, over TLS.
    #[arg(long, default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Where to listen for control over HTTP; no control without.
    #[arg(long)]
    pub control: Option<SocketAddr>,
    /// The service plan that is known.
    #[arg(long, default_value = "plan")]
    pub plan: String,
    /// Its token; any without.
    #[arg(long, env = "BUDSTIKKE_REST_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The certificate chain to show (PEM).
    #[arg(long)]
    pub tls_certificate: PathBuf,
    /// The certificate's key (PEM).
    #[arg(long)]
    pub tls_key: PathBuf,
    /// Where callbacks go; without, they wait until that is known.
    #[arg(long)]
    pub callback_url: Option<String>,
    /// What callbacks are signed with.
    #[arg(long, env = "BUDSTIKKE_REST_CALLBACK_SECRET", hide_env_values = true, default_value = "")]
    pub callback_secret: String,
    /// The authorities to trust there (PEM); the public ones without.
    #[arg(long)]
    pub callback_ca: Option<PathBuf>,
    /// How many calls are remembered.
    #[arg(long, default_value_t = 20_000)]
    pub record: usize,
    #[command(flatten)]
    /// How it behaves at first. Rates and shares are of calls; what is throttled may come again after a second; `latch` refuses
    /// every token.
    pub behaviour: Behaviour,
}

/// A running REST API; it stops when dropped.
#[derive(Debug)]
pub struct Rest {
    address: SocketAddr,
    control: Option<SocketAddr>,
    centre: Arc<Centre>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop: StopOnDrop,
}

/// What all calls share.
#[derive(Debug)]
struct Centre {
    plan: String,
    token: Mutex<Option<Secret>>,
    behaviour: watch::Sender<Behaviour>,
    record: Mutex<Record>,
    messages: AtomicU64,
    caller: Caller,
    stop: CancellationToken,
}

impl Rest {
    /// Starts one.
    ///
    /// # Errors
    /// When a port cannot be had or a certificate not be used.
    pub async fn start(options: RestOptions) -> Result<Self, Error> {
        let listen = async |address| {
            let failed = |source| Error::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            Ok((listener, bound))
        };
        let (_, tls) = watch::channel(server_tls(&options.tls_certificate, &options.tls_key)?);
        let (listener, address) = listen(options.listen).await?;
        let stop = CancellationToken::new();
        let secret = Secret::new(options.callback_secret);
        let centre = Arc::new(Centre {
            plan: options.plan,
            token: Mutex::new(options.token.map(Secret::new)),
            behaviour: watch::Sender::new(options.behaviour),
            record: Mutex::new(Record::new(options.record)),
            messages: AtomicU64::new(0),
            caller: Caller::new(options.callback_url, secret, options.callback_ca.as_deref(), stop.clone())?,
            stop: stop.clone(),
        });
        let router = server::router(Arc::clone(&centre));
        let mut tasks = vec![tokio::spawn(web::serve(listener, tls, router, stop.clone()))];
        let mut control = None;
        if let Some(wanted) = options.control {
            let (listener, bound) = listen(wanted).await?;
            control = Some(bound);
            tasks.push(tokio::spawn(control::serve(listener, Arc::clone(&centre), stop.clone())));
        }
        Ok(Self { address, control, centre, tasks, stop: StopOnDrop(stop) })
    }

    /// Where it listens.
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
    pub fn stats(&self) -> RestStats {
        self.centre.stats()
    }

    /// The calls from `number` on that it remembers, at most 10,000.
    #[must_use]
    pub fn calls(&self, number: u64) -> Vec<Call> {
        self.centre.record().since(number)
    }

    /// Brings an SMS from a handset by a callback.
    pub fn inbound(&self, inbound: &Inbound) {
        self.centre.inbound(inbound);
    }

    /// Changes its behaviour; `password` is the token.
    pub fn behave(&self, change: &Change) {
        self.centre.behave(change);
    }

    /// Says where callbacks go from now on, those that wait included.
    pub fn call_back(&self, url: &str) {
        self.centre.caller.call_at(url);
    }

    /// Stops it.
    pub async fn stop(self) {
        self.stop.0.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

impl Centre {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self) -> MutexGuard<'_, Option<Secret>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> RestStats {
        RestStats { callbacks: self.caller.stats(), ..self.record().stats.clone() }
    }

    fn behave(&self, change: &Change) {
        if let Some(token) = &change.password {
            *self.token() = Some(token.clone());
        }
        self.behaviour.send_modify(|behaviour| behaviour.apply(change));
    }

    fn inbound(&self, inbound: &Inbound) {
        let number = self.messages.fetch_add(1, Ordering::Relaxed);
        self.caller.call(
            json!({
                "type": "mo_text", "id": format!("mo{number:022}"), "from": inbound.from, "to": inbound.to,
                "body": inbound.text, "operator_id": "23801", "received_at": SystemClock.now().to_string(),
            }),
            std::time::Duration::ZERO,
        );
    }
}
