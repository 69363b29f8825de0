//! What the owner has disclosed of tenants by law or to registers of abuse (D6). Entries are added and read, never changed.
use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::repeats::{self, Claim, Claimed, Repeat};
use crate::domain::TenantId;

/// A question to the database failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A disclosure was not recorded.
    #[error("record a disclosure: {0}")]
    Record(#[source] sqlx::Error),
    /// The answer to the commit is missing: it may be recorded or not.
    #[error("record a disclosure: the outcome is unknown")]
    Commit,
    /// Disclosures were not read.
    #[error("read disclosures: {0}")]
    Read(#[source] sqlx::Error),
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosure {
    /// Which; version 7, so it says when it was recorded.
    pub id: Uuid,
    /// `abuseRegister` or `authority`.
    pub recipient_kind: String,
    /// Who got it: an organisation.
    pub recipient: String,
    /// By which law, or which agreed term.
    pub legal_basis: String,
    /// Classes of data, as the inventory names them.
    pub classes: Vec<String>,
    /// The data's first and last day.
    pub period: (Option<Date>, Option<Date>),
    /// When it was disclosed.
    pub disclosed_at: Timestamp,
    /// The law that forbids to tell the tenant.
    pub secret_by: Option<String>,
    /// The day from which on it is told all the same.
    pub secret_until: Option<Date>,
    /// The entry that this one corrects.
    pub corrects: Option<Uuid>,
}

/// An entry, and whom it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The Tenant's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What was disclosed.
    pub disclosure: Disclosure,
}

/// What became of a new entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// It is stored.
    Stored,
    /// The same call recorded it before, with this answer; nothing new is stored.
    Repeated(serde_json::Value),
    /// The `Idempotency-Key` was used with another body; nothing is stored.
    KeyReused,
    /// No account of that name is there.
    NoTenant,
    /// The tenant has no such entry to correct.
    NothingToCorrect,
    /// The entry that it corrects is secret for longer: this one would tell.
    WouldTell,
}

/// Records a disclosure of the tenant with this namespace and name, on `today`; once for the `repeat` of its caller, if it has one.
///
/// # Errors
/// When the database does not answer.
pub async fn record(
    pool: &PgPool,
    tenant: (&str, &str),
    entry: &Disclosure,
    today: Date,
    repeat: Option<(TenantId, &Repeat)>,
) -> Result<Recorded, Error> {
    let mut transaction = pool.begin().await.map_err(Error::Record)?;
    if let Some((caller, repeat)) = repeat {
        let claim = Claim { caller, makes: entry.id, repeat };
        match repeats::claim(&mut transaction, &[claim]).await.map_err(Error::Record)?.pop() {
            Some(Claimed::Repeated(answer)) => return Ok(Recorded::Repeated(answer)),
            Some(Claimed::KeyReused) => return Ok(Recorded::KeyReused),
            Some(Claimed::First) | None => {}
        }
    }
    let recorded = store(&mut transaction, tenant, entry, today).await?;
    // What was refused is no answer to repeat: its key goes too.
    if recorded == Recorded::Stored {
        transaction.commit().await.map_err(|error| match error {
            sqlx::Error::Database(_) => Error::Record(error),
            _ => Error::Commit,
        })?;
    }
    Ok(recorded)
}

async fn store(
    db: &mut PgConnection,
    (namespace, name): (&str, &str),
    entry: &Disclosure,
    today: Date,
) -> Result<Recorded, Error> {
    let tenant = sqlx::query_scalar!(
        "select tenant_id from tenant where namespace = $1 and name = $2 and erased_at is null",
        namespace,
        name
    );
    let Some(tenant) = tenant.fetch_optional(&mut *db).await.map_err(Error::Record)? else {
        return Ok(Recorded::NoTenant);
    };
    if let Some(corrected) = entry.corrects {
        let former = sqlx::query!(
            r#"select secret_by, secret_until from disclosure where tenant_id = $1 and disclosure_id = $2"#,
            tenant,
            corrected
        );
        let Some(former) = former.fetch_optional(&mut *db).await.map_err(Error::Record)? else {
            return Ok(Recorded::NothingToCorrect);
        };
        let former = secrecy(former.secret_by.as_deref(), former.secret_until.map(SqlDate::to_jiff));
        if former > today && secrecy(entry.secret_by.as_deref(), entry.secret_until) < former {
            return Ok(Recorded::WouldTell);
        }
    }
    sqlx::query!(
        "insert into disclosure (tenant_id, disclosure_id, recipient_kind, recipient, legal_basis, classes, period_from,
                                 period_until, disclosed_at, secret_by, secret_until, corrects)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        tenant,
        entry.id,
        entry.recipient_kind,
        entry.recipient,
        entry.legal_basis,
        &entry.classes,
        entry.period.0.map(|day| day.to_sqlx()) as Option<SqlDate>,
        entry.period.1.map(|day| day.to_sqlx()) as Option<SqlDate>,
        entry.disclosed_at.to_sqlx() as jiff_sqlx::Timestamp,
        entry.secret_by,
        entry.secret_until.map(|day| day.to_sqlx()) as Option<SqlDate>,
        entry.corrects,
    )
    .execute(db)
    .await
    .map_err(Error::Record)?;
    Ok(Recorded::Stored)
}

/// The first day on which an entry may be told.
fn secrecy(by: Option<&str>, until: Option<Date>) -> Date {
    match by {
        None => Date::MIN,
        Some(_) => until.unwrap_or(Date::MAX),
    }
}

struct Row {
    namespace: String,
    name: String,
    disclosure_id: Uuid,
    recipient_kind: String,
    recipient: String,
    legal_basis: String,
    classes: Vec<String>,
    period_from: Option<SqlDate>,
    period_until: Option<SqlDate>,
    disclosed_at: jiff_sqlx::Timestamp,
    secret_by: Option<String>,
    secret_until: Option<SqlDate>,
    corrects: Option<Uuid>,
}

impl From<Row> for About {
    fn from(row: Row) -> Self {
        let disclosure = Disclosure {
            id: row.disclosure_id,
            recipient_kind: row.recipient_kind,
            recipient: row.recipient,
            legal_basis: row.legal_basis,
            classes: row.classes,
            period: (row.period_from.map(SqlDate::to_jiff), row.period_until.map(SqlDate::to_jiff)),
            disclosed_at: row.disclosed_at.to_jiff(),
            secret_by: row.secret_by,
            secret_until: row.secret_until.map(SqlDate::to_jiff),
            corrects: row.corrects,
        };
        Self { namespace: row.namespace, name: row.name, disclosure }
    }
}

/// At most `limit` entries, newest first, below an id. Of one tenant: those that it may be told of on `today`; else all.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    pool: &PgPool,
    told_to: Option<(TenantId, Date)>,
    below: Option<Uuid>,
    limit: i64,
) -> Result<Vec<About>, Error> {
    let (tenant, today) = told_to.unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"select namespace, name, disclosure_id, recipient_kind, recipient, legal_basis, classes, period_from, period_until,
             disclosed_at, secret_by, secret_until, corrects
         from disclosure join tenant using (tenant_id)
         where ($1::bigint is null or (tenant_id = $1 and (secret_by is null or secret_until <= $2)))
           and ($3::uuid is null or disclosure_id < $3)
         order by disclosure_id desc limit $4"#,
        tenant.map(|tenant| tenant.0),
        today.map(|day| day.to_sqlx()) as Option<SqlDate>,
        below,
        limit,
    )
    .fetch_all(pool)
    .await
    .map_err(Error::Read)?;
    Ok(rows.into_iter().map(About::from).collect())
}
