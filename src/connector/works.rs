//! The parts that turn submits into answers and deliveries into receipts, and what they share. They know of a database and of
//! a network only what they are given.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Tick;
use super::answers::Answers;
use super::binds::Binds;
use super::brake::Brake;
use super::dispatch::Dispatch;
use super::exchange::Exchange;
use super::inbound::Inbox;
use super::intake::Intake;
use super::metrics::Metrics;
use super::owners::Memory;
use super::receipts::{Books, Receipts};
use super::report::LastFailure;
use super::spelling::Spelling;
use super::standing::Standing;
use super::tag::TagKey;
use super::upstream::Upstream;
use crate::config::connector::ConnectorConfig;
use crate::domain::Clock;
use crate::smpp::client::Dial;

/// Submits between being sent and being watched, at most.
const FLIGHTS: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Works {
    pub(super) exchange: Arc<Exchange>,
    pub(super) binds: Arc<Binds>,
    pub(super) memory: Arc<Memory>,
    pub(super) last_failure: Arc<LastFailure>,
    pub(super) spelling: Arc<Spelling>,
    pub(super) standing: Arc<Standing>,
    pub(super) key: Arc<TagKey>,
    pub(super) config: watch::Receiver<Arc<ConnectorConfig>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
}

impl Works {
    pub(super) fn new(
        key: TagKey,
        config: watch::Receiver<Arc<ConnectorConfig>>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let exchange = Arc::new(Exchange::default());
        let standing = Standing::new(Arc::clone(&exchange), Arc::clone(&clock), metrics.clone());
        Self {
            exchange,
            binds: Arc::default(),
            memory: Arc::default(),
            last_failure: Arc::default(),
            spelling: Arc::new(Spelling::new(config.clone())),
            standing: Arc::new(standing),
            key: Arc::new(key),
            config,
            clock,
            metrics,
        }
    }

    /// What takes all that the upstream brings.
    pub(super) fn intake(&self, books: Books, inbox: Inbox) -> Arc<Intake> {
        let (exchange, memory) = (Arc::clone(&self.exchange), Arc::clone(&self.memory));
        Arc::new(Intake {
            receipts: Receipts::new(exchange, memory, Arc::clone(&self.spelling), books, self.metrics.clone()),
            inbox,
            key: Arc::clone(&self.key),
            config: self.config.clone(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
        })
    }

    /// Sets everything to work in `tasks`, but for the binds: those are kept by the task that is returned, until `stop`.
    /// A bind that is closed waits up to `drain` for the answers still due.
    pub(super) fn start(
        &self,
        tasks: &mut JoinSet<()>,
        intake: Arc<Intake>,
        dial: impl Dial,
        drain: Duration,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let brake = Arc::new(Brake::default());
        let (flights, landing) = mpsc::channel(FLIGHTS);
        let dispatch = Dispatch {
            exchange: Arc::clone(&self.exchange),
            binds: Arc::clone(&self.binds),
            brake: Arc::clone(&brake),
            config: self.config.clone(),
            memory: Arc::clone(&self.memory),
            flights,
            metrics: self.metrics.clone(),
        };
        tasks.spawn(dispatch.run());
        let answers = Answers {
            exchange: Arc::clone(&self.exchange),
            binds: Arc::clone(&self.binds),
            brake: Arc::clone(&brake),
            standing: Arc::clone(&self.standing),
            memory: Arc::clone(&self.memory),
            spelling: Arc::clone(&self.spelling),
            key: Arc::clone(&self.key),
            config: self.config.clone(),
            metrics: self.metrics.clone(),
        };
        tasks.spawn(answers.run(landing));
        let tick = Tick {
            exchange: Arc::clone(&self.exchange),
            binds: Arc::clone(&self.binds),
            memory: Arc::clone(&self.memory),
            standing: Arc::clone(&self.standing),
            metrics: self.metrics.clone(),
        };
        tasks.spawn(tick.run());
        let upstream = Arc::new(Upstream {
            exchange: Arc::clone(&self.exchange),
            binds: Arc::clone(&self.binds),
            brake,
            last_failure: Arc::clone(&self.last_failure),
            standing: Arc::clone(&self.standing),
            intake,
            config: self.config.clone(),
            drain,
            metrics: self.metrics.clone(),
            dial,
            turn: Arc::new(Mutex::new(())),
            gate: std::sync::Mutex::default(),
            reading: TaskTracker::new(),
        });
        tokio::spawn(upstream.run(stop))
    }
}
