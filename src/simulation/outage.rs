//! The database away for seconds or minutes, and nothing else going wrong but that the connector may begin anew meanwhile. Soon after it answers
//! again each tenant's next waiting message must go (K3), however long it was away.
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::plan::{Fault, Message, Plan};
use super::world::{World, tenant_id};

/// Within so long after the database answers again the next waiting message of each tenant is submitted.
pub(super) const SOON: Duration = Duration::from_secs(5);

/// A tenant for which something waited when the database came back: when that was, and for whom the messages are.
#[derive(Debug)]
pub(super) struct Waiting {
    since: Instant,
    tenant: usize,
    numbers: Vec<u64>,
}

impl Plan {
    /// The same with an outage in the place of other faults. What was to be accepted after its beginning is so after its end.
    pub(super) fn with_outage(mut self, chance: &mut StdRng) -> Self {
        let at = Duration::from_millis(chance.random_range(100..40_000));
        // Senders that had nothing to do notice those of minutes alone: after the others the connector must tell them.
        let longest = [60_000, 600_000][chance.random_range(0..2)];
        let time = Duration::from_millis(chance.random_range(longest / 5..longest));
        for (planned, _) in self.messages.iter_mut().filter(|(planned, _)| *planned >= at) {
            *planned += time;
        }
        self.faults = vec![(at, Fault::Outage(time))];
        if chance.random_ratio(1, 3) {
            // Over before the outage is.
            let crash = at + time.mul_f64(chance.random_range(0.0..0.6));
            self.faults.push((crash, Fault::CrashConnector(Duration::from_millis(chance.random_range(50..4_000)))));
        }
        self
    }
}

impl World {
    /// The database answers again. Each tenant sends something at once, which waits behind what waits already.
    pub(super) fn back(&mut self) {
        for tenant in 0..self.plan.tenants.len() {
            let to = 4_500_900_000 + tenant as u64 * 1_000_000;
            self.accept(Message { tenant, to, parts: 1, urgent: false });
            let ids = self.database.tenant(tenant_id(tenant), |facts| facts.waiting());
            let waits = self.accepted.iter().filter(|(id, _)| ids.contains(id)).map(|(_, message)| message.to);
            let numbers = waits.filter(|to| self.checks.went_at(*to).is_none()).collect();
            self.waiting.push(Waiting { since: Instant::now(), tenant, numbers });
        }
    }

    /// Whether that was soon enough.
    pub(super) fn judge(&mut self) {
        for Waiting { since, tenant, numbers } in std::mem::take(&mut self.waiting) {
            match numbers.iter().filter_map(|to| self.checks.went_at(*to)).min() {
                None => self.checks.violated(format!(
                    "the database was back for {SOON:?}, and none of the {} messages that wait of tenant {tenant} went",
                    numbers.len()
                )),
                Some(went) => self.resumed = self.resumed.max(went - since),
            }
        }
    }
}
