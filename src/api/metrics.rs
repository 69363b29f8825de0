//! What is counted: calls, how long accepting takes, messages. No label says whose (D10).
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The API's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: Family<CallLabels, Counter>,
    accept: Histogram,
    messages: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: &'static str,
    route: String,
    status: u16,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            // 0.5 ms to 8 s.
            accept: Histogram::new(exponential_buckets(0.0005, 2.0, 15)),
            messages: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("budstikke_api");
        registry.register("calls", "Calls, by route and status", metrics.calls.clone());
        registry.register_with_unit(
            "accept",
            "From a call's arrival to its commit, for accepted calls",
            Unit::Seconds,
            metrics.accept.clone(),
        );
        registry.register("accepted_messages", "Messages accepted", metrics.messages.clone());
        metrics
    }

    /// A call was answered. `route` is the pattern, never the path itself.
    pub fn answered(&self, method: &'static str, route: &str, status: u16) {
        self.calls.get_or_create(&CallLabels { method, route: route.to_owned(), status }).inc();
    }

    /// A call's messages were committed.
    pub fn accepted(&self, messages: usize, took: Duration) {
        self.accept.observe(took.as_secs_f64());
        self.messages.inc_by(messages as u64);
    }
}
