//! What can be seen of a connector from outside: counts and times, nothing about who wrote what to whom (D10).
use std::borrow::Cow;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use rusmpp::CommandStatus;

use super::exchange::Figures;
use crate::domain::Circuit;
use crate::smpp::vendor::{NO_CREDIT, NOT_WRITTEN, STALE_EPOCH, WRITTEN_UNANSWERED};
use crate::store::receipts_upstream::Retried;

/// Upper bounds of answer times, in seconds.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// Where a receipt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReceiptPath {
    /// Stored by the tenant's sender.
    Sender,
    /// Stored by us: the sender is away.
    Database,
    /// The message was final already.
    Repeated,
    /// Its message is not known yet.
    Parked,
    /// It says that the message is on its way.
    UnderWay,
    /// It names no message or no state.
    Incomplete,
    /// Left with the upstream: it could not be stored.
    Failed,
}

impl ReceiptPath {
    fn word(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Database => "database",
            Self::Repeated => "repeated",
            Self::Parked => "parked",
            Self::UnderWay => "under_way",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    submits: Family<Labels, Counter>,
    answer_time: Histogram,
    queue_time: Histogram,
    submitted: Counter,
    live_rate: Gauge<f64, AtomicU64>,
    circuit: Family<State, Gauge>,
    circuit_opened: Counter,
    throttled: Counter,
    receipts: Family<Labels, Counter>,
    parked: Family<Labels, Counter>,
    inbound: Family<Labels, Counter>,
    callbacks: Family<Labels, Counter>,
    binds: Gauge,
    binds_wanted: Gauge,
    binds_lost: Counter,
    binds_failed: Counter,
    window: Gauge,
    under_way: Gauge,
    rate: Gauge<f64, AtomicU64>,
    senders: Gauge,
    senders_wanting: Gauge,
    senders_refused: Counter,
    credit: Gauge,
    waiting: Gauge,
    demand: Gauge,
}

impl Metrics {
    /// Registers everything, under the route's name.
    pub(super) fn new(registry: &mut Registry, route: &str) -> Self {
        let registry = registry
            .sub_registry_with_label((Cow::Borrowed("route"), Cow::Owned(route.to_owned())))
            .sub_registry_with_prefix("budstikke_connector");
        let metrics = Self {
            submits: Family::default(),
            answer_time: Histogram::new(SECONDS),
            queue_time: Histogram::new(SECONDS),
            submitted: Counter::default(),
            live_rate: Gauge::default(),
            circuit: Family::default(),
            circuit_opened: Counter::default(),
            throttled: Counter::default(),
            receipts: Family::default(),
            parked: Family::default(),
            inbound: Family::default(),
            callbacks: Family::default(),
            binds: Gauge::default(),
            binds_wanted: Gauge::default(),
            binds_lost: Counter::default(),
            binds_failed: Counter::default(),
            window: Gauge::default(),
            under_way: Gauge::default(),
            rate: Gauge::default(),
            senders: Gauge::default(),
            senders_wanting: Gauge::default(),
            senders_refused: Counter::default(),
            credit: Gauge::default(),
            waiting: Gauge::default(),
            demand: Gauge::default(),
        };
        registry.register("submits", "Submits by what became of them", metrics.submits.clone());
        registry.register_with_unit(
            "answer",
            "From giving a submit to a bind to its upstream's answer",
            Unit::Seconds,
            metrics.answer_time.clone(),
        );
        registry.register_with_unit(
            "queue",
            "From a submit's arrival to its being given to a bind",
            Unit::Seconds,
            metrics.queue_time.clone(),
        );
        registry.register("submitted", "Submits given to a bind", metrics.submitted.clone());
        registry.register(
            "live_rate",
            "Submits given to a bind, a second, over the last five",
            metrics.live_rate.clone(),
        );
        registry.register(
            "circuit",
            "1 for the state of the route's circuit, 0 for the others",
            metrics.circuit.clone(),
        );
        registry.register("circuit_opened", "How often the route's circuit opened", metrics.circuit_opened.clone());
        registry.register("throttled", "Answers by which the upstream asked for less", metrics.throttled.clone());
        registry.register("receipts", "Receipts by where they went", metrics.receipts.clone());
        registry.register("parked_receipts", "Parked receipts tried again, by outcome", metrics.parked.clone());
        registry.register("inbound", "SMS from handsets by what became of them", metrics.inbound.clone());
        registry.register("callbacks", "Callbacks of an upstream over HTTPS, by outcome", metrics.callbacks.clone());
        registry.register("binds", "Binds that take submits", metrics.binds.clone());
        registry.register("binds_wanted", "Binds that there should be", metrics.binds_wanted.clone());
        registry.register("binds_lost", "Binds that ended unasked", metrics.binds_lost.clone());
        registry.register("bind_failures", "Attempts to bind that failed", metrics.binds_failed.clone());
        registry.register("window", "Submits that may be unanswered, in all binds", metrics.window.clone());
        registry.register("under_way", "Submits without an answer", metrics.under_way.clone());
        registry.register("rate", "Submits a second that are allowed", metrics.rate.clone());
        registry.register("senders", "Senders that are bound", metrics.senders.clone());
        registry.register("senders_wanting", "Senders that wait for credit", metrics.senders_wanting.clone());
        registry.register("senders_refused", "Senders' binds that were refused", metrics.senders_refused.clone());
        registry.register("credit", "Credit given and unused", metrics.credit.clone());
        registry.register("waiting", "Submits that wait for their turn", metrics.waiting.clone());
        registry.register("demand", "Submits that wait with their senders", metrics.demand.clone());
        metrics
    }

