//! SQL by aggregate, and the migrations. Roles come here for every question to PostgreSQL; what a login may see is
//! decided there (`migrations/0003_isolation.sql`), not here.
pub mod accept;
pub mod accounts;
mod asking;
pub mod backups;
pub mod claim;
pub mod copy;
pub mod credentials;
pub mod decisions;
pub mod disclosures;
pub mod history;
pub mod inbound;
pub mod installation;
pub mod logins;
pub mod mail;
pub mod migrate;
pub mod opt_outs;
pub mod partitions;
pub mod receipts;
pub mod receipts_upstream;
pub mod received;
pub mod repeats;
pub mod results;
pub mod retention;
pub mod routes;
pub mod scram;
pub mod shares;
pub mod statement;
pub mod statistics;
pub mod unheard;
pub mod upstream_reports;
pub mod wake;
pub mod webhooks;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use asking::{Lent, asking, silent};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgExecutor};
use zeroize::Zeroizing;

/// Whether a statement gave up a lock that others hold, because it was told to wait no longer.
fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("55P03")
}

/// Where a database is and how to log in. Comes from a Secret's file; `Debug` shows host and login, never the password.
#[derive(Clone)]
pub struct Dsn {
    options: PgConnectOptions,
    password: Zeroizing<String>,
}

/// Why a database's address could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DsnError {
    /// The Secret's file.
    #[error("read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not of the form `postgres://login:password@host:port/database`. The text itself is secret.
    #[error("parse the database URL: want postgres://login:password@host:port/database")]
    Parse,
}

impl Dsn {
    /// Parses `postgres://login:password@host:port/database`.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(url: &str) -> Result<Self, DsnError> {
        let url = url.trim();
        let options = url.parse::<PgConnectOptions>().map_err(|_| DsnError::Parse)?;
        let parsed = url::Url::parse(url).map_err(|_| DsnError::Parse)?;
        let password = percent_encoding::percent_decode_str(parsed.password().unwrap_or_default())
            .decode_utf8()
            .map_err(|_| DsnError::Parse)?
            .into_owned();
        Ok(Self { options, password: Zeroizing::new(password) })
    }

    /// Reads it from a file that a Secret is mounted at. Where a `ca.crt` stands beside it, the server must show a
    /// certificate from that authority.
    ///
    /// # Errors
    /// When the file cannot be read or parsed.
    pub fn read(path: &Path) -> Result<Self, DsnError> {
        let text = std::fs::read_to_string(path).map_err(|source| DsnError::Read { path: path.to_owned(), source })?;
        let authority = path.with_file_name("ca.crt");
        Ok(Self::parse(&text)?.verified_by(authority.exists().then_some(authority.as_path())))
    }

    /// Demands TLS with a certificate from `ca`, valid for the host's name (D8). Without it the URL's own `sslmode` holds.
    #[must_use]
    pub fn verified_by(mut self, ca: Option<&Path>) -> Self {
        if let Some(ca) = ca {
            self.options = self.options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(ca);
        }
        self
    }

    /// The login's name.
    #[must_use]
    pub fn login(&self) -> &str {
        self.options.get_username()
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    pub(crate) fn options(&self, schema: &str, application_name: &str) -> PgConnectOptions {
        self.options
            .clone()
            .application_name(application_name)
            // Plans that switch a kind of scan off are priced so high that PostgreSQL would compile them, anew each time: of what
            // a message cost the servers, that was two fifths.
            .options([("search_path", schema), ("jit", "off")])
            .log_statements(tracing::log::LevelFilter::Trace)
            .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO)
    }
}

impl std::fmt::Debug for Dsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Dsn({}@{}:{}/{})",
            self.login(),
            self.options.get_host(),
            self.options.get_port(),
            self.options.get_database().unwrap_or_default()
        )
    }
}

/// A pool on the data instance. Connects when it is first used, so that a role starts while its database is away; gives
/// up on a caller after 5 s; keeps no idle connection for longer than 30 s.
#[must_use]
pub fn connect(dsn: &Dsn, max_connections: u32, application_name: &str) -> PgPool {
    pool(max_connections, dsn.options("budstikke", application_name))
}

/// Gives a pool another address or password for the connections to come; those that stand stay.
pub fn readdress(pool: &PgPool, dsn: &Dsn, application_name: &str) {
    pool.set_connect_options(dsn.options("budstikke", application_name));
}

/// So many octets of parameters fit in one TLS record, with what a statement has beside them. Each record is written by itself, and
/// Nagle's algorithm is on (sqlx gives no way to turn it off): where packets are larger than records, as on a loopback or a pod's own
/// node, the second record of a statement waits for up to 40 ms until the first is acknowledged.
pub(crate) const RECORD: usize = 14 * 1024;

/// A connection that was used so recently is not asked whether it still stands: that costs the database as much as being asked
/// something. Shorter than any restart of PostgreSQL, so that what stood before one is asked.
const FRESH: Duration = Duration::from_millis(50);

/// Between two tries of what asks again while the database is away, at first and at most: one that is back is found soon, however long
/// it was away (K3). No shorter than what sqlx leaves between two connects while somebody waits.
pub(crate) const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// How long connections may take to come back into their pool.
const RETURNS: Duration = Duration::from_secs(1);
/// How long a connection may take to close.
const CLOSES: Duration = Duration::from_secs(5);

pub(crate) fn pool(max_connections: u32, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .test_before_acquire(false)
        .before_acquire(|connection, metadata| {
            Box::pin(async move {
                if metadata.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(30))
        .connect_lazy_with(options)
}

/// Closes the pool's connections, for one that is not asked anything for a while; they are opened anew when they are wanted.
/// Waits up to 1 s for those still in use, and up to 5 s for one whose other end does not answer.
pub(crate) async fn release(pool: &PgPool) {
    // sqlx puts a connection back in a task of its own, after a question to PostgreSQL, and tells nobody.
    let returned = async {
        while u32::try_from(pool.num_idle()).is_ok_and(|idle| idle < pool.size()) {
            tokio::time::sleep(RETURNS / 100).await;
        }
    };
    // Those that are used all the same are left.
    let _ = tokio::time::timeout(RETURNS, returned).await;
    for _ in 0..pool.num_idle() {
        let Some(connection) = pool.try_acquire() else { return };
        // Dropped where it says nothing: closed all the same, without a word.
        let _ = tokio::time::timeout(CLOSES, connection.close()).await;
    }
}

/// Whether every migration this binary knows has run. A newer schema serves too: it is made so that the version before
/// works on it.
///
/// # Errors
/// When the database does not answer, or has no schema yet.
pub async fn schema_is_recent(db: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    let version: Option<i64> = sqlx::query_scalar("select schema_version()").fetch_one(db).await?;
    Ok(version >= migrate::newest())
}
