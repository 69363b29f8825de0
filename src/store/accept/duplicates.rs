//! The guard against duplicates: the same text to the same number is accepted once within the tenant's interval. What is kept of a
//! message is a keyed hash, for as long as the interval; a tenant without a guard costs nothing here.
//!
//! A row is claimed in the transaction that accepts, so that of two calls at once one is the first, and a call that is refused
//! leaves none behind. Sorted, so that two groups wait for one another but never in a circle.
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

use super::group::Outcomes;
use super::{Call, Outcome};
use crate::domain::TenantId;

/// What is known again of a message: a keyed hash of number and text.
type Hash = [u8; 32];

/// What tells the duplicates of a call.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Of each message, in order.
    pub hashes: Vec<Hash>,
    /// When the call came.
    pub at: Timestamp,
    /// Until when the same again is a duplicate.
    pub until: Timestamp,
}

/// Claims what each call's messages are known again by, and refuses the calls that have duplicates; whether there were any.
pub(super) async fn claim(db: &mut PgConnection, outcomes: &mut Outcomes<'_>) -> sqlx::Result<bool> {
    let mut wanted: HashMap<(TenantId, Hash), &Guard> = HashMap::new();
    for (call, _) in outcomes.iter().filter(|(_, outcome)| outcome.is_none()) {
        for (guard, hash) in guarded(call) {
            wanted.entry((call.tenant, hash)).or_insert(guard);
        }
    }
    if wanted.is_empty() {
        return Ok(false);
    }
    let mut free = insert(db, wanted).await?;
    let (mut refused, mut released) = (false, Vec::new());
    for (call, outcome) in outcomes.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
        let hashes = guarded(call).map(|(_, hash)| (call.tenant, hash));
        let duplicates: Vec<usize> =
            hashes.clone().enumerate().filter(|(_, key)| !free.contains(key)).map(|(nth, _)| nth).collect();
        if duplicates.is_empty() {
            // Of several calls of this group with the same message, the first has it.
            for key in hashes {
                free.remove(&key);
            }
            continue;
        }
        released.extend(hashes.filter(|key| free.contains(key)));
        *outcome = Some(Outcome::Duplicates(duplicates));
        refused = true;
    }
    // What another call of the group has taken since stays.
    released.retain(|key| free.contains(key));
    remove(db, released).await?;
    Ok(refused)
}

fn guarded(call: &Call) -> impl Iterator<Item = (&Guard, Hash)> + Clone {
    call.guard.iter().flat_map(|guard| guard.hashes.iter().map(move |hash| (guard, *hash)))
}

/// Stores what is not there, or is there from long ago; returns what was stored.
async fn insert(
    db: &mut PgConnection,
    wanted: HashMap<(TenantId, Hash), &Guard>,
) -> sqlx::Result<HashSet<(TenantId, Hash)>> {
    let mut sorted: Vec<_> = wanted.into_iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    let tenants: Vec<i64> = sorted.iter().map(|((tenant, _), _)| tenant.0).collect();
    let hashes: Vec<&[u8]> = sorted.iter().map(|((_, hash), _)| &hash[..]).collect();
    let at: Vec<jiff_sqlx::Timestamp> = sorted.iter().map(|(_, guard)| guard.at.to_sqlx()).collect();
    let until: Vec<jiff_sqlx::Timestamp> = sorted.iter().map(|(_, guard)| guard.until.to_sqlx()).collect();
    let rows = sqlx::query!(
        "insert into duplicate_guard as g (tenant_id, hash, since, until)
         select * from unnest($1::bigint[], $2::bytea[], $3::timestamptz[], $4::timestamptz[])
         on conflict (tenant_id, hash) do update set since = excluded.since, until = excluded.until
         where g.until <= excluded.since
         returning tenant_id, hash",
        &tenants,
        &hashes as &[&[u8]],
        &at as &[jiff_sqlx::Timestamp],
        &until as &[jiff_sqlx::Timestamp],
    )
    .fetch_all(db)
    .await?;
    let stored = rows.into_iter().filter_map(|row| Some((TenantId(row.tenant_id), Hash::try_from(row.hash).ok()?)));
    Ok(stored.collect())
}

async fn remove(db: &mut PgConnection, keys: Vec<(TenantId, Hash)>) -> sqlx::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let tenants: Vec<i64> = keys.iter().map(|(tenant, _)| tenant.0).collect();
    let hashes: Vec<&[u8]> = keys.iter().map(|(_, hash)| &hash[..]).collect();
    sqlx::query!(
        "delete from duplicate_guard g using unnest($1::bigint[], $2::bytea[]) as r (tenant_id, hash)
         where g.tenant_id = r.tenant_id and g.hash = r.hash",
        &tenants,
        &hashes as &[&[u8]],
    )
    .execute(db)
    .await?;
    Ok(())
}
