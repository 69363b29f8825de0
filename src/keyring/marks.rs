//! How far the data has come, as the keyring was told, and what was erased other than by its date: what shows that either
//! instance was restored, and what must be erased again then.
use jiff::Timestamp;
use jiff_sqlx::{Date as SqlDate, Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;

use super::{Class, Error, Keyring};
use crate::store::installation::{Erasure, ErasureRow, Mark, Needed};

/// In place of a class: the account as a whole.
const ACCOUNT: &str = "account";

/// How the keyring stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The server and its timeline are those that nobody doubts.
    pub confirmed: bool,
    /// Since when the server has all that is committed: its start, or when it began to follow.
    pub since: Timestamp,
    /// Its own commits wait for a standby.
    pub synchronous: bool,
    /// The data's mark, as it was told last.
    pub mark: Mark,
}

impl Keyring {
    /// How the keyring stands.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn standing(&self) -> Result<Standing, Error> {
        let row = sqlx::query!(
            r#"select history = keyring.server_history() as "confirmed!", keyring.server_since() as "since!: SqlTimestamp",
                      synchronous, n, at as "at: SqlTimestamp", accepted, entry, hash, data_synchronous
               from keyring.mark"#
        );
        let row = row.fetch_one(&self.pool).await.map_err(Error::LookUp)?;
        Ok(Standing {
            confirmed: row.confirmed,
            since: row.since.to_jiff(),
            synchronous: row.synchronous,
            mark: Mark {
                n: row.n,
                at: row.at.to_jiff(),
                accepted: row.accepted,
                entry: row.entry,
                hash: row.hash,
                synchronous: row.data_synchronous,
            },
        })
    }

    /// Keeps the data's mark; an older one changes nothing.
    ///
    /// # Errors
    /// When the keyring says no.
    pub async fn keep_mark(&self, mark: &Mark) -> Result<(), Error> {
        sqlx::query!(
            "select keyring.keep_mark($1, $2, $3, $4, $5, $6)",
            mark.n,
            mark.at.to_sqlx() as SqlTimestamp,
            mark.accepted,
            mark.entry,
            mark.hash,
            mark.synchronous
        )
        .execute(&self.pool)
        .await
        .map(|_| ())
        .map_err(Error::Mark)
    }

    /// What changed the server's history is known. Where it was `restored`, keys that are made from here on have names that
    /// none had before.
    ///
    /// # Errors
    /// When the keyring says no.
    pub async fn confirm(&self, restored: bool, newest_mark: i64) -> Result<(), Error> {
        sqlx::query!("select keyring.confirm_history($1, $2)", restored, newest_mark)
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(Error::Mark)
    }

    /// The highest account id that the keyring knows.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn newest_account(&self) -> Result<i64, Error> {
        let newest = sqlx::query_scalar!(r#"select keyring.newest_account() as "newest!""#);
        newest.fetch_one(&self.pool).await.map_err(Error::LookUp)
    }

    /// What was erased other than by its date, as the keyring has it.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn erasures(&self) -> Result<Vec<Erasure>, Error> {
        let rows = sqlx::query_as!(
            ErasureRow,
            r#"select tenant_id, class, before as "before: SqlDate", at as "at: SqlTimestamp" from keyring.erasure
               order by at, tenant_id"#
        );
        Ok(rows.fetch_all(&self.pool).await.map_err(Error::LookUp)?.into_iter().map(Erasure::from).collect())
    }

    /// Notes one that the data instance has.
    ///
    /// # Errors
    /// When the keyring says no.
    pub async fn note(&self, erasure: &Erasure) -> Result<(), Error> {
        sqlx::query!(
            "insert into keyring.erasure (tenant_id, class, before, at) values ($1, $2, $3, $4) on conflict do nothing",
            erasure.tenant.0,
            erasure.class,
            erasure.before.to_sqlx() as SqlDate,
            erasure.at.to_sqlx() as SqlTimestamp
        )
        .execute(&self.pool)
        .await
        .map(|_| ())
        .map_err(Error::Destroy)
    }

    /// Destroys the keys of it once more. How many. One of a class that a newer version has noted is left to that version: all
    /// keys of a tenant go only where its account was erased.
    ///
    /// # Errors
    /// When the keyring says no; nothing is destroyed then.
    pub async fn erase_again(&self, erasure: &Erasure) -> Result<i64, Error> {
        match Class::of(&erasure.class) {
            Some(class) => self.erase(erasure.tenant, class, erasure.before).await,
            None if erasure.class == ACCOUNT => self.forget(erasure.tenant).await,
            None => {
                tracing::warn!(
                    class = erasure.class,
                    "what was erased of a class unknown to this version is left alone"
                );
                Ok(0)
            }
        }
    }
}

/// Of these keys, the ones that the keyring does not have.
///
/// # Errors
/// When the keyring does not answer.
pub async fn missing(pool: &PgPool, needed: Vec<Needed>) -> Result<Vec<Needed>, Error> {
    let tenants: Vec<i64> = needed.iter().map(|needed| needed.tenant.0).collect();
    let names: Vec<String> = needed.iter().map(|needed| needed.key.clone()).collect();
    let there = sqlx::query_scalar!(
        r#"select exists (select from keyring.key k
                          where k.tenant_id = n.tenant_id and k.class = 'queue' and k.name = n.name) as "there!"
           from unnest($1::bigint[], $2::text[]) with ordinality as n (tenant_id, name, place) order by place"#,
        &tenants,
        &names
    );
    let there = there.fetch_all(pool).await.map_err(Error::LookUp)?;
    Ok(needed.into_iter().zip(there).filter(|(_, there)| !there).map(|(needed, _)| needed).collect())
}
