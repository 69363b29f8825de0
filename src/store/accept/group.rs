//! One transaction for a group of calls: may they, did they before, is there room, and then all rows at once.
//!
//! Locks are taken in one order everywhere, keys of repetitions before quotas and each sorted, so that two groups wait
//! for one another but never in a circle.
use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Call, Error, Outcome};
use crate::domain::TenantId;
use crate::store::repeats::{self, Claim, Claimed};

type Outcomes<'a> = Vec<(&'a Call, Option<Outcome>)>;

fn failed(error: sqlx::Error) -> Error {
    Error::Store(Arc::new(error))
}

/// Stores what may be stored; one outcome for each call, in order.
pub(super) async fn store(pool: &PgPool, calls: &[Call]) -> Result<Vec<Outcome>, Error> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let mut outcomes: Outcomes<'_> = calls.iter().map(|call| (call, None)).collect();
    let limits = enforce(&mut transaction, &mut outcomes).await.map_err(failed)?;
    claim_keys(&mut transaction, &mut outcomes).await.map_err(failed)?;
    spend_quotas(&mut transaction, &mut outcomes, &limits).await.map_err(failed)?;
    enqueue(&mut transaction, &outcomes).await.map_err(failed)?;
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

/// Refuses the calls of tenants that may not send; returns the daily limits of the others that have one.
async fn enforce(db: &mut PgConnection, outcomes: &mut Outcomes<'_>) -> sqlx::Result<HashMap<TenantId, i32>> {
    let tenants: Vec<i64> = outcomes.iter().map(|(call, _)| call.tenant.0).collect();
    let rows = sqlx::query!(
        "select tenant_id, may_accept, code, reason, messages_per_day from enforcement where tenant_id = any($1)",
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
    Ok(rows.into_iter().filter_map(|(tenant, row)| Some((tenant, row.messages_per_day?))).collect())
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

/// Counts the messages of tenants that have a daily limit, and refuses the calls for which there is no room.
async fn spend_quotas(
    db: &mut PgConnection,
    outcomes: &mut Outcomes<'_>,
    limits: &HashMap<TenantId, i32>,
) -> sqlx::Result<()> {
    let mut wanted: Vec<(TenantId, Date, i32)> = Vec::new();
    for call in open(outcomes).filter(|call| limits.contains_key(&call.tenant)) {
        let messages = i32::try_from(call.messages.len()).unwrap_or(i32::MAX);
        match wanted.iter_mut().find(|(tenant, day, _)| (*tenant, *day) == (call.tenant, call.day)) {
            Some((_, _, sum)) => *sum = sum.saturating_add(messages),
            None => wanted.push((call.tenant, call.day, messages)),
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    wanted.sort_unstable();
    let rows = add_to_quotas(&mut *db, &wanted).await?;
    let mut given_back = Vec::new();
    for ((tenant, day, sum), used) in wanted.into_iter().zip(rows) {
        let limit = limits.get(&tenant).copied().unwrap_or(0);
        let mut used = used - sum;
        let before = given_back.len();
        let of_this_quota = |call: &Call| call.tenant == tenant && call.day == day;
        for (call, outcome) in outcomes.iter_mut().filter(|(call, outcome)| outcome.is_none() && of_this_quota(call)) {
            let messages = i32::try_from(call.messages.len()).unwrap_or(i32::MAX);
            if used.saturating_add(messages) <= limit {
                used += messages;
            } else {
                *outcome = Some(Outcome::OverQuota { limit });
                given_back.push((tenant, day, -messages));
            }
        }
        // One row a quota: a statement may not touch a row twice.
        let refused: i32 = given_back.drain(before..).map(|(_, _, messages)| messages).sum();
        if refused < 0 {
            given_back.push((tenant, day, refused));
        }
    }
    if given_back.is_empty() {
        return Ok(());
    }
    add_to_quotas(&mut *db, &given_back).await?;
    // A refusal is no answer to repeat: tomorrow the same call may pass.
    let refused: Vec<Uuid> = outcomes
        .iter()
        .filter(|(call, outcome)| call.repeat.is_some() && matches!(outcome, Some(Outcome::OverQuota { .. })))
        .map(|(call, _)| call.batch.0)
        .collect();
    let tenants: Vec<i64> = given_back.iter().map(|(tenant, ..)| tenant.0).collect();
    sqlx::query!("delete from idempotency where tenant_id = any($1) and batch_id = any($2)", &tenants, &refused)
        .execute(db)
        .await?;
    Ok(())
}

/// Adds to what is used of each quota, in the order given; returns what is used now.
async fn add_to_quotas(db: &mut PgConnection, quotas: &[(TenantId, Date, i32)]) -> sqlx::Result<Vec<i32>> {
    let tenants: Vec<i64> = quotas.iter().map(|(tenant, ..)| tenant.0).collect();
    let days: Vec<jiff_sqlx::Date> = quotas.iter().map(|(_, day, _)| day.to_sqlx()).collect();
    let sums: Vec<i32> = quotas.iter().map(|(.., sum)| *sum).collect();
    let rows = sqlx::query!(
        r#"insert into quota as q (tenant_id, day, used) select * from unnest($1::bigint[], $2::date[], $3::integer[])
         on conflict (tenant_id, day) do update set used = q.used + excluded.used
         returning tenant_id, day, used"#,
        &tenants,
        &days as &[jiff_sqlx::Date],
        &sums,
    )
    .fetch_all(db)
    .await?;
    Ok(quotas
        .iter()
        .map(|(tenant, day, sum)| {
            let row = rows.iter().find(|row| row.tenant_id == tenant.0 && row.day.to_jiff() == *day);
            row.map_or(*sum, |row| row.used)
        })
        .collect())
}

/// Writes the queue rows of all calls that nothing refused.
async fn enqueue(db: &mut PgConnection, outcomes: &Outcomes<'_>) -> sqlx::Result<()> {
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
    let queue_keys: Vec<&str> = calls.iter().map(|call| call.queue_key.as_str()).collect();
    let log_keys: Vec<Option<&str>> = calls.iter().map(|call| call.log_key.as_deref()).collect();
    let messages =
        || calls.iter().zip(&numbers).flat_map(|(call, of)| call.messages.iter().map(move |message| (of, message)));
    let call_of: Vec<i32> = messages().map(|(of, _)| *of).collect();
    let ids: Vec<Uuid> = messages().map(|(_, message)| message.id.0).collect();
    let parts: Vec<i16> = messages().map(|(_, message)| message.parts.get().into()).collect();
    let amounts: Vec<i64> = messages().map(|(_, message)| message.price.0).collect();
    let bodies: Vec<&[u8]> = messages().map(|(_, message)| &message.body[..]).collect();
    let entries: Vec<Option<&[u8]>> =
        messages().map(|(_, message)| Some(&message.logged.as_ref()?.entry[..])).collect();
    let hashes: Vec<Option<&[u8]>> =
        messages().map(|(_, message)| Some(&message.logged.as_ref()?.number_hash[..])).collect();
    sqlx::query!(
        "insert into queue (tenant_id, message_id, batch_id, day, not_before, expires_at, parts, amount, queue_key, log_key,
             body, entry, number_hash)
         select c.tenant_id, m.message_id, c.batch_id, c.day, c.not_before, c.expires_at, m.parts, m.amount, c.queue_key,
             c.log_key, m.body, m.entry, m.number_hash
         from unnest($1::integer[], $2::bigint[], $3::uuid[], $4::date[], $5::timestamptz[], $6::timestamptz[], $7::text[],
             $8::text[]) as c (call, tenant_id, batch_id, day, not_before, expires_at, queue_key, log_key)
         join unnest($9::integer[], $10::uuid[], $11::smallint[], $12::bigint[], $13::bytea[], $14::bytea[], $15::bytea[])
             as m (call, message_id, parts, amount, body, entry, number_hash) using (call)",
        &numbers,
        &tenants,
        &batches,
        &days as &[jiff_sqlx::Date],
        &not_before as &[Option<jiff_sqlx::Timestamp>],
        &expires_at as &[jiff_sqlx::Timestamp],
        &queue_keys as &[&str],
        &log_keys as &[Option<&str>],
        &call_of,
        &ids,
        &parts,
        &amounts,
        &bodies as &[&[u8]],
        &entries as &[Option<&[u8]>],
        &hashes as &[Option<&[u8]>],
    )
    .execute(db)
    .await?;
    Ok(())
}
