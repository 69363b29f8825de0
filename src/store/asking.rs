//! Asking on a pool's connections without waiting for one that has died silently, as when the machine at its other end loses its
//! power: nothing ever comes from there again, and nothing tells. Neither PostgreSQL's time-outs help (they are the server's) nor
//! the pool, which asks a connection for a sign of life before it takes it back, and would wait for that for ever too.
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgQueryResult, PgRow, PgStatement, PgTypeInfo, Postgres};
use sqlx::{Describe, Either, Execute, Executor, SqlStr};
use tokio::time::timeout;

/// How long an answer is waited for. The server ends a statement of the data plane's logins after 15 s: whoever hears nothing for
/// longer never will.
const SILENCE: Duration = Duration::from_secs(20);

/// A pool whose answers are waited for no longer than [`SILENCE`], to be asked in the place of the pool itself. All rows of an
/// answer are held: for questions with few of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'p>(&'p PgPool);

/// See [`Asking`].
pub(crate) fn asking(pool: &PgPool) -> Asking<'_> {
    Asking(pool)
}

/// A connection that goes back to its pool once it is said to be well. Else it is closed, also when a time-out or a caller that
/// went away dropped the question: the answer may never come.
#[derive(Debug)]
pub(crate) struct Lent {
    connection: PoolConnection<Postgres>,
    well: bool,
}

impl Lent {
    pub(crate) async fn of(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self { connection: pool.acquire().await?, well: false })
    }

    /// Waits for what `question` comes to, [`SILENCE`] at most; `None`: nothing was heard, and whether it was done is not known.
    pub(crate) async fn hear<T>(mut self, question: impl AsyncFnOnce(&mut PgConnection) -> T) -> Option<T> {
        let answer = timeout(SILENCE, question(&mut self.connection)).await.ok();
        self.well = answer.is_some();
        answer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.well {
            self.connection.close_on_drop();
        }
    }
}

/// What is said where nothing was heard.
pub(crate) fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "nothing was heard from the database"))
}

impl<'p> Executor<'p> for Asking<'p> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answer = async move {
            let mut lent = Lent::of(self.0).await?;
            let steps = timeout(SILENCE, lent.connection.fetch_many(query).collect::<Vec<_>>()).await;
            let steps = steps.map_err(|_| silent())?;
            lent.well = true;
            Ok::<_, sqlx::Error>(futures::stream::iter(steps))
        };
        futures::stream::once(answer).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let mut lent = Lent::of(self.0).await?;
            let row = timeout(SILENCE, lent.connection.fetch_optional(query)).await.map_err(|_| silent())?;
            lent.well = true;
            row
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        self.0.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        self.0.describe(sql)
    }
}
