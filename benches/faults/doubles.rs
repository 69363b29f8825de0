//! What was sent more than once, and why.
use std::collections::{BTreeMap, HashMap};

use budstikke::config::sender::CrashPolicy;

use super::inject::Event;
use super::seen::{Number, Seen};

/// A submit may be on its way for so long after what went wrong, milliseconds.
const SLACK: i64 = 3000;
/// Not a fault, and counted beside them.
pub(crate) const RELEASE: &str = "(a held one is released)";

/// Of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Doubles {
    /// By what went wrong.
    pub(crate) by_fault: BTreeMap<String, u64>,
    pub(crate) found: u64,
    /// No fault is near.
    pub(crate) unexplained: Vec<String>,
    /// As many as the tenant's flights and releases allow.
    pub(crate) own_bound: u64,
}

/// What the tenant released: of which call, when (Unix milliseconds), and its parts.
pub(crate) struct Release {
    pub(crate) number: Number,
    pub(crate) at_ms: i64,
    pub(crate) parts: u8,
}

impl Doubles {
    /// Between the two submits of a part there must lie something after which its sender could not know; with `hold` that its tenant
    /// has released the message, and nothing else.
    pub(crate) fn find(
        tenant: usize,
        policy: CrashPolicy,
        seen: &[Seen],
        journal: &[Event],
        releases: &[Release],
    ) -> Self {
        let doubtful: Vec<&Event> = journal.iter().filter(|event| event.fault.leaves_doubt(tenant)).collect();
        let released: u64 = releases.iter().map(|release| u64::from(release.parts)).sum();
        let mut doubles = Self { own_bound: released, ..Self::default() };
        if policy == CrashPolicy::Resend {
            doubles.own_bound += doubtful.iter().map(|event| event.flown[tenant]).sum::<u64>();
        }
        let mut before = HashMap::new();
        let own = |submit: &&Seen| submit.taken && submit.number.is_some_and(|number| number.tenant == tenant);
        for submit in seen.iter().filter(own) {
            let Some(first) = before.insert((submit.number, submit.part), submit.at_ms) else { continue };
            doubles.found += 1;
            let is_released = releases.iter().any(|release| {
                Some(release.number) == submit.number && first <= release.at_ms && release.at_ms <= submit.at_ms
            });
            let near = |event: &&&Event| event.from_ms <= submit.at_ms && event.to_ms + SLACK >= first;
            // Blamed is the one that was nearest when it was sent first.
            let distance = |event: &&&Event| (event.from_ms - first).max(0) + (first - event.to_ms).max(0);
            let cause = match policy {
                _ if is_released => Some(RELEASE.to_owned()),
                CrashPolicy::Resend => {
                    doubtful.iter().filter(near).min_by_key(distance).map(|event| event.fault.to_string())
                }
                CrashPolicy::Hold => None,
            };
            match cause {
                Some(cause) => *doubles.by_fault.entry(cause).or_default() += 1,
                None => doubles.unexplained.push(format!(
                    "tenant {tenant} call {:?} part {}: at {first} and {} ms later",
                    submit.number.map(|number| number.call),
                    submit.part,
                    submit.at_ms - first
                )),
            }
        }
        doubles
    }

    /// As many as all the tenants together may have: what an upstream kept silent about can be anybody's, once.
    pub(crate) fn bound(all: &[Self], journal: &[Event]) -> u64 {
        all.iter().map(|doubles| doubles.own_bound).sum::<u64>() + silent(journal)
    }
}

/// Parts that an upstream kept silent about, at most.
pub(crate) fn silent(journal: &[Event]) -> u64 {
    journal.iter().map(|event| event.silent).sum()
}
