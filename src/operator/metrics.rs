//! What the operator counts.
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::store::backups::{Copies, Standby};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    kind: &'static str,
    error: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Namespace {
    namespace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Instance {
    instance: &'static str,
}

/// What the operator counts.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    reconciliations: Family<Kind, Counter>,
    failures: Family<Failed, Counter>,
    seconds: Family<Kind, Histogram>,
    held: Family<Namespace, Gauge>,
    synced: Family<Namespace, Gauge>,
    backup_newest: Family<Instance, Gauge>,
    backup_oldest: Family<Instance, Gauge>,
    backup_failed: Family<Instance, Gauge>,
    standby_missing: Family<Instance, Gauge>,
    /// 1 on the leader.
    pub(super) leading: Gauge,
    /// When what had to be gone was gone last, Unix seconds.
    pub(super) retention_ran: Gauge,
    /// Messages that still wait although their key must go tomorrow.
    pub(super) retention_waiting: Gauge,
    /// Messages under keys that would be gone as their log is, were it not for them.
    pub(super) retention_waiting_kept: Gauge,
    /// Keys that are not under the current key-encryption key yet.
    pub(super) kek_behind: Gauge,
    /// 1 while nothing is destroyed, since no clock can be trusted.
    pub(super) retention_held: Gauge,
    /// 1 while nobody sends, since a database was restored.
    pub(super) sending_closed: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            reconciliations: Family::default(),
            failures: Family::default(),
            seconds: Family::new_with_constructor(|| {
                Histogram::new([0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0])
            }),
            held: Family::default(),
            synced: Family::default(),
            backup_newest: Family::default(),
            backup_oldest: Family::default(),
            backup_failed: Family::default(),
            standby_missing: Family::default(),
            leading: Gauge::default(),
            retention_ran: Gauge::default(),
            retention_waiting: Gauge::default(),
            retention_waiting_kept: Gauge::default(),
            kek_behind: Gauge::default(),
            retention_held: Gauge::default(),
            sending_closed: Gauge::default(),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("budstikke_operator");
        registry.register("reconciliations", "Reconciliations that ended, by kind", self.reconciliations.clone());
        registry.register("failures", "Reconciliations that failed, by kind and error", self.failures.clone());
        registry.register("reconcile_seconds", "Duration of reconciliations, by kind", self.seconds.clone());
        registry.register(
            "vanished_held",
            "Tenants that vanished at once and whose accounts are kept open until the owner confirms it",
            self.held.clone(),
        );
        registry.register(
            "namespace_synced",
            "1 once everything in a namespace was listed; a namespace at 0 is not served",
            self.synced.clone(),
        );
        registry.register(
            "backup_newest_timestamp_seconds",
            "When the newest base backup of an embedded instance began; 0: there is none",
            self.backup_newest.clone(),
        );
        registry.register(
            "backup_oldest_timestamp_seconds",
            "Of the oldest thing that holds data in the repository of an embedded instance; not there: nothing does",
            self.backup_oldest.clone(),
        );
        registry.register(
            "backup_failed",
            "1 while something failed in the newest round of an embedded instance's backups, archiving of its log included",
            self.backup_failed.clone(),
        );
        registry.register(
            "standby_missing",
            "1 while commits wait for a standby that does not stream, or has not replayed what was destroyed",
            self.standby_missing.clone(),
        );
        registry.register("leading", "1 on the operator that leads", self.leading.clone());
        registry.register(
            "retention_run_timestamp_seconds",
            "When all that had to be gone was gone last; 0 where this operator does not lead. Alert when it is an hour old",
            self.retention_ran.clone(),
        );
        registry.register(
            "retention_waiting",
            "Messages in a flight that nobody has ended although their key must go tomorrow: they end as of unknown fate with it",
            self.retention_waiting.clone(),
        );
        registry.register(
            "retention_waiting_kept",
            "Messages that wait (scheduled or held) under keys that would be gone as their log is, were it not for them",
            self.retention_waiting_kept.clone(),
        );
        registry.register(
            "kek_behind",
            "Wrapped keys that are not under the current key-encryption key yet; 0 where this operator does not lead",
            self.kek_behind.clone(),
        );
        registry.register(
            "retention_held",
            "1 while nothing is destroyed since a clock cannot be trusted. Alert at once",
            self.retention_held.clone(),
        );
        registry.register(
            "sending_closed",
            "1 while nobody sends since a database was restored. Alert at once",
            self.sending_closed.clone(),
        );
    }

    pub(super) fn reconciled(&self, kind: &'static str, took: Duration, failed: Option<&'static str>) {
        self.reconciliations.get_or_create(&Kind { kind }).inc();
        self.seconds.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
        if let Some(error) = failed {
            self.failures.get_or_create(&Failed { kind, error }).inc();
        }
    }

    pub(super) fn synced(&self, namespace: &str, synced: bool) {
        self.synced.get_or_create(&Namespace { namespace: namespace.to_owned() }).set(i64::from(synced));
    }

    /// What is known of an instance's copies. One that no loop has reported of has no backups here.
    pub(super) fn copies(&self, instance: &'static str, copies: &Copies) {
        let label = Instance { instance };
        let missing = matches!(copies.standby, Standby::Away | Standby::Behind);
        self.standby_missing.get_or_create(&label).set(i64::from(missing));
        let Some(report) = &copies.report else { return };
        self.backup_failed.get_or_create(&label).set(i64::from(!report.failure.is_empty()));
        let newest = report.newest.map_or(0, jiff::Timestamp::as_second);
        self.backup_newest.get_or_create(&label).set(newest);
        match report.oldest {
            Some(oldest) => {
                self.backup_oldest.get_or_create(&label).set(oldest.as_second());
            }
            None => {
                self.backup_oldest.remove(&label);
            }
        }
    }

    pub(super) fn held(&self, namespace: &str, tenants: usize) {
        let held = self.held.get_or_create(&Namespace { namespace: namespace.to_owned() });
        held.set(i64::try_from(tenants).unwrap_or(i64::MAX));
    }
}
