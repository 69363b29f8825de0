//! Who may submit how much: weighted-fair credit (K3).
//!
//! A sender says how many submits wait (demand) and gets credit, one a submit. Credit given and unused, and submits that
//! wait for their turn upstream, are together at most half a second of the route's rate: so a tenant that joins has its
//! share at once, one message beside another's ten thousand goes within a second, and a thousand senders can wait for
//! a slow route without one of them waiting on an answer.
//!
//! Credit that nobody uses is taken back after [`UNUSED`]. The sender may not know that yet and still use it, so
//! what was taken back is remembered as stale and honoured; only the room it took is free for others. Who uses nothing for a while,
//! as while its database is away, is given no more than a second of the rate: all of it may come at once.
//!
//! A plain SMPP client knows nothing of demand and credit: each submit of it is its own demand of one. Where its turn is
//! not now the submit is refused, but its place among the others stands: credit that comes by it waits for the next one.
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::TenantId;
use crate::smpp::fair::Fair;

/// How long credit may lie unused before its room is given to others.
pub(super) const UNUSED: Duration = Duration::from_secs(1);
/// How long stale credit is honoured. A sender that kept it for so long has forgotten it, and gets new credit.
pub(super) const STALE: Duration = Duration::from_secs(10);
/// A tenant that has had its part of the rate for longer than this gets no credit yet: its submits wait with its sender.
const SOON: Duration = Duration::from_millis(500);

/// Everybody's credit. Knows nothing of sessions.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    fair: Fair<TenantId>,
    accounts: HashMap<TenantId, Account>,
    /// Credit given and unused, in all; stale credit not counted.
    out: usize,
    /// The most of credit and waiting submits together.
    most: usize,
    /// The same of one tenant, where there is a bound: what one has waiting must leave room for the others.
    most_each: Option<usize>,
}

#[derive(Debug)]
struct Account {
    may_send: bool,
    bound: bool,
    demand: u32,
    /// Submits of a plain client that were refused and are expected again.
    refused: u32,
    credit: u32,
    stale: u32,
    /// Submits that wait for their turn upstream, and when the next may go: known where there is a bound.
    queued: usize,
    next_at: Option<Instant>,
    /// That is not soon.
    rests: bool,
    /// When credit was last given, used or missed.
    touched: Instant,
}

impl Account {
    fn is_far(&self, now: Instant) -> bool {
        self.next_at.is_some_and(|at| at > now + SOON)
    }

    fn wants(&self, most: usize, most_each: Option<usize>) -> bool {
        let waits = self.demand.saturating_add(self.refused);
        let has = self.credit.saturating_add(self.stale);
        let has_room = most_each.is_none_or(|most| !self.rests && self.credit as usize + self.queued < most)
            && (has as usize) < most.saturating_mul(2);
        self.may_send && self.bound && waits > has && has_room
    }
}

impl Ledger {
    /// Half a second of the rate, so that a tenant that joins is served within a second; at least 2, so that the
    /// next submit is there when the one before goes.
    pub(super) fn set_rate(&mut self, rate_millis: u64) {
        self.most = usize::try_from(rate_millis / 2000).unwrap_or(usize::MAX).max(2);
        self.settle_all();
    }

    /// Bounds each tenant to half a second of the most that it gets; `None`: to no less than all. A place is the least: it may be
    /// a while until that one goes, but the next is asked for in time.
    pub(super) fn set_cap(&mut self, rate_millis: Option<u64>) {
        self.most_each = rate_millis.map(|rate| usize::try_from(rate / 2000).unwrap_or(usize::MAX).max(1));
        self.settle_all();
    }

    /// Notes what a tenant has waiting for its turn upstream, and when the next may go as far as its part of the rate is concerned.
    pub(super) fn queued(&mut self, tenant: TenantId, queued: usize, next_at: Option<Instant>, now: Instant) {
        if let Some(account) = self.accounts.get_mut(&tenant) {
            (account.queued, account.next_at) = (queued, next_at);
            account.rests = account.is_far(now);
        }
        self.settle(tenant);
    }

    /// Opens a tenant's account or changes its share. Without leave to send its credit is void.
    pub(super) fn share(&mut self, tenant: TenantId, weight: u32, may_send: bool, now: Instant) {
        let fresh = Account {
            may_send,
            bound: false,
            demand: 0,
            refused: 0,
            credit: 0,
            stale: 0,
            queued: 0,
            next_at: None,
            rests: false,
            touched: now,
        };
        self.fair.join(tenant, weight);
        self.accounts.entry(tenant).or_insert(fresh).may_send = may_send;
        if !may_send {
            self.void(tenant);
        }
        self.settle(tenant);
    }

    /// Closes a tenant's account.
    pub(super) fn leave(&mut self, tenant: TenantId) {
        self.void(tenant);
        self.accounts.remove(&tenant);
        self.fair.leave(&tenant);
    }

    /// Notes that a tenant's sender has bound or is gone: either way nothing of the session before counts.
    pub(super) fn bound(&mut self, tenant: TenantId, bound: bool) {
        self.void(tenant);
        if let Some(account) = self.accounts.get_mut(&tenant) {
            account.bound = bound;
            account.demand = 0;
        }
        self.settle(tenant);
    }

