//! One transaction for a group of calls about which something is to be decided: may they, did they before, is there room, and then
//! all rows at once.
//!
//! Locks are taken in one order everywhere, those of opt-outs before keys of repetitions before quotas before what tells
//! duplicates, and each sorted, so that two groups wait for one another but never in a circle.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::{Connection as _, PgConnection, PgPool};

use super::queue::{Queue, enqueue};
use super::quota::{self, Limits};
use super::{Call, Error, Outcome, duplicates, opt_outs};
use crate::domain::TenantId;
use crate::store::asking::Lent;
use crate::store::repeats::{self, Claim, Claimed};

pub(super) type Outcomes<'a> = Vec<(&'a Call, Option<Outcome>)>;

fn failed(error: sqlx::Error) -> Error {
    Error::Store(Arc::new(error))
}

/// Stores what may be stored; one outcome for each call, in order.
pub(super) async fn store(pool: &PgPool, calls: &[&Call]) -> Result<Vec<Outcome>, Error> {
    let lent = Lent::of(pool).await.map_err(failed)?;
    lent.hear(async |db| store_on(db, calls).await).await.unwrap_or(Err(Error::Commit))
}

async fn store_on(db: &mut PgConnection, calls: &[&Call]) -> Result<Vec<Outcome>, Error> {
    let mut transaction = db.begin().await.map_err(failed)?;
    let mut outcomes: Outcomes<'_> = calls.iter().map(|call| (*call, None)).collect();
    let Enforced { limits, unlogged, gates } = enforce(&mut transaction, &mut outcomes).await.map_err(failed)?;
    opt_outs::hold(&mut transaction, &mut outcomes, &gates).await.map_err(failed)?;
    claim_keys(&mut transaction, &mut outcomes).await.map_err(failed)?;
    quota::spend(&mut transaction, &mut outcomes, &limits).await.map_err(failed)?;
    if duplicates::claim(&mut transaction, &mut outcomes).await.map_err(failed)? {
        quota::give_back(&mut transaction, &outcomes, &limits).await.map_err(failed)?;
    }
    let accepted: Vec<&Call> = open(&outcomes).collect();
    enqueue(&mut transaction, &accepted, Queue::All { unlogged: &unlogged }).await.map_err(failed)?;
    transaction.commit().await.map_err(|error| match error {
        // The server said no: nothing is stored. Silence says nothing.
        sqlx::Error::Database(_) => failed(error),
        _ => Error::Commit,
    })?;
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome.unwrap_or(Outcome::Accepted)).collect())
}

fn open<'a>(outcomes: &'a Outcomes<'_>) -> impl Iterator<Item = &'a Call> {
    outcomes.iter().filter(|(_, outcome)| outcome.is_none()).map(|(call, _)| *call)
}

/// What holds for the tenants of a group.
struct Enforced {
    limits: HashMap<TenantId, Limits>,
    /// Nothing is logged of these: who sealed a message may not have heard of that yet (D4).
    unlogged: HashSet<TenantId>,
    /// What `opt_out_gates` says.
    gates: HashMap<TenantId, i16>,
}

/// Refuses the calls of tenants that may not send; returns what holds for the others.
async fn enforce(db: &mut PgConnection, outcomes: &mut Outcomes<'_>) -> sqlx::Result<Enforced> {
    let tenants: Vec<i64> = outcomes.iter().map(|(call, _)| call.tenant.0).collect();
    let rows = sqlx::query!(
        r#"select tenant_id, may_accept, code, reason, messages_per_hour, messages_per_day, log_days, gate as "gate!"
           from enforcement join opt_out_gates($1) on of_tenant = tenant_id where tenant_id = any($1)"#,
        &tenants
    )
    .fetch_all(db)
    .await?;
    let rows: HashMap<_, _> = rows.into_iter().map(|row| (TenantId(row.tenant_id), row)).collect();
    for (call, outcome) in outcomes.iter_mut() {
        match rows.get(&call.tenant) {
            Some(row) if row.may_accept => {}
            row => {
                let code = row.and_then(|row| row.code.clone()).unwrap_or_else(|| "inactive".into());
                let reason =
                    row.and_then(|row| row.reason.clone()).unwrap_or_else(|| "the account is not active".into());
                *outcome = Some(Outcome::Refused { code, reason });
            }
        }
    }
    let unlogged = rows.iter().filter(|(_, row)| row.log_days == 0).map(|(tenant, _)| *tenant).collect();
    let gates = rows.iter().map(|(tenant, row)| (*tenant, row.gate)).collect();
    let limits = rows
        .into_iter()
        .map(|(tenant, row)| (tenant, Limits { per_hour: row.messages_per_hour, per_day: row.messages_per_day }));
    Ok(Enforced { limits: limits.collect(), unlogged, gates })
}

/// Stores the keys of repetitions: of two equal calls one is the first.
async fn claim_keys(db: &mut PgConnection, outcomes: &mut Outcomes<'_>) -> sqlx::Result<()> {
    let claims: Vec<Claim<'_>> = open(outcomes)
        .filter_map(|call| Some(Claim { caller: call.tenant, makes: call.batch.0, repeat: call.repeat.as_ref()? }))
        .collect();
    let mut claimed = repeats::claim(db, &claims).await?.into_iter();
    for (call, outcome) in outcomes.iter_mut() {
        if outcome.is_some() || call.repeat.is_none() {
            continue;
        }
        *outcome = match claimed.next() {
            Some(Claimed::Repeated(answer)) => Some(Outcome::Repeated(answer)),
            Some(Claimed::KeyReused) => Some(Outcome::KeyReused),
            Some(Claimed::First) | None => None,
        };
    }
    Ok(())
}
