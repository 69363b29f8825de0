//! Inbound SMS as a connector stores it: sealed to the tenant's public key of the day, which it asks for here. A part of a longer one
//! comes with the checks by which the database finds those that belong to it.
use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::TenantId;
use crate::store::asking::asking;

/// A question to the database failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key to seal to.
    #[error("read the public key of inbound: {0}")]
    ReadKey(#[source] sqlx::Error),
    /// The sealed message.
    #[error("store inbound: {0}")]
    Store(#[source] sqlx::Error),
    /// Whose a part is.
    #[error("find the owner of a part of inbound: {0}")]
    FindOwner(#[source] sqlx::Error),
}

/// Today's public key of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundKey {
    /// By which name the private half is found in the keyring.
    pub name: String,
    /// The key's octets.
    pub key: Vec<u8>,
}

/// The public key that today's inbound of a tenant is sealed to; `None` while it is not made yet.
///
/// # Errors
/// When the database does not answer.
pub async fn key(pool: &PgPool, tenant: TenantId) -> Result<Option<InboundKey>, Error> {
    let query = sqlx::query!(r#"select key_name as "key_name!", key as "key!" from inbound_key($1)"#, tenant.0);
    let row = query.fetch_optional(asking(pool)).await.map_err(Error::ReadKey)?;
    Ok(row.map(|row| InboundKey { name: row.key_name, key: row.key }))
}

/// A sealed inbound message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedInbound {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its id; the same one again changes nothing.
    pub id: Uuid,
    /// The Copenhagen day of receipt: its partition.
    pub day: Date,
    /// When it came in.
    pub received_at: Timestamp,
    /// Name of the key it is sealed to.
    pub key_name: String,
    /// The ciphertext.
    pub sealed: Vec<u8>,
    /// What it asks for, where it is a word to which its tenant listens.
    pub asks: Option<Asks>,
}

/// An SMS asks that its sender be written to no more, or again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asks {
    /// No more.
    pub stops: bool,
    /// Who asks, sealed to the tenant's key for such requests.
    pub sealed: Vec<u8>,
}

/// Stores a sealed inbound message, and with it what it asks for.
///
/// # Errors
/// When the database does not answer, or the tenant has no number on the asking route.
pub async fn store(pool: &PgPool, inbound: &SealedInbound) -> Result<(), Error> {
    sqlx::query!(
        "select inbound_store($1, $2, $3, $4, $5, $6, $7, $8)",
        inbound.tenant.0,
        inbound.id,
        inbound.day.to_sqlx() as jiff_sqlx::Date,
        inbound.received_at.to_sqlx() as jiff_sqlx::Timestamp,
        inbound.key_name,
        inbound.sealed,
        inbound.asks.as_ref().map(|asks| asks.stops),
        inbound.asks.as_ref().map(|asks| &asks.sealed[..]),
    )
    .execute(asking(pool))
    .await
    .map_err(Error::Store)?;
    Ok(())
}

/// What is known of a part of a longer message without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The connector's keyed check of who wrote to whom under which reference.
    pub thread: i64,
    /// This part, from 1.
    pub number: u8,
    /// Of so many.
    pub count: u8,
    /// The connector's keyed check of the part.
    pub digest: i32,
}

/// Stores a sealed part of a longer message; with the last one the tenant is told. The same part again changes nothing.
///
/// # Errors
/// When the database does not answer, or the tenant has no number on the asking route.
pub async fn store_part(pool: &PgPool, inbound: &SealedInbound, part: &Part) -> Result<(), Error> {
    sqlx::query!(
        "select inbound_store_part($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        inbound.tenant.0,
        inbound.id,
        inbound.day.to_sqlx() as jiff_sqlx::Date,
        inbound.received_at.to_sqlx() as jiff_sqlx::Timestamp,
        inbound.key_name,
        inbound.sealed,
        part.thread,
        i16::from(part.number),
        i16::from(part.count),
        part.digest,
    )
    .execute(asking(pool))
    .await
    .map_err(Error::Store)?;
    Ok(())
}

/// Whose message on the asking route has this part already, or lacks it; `None`: nobody's as yet.
///
/// # Errors
/// When the database does not answer.
pub async fn part_owner(pool: &PgPool, part: &Part) -> Result<Option<TenantId>, Error> {
    let query =
        sqlx::query_scalar!("select inbound_part_owner($1, $2, $3)", part.thread, i16::from(part.number), part.digest);
    Ok(query.fetch_one(asking(pool)).await.map_err(Error::FindOwner)?.map(TenantId))
}
