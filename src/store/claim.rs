//! The sender's side of the queue: which messages come next, and the flights that say which of them may be on their
//! way. A message is in a flight from before its submit until its result is stored, so that after a crash the flights
//! alone are of unknown fate.
use jiff_sqlx::{Timestamp, ToSqlx as _};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::domain::{MessageId, RouteId, TenantId};
use crate::store::asking::asking;

/// The code of what a login may not do.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No epoch was given.
    #[error("begin an epoch: {0}")]
    Begin(#[source] sqlx::Error),
    /// The login belongs to no tenant.
    #[error("the database login belongs to no tenant")]
    NoTenant,
    /// Older flights were not taken over.
    #[error("take over the flights of older epochs: {0}")]
    Adopt(#[source] sqlx::Error),
    /// The gate was not read.
    #[error("ask whether messages may be sent: {0}")]
    Gate(#[source] sqlx::Error),
    /// The queue was not read.
    #[error("read the queue: {0}")]
    Read(#[source] sqlx::Error),
    /// No flight was begun.
    #[error("begin a flight: {0}")]
    Launch(#[source] sqlx::Error),
}

/// Whether this sender may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// No newer sender of the tenant has begun.
    pub newest: bool,
    /// The tenant may send.
    pub may_send: bool,
    /// Messages of unknown fate are held for a decision, not sent again.
    pub hold: bool,
}

/// A message of the queue, still sealed.
#[derive(Debug)]
pub struct Queued {
    /// Which.
    pub id: MessageId,
    /// In how many parts it was accepted.
    pub parts: u8,
    /// When it is too late for it.
    pub expires_at: jiff::Timestamp,
    /// It goes before those that are not.
    pub urgent: bool,
    /// It is among those that [`read_urgent`] gives, and [`read`] does not.
    pub overtakes: bool,
    /// The key that opens `body`.
    pub queue_key: String,
    /// The sealed [`crate::domain::content::Body`].
    pub body: Vec<u8>,
}

/// A flight that a sender before this one began and did not finish.
#[derive(Debug)]
pub struct Adopted {
    /// Its identity from now on.
    pub flight: Uuid,
    /// Its messages that are still queued.
    pub ids: Vec<MessageId>,
}

/// What [`launch`] found.
#[derive(Debug)]
pub struct Launched {
    /// Whether this sender may go on.
    pub gate: Gate,
    /// The messages that are in the flight now; those missing left the queue meanwhile. Empty: there is no flight.
    pub ids: Vec<MessageId>,
}

/// Who wants to begin.
#[derive(Debug, Clone, Copy)]
pub struct Beginner {
    /// Others run beside it.
    pub stands_by: bool,
    /// The pod it runs in: what ran there before is dead. Nil for all that run in none.
    pub pod: Uuid,
    /// It has waited for one in another pod to say that it is alive.
    pub insists: bool,
}

impl Beginner {
    /// One that runs alone and in no pod.
    pub const ALONE: Self = Self { stands_by: false, pod: Uuid::nil(), insists: false };
}

/// Takes the tenant's next epoch; every older sender may claim nothing from here on. `None` while one says that it is
/// alive, or may be about to.
///
/// # Errors
/// When the database says no.
pub async fn begin(db: impl PgExecutor<'_>, beginner: Beginner) -> Result<Option<i64>, Error> {
    let Beginner { stands_by, pod, insists } = beginner;
    let begun = sqlx::query_scalar!("select sender_begin($1, $2, $3)", stands_by, pod, insists).fetch_one(db).await;
    begun.map_err(|error| match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => Error::NoTenant,
        _ => Error::Begin(error),
    })
}

/// Says that this sender is alive for so long from now; 0 seconds: that others may begin.
///
/// # Errors
/// When the database says no.
pub async fn alive(pool: &PgPool, epoch: i64, seconds: i32) -> Result<(), Error> {
    sqlx::query!("select sender_alive($1, $2)", epoch, seconds).execute(asking(pool)).await.map_err(Error::Begin)?;
    Ok(())
}

/// Whether this sender may go on.
///
/// # Errors
/// When the database says no.
pub async fn gate(db: impl PgExecutor<'_>, epoch: i64) -> Result<Gate, Error> {
    let row = sqlx::query!(
        r#"select coalesce(newest, false) as "newest!", coalesce(may_send, false) as "may_send!",
                  coalesce(crash_policy = 'hold', true) as "hold!"
           from sender_gate($1)"#,
        epoch
    )
    .fetch_one(db)
    .await
    .map_err(Error::Gate)?;
    Ok(Gate { newest: row.newest, may_send: row.may_send, hold: row.hold })
}

/// Takes over what older epochs left in flight. Under `hold`, and for a flight begun more than `attempts` times (it
/// seems to crash its sender), the messages are held; the other flights go on under this epoch. Returns those, and how
/// many messages are held. To be asked before anything is launched; asked again it gives the same.
///
/// # Errors
/// When the database says no; then nothing has changed.
pub async fn adopt(pool: &PgPool, epoch: i64, hold: bool, attempts: i16) -> Result<(Vec<Adopted>, usize), Error> {
    let rows = sqlx::query!(
        r#"select as_flight, messages as "messages!" from sender_adopt($1, $2, $3)"#,
        epoch,
        hold,
        attempts
    )
    .fetch_all(asking(pool))
    .await
    .map_err(Error::Adopt)?;
    let (mut adopted, mut held) = (Vec::new(), 0);
    for row in rows {
        match row.as_flight {
            Some(flight) => adopted.push(Adopted { flight, ids: ids(row.messages) }),
            None => held += row.messages.len(),
        }
    }
    Ok((adopted, held))
}

/// A message as the queries of the queue give it.
struct Row {
    message_id: Uuid,
    parts: i16,
    urgent: bool,
    scheduled: bool,
    expires_at: Timestamp,
    queue_key: String,
    body: Vec<u8>,
}

impl From<Row> for Queued {
    fn from(row: Row) -> Self {
        Self {
            id: MessageId(row.message_id),
            parts: u8::try_from(row.parts).unwrap_or(u8::MAX),
            expires_at: row.expires_at.to_jiff(),
            urgent: row.urgent,
            overtakes: row.urgent && !row.scheduled,
            queue_key: row.queue_key,
            body: row.body,
        }
    }
}

/// Up to `most` urgent messages after `after` that are not scheduled, oldest first, without those that the sender has
/// already. Found by an index that holds nothing else: what it costs does not depend on what else waits.
///
/// # Errors
/// When the database says no.
pub async fn read_urgent(
    pool: &PgPool,
    tenant: TenantId,
    after: MessageId,
    have: &[Uuid],
    most: i64,
) -> Result<Vec<Queued>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select message_id, parts, urgent, false as "scheduled!", expires_at as "expires_at: Timestamp", queue_key, body
           from queue
           where tenant_id = $1 and message_id > $2 and state = 0 and urgent and not_before is null
             and message_id not in (select unnest($3::uuid[]))
           order by message_id limit $4"#,
        tenant.0,
        after.0,
        have,
        most
    )
    .fetch_all(asking(pool))
    .await
    .map_err(Error::Read)?;
    Ok(rows.into_iter().map(Queued::from).collect())
}

