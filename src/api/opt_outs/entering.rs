//! Holds calls against the list, and enters in it what handsets ask for by SMS.
//!
//! A connector stores such a request sealed and has no key of the list. Whoever has the tenant's keys and comes first enters it: a
//! call that is accepted, a caller who reads the list, or else this process, which looks every few seconds, and ends what waits. So no
//! call that comes after the SMS gets past it, also while nobody was there to enter it.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::super::problem::Problem;
use super::super::send::plan::Plan;
use super::super::{Shared, seal};
use super::{sealed, waiting};
use crate::domain::{Msisdn, Region, TenantId};
use crate::keyring::seal::AccountKey;
use crate::store::opt_outs::{self as store, Opened, Request};

/// Between two looks for what was asked by SMS.
const EVERY: Duration = Duration::from_secs(2);
/// Requests that are entered at once.
const AT_ONCE: i64 = 500;
/// Tenants whose requests are entered in one go.
const TENANTS: i64 = 200;

/// Keyed hashes of the accepted recipients of a call, in order.
///
/// # Errors
/// When the keyring is away.
pub(in crate::api) async fn hashes(shared: &Shared, tenant: TenantId, plan: &Plan) -> Result<Vec<[u8; 16]>, Problem> {
    let key = shared.keyring.account_key(tenant).await.map_err(seal::away)?;
    Ok(plan.accepted.iter().map(|recipient| key.number_hash(&recipient.body.to)).collect())
}

/// Brings the list up to date, and refuses the recipients of a call that are on it.
///
/// # Errors
/// When no recipient is left, or database or keyring is away.
pub(in crate::api) async fn hold(shared: &Shared, tenant: TenantId, plan: &mut Plan) -> Result<(), Problem> {
    if !store::any(&shared.pool, tenant).await.map_err(Problem::database)? {
        return Ok(());
    }
    enter(shared, tenant).await?;
    let hashes = hashes(shared, tenant, plan).await?;
    let listed = store::listed(&shared.pool, tenant, &hashes).await.map_err(Problem::database)?;
    if listed.is_empty() {
        return Ok(());
    }
    plan.refuse_opted_out(|nth| hashes.get(nth).is_some_and(|hash| listed.contains_key(&hash[..])))
}

/// Looks for what was asked by SMS for as long as calls are served.
pub(in crate::api) fn follow(shared: &Arc<Shared>) {
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(shared) = shared.upgrade() else { return };
            match store::tenants_asked(&shared.pool, TENANTS).await {
                Err(error) => tracing::debug!(%error, "opt-outs by SMS wait"),
                Ok(tenants) => {
                    for tenant in tenants {
                        if let Err(error) = settle(&shared, tenant).await {
                            tracing::warn!(%tenant, %error, "opt-outs by SMS wait");
                        }
                    }
                }
            }
        }
    });
}

/// Enters what was asked of a tenant by SMS.
///
/// # Errors
/// When database or keyring is away.
pub(super) async fn enter(shared: &Shared, tenant: TenantId) -> Result<(), Problem> {
    loop {
        let requests = store::requests(&shared.pool, tenant, false, AT_ONCE).await.map_err(Problem::database)?;
        if requests.is_empty() {
            return Ok(());
        }
        let (_, opened) = open(shared, tenant, &requests).await?;
        store::enter(&shared.pool, tenant, &opened, shared.clock.now()).await.map_err(Problem::database)?;
        let known: HashSet<Uuid> = opened.iter().map(|opened| opened.new.id).collect();
        let nobodys: Vec<Uuid> =
            requests.iter().map(|request| request.id).filter(|request| !known.contains(request)).collect();
        store::done(&shared.pool, tenant, &nobodys).await.map_err(Problem::database)?;
    }
}

/// Enters what was asked of a tenant by SMS, and ends what waits for those who want nothing more. A request is done with after that:
/// whoever dies in between leaves it to the next one.
///
/// # Errors
/// When database or keyring is away.
async fn settle(shared: &Shared, tenant: TenantId) -> Result<(), Problem> {
    enter(shared, tenant).await?;
    let requests = store::requests(&shared.pool, tenant, true, AT_ONCE).await.map_err(Problem::database)?;
    let (numbers, opened) = open(shared, tenant, &requests).await?;
    // Those that are on the list still: of one who has changed their mind since, nothing is ended.
    let hashes: Vec<_> = opened.iter().map(|opened| opened.new.number_hash).collect();
    let listed = store::listed(&shared.pool, tenant, &hashes).await.map_err(Problem::database)?;
    let stopped = numbers.into_iter().zip(&hashes).filter(|(_, hash)| listed.contains_key(&hash[..]));
    waiting::end(shared, tenant, stopped.map(|(number, _)| number).collect()).await?;
    let done: Vec<Uuid> = requests.iter().map(|request| request.id).collect();
    store::done(&shared.pool, tenant, &done).await.map_err(Problem::database)
}

/// Requests as they would be entered, and whose each is; without those of nobody that can be sent to.
async fn open(shared: &Shared, tenant: TenantId, requests: &[Request]) -> Result<(Vec<Msisdn>, Vec<Opened>), Problem> {
    if requests.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let key = shared.keyring.account_key(tenant).await.map_err(seal::away)?;
    let region = store::region(&shared.pool, tenant).await.map_err(Problem::database)?;
    let region = region.as_deref().and_then(Region::from_code);
    let (mut numbers, mut opened) = (Vec::new(), Vec::new());
    for request in requests {
        if let Some(number) = number(&key, request, region) {
            opened.push(Opened { stops: request.stops, new: sealed(&key, request.id, &number, request.asked_at)? });
            numbers.push(number);
        }
    }
    Ok((numbers, opened))
}

/// Who asks; `None` for who is no number, whom nothing can be sent to.
fn number(key: &AccountKey, request: &Request, region: Option<Region>) -> Option<Msisdn> {
    match key.open_request(request.id, &request.sealed) {
        Ok(written) => written_number(std::str::from_utf8(&written).ok()?, region),
        Err(error) => {
            tracing::error!(%error, request = %request.id, "an opt-out by SMS cannot be opened: the account's key is another one");
            None
        }
    }
}

/// Upstreams write senders with and without a plus or zeros before the country code, and some without the code.
fn written_number(written: &str, region: Option<Region>) -> Option<Msisdn> {
    let written = written.trim();
    let region = region.or_else(|| Region::from_code("DK"))?;
    let digits = written.trim_start_matches('+').trim_start_matches("00");
    let international = Msisdn::parse(&format!("+{digits}"), region);
    international.or_else(|_| Msisdn::parse(written, region)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_known_however_the_network_writes_it() {
        let read = |written: &str, country: &str| {
            written_number(written, Region::from_code(country)).map(|number| number.digits().reveal().clone())
        };
        for written in ["4520123456", "+4520123456", "004520123456", "20123456"] {
            assert_eq!(read(written, "DK").as_deref(), Some("4520123456"), "{written}");
        }
        assert_eq!(read("0701234567", "SE").as_deref(), Some("46701234567"), "with the zero of its country");
        for other in ["", "1231", "Budstikke", "+"] {
            assert_eq!(read(other, "DK"), None, "{other}");
        }
    }
}
