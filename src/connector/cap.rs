//! The most that one tenant gets of the route's rate, where its owner has set one (`sharing.maxSharePercent`), also when it is
//! alone (K3). Each tenant is paced by itself, exactly as the route is; who has had its part rests, and the others go on.
use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use crate::domain::TenantId;
use crate::smpp::pacing::{Pacer, Rate};
use crate::smpp::session::WrittenAt;

/// See the module. Without a rate it holds nobody up.
#[derive(Debug, Default)]
pub(super) struct Cap {
    rate: Option<Rate>,
    paced: HashMap<TenantId, Paced>,
    /// Who rests, and until when at the least.
    resting: BTreeSet<(Instant, TenantId)>,
}

#[derive(Debug)]
struct Paced {
    pacer: Pacer,
    rests_until: Option<Instant>,
}

impl Cap {
    /// Changes the most of each tenant; who is to be looked at again.
    pub(super) fn set(&mut self, rate: Option<Rate>) -> Vec<TenantId> {
        self.rate = rate;
        match rate {
            Some(rate) => self.paced.values_mut().for_each(|paced| paced.pacer.set_rate(rate)),
            None => self.paced.clear(),
        }
        for paced in self.paced.values_mut() {
            paced.rests_until = None;
        }
        std::mem::take(&mut self.resting).into_iter().map(|(_, tenant)| tenant).collect()
    }

    /// Whether something of a tenant's may go at `at`. If not it rests, until it is among those of [`Cap::rested`].
    pub(super) fn may(&mut self, tenant: TenantId, at: Instant) -> bool {
        let Some(rate) = self.rate else { return true };
        let paced = self.paced.entry(tenant).or_insert_with(|| Paced { pacer: Pacer::new(rate), rests_until: None });
        if paced.pacer.try_take(at) {
            return true;
        }
        // It cannot, so there is a moment at which it can.
        let until = paced.pacer.next().unwrap_or(at);
        if let Some(before) = paced.rests_until.replace(until) {
            self.resting.remove(&(before, tenant));
        }
        self.resting.insert((until, tenant));
        false
    }

    /// Whether a tenant rests.
    pub(super) fn rests(&self, tenant: TenantId) -> bool {
        self.paced.get(&tenant).is_some_and(|paced| paced.rests_until.is_some())
    }

    /// Those who rest no longer at `at`.
    pub(super) fn rested(&mut self, at: Instant) -> Vec<TenantId> {
        let mut rested = Vec::new();
        while let Some((_, tenant)) = self.resting.first().copied().filter(|(until, _)| *until <= at) {
            self.resting.pop_first();
            if let Some(paced) = self.paced.get_mut(&tenant) {
                paced.rests_until = None;
            }
            rested.push(tenant);
        }
        rested
    }

    /// When the first of those who rest may be looked at again.
    pub(super) fn first(&self) -> Option<Instant> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// When the next one of a tenant's may go, as far as its part is concerned.
    pub(super) fn next(&self, tenant: TenantId) -> Option<Instant> {
        self.paced.get(&tenant)?.pacer.next()
    }

    /// The one that a tenant was given leave for last is being written, as `parts`: over HTTPS a long text goes as one.
    pub(super) fn writing(&mut self, tenant: TenantId, written: &WrittenAt, parts: usize) {
        if let Some(Paced { pacer, .. }) = self.paced.get_mut(&tenant) {
            pacer.owe(parts.saturating_sub(1));
            pacer.writing(written, parts);
        }
    }

    /// Forgets a tenant that has nothing more to do with the route.
    pub(super) fn leave(&mut self, tenant: TenantId) {
        if let Some(until) = self.paced.remove(&tenant).and_then(|paced| paced.rests_until) {
            self.resting.remove(&(until, tenant));
        }
    }
}

#[cfg(test)]
mod tests;
