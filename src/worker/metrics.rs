//! What is counted. No label says whose, or where (D10).
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::SignedDuration;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::domain::webhook::Disabled;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The worker's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    attempts: Family<Outcome, Counter>,
    disabled: Family<Reason, Counter>,
    seconds: Histogram,
    oldest_due: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            attempts: Family::default(),
            disabled: Family::default(),
            // 10 ms to 20 s.
            seconds: Histogram::new(exponential_buckets(0.01, 2.0, 12)),
            oldest_due: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("budstikke_worker");
        registry.register(
            "webhook_attempts",
            "Tries of deliveries: delivered, or what failed",
            metrics.attempts.clone(),
        );
        registry.register("webhooks_disabled", "Endpoints that were switched off, by why", metrics.disabled.clone());
        registry.register_with_unit("webhook_attempt", "How long a try took", Unit::Seconds, metrics.seconds.clone());
        registry.register_with_unit(
            "webhook_oldest_due",
            "How long the delivery that has waited longest has been due",
            Unit::Seconds,
            metrics.oldest_due.clone(),
        );
        metrics
    }

    pub(super) fn tried(&self, outcome: &'static str, took: Duration) {
        self.attempts.get_or_create(&Outcome { outcome }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn disabled(&self, why: Disabled) {
        self.disabled.get_or_create(&Reason { reason: why.as_str() }).inc();
    }

    pub(super) fn oldest_due(&self, waits: SignedDuration) {
        self.oldest_due.set(waits.as_secs_f64().max(0.0));
    }
}
