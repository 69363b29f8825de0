//! `GET /v1/statistics`, a tenant's own figures (M4); `GET /v1/owner/statistics`, those over all tenants, in which no single
//! tenant's use can be seen (D6).
//!
//! What may be shown over all tenants is decided for each day by itself, and a month is the sum of what is shown of its days. So
//! neither two periods nor a month and its days can be set against each other to find what was hidden.
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
use super::extract::Parameters;
use super::owner::Owner;
use super::problem::{Problem, ReadProblems};
use crate::domain::aggregate::{self, Shown};
use crate::domain::{MessageState, Scope, copenhagen_day};
use crate::store::statistics::{self as store, Group};

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
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// The last day, included; without it, the newest there is.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
}

/// Which days, and how they are summed up.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AllQuery {
    /// The first day; without it, 30 days before the last.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// The last day, included: yesterday at the latest, and without it.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
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
    let (from, to) = days(query.from, query.to, copenhagen_day(shared.clock.now()))?;
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
    /// The state they are in now.
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
/// Every figure is of several tenants. A month is the sum of what is shown of its days.
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
    let yesterday = copenhagen_day(shared.clock.now()).saturating_sub(1.day());
    // A day that has not ended could be asked for twice, and the difference be one tenant's.
    let (from, to) = days(query.from, query.to, yesterday)?;
    let minimum = shared.settings.minimum_tenants;
    let mut periods: BTreeMap<Date, Sum> = BTreeMap::new();
    for day in from.series(1.day()).take_while(|day| *day <= to) {
        let parts = store::parts_of_day(&shared.pool, day).await.map_err(Problem::database)?;
        let period = if query.by == By::Month { day.first_of_month() } else { day };
        periods.entry(period).or_default().add(aggregate::show(parts, minimum));
    }
    let periods = periods.into_iter().map(|(from, sum)| sum.shown(from)).collect();
    Ok(Json(SharedStatistics { minimum_tenants: minimum, periods }))
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
fn days(from: Option<Date>, to: Option<Date>, newest: Date) -> Result<(Date, Date), Problem> {
    let invalid = |path, code, detail: String| Err(Problem::Invalid { path, code, detail });
    let to = to.unwrap_or(newest);
    if to > newest {
        return invalid("to", "day_too_late", format!("{newest} at the latest"));
    }
    let from = from.unwrap_or_else(|| to.saturating_sub((USUAL_DAYS - 1).days()));
    if from > to {
        return invalid("from", "days_reversed", "write a `from` on or before `to`".to_owned());
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
        assert_eq!(days(Some(date(2026, 2, 28)), None, newest).ok(), Some((date(2026, 2, 28), newest)), "93 days");
        for (from, to) in [(date(2026, 2, 27), newest), (newest, date(2026, 5, 30)), (newest, date(2026, 6, 1))] {
            assert!(days(Some(from), Some(to), newest).is_err(), "{from} to {to}");
        }
    }
}
