//! Ends what waits for those who want nothing more: it was accepted before they said so.
use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::super::problem::Problem;
use super::super::{Shared, seal};
use crate::domain::{Body, Msisdn, TenantId, content};
use crate::keyring;
use crate::keyring::seal::Field;
use crate::store::decisions::{self, Decision, Which};
use crate::store::opt_outs as store;

/// Messages that are ended in one transaction.
const AT_ONCE: usize = 1000;
/// Messages that are read at once to be opened.
const PAGE: i64 = 500;

/// Ends what waits for these numbers, and says how many messages that was. What is on its way already is left.
///
/// # Errors
/// When database or keyring is away; what was ended before stays so.
pub(super) async fn end(shared: &Shared, tenant: TenantId, numbers: Vec<Msisdn>) -> Result<usize, Problem> {
    if numbers.is_empty() {
        return Ok(0);
    }
    let numbers = Arc::new(numbers);
    let mut messages = logged(shared, tenant, &numbers).await?;
    messages.extend(unlogged(shared, tenant, &numbers).await?);
    let mut ended = 0;
    for some in messages.chunks(AT_ONCE) {
        let done = decisions::decide(&shared.pool, tenant, Decision::OptOut, Which::These(some)).await;
        ended += done.map_err(|error| Problem::database(error.0))?.len();
    }
    Ok(ended)
}

/// By the hashes under the key of each day of which something waits.
async fn logged(shared: &Shared, tenant: TenantId, numbers: &Arc<Vec<Msisdn>>) -> Result<Vec<Uuid>, Problem> {
    let mut messages = Vec::new();
    for name in store::log_keys(&shared.pool, tenant).await.map_err(Problem::database)? {
        let key = match shared.keyring.log_key_named(tenant, &name).await {
            Ok(key) => key,
            // Its messages are about to be ended as too late.
            Err(keyring::Error::KeyMissing { .. }) => continue,
            Err(error) => return Err(seal::away(error)),
        };
        let numbers = Arc::clone(numbers);
        let work = move || numbers.iter().map(|number| key.number_hash(number)).collect::<Vec<_>>();
        let hashes = tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?;
        messages.extend(store::logged(&shared.pool, tenant, &name, &hashes).await.map_err(Problem::database)?);
    }
    Ok(messages)
}

/// Where nothing is logged nothing finds a number: each message is opened.
async fn unlogged(shared: &Shared, tenant: TenantId, numbers: &[Msisdn]) -> Result<Vec<Uuid>, Problem> {
    let (mut messages, mut above) = (Vec::new(), Uuid::nil());
    let mut wanted: HashSet<&Msisdn> = HashSet::new();
    loop {
        let page = store::unlogged(&shared.pool, tenant, above, PAGE).await.map_err(Problem::database)?;
        let Some(last) = page.last() else { return Ok(messages) };
        above = last.id;
        if wanted.is_empty() {
            wanted.extend(numbers);
        }
        for message in &page {
            let key = match shared.keyring.queue_key_named(tenant, &message.queue_key).await {
                Ok(key) => key,
                Err(keyring::Error::KeyMissing { .. }) => continue,
                Err(error) => return Err(seal::away(error)),
            };
            // What cannot be opened is not sent either.
            let Ok(bytes) = key.open(message.id, Field::Body, &message.body) else { continue };
            if content::from_bytes::<Body>(&bytes).is_ok_and(|body| wanted.contains(&body.to)) {
                messages.push(message.id);
            }
        }
    }
}
