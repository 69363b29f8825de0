//! `Idempotency-Key`: what is kept of a call to know its repetition by, and which of equal calls is the first. One table for every kind
//! of call; its primary key decides, also between processes.
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::domain::TenantId;
use crate::store::asking::asking;

/// What makes a call safe to repeat. Both hashes are keyed: the database cannot read a number back from them.
#[derive(Debug, Clone)]
pub struct Repeat {
    /// Of the `Idempotency-Key`.
    pub key_hash: [u8; 32],
    /// Of the body it came with.
    pub body_hash: [u8; 32],
    /// What a repetition is answered; free of numbers and texts.
    pub answer: Value,
}

/// What an earlier call with the same key left.
#[derive(Debug, Clone)]
pub struct Earlier {
    /// Of the body it came with.
    pub body_hash: Vec<u8>,
    /// What it was answered.
    pub answer: Value,
}

/// A call that claims its key.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Whose call.
    pub caller: TenantId,
    /// What it makes.
    pub makes: Uuid,
    /// Its key.
    pub repeat: &'a Repeat,
}

/// What a claim comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    /// It is the first with this key.
    First,
    /// The same call came before, and was answered this.
    Repeated(Value),
    /// The key came with another body.
    KeyReused,
}

/// The accepted call with this `Idempotency-Key`, if there was one: what it was answered is answered again, whatever the
/// account may do by now.
///
/// # Errors
/// When the database does not answer.
pub async fn earlier(pool: &PgPool, tenant: TenantId, key_hash: &[u8]) -> sqlx::Result<Option<Earlier>> {
    sqlx::query_as!(
        Earlier,
        "select body_hash, answer from idempotency where tenant_id = $1 and key_hash = $2",
        tenant.0,
        key_hash
    )
    .fetch_optional(asking(pool))
    .await
}

/// Stores the keys of calls, within the transaction that carries them out; one outcome for each, in order. The later of two equal calls
/// waits here for the earlier one's commit. Sorted by tenant and key, so that two transactions never wait in a circle.
///
/// # Errors
/// When the database does not answer.
pub async fn claim(db: &mut PgConnection, calls: &[Claim<'_>]) -> sqlx::Result<Vec<Claimed>> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let mut keyed = calls.to_vec();
    keyed.sort_by_key(|call| (call.caller, call.repeat.key_hash));
    let tenants: Vec<i64> = keyed.iter().map(|call| call.caller.0).collect();
    let keys: Vec<&[u8]> = keyed.iter().map(|call| &call.repeat.key_hash[..]).collect();
    let bodies: Vec<&[u8]> = keyed.iter().map(|call| &call.repeat.body_hash[..]).collect();
    let made: Vec<Uuid> = keyed.iter().map(|call| call.makes).collect();
    let answers: Vec<Value> = keyed.iter().map(|call| call.repeat.answer.clone()).collect();
    let first: Vec<Uuid> = sqlx::query_scalar!(
        "insert into idempotency (tenant_id, key_hash, body_hash, batch_id, answer)
         select * from unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::uuid[], $5::jsonb[])
         on conflict do nothing returning batch_id",
        &tenants,
        &keys as &[&[u8]],
        &bodies as &[&[u8]],
        &made,
        &answers,
    )
    .fetch_all(&mut *db)
    .await?;
    if first.len() == calls.len() {
        return Ok(vec![Claimed::First; calls.len()]);
    }
    let stored = sqlx::query!(
        "select i.tenant_id, i.key_hash, i.body_hash, i.answer from idempotency i
         join unnest($1::bigint[], $2::bytea[]) as asked (tenant_id, key_hash) using (tenant_id, key_hash)",
        &tenants,
        &keys as &[&[u8]],
    )
    .fetch_all(db)
    .await?;
    let outcome = |call: &Claim<'_>| {
        if first.contains(&call.makes) {
            return Ok(Claimed::First);
        }
        match stored.iter().find(|row| row.tenant_id == call.caller.0 && row.key_hash == call.repeat.key_hash) {
            Some(row) if row.body_hash == call.repeat.body_hash => Ok(Claimed::Repeated(row.answer.clone())),
            Some(_) => Ok(Claimed::KeyReused),
            // It was removed between the two statements, a day old: the callers come again.
            None => Err(sqlx::Error::RowNotFound),
        }
    };
    calls.iter().map(outcome).collect()
}