/// Up to `most` other messages after `after` that are due at `now`, oldest first, without those that the sender has already.
///
/// # Errors
/// When the database says no.
pub async fn read(
    pool: &PgPool,
    tenant: TenantId,
    after: MessageId,
    have: &[Uuid],
    now: jiff::Timestamp,
    most: i64,
) -> Result<Vec<Queued>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select message_id, parts, urgent, (not_before is not null) as "scheduled!",
                  expires_at as "expires_at: Timestamp", queue_key, body
           from queue
           where tenant_id = $1 and message_id > $2 and state = 0 and (not_before <= $4 or not_before is null and not urgent)
             and message_id not in (select unnest($3::uuid[]))
           order by message_id limit $5"#,
        tenant.0,
        after.0,
        have,
        now.to_sqlx() as Timestamp,
        most
    )
    .fetch_all(asking(pool))
    .await
    .map_err(Error::Read)?;
    Ok(rows.into_iter().map(Queued::from).collect())
}

/// The messages of `ids` that are still queued, as [`read`] gives them: what an adopted flight holds.
///
/// # Errors
/// When the database says no.
pub async fn read_these(pool: &PgPool, tenant: TenantId, ids: &[Uuid]) -> Result<Vec<Queued>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select message_id, parts, urgent, (not_before is not null) as "scheduled!",
                  expires_at as "expires_at: Timestamp", queue_key, body
           from queue where tenant_id = $1 and message_id = any ($2) and state = 0 order by message_id"#,
        tenant.0,
        ids
    )
    .fetch_all(asking(pool))
    .await
    .map_err(Error::Read)?;
    Ok(rows.into_iter().map(Queued::from).collect())
}

