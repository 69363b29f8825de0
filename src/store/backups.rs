//! What is known of an instance's copies: its backups, as the loop that takes them reports, and its standby. Read of both instances.
use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use sqlx::PgPool;

/// How often a standby that streams is asked whether it has replayed what was just done.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(200);

/// What the loop that takes backups said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// When the repository was looked through last.
    pub at: Timestamp,
    /// Of the oldest thing in it that holds data; `None`: nothing does.
    pub oldest: Option<Timestamp>,
    /// When the newest base backup began; `None`: there is none.
    pub newest: Option<Timestamp>,
    /// What the loop is set to: nothing may be older, seconds.
    pub keep_seconds: i64,
    /// What the loop is set to: between two base backups, seconds.
    pub every_seconds: i64,
    /// What failed in the newest round; empty: nothing.
    pub failure: String,
    /// Since when each round has failed; `None`: the newest has not.
    pub failing_since: Option<Timestamp>,
}

/// What is shown of an instance's standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standby {
    /// Commits wait for none.
    #[default]
    None,
    /// Commits wait for one that does not stream.
    Away,
    /// It streams, and has not replayed yet what was done.
    Behind,
    /// It has replayed what was done.
    Replayed,
}

/// What is known of an instance's copies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copies {
    /// `None`: no loop has reported.
    pub report: Option<Report>,
    /// The standby.
    pub standby: Standby,
}

/// Of the data instance. What its standby has replayed is everything up to now.
///
/// # Errors
/// When it does not answer.
pub async fn copies(pool: &PgPool) -> Result<Copies, sqlx::Error> {
    of(pool, Instance::Data).await
}

/// Of the keyring, as [`copies`].
///
/// # Errors
/// When it does not answer.
pub async fn copies_of_keyring(pool: &PgPool) -> Result<Copies, sqlx::Error> {
    of(pool, Instance::Keyring).await
}

#[derive(Clone, Copy)]
enum Instance {
    Data,
    Keyring,
}

/// Asks until the standby has replayed the position of the first question, or does not stream, or takes too long.
async fn of(pool: &PgPool, instance: Instance) -> Result<Copies, sqlx::Error> {
    let report = row(pool, instance).await?.map(Row::report);
    let mut asked = None;
    for _ in 0..TRIES {
        let State { configured, streaming, replayed, upto } = state(pool, instance, asked).await?;
        let standby = match (configured, streaming, replayed) {
            (false, ..) => Standby::None,
            (true, false, _) => Standby::Away,
            (true, true, true) => Standby::Replayed,
            (true, true, false) => {
                asked = Some(upto);
                tokio::time::sleep(BETWEEN).await;
                continue;
            }
        };
        return Ok(Copies { report, standby });
    }
    Ok(Copies { report, standby: Standby::Behind })
}

async fn row(pool: &PgPool, instance: Instance) -> Result<Option<Row>, sqlx::Error> {
    match instance {
        Instance::Data => {
            let row = sqlx::query_as!(
                Row,
                r#"select at as "at: SqlTimestamp", oldest as "oldest: SqlTimestamp", newest as "newest: SqlTimestamp",
                     keep_seconds, every_seconds, failure, failing_since as "failing_since: SqlTimestamp" from budstikke.backup_report"#
            );
            row.fetch_optional(pool).await
        }
        Instance::Keyring => {
            let row = sqlx::query_as!(
                Row,
                r#"select at as "at: SqlTimestamp", oldest as "oldest: SqlTimestamp", newest as "newest: SqlTimestamp",
                     keep_seconds, every_seconds, failure, failing_since as "failing_since: SqlTimestamp" from keyring.backup_report"#
            );
            row.fetch_optional(pool).await
        }
    }
}

async fn state(pool: &PgPool, instance: Instance, asked: Option<String>) -> Result<State, sqlx::Error> {
    match instance {
        Instance::Data => {
            let state = sqlx::query_as!(
                State,
                r#"select configured as "configured!", streaming as "streaming!", replayed as "replayed!", upto as "upto!"
                   from budstikke.standby_state($1)"#,
                asked
            );
            state.fetch_one(pool).await
        }
        Instance::Keyring => {
            let state = sqlx::query_as!(
                State,
                r#"select configured as "configured!", streaming as "streaming!", replayed as "replayed!", upto as "upto!"
                   from keyring.standby_state($1)"#,
                asked
            );
            state.fetch_one(pool).await
        }
    }
}

struct Row {
    at: SqlTimestamp,
    oldest: Option<SqlTimestamp>,
    newest: Option<SqlTimestamp>,
    keep_seconds: i64,
    every_seconds: i64,
    failure: String,
    failing_since: Option<SqlTimestamp>,
}

impl Row {
    fn report(self) -> Report {
        let Self { at, oldest, newest, keep_seconds, every_seconds, failure, failing_since } = self;
        let at = at.to_jiff();
        let time = |time: Option<SqlTimestamp>| time.map(SqlTimestamp::to_jiff);
        let (oldest, newest, failing_since) = (time(oldest), time(newest), time(failing_since));
        Report { at, oldest, newest, keep_seconds, every_seconds, failure, failing_since }
    }
}

struct State {
    configured: bool,
    streaming: bool,
    replayed: bool,
    upto: String,
}

#[cfg(test)]
mod tests {
    /// What both instances have of it, without their names.
    fn alike(migration: &str, schema: &str) -> String {
        let both = migration.split("-- As before, and").next().unwrap_or_default();
        let both = both.split("revoke execute").next().unwrap_or_default();
        both.replace(&format!("search_path = {schema}"), "search_path = schema").trim().to_owned()
    }

    #[test]
    fn both_instances_keep_the_same_of_their_copies() {
        let data = include_str!("migrations/0006_backups.sql");
        let keyring = include_str!("../keyring/migrations/0002_backups.sql");
        assert!(data.contains("function standby_state"));
        assert_eq!(alike(data, "budstikke"), alike(keyring, "keyring"));
    }
}
