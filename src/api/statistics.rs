//! `GET /v1/statistics`, a tenant's own figures (M4); `GET /v1/owner/statistics`, those over all tenants, in which no single
//! tenant's use can be seen (D6).
//!
//! What may be shown over all tenants is decided for each day by itself, once, when the day has ended, and stays; a month is the sum of
//! what is shown of its days. So neither two periods nor a month and its days, nor two answers about one day, can be set against
//! each other to find what was hidden.
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::auth::Caller;
use super::extract::{self, Parameters};
use super::owner::Owner;
use super::problem::{Problem, ReadProblems};
use crate::domain::aggregate::{self, Shown};
use crate::domain::{MessageState, Scope, copenhagen_day};
use crate::store::statistics::{self as store, Group, ShownDay};

/// Days of one call: as long as anything is logged.
const MOST_DAYS: i32 = 93;
/// Days without a word.
const USUAL_DAYS: i32 = 30;

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DaysQuery {
    /// The first day; without it, 30 days before the last.
    #[param(format = Date)]
    from: Option<String>,
    /// The last day, included; without it, the newest there is.
    #[param(format = Date)]
    to: Option<String>,
}

/// Which days, and how they are summed up.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AllQuery {
    /// The first day; without it, 30 days before the last.
    #[param(format = Date)]
    from: Option<String>,
    /// The last day, included: yesterday at the latest, and without it.
    #[param(format = Date)]
    to: Option<String>,
    /// `day` or `month`.
    #[serde(default)]
    #[param(inline)]
    by: By,
}

/// How days are summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Each by itself.
    #[default]
    Day,
    /// By calendar month.
    Month,
}

/// Counts and what they cost.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct Figures {
    /// Messages.
    messages: i64,
    /// Their parts.
    parts: i64,
    /// What the parts cost, in thousandths of an øre.
    amount: i64,
}

impl From<aggregate::Figures> for Figures {
    fn from(it: aggregate::Figures) -> Self {
        Self { messages: it.messages, parts: it.parts, amount: it.amount }
    }
}

/// A tenant's day.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Day {
    /// How many messages that were accepted on it are in which state now; empty where nothing is logged.
    states: BTreeMap<String, i64>,
    /// What was sent and is billed.
    sent: Figures,
}

/// A tenant's figures.
#[derive(Debug, Serialize, ToSchema)]
pub struct Statistics {
    /// By day; days without anything are left out.
    #[schema(value_type = BTreeMap<String, Day>)]
    days: BTreeMap<Date, Day>,
}

/// Read the account's own figures by day
#[utoipa::path(
    get,
    path = "/v1/statistics",
    operation_id = "readStatistics",
    tag = "data",
    params(DaysQuery),
    responses(
        (status = 200, description = "The figures; of an account for which nothing is logged, what was sent alone.", body = Statistics),
        ReadProblems,
    ),
    security(("apiKey" = ["data:read"])),
)]
pub async fn own(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Parameters(query): Parameters<DaysQuery>,
) -> Result<Json<Statistics>, Problem> {
    caller.may(Scope::DataRead)?;
    let (from, to) = days(query.from.as_deref(), query.to.as_deref(), copenhagen_day(shared.clock.now()))?;
    let _large = shared.large.begin().await?;
    let mut days: BTreeMap<Date, Day> = BTreeMap::new();
    if caller.has_history() {
        let states = store::states(&shared.pool, caller.tenant(), from, to).await.map_err(Problem::database)?;
        for counted in states {
            days.entry(counted.day).or_default().states.insert(word(counted.state), counted.messages);
        }
    }
    for (day, figures) in store::usage(&shared.pool, caller.tenant(), from, to).await.map_err(Problem::database)? {
        days.entry(day).or_default().sent = figures.into();
    }
    Ok(Json(Statistics { days }))
}

/// A route's messages in one state.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupFigures {
    /// The route, `namespace/name`; absent: never submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    /// The state they were in when the day was counted.
    state: String,
    /// How many.
    #[serde(flatten)]
    figures: Figures,
}

/// A day or month.
#[derive(Debug, Serialize, ToSchema)]
pub struct SharedPeriod {
    /// Its first day.
    #[schema(value_type = String, format = Date)]
    from: Date,
    /// By route and state, where enough tenants are in it.
    groups: Vec<GroupFigures>,
    /// All others together, of enough tenants as well.
    rest: Figures,
    /// Days of which nothing is shown, since too few tenants sent anything.
    withheld: u32,
}

/// Figures over all tenants.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedStatistics {
    /// At least so many tenants are in every figure.
    minimum_tenants: usize,
    /// Days or months, oldest first. What tenants send for whom nothing is logged is in none.
    periods: Vec<SharedPeriod>,
}

