//! Received messages as they are read: each with its sealed parts, of which one that came whole has itself alone. A longer one is
//! there once all its parts are, or an hour after the first.
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{TenantId, copenhagen_day};
use crate::store::asking::asking;

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Messages were not read.
    #[error("read received messages: {0}")]
    Read(#[source] sqlx::Error),
    /// Parts that never came are still awaited.
    #[error("give up parts of received messages: {0}")]
    GiveUp(#[source] sqlx::Error),
}

/// Days that a list goes back: as long as anything is kept (D2), and a little longer.
const REACH: i64 = 93;
/// Days between a message's id and the day of its parts, at most: that of the first part, as the upstream tells it.
const APART: i64 = 2;

/// A received message, still sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which; version 7, so it sorts by time.
    pub id: Uuid,
    /// When the connector took it: of a longer one the part that came last, or where one never came the first.
    pub received_at: Timestamp,
    /// What there is of it, in no order.
    pub parts: Vec<SealedPart>,
}

/// What came in one SMS, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPart {
    /// Its row.
    pub id: Uuid,
    /// Name of the key that opens it.
    pub key_name: String,
    /// The sealed [`crate::domain::inbound::Inbound`].
    pub sealed: Vec<u8>,
}

/// Messages whose parts are still awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// With what there is of them.
    Included,
    /// Not yet.
    Left,
}

/// At most `limit` received messages of a tenant, newest first, below an id.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    pool: &PgPool,
    tenant: TenantId,
    now: Timestamp,
    below: Option<Uuid>,
    limit: i64,
    awaited: Awaited,
) -> Result<Vec<Message>, Error> {
    let today = copenhagen_day(now);
    let (first, last) = (today.saturating_sub(REACH.days()), today.saturating_add(1.day()));
    let rows = sqlx::query!(
        r#"select inbound_id, received_at, key_name, sealed, whole is not null as "has_parts!" from inbound
           where tenant_id = $1 and ($2::uuid is null or inbound_id < $2) and day between $3 and $4
             and (whole is null or (whole = inbound_id and ($6 or done or open_until <= now())))
           order by inbound_id desc limit $5"#,
        tenant.0,
        below,
        first.to_sqlx() as SqlDate,
        last.to_sqlx() as SqlDate,
        limit,
        awaited == Awaited::Included,
    );
    let rows = rows.fetch_all(asking(pool)).await.map_err(Error::Read)?;
    let longer: Vec<Uuid> = rows.iter().filter(|row| row.has_parts).map(|row| row.inbound_id).collect();
    let mut messages: Vec<Message> = rows
        .into_iter()
        .map(|row| Message {
            id: row.inbound_id,
            received_at: row.received_at.to_jiff(),
            parts: vec![SealedPart { id: row.inbound_id, key_name: row.key_name, sealed: row.sealed }],
        })
        .collect();
    for (whole, part) in others(pool, tenant, &longer, (first, last)).await? {
        if let Some(message) = messages.iter_mut().find(|message| message.id == whole) {
            message.parts.push(part);
        }
    }
    Ok(messages)
}

/// One message that was received at `at`; `None` once it is erased.
///
/// # Errors
/// When the database does not answer.
pub async fn one(pool: &PgPool, tenant: TenantId, id: Uuid, at: Timestamp) -> Result<Option<Message>, Error> {
    let day = copenhagen_day(at);
    let (first, last) = (day.saturating_sub(APART.days()), day.saturating_add(APART.days()));
    let row = sqlx::query!(
        r#"select received_at, key_name, sealed, whole is not null as "has_parts!" from inbound
           where tenant_id = $1 and inbound_id = $2 and day between $3 and $4"#,
        tenant.0,
        id,
        first.to_sqlx() as SqlDate,
        last.to_sqlx() as SqlDate
    );
    let Some(row) = row.fetch_optional(asking(pool)).await.map_err(Error::Read)? else { return Ok(None) };
    let mut parts = vec![SealedPart { id, key_name: row.key_name, sealed: row.sealed }];
    if row.has_parts {
        parts.extend(others(pool, tenant, &[id], (first, last)).await?.into_iter().map(|(_, part)| part));
    }
    Ok(Some(Message { id, received_at: row.received_at.to_jiff(), parts }))
}

/// The parts of messages beside the one that has the message's own id.
async fn others(
    pool: &PgPool,
    tenant: TenantId,
    wholes: &[Uuid],
    (first, last): (Date, Date),
) -> Result<Vec<(Uuid, SealedPart)>, Error> {
    if wholes.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"select whole as "whole!", inbound_id, key_name, sealed from inbound
           where tenant_id = $1 and whole = any($2) and inbound_id <> whole and day between $3 and $4"#,
        tenant.0,
        wholes,
        first.to_sqlx() as SqlDate,
        last.to_sqlx() as SqlDate
    );
    let rows = rows.fetch_all(asking(pool)).await.map_err(Error::Read)?;
    let part = |id, key_name, sealed| SealedPart { id, key_name, sealed };
    Ok(rows.into_iter().map(|row| (row.whole, part(row.inbound_id, row.key_name, row.sealed))).collect())
}

/// Messages that are given up in one call.
const AT_ONCE: i32 = 100;

/// Has tenants told of what there is of messages that lack parts an hour after their first one; of how many.
///
/// # Errors
/// When the database does not answer.
pub async fn give_up(pool: &PgPool) -> Result<u64, Error> {
    let mut all = 0;
    loop {
        let query = sqlx::query_scalar!(r#"select inbound_give_up($1) as "given_up!""#, AT_ONCE);
        let given_up = query.fetch_one(asking(pool)).await.map_err(Error::GiveUp)?;
        all += given_up.max(0).unsigned_abs();
        if given_up < i64::from(AT_ONCE) {
            return Ok(all);
        }
    }
}
