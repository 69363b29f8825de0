//! The only role that may change the schema: brings the data and the keyring instance to this version.
//!
//! Safe to run twice and by two at once (an advisory lock per database). It waits for instances that are still
//! starting, sets the passwords of the operator's, the API's and the worker's logins, and makes the partitions of the coming days.
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::domain::{Clock, SystemClock, copenhagen_day};
use crate::store::{Dsn, DsnError, partitions, scram};

static DATA: Migrator = sqlx::migrate!("src/store/migrations");
static KEYRING: Migrator = sqlx::migrate!("src/keyring/migrations");

/// Where both instances are.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the data instance's Secret: owner-url, operator-url, api-url, worker-url, and the ca.crt of its server.
    #[arg(long, env = "BUDSTIKKE_DATABASE_DIR", default_value = "/etc/budstikke/database")]
    database: PathBuf,
    /// Directory of the keyring instance's Secret: the same files.
    #[arg(long, env = "BUDSTIKKE_KEYRING_DIR", default_value = "/etc/budstikke/keyring")]
    keyring: PathBuf,
    /// How long to wait for instances that are still starting, in seconds.
    #[arg(long, env = "BUDSTIKKE_MIGRATE_WAIT", default_value_t = 300)]
    wait: u64,
}

/// Why the schema is not at this version.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Secret's file.
    #[error(transparent)]
    ReadDsn(DsnError),
    /// An instance did not answer in time.
    #[error("connect to the {instance} instance: {source}")]
    Connect {
        /// `data` or `keyring`.
        instance: &'static str,
        /// The last attempt's failure.
        source: sqlx::Error,
    },
    /// A migration failed; it was rolled back.
    #[error("migrate the {instance} instance: {source}")]
    Migrate {
        /// `data` or `keyring`.
        instance: &'static str,
        /// What failed.
        source: MigrateError,
    },
    /// A password's verifier.
    #[error(transparent)]
    MakeVerifier(scram::SaltError),
    /// A login's password.
    #[error("set the password of {login} on the {instance} instance: {source}")]
    SetPassword {
        /// Whose.
        login: String,
        /// `data` or `keyring`.
        instance: &'static str,
        /// What failed.
        source: sqlx::Error,
    },
    /// The partitions of the coming days.
    #[error("make partitions: {0}")]
    MakePartitions(sqlx::Error),
}

/// One of the two PostgreSQL instances, as its Secret describes it.
#[derive(Debug)]
pub struct Instance {
    /// Runs the migrations.
    pub owner: Dsn,
    /// Logins whose passwords are set.
    pub logins: Vec<Dsn>,
}

impl Instance {
    fn read(dir: &Path) -> Result<Self, Error> {
        let dsn = |file: &str| Dsn::read(&dir.join(file)).map_err(Error::ReadDsn);
        Ok(Self { owner: dsn("owner-url")?, logins: vec![dsn("operator-url")?, dsn("api-url")?, dsn("worker-url")?] })
    }
}

/// The newest migration of the data instance that this binary knows.
#[must_use]
pub fn newest() -> Option<i64> {
    DATA.iter().map(|migration| migration.version).max()
}

/// Migrates both instances, as the arguments say where they are.
///
/// # Errors
/// See [`Error`]. What was done stays done; running again goes on from there.
pub async fn run(args: Args) -> Result<(), Error> {
    let data = Instance::read(&args.database)?;
    let keyring = Instance::read(&args.keyring)?;
    migrate(&data, &keyring, copenhagen_day(SystemClock.now()), Duration::from_secs(args.wait)).await
}

/// Migrates both instances and makes the partitions around `today`, waiting at most `wait` for each to answer.
///
/// # Errors
/// See [`Error`]. What was done stays done; running again goes on from there.
pub async fn migrate(data: &Instance, keyring: &Instance, today: Date, wait: Duration) -> Result<(), Error> {
    let mut connection = prepare("data", "budstikke", &DATA, data, wait).await?;
    let made: Vec<String> = sqlx::query_scalar("select ensure_partitions($1, $2)")
        .bind(day_after(today, -1).to_sqlx())
        .bind(day_after(today, partitions::DAYS_AHEAD).to_sqlx())
        .fetch_all(&mut connection)
        .await
        .map_err(Error::MakePartitions)?;
    tracing::info!(count = made.len(), "made partitions");
    prepare("keyring", "keyring", &KEYRING, keyring, wait).await?;
    Ok(())
}

fn day_after(day: Date, days: i64) -> Date {
    day.saturating_add(jiff::Span::new().days(days))
}

/// Waits for an instance, runs its migrations under sqlx's advisory lock, and sets its logins' passwords.
async fn prepare(
    instance: &'static str,
    schema: &'static str,
    migrator: &Migrator,
    access: &Instance,
    wait: Duration,
) -> Result<PgConnection, Error> {
    let mut connection =
        answer(&access.owner, schema, wait).await.map_err(|source| Error::Connect { instance, source })?;
    let failed = |source| Error::Migrate { instance, source };
    let before = version(&mut connection).await;
    {
        use sqlx::migrate::Migrate as _;
        connection.lock().await.map_err(failed)?;
        connection.create_schema_if_not_exists(schema).await.map_err(failed)?;
        migrator.run_direct(None, &mut connection, false).await.map_err(failed)?;
        for login in &access.logins {
            set_password(&mut connection, instance, login).await?;
        }
        connection.unlock().await.map_err(failed)?;
    }
    tracing::info!(instance, before, now = version(&mut connection).await, "schema is at this version");
    Ok(connection)
}

async fn version(connection: &mut PgConnection) -> Option<i64> {
    sqlx::query_scalar("select max(version) from _sqlx_migrations").fetch_one(connection).await.ok().flatten()
}

async fn set_password(connection: &mut PgConnection, instance: &'static str, login: &Dsn) -> Result<(), Error> {
    let verifier = scram::verifier(login.password()).map_err(Error::MakeVerifier)?;
    sqlx::query("select set_verifier($1::text::name, $2)")
        .bind(login.login())
        .bind(verifier)
        .execute(connection)
        .await
        .map_err(|source| Error::SetPassword { login: login.login().to_owned(), instance, source })?;
    tracing::info!(instance, login = login.login(), "set the login's password");
    Ok(())
}

/// Connects, trying again each half second while the instance is starting or its name is not known yet.
async fn answer(owner: &Dsn, schema: &str, wait: Duration) -> Result<PgConnection, sqlx::Error> {
    let deadline = tokio::time::Instant::now() + wait;
    let options = owner.options(schema, "budstikke migrate");
    loop {
        let attempt = tokio::time::timeout(Duration::from_secs(10), options.connect());
        let failure = match attempt.await {
            Ok(Ok(mut connection)) => match connection.ping().await {
                Ok(()) => return Ok(connection),
                Err(failure) => failure,
            },
            Ok(Err(failure)) => failure,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(failure);
        }
        tracing::info!(error = %failure, "waiting for the database");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