/// Read figures over all tenants
///
/// Every figure is of several tenants. A day is counted once, when it has ended, and its figures stay as they are; a month is the sum
/// of what is shown of its days.
#[utoipa::path(
    get,
    path = "/v1/owner/statistics",
    operation_id = "readSharedStatistics",
    tag = "owner",
    params(AllQuery),
    responses(
        (status = 200, description = "The figures.", body = SharedStatistics),
        ReadProblems,
    ),
    security(("ownerKey" = [])),
)]
pub async fn all(
    State(shared): State<Arc<Shared>>,
    _: Owner,
    Parameters(query): Parameters<AllQuery>,
) -> Result<Json<SharedStatistics>, Problem> {
    let today = copenhagen_day(shared.clock.now());
    let (from, to) = days(query.from.as_deref(), query.to.as_deref(), today.saturating_sub(1.day()))?;
    let _large = shared.large.begin().await?;
    let mut minimum = shared.settings.minimum_tenants;
    let mut shown = store::shown(&shared.pool, from, to).await.map_err(Problem::database)?;
    let mut periods: BTreeMap<Date, Sum> = BTreeMap::new();
    for day in from.series(1.day()).take_while(|day| *day <= to) {
        let figures = match shown.remove(&day) {
            Some(figures) => figures,
            None => show(&shared, day, today).await?,
        };
        minimum = minimum.min(figures.minimum);
        let period = if query.by == By::Month { day.first_of_month() } else { day };
        periods.entry(period).or_default().add(figures.shown);
    }
    let periods = periods.into_iter().map(|(from, sum)| sum.shown(from)).collect();
    Ok(Json(SharedStatistics { minimum_tenants: minimum, periods }))
}

/// Counts a day that has ended for the first time, and lets the figures stand: a second count, after receipts came in, a log was erased
/// or an account went, could be set against the first one.
async fn show(shared: &Shared, day: Date, today: Date) -> Result<ShownDay, Problem> {
    let minimum = shared.settings.minimum_tenants;
    if day < today.saturating_sub(MOST_DAYS.days()) {
        // Nothing of it is logged any more; nobody asked while it was.
        return Ok(ShownDay { minimum, shown: aggregate::show([], minimum) });
    }
    let parts = store::parts_of_day(&shared.pool, day).await.map_err(Problem::database)?;
    let counted = ShownDay { minimum, shown: aggregate::show(parts, minimum) };
    store::let_stand(&shared.pool, day, counted).await.map_err(Problem::database)
}

/// What is shown of several days.
#[derive(Default)]
struct Sum {
    groups: BTreeMap<Group, aggregate::Figures>,
    rest: aggregate::Figures,
    withheld: u32,
}

impl Sum {
    fn add(&mut self, day: Shown<Group>) {
        for (group, figures) in day.groups {
            *self.groups.entry(group).or_default() += figures;
        }
        self.rest += day.rest.unwrap_or_default();
        self.withheld += u32::from(day.withheld);
    }

    fn shown(self, from: Date) -> SharedPeriod {
        let group = |((route, state), figures): (Group, aggregate::Figures)| GroupFigures {
            route: route.map(|(namespace, name)| format!("{namespace}/{name}")),
            state: word(MessageState::from_code(state).unwrap_or(MessageState::Unknown)),
            figures: figures.into(),
        };
        let groups = self.groups.into_iter().map(group).collect();
        SharedPeriod { from, groups, rest: self.rest.into(), withheld: self.withheld }
    }
}

fn word(state: MessageState) -> String {
    format!("{state:?}").to_lowercase()
}

/// The first and last day, none after `newest`.
fn days(from: Option<&str>, to: Option<&str>, newest: Date) -> Result<(Date, Date), Problem> {
    let invalid = |path, code, detail: String| Err(Problem::Invalid { path, code, detail });
    let (from, to) = (extract::day("from", from)?, extract::day("to", to)?.unwrap_or(newest));
    for (path, day) in [("from", from), ("to", Some(to))] {
        if day.is_some_and(|day| day > newest) {
            return invalid(path, "day_too_late", format!("{newest} at the latest"));
        }
    }
    let from = from.unwrap_or_else(|| to.saturating_sub((USUAL_DAYS - 1).days()));
    if from > to {
        return Err(extract::reversed("from", "to"));
    }
    if to.saturating_sub((MOST_DAYS - 1).days()) > from {
        return invalid("from", "too_many_days", format!("{MOST_DAYS} days at most in one call"));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn days_are_bounded() {
        let newest = date(2026, 5, 31);
        assert_eq!(days(None, None, newest).ok(), Some((date(2026, 5, 2), newest)));
        assert_eq!(days(Some("2026-02-28"), None, newest).ok(), Some((date(2026, 2, 28), newest)), "93 days");
        for (from, to) in [
            ("2026-02-27", "2026-05-31"),
            ("2026-05-31", "2026-05-30"),
            ("2026-05-31", "2026-06-01"),
            ("2026-05-32", "2026-05-31"),
            ("2000-01-01", "1999-12-31"),
        ] {
            assert!(days(Some(from), Some(to), newest).is_err(), "{from} to {to}");
        }
    }
}
