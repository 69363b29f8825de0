//! What a sender counts. Nothing personal: routes, states and times only.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Answers to submits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Answer {
    pub(super) route: String,
    pub(super) answer: &'static str,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Route {
    pub(super) route: String,
}

/// States that messages were stored with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct State {
    pub(super) state: &'static str,
}

/// What became of receipts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Receipt {
    pub(super) outcome: &'static str,
}

/// Everything that a sender counts.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) answers: Family<Answer, Counter>,
    pub(super) results: Family<State, Counter>,
    pub(super) receipts: Family<Receipt, Counter>,
    pub(super) bound: Family<Route, Gauge>,
    pub(super) credits: Family<Route, Gauge>,
    pub(super) waiting: Gauge,
    pub(super) unsettled: Gauge,
    pub(super) claim_seconds: Histogram,
    pub(super) settle_seconds: Histogram,
    pub(super) database_errors: Counter,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 15));
        let metrics = Self {
            answers: Family::default(),
            results: Family::default(),
            receipts: Family::default(),
            bound: Family::default(),
            credits: Family::default(),
            waiting: Gauge::default(),
            unsettled: Gauge::default(),
            claim_seconds: seconds(),
            settle_seconds: seconds(),
            database_errors: Counter::default(),
        };
        let prefix = registry.sub_registry_with_prefix("budstikke_sender");
        prefix.register("submit_answers", "Answers to submits, by what they meant", metrics.answers.clone());
        prefix.register("results", "Messages stored, by state", metrics.results.clone());
        prefix.register("receipts", "Receipts, by what they did", metrics.receipts.clone());
        prefix.register("bound", "Whether the session with the route's connector stands", metrics.bound.clone());
        prefix.register("credits", "Submits that the route's connector allows now", metrics.credits.clone());
        prefix.register("waiting_messages", "Messages read and in no flight", metrics.waiting.clone());
        prefix.register("unsettled_messages", "Messages in a flight or not stored", metrics.unsettled.clone());
        prefix.register("claim_seconds", "Time to commit a flight", metrics.claim_seconds.clone());
        prefix.register("settle_seconds", "Time to store a batch of results", metrics.settle_seconds.clone());
        prefix.register("database_errors", "Statements that failed", metrics.database_errors.clone());
        metrics
    }
}
