//! Who calls: a bearer API key, what it may do, and how often it may be used.
//!
//! What a key opens is remembered for a second, so that a busy caller costs one look-up a second; a revoked key works
//! for at most that second longer. A suspension does not wait for it: the accepting transaction asks by itself.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use sqlx::PgPool;
use tokio::time::Instant;

use super::Shared;
use super::problem::Problem;
use crate::domain::{ApiKey, Clock, Region, Scope, Service, TenantId};
use crate::store::credentials::{self, Access, Account};

/// How long an access is remembered.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Accesses, and tenants' allowances, that are remembered.
const MOST: usize = 10_000;

/// A caller whose key is valid.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Access>);

impl Caller {
    /// Whose key it is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.0.tenant
    }

    /// Goes on only when the key may do this, and the account has the service that it is part of (A9).
    ///
    /// # Errors
    /// When one of the two is missing.
    pub fn may(&self, scope: Scope) -> Result<(), Problem> {
        if !self.0.scopes.contains(&scope) {
            return Err(Problem::MissingScope(scope));
        }
        let lacks = |account: &Account| !account.services.contains(&Service::Api);
        if is_part_of_the_service(scope) && self.0.account.as_ref().is_some_and(lacks) {
            return Err(Problem::MissingService { service: Service::Api, by: "this call".to_owned() });
        }
        Ok(())
    }

    /// There is a history to look things up in: none from the moment on at which the tenant has opted out of logging, whatever
    /// is still to be erased (D4).
    #[must_use]
    pub fn has_history(&self) -> bool {
        self.0.account.as_ref().is_none_or(|account| account.log_days != 0)
    }

    /// The country whose national numbers are understood.
    ///
    /// # Errors
    /// When the account is not set up.
    pub fn region(&self) -> Result<Region, Problem> {
        let region = self.account()?.region;
        region.ok_or_else(|| Problem::internal("the account's default region is no country that is known"))
    }

    /// The tenant's settings.
    ///
    /// # Errors
    /// When the operator has written none yet: the account is not set up.
    pub fn account(&self) -> Result<&Account, Problem> {
        self.0.account.as_ref().ok_or_else(|| Problem::NotActive {
            code: "inactive".to_owned(),
            reason: "the account is not set up yet".to_owned(),
        })
    }
}

/// What depends on no service: the copy of everything registered (D7), and the list of those who want nothing more.
fn is_part_of_the_service(scope: Scope) -> bool {
    !matches!(scope, Scope::DataRead | Scope::OptOutsManage)
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let key = bearer(parts)?;
        let access = shared.door.open(&shared.pool, &key, &*shared.clock).await?;
        if !shared.door.allows(access.tenant, Instant::now()) {
            return Err(Problem::TooManyCalls);
        }
        Ok(Self(access))
    }
}

/// The key that a call brings.
///
/// # Errors
/// When it brings none, or something that is none.
pub(super) fn bearer(parts: &Parts) -> Result<ApiKey, Problem> {
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, key) = header.and_then(|value| value.split_once(' ')).ok_or(Problem::Unauthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::Unauthorized);
    }
    key.trim().parse().map_err(|_| Problem::Unauthorized)
}

/// Remembers accesses and counts calls.
#[derive(Debug)]
pub struct Door {
    calls_per_second: f64,
    accesses: Mutex<Accesses>,
    allowances: Mutex<HashMap<TenantId, Allowance>>,
}

/// By the hash of the whole key, and since when.
type Accesses = HashMap<[u8; 32], (Instant, Arc<Access>)>;

#[derive(Debug, Clone, Copy)]
struct Allowance {
    calls: f64,
    at: Instant,
}

impl Door {
    /// Lets each tenant call `calls_per_second` on the average, and twice as often for a second. Protects against abuse
    /// only; what a tenant may send is its daily quota.
    #[must_use]
    pub fn new(calls_per_second: u32) -> Self {
        Self { calls_per_second: calls_per_second.into(), accesses: Mutex::default(), allowances: Mutex::default() }
    }

    async fn open(&self, pool: &PgPool, key: &ApiKey, clock: &dyn Clock) -> Result<Arc<Access>, Problem> {
        let hash = key.hash();
        let known =
            self.accesses().get(&hash).filter(|(since, _)| since.elapsed() < REMEMBERED).map(|(_, it)| it.clone());
        if let Some(access) = known {
            return Ok(access);
        }
        let access = credentials::find(pool, key, clock.now()).await.map_err(Problem::database)?;
        let access = Arc::new(access.ok_or(Problem::Unauthorized)?);
        let mut accesses = self.accesses();
        if accesses.len() >= MOST {
            accesses.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
        }
        if accesses.len() < MOST {
            accesses.insert(hash, (Instant::now(), Arc::clone(&access)));
        }
        Ok(access)
    }

    pub(super) fn allows(&self, tenant: TenantId, now: Instant) -> bool {
        let full = self.calls_per_second * 2.0;
        let refilled =
            |it: &Allowance| (it.calls + now.duration_since(it.at).as_secs_f64() * self.calls_per_second).min(full);
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        if allowances.len() >= MOST {
            allowances.retain(|_, it| refilled(it) < full);
        }
        let allowance = allowances.entry(tenant).or_insert(Allowance { calls: full, at: now });
        *allowance = Allowance { calls: refilled(allowance), at: now };
        let allowed = allowance.calls >= 1.0;
        if allowed {
            allowance.calls -= 1.0;
        }
        allowed
    }

    fn accesses(&self) -> MutexGuard<'_, Accesses> {
        self.accesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_spent_and_comes_back() {
        let (door, start) = (Door::new(5), Instant::now());
        let calls = |tenant, seconds| {
            (0..100).filter(|_| door.allows(TenantId(tenant), start + Duration::from_secs(seconds))).count()
        };
        assert_eq!(calls(1, 0), 10, "a burst of two seconds' worth");
        assert_eq!(calls(1, 0), 0);
        assert_eq!(calls(2, 0), 10, "another tenant has its own");
        assert_eq!(calls(1, 1), 5);
        assert_eq!(calls(1, 3600), 10);
    }
}