/// When the next scheduled message after `now` is due; `None` where none is scheduled.
///
/// # Errors
/// When the database says no.
pub async fn next_due(pool: &PgPool, tenant: TenantId, now: jiff::Timestamp) -> Result<Option<jiff::Timestamp>, Error> {
    let due = sqlx::query_scalar!(
        r#"select min(not_before) as "due: Timestamp" from queue where tenant_id = $1 and state = 0 and not_before > $2"#,
        tenant.0,
        now.to_sqlx() as Timestamp
    )
    .fetch_one(asking(pool))
    .await
    .map_err(Error::Read)?;
    Ok(due.map(Timestamp::to_jiff))
}

/// The tenants that may send and have something to: messages that are due by `by`, or under way.
///
/// # Errors
/// When the database says no.
pub async fn with_work(pool: &PgPool, by: jiff::Timestamp) -> Result<Vec<TenantId>, Error> {
    // One row of each is enough, and found by the key: of whoever has millions no more is read.
    let tenants = sqlx::query_scalar!(
        r#"select e.tenant_id from enforcement e cross join lateral (
               (select from queue q where q.tenant_id = e.tenant_id and q.state = 0 and (q.not_before is null or q.not_before <= $1) limit 1)
               union all (select from flight f where f.tenant_id = e.tenant_id limit 1) limit 1
           ) as work where e.may_send"#,
        by.to_sqlx() as Timestamp
    )
    .fetch_all(asking(pool))
    .await
    .map_err(Error::Read)?;
    Ok(tenants.into_iter().map(TenantId).collect())
}

/// Puts messages in a flight, if this sender still may: committed when this returns. The gate's locks make a suspension or
/// a newer sender wait for it, or be seen by it.
///
/// # Errors
/// When the database says no; the flight may exist all the same.
pub async fn launch(
    pool: &PgPool,
    epoch: i64,
    flight: Uuid,
    route: RouteId,
    wanted: &[Uuid],
) -> Result<Launched, Error> {
    let row = sqlx::query!(
        r#"select coalesce(newest, false) as "newest!", coalesce(may_send, false) as "may_send!",
                  coalesce(crash_policy = 'hold', true) as "hold!", flown as "ids!"
           from sender_launch($1, $2, $3, $4)"#,
        epoch,
        flight,
        route.0,
        wanted
    )
    .fetch_one(asking(pool))
    .await
    .map_err(Error::Launch)?;
    Ok(Launched { gate: Gate { newest: row.newest, may_send: row.may_send, hold: row.hold }, ids: ids(row.ids) })
}

fn ids(raw: Vec<Uuid>) -> Vec<MessageId> {
    raw.into_iter().map(MessageId).collect()
}
