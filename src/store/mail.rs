//! Copies of SMS carried as e-mail, for debugging: sealed under the key of their hour, and gone with it (D3).
use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::{MessageId, TenantId};
use crate::keyring::seal::{MailKey, Refused};
use crate::keyring::{self, Keyring};

/// The most bytes of a copy: 25 MiB.
pub const LARGEST: usize = 25 * 1024 * 1024;

/// What a copy is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A mail as it came or went.
    Raw,
    /// Its headers alone.
    Headers,
    /// A part of it.
    Attachment,
    /// The recipients of a bulk mail.
    List,
    /// What waits to be worked on.
    Spool,
    /// What came of a bulk mail.
    Result,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Raw, Self::Headers, Self::Attachment, Self::List, Self::Spool, Self::Result];

    /// As the database has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Headers => "headers",
            Self::Attachment => "attachment",
            Self::List => "list",
            Self::Spool => "spool",
            Self::Result => "result",
        }
    }
}

/// Which way a mail goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// A mail becomes SMS (M2).
    ToSms,
    /// An SMS becomes a mail (M3).
    ToMail,
}

impl Direction {
    const ALL: [Self; 2] = [Self::ToSms, Self::ToMail];

    /// As the database has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToSms => "to_sms",
            Self::ToMail => "to_mail",
        }
    }
}

/// A copy that is kept, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Its id, which sorts by time.
    pub id: Uuid,
    /// When it was made.
    pub made_at: Timestamp,
    /// When its key is destroyed.
    pub gone_at: Timestamp,
    /// What it is of.
    pub kind: Kind,
    /// Which way that went.
    pub direction: Direction,
    /// Its ciphertext's length.
    pub bytes: i64,
}

/// Why a copy was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is larger than [`LARGEST`].
    #[error("a copy of {0} bytes: at most {LARGEST} are kept")]
    TooLarge(usize),
    /// The keyring did not give its key.
    #[error(transparent)]
    Keyring(#[from] keyring::Error),
    /// It could not be sealed, or is not what was sealed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It was not stored.
    #[error("store a copy of mail: {0}")]
    Put(#[source] sqlx::Error),
    /// It was not read.
    #[error("read copies of mail: {0}")]
    Read(#[source] sqlx::Error),
    /// It was not removed.
    #[error("remove a copy of mail: {0}")]
    Remove(#[source] sqlx::Error),
}

/// Keeps a copy, sealed under `key`, which is the key of the hour of `now` ([`Keyring::mail_key`]: without one nothing is kept).
/// Returns its id.
///
/// # Errors
/// When it is too large, or the database says no: the partitions of the coming hours are made by the operator.
pub async fn put(
    pool: &PgPool,
    key: &MailKey,
    now: Timestamp,
    kind: Kind,
    direction: Direction,
    content: &[u8],
) -> Result<Uuid, Error> {
    if content.len() > LARGEST {
        return Err(Error::TooLarge(content.len()));
    }
    let MessageId(id) = MessageId::new(now);
    let sealed = key.seal(id, content)?;
    sqlx::query!(
        "insert into mail_copy (tenant_id, copy_id, gone_at, made_at, kind, direction, key_name, sealed)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        key.tenant().0,
        id,
        key.gone_at().begins().to_sqlx() as SqlTimestamp,
        now.to_sqlx() as SqlTimestamp,
        kind.as_str(),
        direction.as_str(),
        key.name(),
        sealed
    )
    .execute(pool)
    .await
    .map_err(Error::Put)?;
    Ok(id)
}

/// A tenant's copies, newest first, at most so many, below an id.
///
/// # Errors
/// When the database does not answer.
pub async fn list(pool: &PgPool, tenant: TenantId, below: Option<Uuid>, most: i64) -> Result<Vec<Copy>, Error> {
    let rows = sqlx::query!(
        r#"select copy_id, made_at as "made_at: SqlTimestamp", gone_at as "gone_at: SqlTimestamp", kind, direction,
             octet_length(sealed)::bigint as "bytes!"
           from mail_copy where tenant_id = $1 and copy_id < $2 order by copy_id desc limit $3"#,
        tenant.0,
        below.unwrap_or(Uuid::max()),
        most
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Read)?;
    let copies = rows.into_iter().filter_map(|row| {
        Some(Copy {
            id: row.copy_id,
            made_at: row.made_at.to_jiff(),
            gone_at: row.gone_at.to_jiff(),
            kind: Kind::ALL.into_iter().find(|kind| kind.as_str() == row.kind)?,
            direction: Direction::ALL.into_iter().find(|direction| direction.as_str() == row.direction)?,
            bytes: row.bytes,
        })
    });
    Ok(copies.collect())
}

/// The content of a copy; `None` where there is none, or its key is destroyed.
///
/// # Errors
/// When a database does not answer, or the copy is not what was sealed.
pub async fn get(
    pool: &PgPool,
    keyring: &Keyring,
    tenant: TenantId,
    id: Uuid,
) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let row =
        sqlx::query!("select key_name, sealed from mail_copy where tenant_id = $1 and copy_id = $2", tenant.0, id);
    let Some(row) = row.fetch_optional(pool).await.map_err(Error::Read)? else { return Ok(None) };
    match keyring.mail_key_named(tenant, &row.key_name).await {
        Ok(key) => Ok(Some(key.open(id, &row.sealed)?)),
        Err(keyring::Error::KeyMissing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes a copy ahead of its time, as of a spool that is worked off; whether there was one.
///
/// # Errors
/// When the database says no.
pub async fn remove(pool: &PgPool, tenant: TenantId, id: Uuid) -> Result<bool, Error> {
    let removed = sqlx::query!("delete from mail_copy where tenant_id = $1 and copy_id = $2", tenant.0, id);
    removed.execute(pool).await.map(|done| done.rows_affected() > 0).map_err(Error::Remove)
}