    /// Notes how many submits wait at the sender; with 0 it has given its credit back.
    pub(super) fn demand(&mut self, tenant: TenantId, demand: u32) {
        if demand == 0 {
            self.void(tenant);
        }
        if let Some(account) = self.accounts.get_mut(&tenant) {
            account.demand = demand;
            account.refused = 0;
        }
        self.settle(tenant);
    }

    /// Notes a submit of a plain client for which there is no credit: it has one more waiting than was known. The same
    /// one may come again and again, so no more is believed than there can be credit.
    pub(super) fn miss(&mut self, tenant: TenantId, now: Instant) {
        let most = u32::try_from(self.most).unwrap_or(u32::MAX);
        if let Some(account) = self.accounts.get_mut(&tenant) {
            account.refused = account.refused.saturating_add(1).min(most);
            account.touched = now;
        }
        self.settle(tenant);
    }

    /// Uses one credit for a submit; false when there is none.
    pub(super) fn spend(&mut self, tenant: TenantId, now: Instant) -> bool {
        let Some(account) = self.accounts.get_mut(&tenant).filter(|account| account.may_send) else { return false };
        if account.credit > 0 {
            account.credit -= 1;
            self.out -= 1;
        } else if account.stale > 0 {
            account.stale -= 1;
        } else {
            return false;
        }
        account.demand = account.demand.saturating_sub(1);
        account.refused = account.refused.saturating_sub(1);
        account.touched = now;
        self.settle(tenant);
        true
    }

    /// Gives what room there is beside `waiting` submits. Not for every single place that becomes free on a fast
    /// route: a twentieth of a second of the rate at once.
    pub(super) fn grant(&mut self, waiting: usize, now: Instant) -> BTreeMap<TenantId, u32> {
        let given = BTreeMap::new();
        let taken = waiting + self.out;
        let room = self.most.saturating_sub(taken);
        if taken > 0 && room < (self.most / 10).max(1) {
            return given;
        }
        self.give(room, now, given)
    }

    /// Gives one, whoever's turn it is: for a route that is tried again.
    pub(super) fn grant_one(&mut self, now: Instant) -> BTreeMap<TenantId, u32> {
        self.give(1, now, BTreeMap::new())
    }

    fn give(&mut self, room: usize, now: Instant, mut given: BTreeMap<TenantId, u32>) -> BTreeMap<TenantId, u32> {
        for _ in 0..room {
            let Some(tenant) = self.fair.choose() else { break };
            if let Some(account) = self.accounts.get_mut(&tenant) {
                account.credit += 1;
                account.touched = now;
                self.out += 1;
                *given.entry(tenant).or_insert(0) += 1;
            }
            self.settle(tenant);
        }
        given
    }

    /// Takes unused credit back, and looks who has rested.
    pub(super) fn reclaim(&mut self, now: Instant) {
        let mut changed = Vec::new();
        for (tenant, account) in &mut self.accounts {
            if account.rests && !account.is_far(now) {
                account.rests = false;
                changed.push(*tenant);
            }
            let idle = now.saturating_duration_since(account.touched);
            if account.credit > 0 && idle >= UNUSED {
                self.out -= account.credit as usize;
                account.stale += std::mem::take(&mut account.credit);
                // A plain client that does not come for it may never do so.
                account.refused = 0;
                changed.push(*tenant);
            } else if account.stale > 0 && idle >= STALE {
                account.stale = 0;
                changed.push(*tenant);
            }
        }
        for tenant in changed {
            self.settle(tenant);
        }
    }

    /// Takes all credit back at once: who has it is told so.
    pub(super) fn void_all(&mut self) {
        let tenants: Vec<_> = self.accounts.keys().copied().collect();
        for tenant in tenants {
            self.void(tenant);
        }
        self.settle_all();
    }

    /// Submits that wait with their senders.
    pub(super) fn waiting(&self) -> usize {
        self.accounts.values().map(|account| account.demand as usize).sum()
    }

    /// Credit given and unused.
    pub(super) fn out(&self) -> usize {
        self.out
    }

    /// Tenants whose senders wait for credit.
    pub(super) fn wanting(&self) -> usize {
        self.accounts.values().filter(|account| account.wants(self.most, self.most_each)).count()
    }

    fn void(&mut self, tenant: TenantId) {
        if let Some(account) = self.accounts.get_mut(&tenant) {
            self.out -= std::mem::take(&mut account.credit) as usize;
            account.stale = 0;
            account.refused = 0;
        }
    }

    fn settle(&mut self, tenant: TenantId) {
        let wants = self.accounts.get(&tenant).is_some_and(|account| account.wants(self.most, self.most_each));
        self.fair.set_ready(&tenant, wants);
    }

    fn settle_all(&mut self) {
        for (tenant, account) in &self.accounts {
            self.fair.set_ready(tenant, account.wants(self.most, self.most_each));
        }
    }
}

#[cfg(test)]
mod tests;
