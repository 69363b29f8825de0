//! Holds calls against the lists of those who want nothing more, in the transaction that accepts. A tenant without a list costs a look
//! at two places of an index, by the question about what is enforced on it (`opt_out_gates` in `0012_opt_outs.sql`).
use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::group::Outcomes;
use super::{Call, Outcome};
use crate::domain::TenantId;

/// There is a list, and it is up to date.
const LISTED: i16 = 1;
/// Somebody has asked by SMS, and is not entered yet.
const ASKED: i16 = 2;

/// Turns back the calls that must be looked at again: one with a recipient on the list, one that was made up without the list, and one
/// of a tenant whose list is not up to date. Nothing of them is stored.
pub(super) async fn hold(
    db: &mut PgConnection,
    outcomes: &mut Outcomes<'_>,
    gates: &HashMap<TenantId, i16>,
) -> sqlx::Result<()> {
    let gate = |call: &Call| gates.get(&call.tenant).copied().unwrap_or_default();
    for (call, outcome) in outcomes.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
        if gate(call) == ASKED || (gate(call) == LISTED && call.numbers.is_none()) {
            *outcome = Some(Outcome::OptOuts);
        }
    }
    let held = outcomes.iter().filter(|(call, outcome)| outcome.is_none() && gate(call) == LISTED);
    let (tenants, hashes): (Vec<i64>, Vec<&[u8]>) =
        held.flat_map(|(call, _)| call.numbers.iter().flatten().map(|hash| (call.tenant.0, &hash[..]))).unzip();
    if hashes.is_empty() {
        return Ok(());
    }
    let found = sqlx::query!(
        "select o.tenant_id, o.number_hash from unnest($1::bigint[], $2::bytea[]) as n (tenant_id, number_hash)
         join opt_out o using (tenant_id, number_hash)",
        &tenants,
        &hashes as &[&[u8]],
    )
    .fetch_all(db)
    .await?;
    let found: HashSet<(i64, Vec<u8>)> = found.into_iter().map(|row| (row.tenant_id, row.number_hash)).collect();
    if found.is_empty() {
        return Ok(());
    }
    for (call, outcome) in outcomes.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
        let mut numbers = call.numbers.iter().flatten();
        if numbers.any(|hash| found.contains(&(call.tenant.0, hash.to_vec()))) {
            *outcome = Some(Outcome::OptOuts);
        }
    }
    Ok(())
}
