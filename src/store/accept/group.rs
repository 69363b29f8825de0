//! One transaction for a group of calls: may they, did they before, is there room, and then all rows at once.
//!
//! Locks are taken in one order everywhere, those of opt-outs before keys of repetitions before quotas before what tells
//! duplicates, and each sorted, so that two groups wait for one another but never in a circle.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff_sqlx::ToSqlx as _;
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use super::quota::{self, Limits};
use super::{Call, Error, Logged, Outcome, duplicates, opt_outs};
use crate::domain::TenantId;
use crate::store::asking::Lent;
use crate::store::repeats::{self, Claim, Claimed};

pub(super) type Outcomes<'a> = Vec<(&'a Call, Option<Outcome>)>;

fn failed(error: sqlx::Error) -> Error {
    Error::Store(Arc::new(error))
}

/// Stores what may be stored; one outcome for each call, in order.
pub(super) async fn store(pool: &PgPool, calls: &[Call]) -> Result<Vec<Outcome>, Error> {
    let lent = Lent::of(pool).await.map_err(failed)?;
    lent.hear(async |db| store_on(db, calls).await).await.unwrap_or(Err(Error::Commit))
}

async fn store_on(db: &mut PgConnection, calls: &[Call]) -> Result<Vec<Outcome>, Error> {
    let mut transaction = db.begin().await.map_err(failed)?;
    let mut outcomes: Outcomes<'_> = calls.iter().map(|call| (call, None)).collect();
    let Enforced { limits, unlogged, gates } = enforce(&mut transaction, &mut outcomes).await.map_err(failed)?;
    opt_outs::hold(&mut transaction, &mut outcomes, &gates).await.map_err(failed)?;
    claim_keys(&mut transaction, &mut outcomes).await.map_err(failed)?;
    quota::spend(&mut transaction, &mut outcomes, &limits).await.map_err(failed)?;
    if duplicates::claim(&mut transaction, &mut outcomes).await.map_err(failed)? {
        quota::give_back(&mut transaction, &outcomes, &limits).await.map_err(failed)?;
    }
    enqueue(&mut transaction, &outcomes, &unlogged).await.map_err(failed)?;
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

/// The key of a call's entries; `None` where nothing is logged.
fn log_key<'a>(call: &'a Call, unlogged: &HashSet<TenantId>) -> Option<&'a str> {
    call.log_key.as_deref().filter(|_| !unlogged.contains(&call.tenant))
}

/// Writes the queue rows of all calls that nothing refused.
async fn enqueue(db: &mut PgConnection, outcomes: &Outcomes<'_>, unlogged: &HashSet<TenantId>) -> sqlx::Result<()> {
    let calls: Vec<&Call> = open(outcomes).collect();
    if calls.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i32> = (1..).take(calls.len()).collect();
    let tenants: Vec<i64> = calls.iter().map(|call| call.tenant.0).collect();
    let batches: Vec<Uuid> = calls.iter().map(|call| call.batch.0).collect();
    let days: Vec<jiff_sqlx::Date> = calls.iter().map(|call| call.day.to_sqlx()).collect();
    let not_before: Vec<Option<jiff_sqlx::Timestamp>> =
        calls.iter().map(|call| call.not_before.map(jiff_sqlx::ToSqlx::to_sqlx)).collect();
    let expires_at: Vec<jiff_sqlx::Timestamp> = calls.iter().map(|call| call.expires_at.to_sqlx()).collect();
    let urgent: Vec<bool> = calls.iter().map(|call| call.urgent).collect();
    let queue_keys: Vec<&str> = calls.iter().map(|call| call.queue_key.as_str()).collect();
    let log_keys: Vec<Option<&str>> = calls.iter().map(|call| log_key(call, unlogged)).collect();
    let messages =
        || calls.iter().zip(&numbers).flat_map(|(call, of)| call.messages.iter().map(move |message| (of, message)));
    let logged: Vec<Option<&Logged>> = calls
        .iter()
        .flat_map(|call| {
            call.messages.iter().map(|message| message.logged.as_ref().filter(|_| log_key(call, unlogged).is_some()))
        })
        .collect();
    let call_of: Vec<i32> = messages().map(|(of, _)| *of).collect();
    let ids: Vec<Uuid> = messages().map(|(_, message)| message.id.0).collect();
    let parts: Vec<i16> = messages().map(|(_, message)| message.parts.get().into()).collect();
    let amounts: Vec<i64> = messages().map(|(_, message)| message.price.0).collect();
    let bodies: Vec<&[u8]> = messages().map(|(_, message)| &message.body[..]).collect();
    let entries: Vec<Option<&[u8]>> = logged.iter().map(|logged| Some(&logged.as_ref()?.entry[..])).collect();
    let hashes: Vec<Option<&[u8]>> = logged.iter().map(|logged| Some(&logged.as_ref()?.number_hash[..])).collect();
    let references: Vec<Option<&[u8]>> =
        logged.iter().map(|logged| Some(&logged.as_ref()?.reference_hash.as_ref()?[..])).collect();
    sqlx::query!(
        "insert into queue (tenant_id, message_id, batch_id, day, not_before, expires_at, urgent, parts, amount, queue_key,
             log_key, body, entry, number_hash, reference_hash)
         select c.tenant_id, m.message_id, c.batch_id, c.day, c.not_before, c.expires_at, c.urgent, m.parts, m.amount,
             c.queue_key, c.log_key, m.body, m.entry, m.number_hash, m.reference_hash
         from unnest($1::integer[], $2::bigint[], $3::uuid[], $4::date[], $5::timestamptz[], $6::timestamptz[], $7::text[],
             $8::text[], $9::boolean[]) as c (call, tenant_id, batch_id, day, not_before, expires_at, queue_key, log_key, urgent)
         join unnest($10::integer[], $11::uuid[], $12::smallint[], $13::bigint[], $14::bytea[], $15::bytea[], $16::bytea[],
                 $17::bytea[])
             as m (call, message_id, parts, amount, body, entry, number_hash, reference_hash) using (call)",
        &numbers,
        &tenants,
        &batches,
        &days as &[jiff_sqlx::Date],
        &not_before as &[Option<jiff_sqlx::Timestamp>],
        &expires_at as &[jiff_sqlx::Timestamp],
        &queue_keys as &[&str],
        &log_keys as &[Option<&str>],
        &urgent,
        &call_of,
        &ids,
        &parts,
        &amounts,
        &bodies as &[&[u8]],
        &entries as &[Option<&[u8]>],
        &hashes as &[Option<&[u8]>],
        &references as &[Option<&[u8]>],
    )
    .execute(db)
    .await?;
    Ok(())
}
