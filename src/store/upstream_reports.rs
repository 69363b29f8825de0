//! How routes stand with their upstreams: told by each connector pod, read by the operator for the routes' statuses.
//!
//! A pod's report counts for three minutes. It is one of a few words and a number: nothing that an upstream wrote.
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::RouteId;

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

/// How one connector pod stands with the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Binds that stand.
    pub binds: u16,
    /// Where some are missing: why the last attempt failed.
    pub failure: Option<Failure>,
    /// How ids in receipts seem to be spelled, where that is not as the route says.
    pub id_format: Option<ReceiptIds>,
}

/// Tells how a pod of the route whose login asks stands now.
///
/// # Errors
/// When the database does not answer.
pub async fn tell(pool: &PgPool, pod: Uuid, report: Report) -> Result<(), Error> {
    let (failure, status) = report.failure.map(Failure::stored).unzip();
    let query = sqlx::query!(
        "select upstream_tell($1, $2, $3, $4, $5)",
        pod,
        i32::from(report.binds),
        failure,
        status.flatten(),
        report.id_format.map(ReceiptIds::stored)
    );
    query.execute(pool).await.map_err(Error::Tell)?;
    Ok(())
}

/// Takes back what a pod told that stops.
///
/// # Errors
/// When the database does not answer.
pub async fn withdraw(pool: &PgPool, pod: Uuid) -> Result<(), Error> {
    sqlx::query!("select upstream_withdraw($1)", pod).execute(pool).await.map_err(Error::Tell)?;
    Ok(())
}

/// What the pods of a route told lately, the newest first.
///
/// # Errors
/// When the database does not answer.
pub async fn of_route(pool: &PgPool, route: RouteId) -> Result<Vec<Report>, Error> {
    let rows = sqlx::query!(
        "select binds, failure, status, id_format from upstream_report
         where route_id = $1 and reported_at > now() - interval '3 minutes'
         order by reported_at desc, pod",
        route.0,
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Read)?;
    Ok(rows
        .into_iter()
        .map(|row| report(row.binds, row.failure.as_deref(), row.status, row.id_format.as_deref()))
        .collect())
}

/// What the pods of all routes told lately, the newest first, each with its route's namespace and name. What is too old
/// to count is removed.
///
/// # Errors
/// When the database does not answer.
pub async fn of_all(pool: &PgPool) -> Result<Vec<(String, String, Report)>, Error> {
    let rows = sqlx::query!(
        "with gone as (delete from upstream_report where reported_at <= now() - interval '3 minutes')
         select namespace, name, binds, failure, status, id_format from upstream_report join route using (route_id)
         where reported_at > now() - interval '3 minutes'
         order by reported_at desc, pod"
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Read)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            (row.namespace, row.name, report(row.binds, row.failure.as_deref(), row.status, row.id_format.as_deref()))
        })
        .collect())
}

fn report(binds: i32, failure: Option<&str>, status: Option<i64>, id_format: Option<&str>) -> Report {
    Report {
        binds: u16::try_from(binds).unwrap_or_default(),
        failure: failure.map(|word| Failure::read(word, status)),
        id_format: id_format.and_then(ReceiptIds::read),
    }
}
