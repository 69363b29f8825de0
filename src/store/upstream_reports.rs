//! How routes stand with their upstreams: told by each connector pod, read by the operator for the routes' statuses.
//!
//! A pod's report counts for three minutes. It is of a few words, numbers and times: nothing that an upstream wrote.
use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{Circuit, RouteId};
use crate::store::asking::asking;

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pod's report.
    #[error("tell how the upstream stands: {0}")]
    Tell(#[source] sqlx::Error),
    /// The reports.
    #[error("read how upstreams stand: {0}")]
    Read(#[source] sqlx::Error),
}

/// Why a bind did not come to be, or is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection.
    Connect,
    /// There was no agreement on TLS.
    Tls,
    /// The upstream refused the bind with this SMPP status, or over HTTPS answered with this status.
    Refused(u32),
    /// The connection ended.
    Lost,
}

impl Failure {
    fn stored(self) -> (&'static str, Option<i64>) {
        match self {
            Self::Connect => ("connect", None),
            Self::Tls => ("tls", None),
            Self::Refused(status) => ("refused", Some(status.into())),
            Self::Lost => ("lost", None),
        }
    }

    fn read(word: &str, status: Option<i64>) -> Self {
        match word {
            "connect" => Self::Connect,
            "tls" => Self::Tls,
            "refused" => Self::Refused(status.and_then(|status| status.try_into().ok()).unwrap_or_default()),
            _ => Self::Lost,
        }
    }
}

/// How ids in receipts relate to those that submits were answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptIds {
    /// They are the same.
    Same,
    /// Hexadecimal in the answer, decimal in the receipt.
    HexThenDecimal,
    /// Decimal in the answer, hexadecimal in the receipt.
    DecimalThenHex,
}

impl ReceiptIds {
    fn stored(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::HexThenDecimal => "hex_then_decimal",
            Self::DecimalThenHex => "decimal_then_hex",
        }
    }

    fn read(word: &str) -> Option<Self> {
        [Self::Same, Self::HexThenDecimal, Self::DecimalThenHex].into_iter().find(|ids| ids.stored() == word)
    }
}

/// What kind of error an upstream made last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There was no connection.
    Connect,
    /// There was no agreement on TLS.
    Tls,
    /// A bind was refused.
    Refused,
    /// A connection ended.
    Lost,
    /// A submit was throttled.
    Throttled,
    /// A submit met a fault of the upstream's own.
    Fault,
    /// A submit was not answered in time.
    Unanswered,
}

impl Trouble {
    const ALL: [Self; 7] =
        [Self::Connect, Self::Tls, Self::Refused, Self::Lost, Self::Throttled, Self::Fault, Self::Unanswered];

    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Throttled => "throttled",
            Self::Fault => "fault",
            Self::Unanswered => "unanswered",
        }
    }
}

/// An upstream's last error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastError {
    /// Of which kind.
    pub trouble: Trouble,
    /// The status it came with: SMPP's, or HTTP's where a bind over HTTPS was refused.
    pub status: Option<u32>,
    /// When.
    pub at: Timestamp,
}

/// How one connector pod stands with the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Binds that stand.
    pub binds: u16,
    /// Where some are missing: why the last attempt failed.
    pub failure: Option<Failure>,
    /// How ids in receipts seem to be spelled, where that is not as the route says.
    pub id_format: Option<ReceiptIds>,
    /// Whether the route takes messages.
    pub circuit: Circuit,
    /// Since when that is so.
    pub since: Timestamp,
    /// The upstream's last error since the pod began.
    pub last_error: Option<LastError>,
}

/// Tells how a pod of the route whose login asks stands now.
///
/// # Errors
/// When the database does not answer.
pub async fn tell(pool: &PgPool, pod: Uuid, report: Report) -> Result<(), Error> {
    let (failure, status) = report.failure.map(Failure::stored).unzip();
    let last = report.last_error;
    sqlx::query!(
        "select upstream_tell($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        pod,
        i32::from(report.binds),
        failure,
        status.flatten(),
        report.id_format.map(ReceiptIds::stored),
        report.circuit.as_str(),
        report.since.to_sqlx() as SqlTimestamp,
        last.map(|last| last.trouble.as_str()),
        last.and_then(|last| last.status).map(i64::from),
        last.map(|last| last.at.to_sqlx()) as Option<SqlTimestamp>,
    )
    .execute(asking(pool))
    .await
    .map_err(Error::Tell)?;
    Ok(())
}

/// Takes back what a pod told that stops.
///
/// # Errors
/// When the database does not answer.
pub async fn withdraw(pool: &PgPool, pod: Uuid) -> Result<(), Error> {
    sqlx::query!("select upstream_withdraw($1)", pod).execute(asking(pool)).await.map_err(Error::Tell)?;
    Ok(())
}

/// What the pods of a route told lately, the newest first.
///
/// # Errors
/// When the database does not answer.
pub async fn of_route(pool: &PgPool, route: RouteId) -> Result<Vec<Report>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select r.namespace, r.name, u.binds, u.failure, u.status, u.id_format, u.circuit, u.circuit_since as "circuit_since: SqlTimestamp",
                u.error, u.error_status, u.error_at as "error_at: SqlTimestamp"
           from upstream_report u join route r using (route_id)
           where u.route_id = $1 and u.reported_at > now() - interval '3 minutes'
           order by u.reported_at desc, u.pod"#,
        route.0,
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Read)?;
    Ok(rows.iter().map(Row::report).collect())
}

/// What the pods of all routes told lately, the newest first, each with its route's namespace and name. What is too old
/// to count is removed.
///
/// # Errors
/// When the database does not answer.
pub async fn of_all(pool: &PgPool) -> Result<Vec<(String, String, Report)>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"with gone as (delete from upstream_report where reported_at <= now() - interval '3 minutes')
           select r.namespace, r.name, u.binds, u.failure, u.status, u.id_format, u.circuit, u.circuit_since as "circuit_since: SqlTimestamp",
                u.error, u.error_status, u.error_at as "error_at: SqlTimestamp"
           from upstream_report u join route r using (route_id)
           where u.reported_at > now() - interval '3 minutes'
           order by u.reported_at desc, u.pod"#
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Read)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let report = row.report();
            (row.namespace, row.name, report)
        })
        .collect())
}

/// A report as it is stored.
struct Row {
    namespace: String,
    name: String,
    binds: i32,
    failure: Option<String>,
    status: Option<i64>,
    id_format: Option<String>,
    circuit: String,
    circuit_since: SqlTimestamp,
    error: Option<String>,
    error_status: Option<i64>,
    error_at: Option<SqlTimestamp>,
}

impl Row {
    fn report(&self) -> Report {
        let trouble = self.error.as_deref().and_then(|word| Trouble::ALL.into_iter().find(|one| one.as_str() == word));
        let status = self.error_status.and_then(|status| status.try_into().ok());
        Report {
            binds: u16::try_from(self.binds).unwrap_or_default(),
            failure: self.failure.as_deref().map(|word| Failure::read(word, self.status)),
            id_format: self.id_format.as_deref().and_then(ReceiptIds::read),
            // A word that a later version has is taken for the worst.
            circuit: Circuit::from_word(&self.circuit).unwrap_or(Circuit::Open),
            since: self.circuit_since.to_jiff(),
            last_error: trouble.zip(self.error_at).map(|(trouble, at)| LastError { trouble, status, at: at.to_jiff() }),
        }
    }
}
