//! Counts of messages: of one tenant for itself (M4), and of all of them for [`crate::domain::aggregate`], which decides what may
//! be shown (D6). What was shown once of a day stays as it was.
use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::domain::aggregate::{Figures, Part, Shown};
use crate::domain::{MessageState, TenantId};

/// The database did not count.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is in the log.
    #[error("count messages: {0}")]
    Messages(#[source] sqlx::Error),
    /// What is billed.
    #[error("sum usage: {0}")]
    Usage(#[source] sqlx::Error),
    /// What was shown of days.
    #[error("read or keep what is shown of a day: {0}")]
    Shown(#[source] sqlx::Error),
    /// What was shown of a day is not as we write it.
    #[error("read what was shown of a day: {0}")]
    Form(#[source] serde_json::Error),
}

/// What is counted together: a route's namespace and name (none: never submitted), and the number of a state.
pub type Group = (Option<(String, String)>, i16);

/// Each tenant's part in one day of the log, by route and state. Of tenants for whom nothing is logged there is none (D4).
///
/// # Errors
/// When the database does not answer.
pub async fn parts_of_day(pool: &PgPool, day: Date) -> Result<Vec<Part<Group>>, Error> {
    let rows = sqlx::query!(
        r#"select counted.*, r.namespace as "namespace?", r.name as "name?"
         from (
             select tenant_id, route_id, state, count(*) as "messages!", sum(parts)::bigint as "parts!",
                 sum(case when submitted_at is null then 0 else parts * amount end)::bigint as "amount!"
             from message_log where day = $1 and entry is not null group by tenant_id, route_id, state
         ) as counted left join route r using (route_id)"#,
        day.to_sqlx() as SqlDate
    )
    .fetch_all(pool)
    .await
    .map_err(Error::Messages)?;
    Ok(rows
        .into_iter()
        .map(|row| Part {
            group: (row.namespace.zip(row.name), row.state),
            tenant: TenantId(row.tenant_id),
            figures: Figures { messages: row.messages, parts: row.parts, amount: row.amount },
        })
        .collect())
}

/// What is shown of a day, once and for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownDay {
    /// The least number of tenants in any figure of it.
    pub minimum: usize,
    /// The figures.
    pub shown: Shown<Group>,
}

/// The same as the database keeps it.
#[derive(Serialize, Deserialize)]
struct Kept {
    minimum: usize,
    groups: Vec<(Group, Figures)>,
    rest: Option<Figures>,
    withheld: bool,
}

impl From<ShownDay> for Kept {
    fn from(ShownDay { minimum, shown }: ShownDay) -> Self {
        Self { minimum, groups: shown.groups.into_iter().collect(), rest: shown.rest, withheld: shown.withheld }
    }
}

impl TryFrom<serde_json::Value> for ShownDay {
    type Error = Error;

    fn try_from(figures: serde_json::Value) -> Result<Self, Error> {
        let kept: Kept = serde_json::from_value(figures).map_err(Error::Form)?;
        let shown = Shown { groups: kept.groups.into_iter().collect(), rest: kept.rest, withheld: kept.withheld };
        Ok(Self { minimum: kept.minimum, shown })
    }
}

/// What was shown of the days from `from` to `to` (both included); days that nobody asked for are missing.
///
/// # Errors
/// When the database does not answer.
pub async fn shown(pool: &PgPool, from: Date, to: Date) -> Result<BTreeMap<Date, ShownDay>, Error> {
    let rows = sqlx::query!(
        "select day, figures from shown_day where day between $1 and $2",
        from.to_sqlx() as SqlDate,
        to.to_sqlx() as SqlDate
    );
    let rows = rows.fetch_all(pool).await.map_err(Error::Shown)?;
    rows.into_iter().map(|row| ShownDay::try_from(row.figures).map(|shown| (row.day.to_jiff(), shown))).collect()
}

/// Lets the figures of a day stand, unless others do already: those that stand are what may be shown. Of several that count a day at
/// once, one comes first.
///
/// # Errors
/// When the database does not answer: nothing may be shown then.
pub async fn let_stand(pool: &PgPool, day: Date, counted: ShownDay) -> Result<ShownDay, Error> {
    let figures = serde_json::to_value(Kept::from(counted)).map_err(Error::Form)?;
    sqlx::query!(
        "insert into shown_day (day, figures) values ($1, $2) on conflict do nothing",
        day.to_sqlx() as SqlDate,
        figures
    )
    .execute(pool)
    .await
    .map_err(Error::Shown)?;
    let stands = sqlx::query_scalar!("select figures from shown_day where day = $1", day.to_sqlx() as SqlDate);
    ShownDay::try_from(stands.fetch_one(pool).await.map_err(Error::Shown)?)
}

/// A day of a tenant's messages in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The day of accept.
    pub day: Date,
    /// In which state.
    pub state: MessageState,
    /// How many.
    pub messages: i64,
}

/// How many messages of a tenant are in which state, by day of accept, `from` to `to` (both included). Where nothing is logged
/// there are none (D4).
///
/// # Errors
/// When the database does not answer.
pub async fn states(pool: &PgPool, tenant: TenantId, from: Date, to: Date) -> Result<Vec<Counted>, Error> {
    let rows = sqlx::query!(
        r#"select day as "day!", state as "state!", count(*) as "messages!"
         from (
             select day, state from queue where tenant_id = $1 and day between $2 and $3 and entry is not null
             union all
             select day, state from message_log where tenant_id = $1 and day between $2 and $3 and entry is not null
         ) as both_tables
         group by day, state order by day, state"#,
        tenant.0,
        from.to_sqlx() as SqlDate,
        to.to_sqlx() as SqlDate,
    )
    .fetch_all(pool)
    .await
    .map_err(Error::Messages)?;
    Ok(rows
        .into_iter()
        .map(|row| Counted {
            day: row.day.to_jiff(),
            state: MessageState::from_code(row.state).unwrap_or(MessageState::Unknown),
            messages: row.messages,
        })
        .collect())
}

/// What a tenant is billed for, by the day on which it was sent, `from` to `to` (both included). Messages that left in several
/// parts count once a day.
///
/// # Errors
/// When the database does not answer.
pub async fn usage(pool: &PgPool, tenant: TenantId, from: Date, to: Date) -> Result<Vec<(Date, Figures)>, Error> {
    // Accepted up to a month and a week before it was sent, which decides its partition.
    let rows = sqlx::query!(
        r#"select day as "day!", count(distinct message_id) as "messages!", count(*) as "parts!", sum(amount)::bigint as "amount!"
         from (
             select (at at time zone 'Europe/Copenhagen')::date as day, message_id, amount from usage
             where tenant_id = $1 and month between date_trunc('month', $2::date - 40)::date and $3
         ) as sent
         where day between $2 and $3 group by day order by day"#,
        tenant.0,
        from.to_sqlx() as SqlDate,
        to.to_sqlx() as SqlDate,
    )
    .fetch_all(pool)
    .await
    .map_err(Error::Usage)?;
    let figures = |messages, parts, amount| Figures { messages, parts, amount };
    Ok(rows.into_iter().map(|row| (row.day.to_jiff(), figures(row.messages, row.parts, row.amount))).collect())
}
