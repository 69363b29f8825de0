//! Puts the messages of calls into the queue, all rows of a group at once (`enqueue` in `0013_accepting.sql`).
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff_sqlx::ToSqlx as _;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Call, Error, Logged, Outcome};
use crate::domain::TenantId;
use crate::store::asking::Lent;

/// A database that answered so recently is believed to be there. Under load it always has.
const FRESH: Duration = Duration::from_millis(10);

/// Whose calls are put into the queue.
#[derive(Debug, Clone, Copy)]
pub(super) enum Queue<'a> {
    /// All of them: what had to be decided is.
    All {
        /// Nothing is logged of these.
        unlogged: &'a HashSet<TenantId>,
    },
    /// Those of tenants about whom nothing is to be decided.
    Plain,
}

impl Queue<'_> {
    /// The key of a call's entries; `None` where nothing is logged.
    fn log_key<'c>(&self, call: &'c Call) -> Option<&'c str> {
        let unlogged = matches!(self, Self::All { unlogged } if unlogged.contains(&call.tenant));
        call.log_key.as_deref().filter(|_| !unlogged)
    }
}

/// Queues those calls of a group about which nothing is to be decided, neither by what they ask for nor by what holds for their tenants:
/// most calls are such, and theirs is one question, which is its own transaction. What is known of each call then; `None`: it is to be
/// decided, and nothing of it is stored. `heard` is when the database answered last.
pub(super) async fn plain(
    pool: &PgPool,
    calls: &[Call],
    heard: &mut Option<Instant>,
) -> Vec<Option<Result<Outcome, Error>>> {
    let is_plain = |call: &Call| call.repeat.is_none() && call.guard.is_none() && call.numbers.is_none();
    let asked: Vec<&Call> = calls.iter().filter(|call| is_plain(call)).collect();
    if asked.is_empty() {
        return vec![None; calls.len()];
    }
    let queued = ask(pool, &asked, heard.is_some_and(|heard| heard.elapsed() < FRESH)).await;
    *heard = queued.is_ok().then(Instant::now);
    let known = calls.iter().map(|call| match &queued {
        Ok(tenants) => (is_plain(call) && tenants.contains(&call.tenant)).then_some(Ok(Outcome::Accepted)),
        Err(error) => is_plain(call).then(|| Err(error.clone())),
    });
    known.collect()
}

/// The one question; whose calls were queued. Where the database was not heard a moment ago it is asked for a sign of life first: of a
/// connection that has died since nothing comes back, and what was asked on it might have been done.
async fn ask(pool: &PgPool, calls: &[&Call], is_fresh: bool) -> Result<HashSet<TenantId>, Error> {
    let failed = |error| Error::Store(Arc::new(error));
    let lent = Lent::of(pool).await.map_err(failed)?;
    let answer = lent.hear(async |db| {
        if !is_fresh {
            db.ping().await.map_err(failed)?;
        }
        match enqueue(db, calls, Queue::Plain).await {
            // The server said no: nothing is stored, and whose fault it is shows when they are tried otherwise.
            Err(sqlx::Error::Database(_)) => Ok(HashSet::new()),
            // Silence says nothing.
            queued => queued.map_err(|_| Error::Commit),
        }
    });
    answer.await.unwrap_or(Err(Error::Commit))
}

/// Queues calls; gives the tenants whose it queued.
pub(super) async fn enqueue(
    db: &mut PgConnection,
    calls: &[&Call],
    which: Queue<'_>,
) -> sqlx::Result<HashSet<TenantId>> {
    if calls.is_empty() {
        return Ok(HashSet::new());
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
    let log_keys: Vec<Option<&str>> = calls.iter().map(|call| which.log_key(call)).collect();
    let messages =
        || calls.iter().zip(&numbers).flat_map(|(call, of)| call.messages.iter().map(move |message| (of, message)));
    let logged: Vec<Option<&Logged>> = calls
        .iter()
        .flat_map(|call| {
            call.messages.iter().map(|message| message.logged.as_ref().filter(|_| which.log_key(call).is_some()))
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
    // To the end of what is answered: only then is it committed.
    let queued = sqlx::query_scalar!(
        r#"select unnest(enqueue($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)) as "tenant!""#,
        matches!(which, Queue::Plain),
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
    .fetch_all(db)
    .await?;
    Ok(queued.into_iter().map(TenantId).collect())
}