    /// A submit was answered to its sender.
    pub(super) fn submit(&self, status: CommandStatus) {
        let result = match status {
            CommandStatus::EsmeRok => "accepted",
            NOT_WRITTEN => "not_written",
            WRITTEN_UNANSWERED => "unanswered",
            STALE_EPOCH => "stale",
            NO_CREDIT => "no_credit",
            _ => "refused",
        };
        self.submits.get_or_create(&Labels { result }).inc();
    }

    /// The upstream answered a submit.
    pub(super) fn answered(&self, after: Duration) {
        self.answer_time.observe(after.as_secs_f64());
    }

    /// A submit was given to a bind, so long after it came.
    pub(super) fn submitted(&self, after: Duration) {
        self.submitted.inc();
        self.queue_time.observe(after.as_secs_f64());
    }

    /// Submits given to a bind so far.
    pub(super) fn submitted_so_far(&self) -> u64 {
        self.submitted.get()
    }

    /// Where the circuit stands, and whether it has just opened.
    pub(super) fn circuit(&self, now: Circuit, opened: bool) {
        for circuit in Circuit::ALL {
            let state = State { state: circuit.as_str() };
            self.circuit.get_or_create(&state).set((circuit == now).into());
        }
        self.circuit_opened.inc_by(opened.into());
    }

    /// The upstream throttled.
    pub(super) fn throttled(&self) {
        self.throttled.inc();
    }

    /// A receipt went somewhere.
    pub(super) fn receipt(&self, path: ReceiptPath) {
        self.receipts.get_or_create(&Labels { result: path.word() }).inc();
    }

    /// Parked receipts were tried again.
    pub(super) fn retried(&self, retried: Retried) {
        for (result, count) in [("applied", retried.applied), ("kept", retried.kept), ("dropped", retried.dropped)] {
            self.parked.get_or_create(&Labels { result }).inc_by(count);
        }
    }

    /// An SMS from a handset was stored or not.
    pub(super) fn inbound(&self, result: &'static str) {
        self.inbound.get_or_create(&Labels { result }).inc();
    }

    /// A callback of an upstream over HTTPS was answered.
    pub(super) fn callback(&self, result: &'static str) {
        self.callbacks.get_or_create(&Labels { result }).inc();
    }

    /// A bind ended unasked.
    pub(super) fn bind_lost(&self) {
        self.binds_lost.inc();
    }

    /// An attempt to bind failed.
    pub(super) fn bind_failed(&self) {
        self.binds_failed.inc();
    }

    /// A sender's bind was refused.
    pub(super) fn sender_refused(&self) {
        self.senders_refused.inc();
    }

    /// What the configuration says.
    pub(super) fn allowed(&self, binds: u16, window: u16, rate_millis: u64) {
        self.binds_wanted.set(binds.into());
        self.window.set(i64::from(binds) * i64::from(window));
        #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
        self.rate.set(rate_millis as f64 / 1000.0);
    }

    /// What is so now.
    pub(super) fn now(&self, figures: Figures, binds: usize, under_way: usize, rate: f64) {
        let set = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.binds, binds);
        set(&self.under_way, under_way);
        set(&self.senders, figures.senders);
        set(&self.senders_wanting, figures.wanting);
        set(&self.credit, figures.credit);
        set(&self.waiting, figures.waiting);
        set(&self.demand, figures.demand);
        self.live_rate.set(rate);
    }
}
