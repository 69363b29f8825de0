//! What a connector knows about the tenants on its route, and what tells it that something changed.
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::time::timeout;

use super::wake::CHANNEL as WAKE;
use crate::domain::TenantId;
use crate::store::asking::asking;

/// Says that shares, numbers or enforcement changed; sent by the operator.
const CHANGE: &str = "budstikke_change";
/// How long the listening connection may take to answer before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question to the database failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shares.
    #[error("read the route's shares: {0}")]
    ReadShares(#[source] sqlx::Error),
    /// The numbers.
    #[error("read the route's numbers: {0}")]
    ReadNumbers(#[source] sqlx::Error),
    /// The keys and words of opt-outs.
    #[error("read by which words the route's numbers are opted out: {0}")]
    ReadOptOuts(#[source] sqlx::Error),
    /// The notifications.
    #[error("listen for changes: {0}")]
    Listen(#[source] sqlx::Error),
    /// The listening connection does not answer.
    #[error("the listening connection does not answer")]
    ListenerSilent,
}

/// One tenant's share of the route whose login asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Whose.
    pub tenant: TenantId,
    /// Its weight, 1 to 1000.
    pub weight: u32,
    /// Whether it may send now.
    pub may_send: bool,
    /// Its newest sender's epoch.
    pub epoch: i64,
}

/// A number, and a keyword where several tenants share it, by which inbound finds its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundNumber {
    /// The number, as the owner wrote it.
    pub number: String,
    /// The first word of the text; empty takes what no keyword takes.
    pub keyword: String,
    /// Whose inbound it is.
    pub tenant: TenantId,
}

/// The shares of the route whose login asks.
///
/// # Errors
/// When the database does not answer.
pub async fn read(pool: &PgPool) -> Result<Vec<Share>, Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant_id!", weight as "weight!", may_send as "may_send!", epoch as "epoch!"
           from connector_shares()"#
    );
    let rows = rows.fetch_all(asking(pool)).await.map_err(Error::ReadShares)?;
    Ok(rows
        .into_iter()
        .map(|row| Share {
            tenant: TenantId(row.tenant_id),
            weight: row.weight.max(1).unsigned_abs(),
            may_send: row.may_send,
            epoch: row.epoch,
        })
        .collect())
}

/// The numbers of the route whose login asks.
///
/// # Errors
/// When the database does not answer.
pub async fn numbers(pool: &PgPool) -> Result<Vec<InboundNumber>, Error> {
    let rows = sqlx::query!(
        r#"select number as "number!", keyword as "keyword!", tenant_id as "tenant_id!" from connector_numbers()"#
    );
    let rows = rows.fetch_all(asking(pool)).await.map_err(Error::ReadNumbers)?;
    Ok(rows
        .into_iter()
        .map(|row| InboundNumber { number: row.number, keyword: row.keyword, tenant: TenantId(row.tenant_id) })
        .collect())
}

/// By which words handsets opt out of what a tenant sends, and the key that this is sealed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOutRule {
    /// Whose.
    pub tenant: TenantId,
    /// To get nothing more; none: by no word.
    pub stop_words: Vec<String>,
    /// To get something again.
    pub start_words: Vec<String>,
    /// The key's name.
    pub key_name: String,
    /// The key's octets.
    pub key: Vec<u8>,
}

/// The words of the tenants that have numbers on the route whose login asks.
///
/// # Errors
/// When the database does not answer.
pub async fn opt_outs(pool: &PgPool) -> Result<Vec<OptOutRule>, Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant_id!", stop_words as "stop_words!", start_words as "start_words!",
             key_name as "key_name!", key as "key!"
           from connector_opt_outs()"#
    );
    let rows = rows.fetch_all(asking(pool)).await.map_err(Error::ReadOptOuts)?;
    Ok(rows
        .into_iter()
        .map(|row| OptOutRule {
            tenant: TenantId(row.tenant_id),
            stop_words: row.stop_words,
            start_words: row.start_words,
            key_name: row.key_name,
            key: row.key,
        })
        .collect())
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// These tenants have something new in their queue.
    Wake(Vec<TenantId>),
    /// Shares, numbers or enforcement changed.
    Change,
    /// The connection was lost and is back: notifications in between are gone.
    Gap,
}

/// Listens on a connection of its own.
#[derive(Debug)]
pub struct Listener {
    inner: PgListener,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open(pool: &PgPool) -> Result<Self, Error> {
        let mut inner = PgListener::connect_with(pool).await.map_err(Error::Listen)?;
        inner.listen_all([WAKE, CHANGE]).await.map_err(Error::Listen)?;
        Ok(Self { inner })
    }

    /// The next notice. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the connection is lost for good: open another one.
    pub async fn next(&mut self) -> Result<Notice, Error> {
        let Some(notification) = self.inner.try_recv().await.map_err(Error::Listen)? else { return Ok(Notice::Gap) };
        if notification.channel() != WAKE {
            return Ok(Notice::Change);
        }
        Ok(Notice::Wake(
            notification.payload().split(',').filter_map(|id| id.trim().parse().ok()).map(TenantId).collect(),
        ))
    }

    /// Asks the connection for a sign of life: one that died silently would never say anything again.
    ///
    /// # Errors
    /// When there is none within 5 s.
    pub async fn check(&mut self) -> Result<(), Error> {
        match timeout(PATIENCE, sqlx::query("select 1").execute(&mut self.inner)).await {
            Ok(answered) => answered.map(|_| ()).map_err(Error::Listen),
            Err(_) => Err(Error::ListenerSilent),
        }
    }
}
