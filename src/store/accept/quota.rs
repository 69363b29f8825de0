//! How many messages an account may have accepted in a clock hour and in a day, in Copenhagen. A row is counted up only where there
//! is a limit. Hours come before days, everywhere, and each sorted, so that two groups wait for one another but never in a circle.
use std::collections::HashMap;

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::group::Outcomes;
use super::{Call, Outcome, Per};
use crate::domain::TenantId;

/// The row that counts a whole day.
const WHOLE_DAY: i16 = -1;

/// What an account may have accepted; `None`: any number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) per_hour: Option<i32>,
    pub(super) per_day: Option<i32>,
}

impl Limits {
    fn of(self, per: Per) -> Option<i32> {
        match per {
            Per::Hour => self.per_hour,
            Per::Day => self.per_day,
        }
    }
}

type Quota = (TenantId, Date, i16);
/// Messages by quota.
type Counts = HashMap<Quota, i32>;

fn quota(call: &Call, per: Per) -> Quota {
    let hour = match per {
        Per::Hour => call.hour,
        Per::Day => WHOLE_DAY,
    };
    (call.tenant, call.day, hour)
}

fn messages(call: &Call) -> i32 {
    i32::try_from(call.messages.len()).unwrap_or(i32::MAX)
}

fn add(counts: &mut Counts, quota: Quota, messages: i32) {
    let count = counts.entry(quota).or_default();
    *count = count.saturating_add(messages);
}

/// Counts the messages of tenants that have a limit, and refuses the calls for which there is no room.
pub(super) async fn spend(
    db: &mut PgConnection,
    outcomes: &mut Outcomes<'_>,
    limits: &HashMap<TenantId, Limits>,
) -> sqlx::Result<()> {
    let mut unused = Counts::new();
    for per in [Per::Hour, Per::Day] {
        let limit = |call: &Call| limits.get(&call.tenant).and_then(|limits| limits.of(per));
        let mut wanted = Counts::new();
        for (call, _) in outcomes.iter().filter(|(call, outcome)| outcome.is_none() && limit(call).is_some()) {
            add(&mut wanted, quota(call, per), messages(call));
        }
        let mut used = count(&mut *db, &wanted).await?;
        used.iter_mut().for_each(|(quota, used)| *used -= wanted.get(quota).copied().unwrap_or_default());
        for (call, outcome) in outcomes.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            let Some((limit, used)) = limit(call).zip(used.get_mut(&quota(call, per))) else { continue };
            if used.saturating_add(messages(call)) <= limit {
                *used += messages(call);
                continue;
            }
            *outcome = Some(Outcome::OverQuota { limit, per });
            add(&mut unused, quota(call, per), -messages(call));
            // What the hour had room for.
            if per == Per::Day && limits.get(&call.tenant).is_some_and(|limits| limits.per_hour.is_some()) {
                add(&mut unused, quota(call, Per::Hour), -messages(call));
            }
        }
    }
    if unused.is_empty() {
        return Ok(());
    }
    count(&mut *db, &unused).await?;
    forget_keys(db, outcomes).await
}

/// Takes back what duplicates have used.
pub(super) async fn give_back(
    db: &mut PgConnection,
    outcomes: &Outcomes<'_>,
    limits: &HashMap<TenantId, Limits>,
) -> sqlx::Result<()> {
    let mut unused = Counts::new();
    for (call, _) in outcomes.iter().filter(|(_, outcome)| matches!(outcome, Some(Outcome::Duplicates(_)))) {
        let limited = |per: &Per| limits.get(&call.tenant).and_then(|limits| limits.of(*per)).is_some();
        for per in [Per::Hour, Per::Day].into_iter().filter(limited) {
            add(&mut unused, quota(call, per), -messages(call));
        }
    }
    count(db, &unused).await?;
    forget_keys(db, outcomes).await
}

/// A refusal is no answer to repeat: later the same call may pass.
async fn forget_keys(db: &mut PgConnection, outcomes: &Outcomes<'_>) -> sqlx::Result<()> {
    let refused = outcomes.iter().filter(|(call, outcome)| {
        call.repeat.is_some() && matches!(outcome, Some(Outcome::OverQuota { .. } | Outcome::Duplicates(_)))
    });
    let (tenants, batches): (Vec<i64>, Vec<Uuid>) = refused.map(|(call, _)| (call.tenant.0, call.batch.0)).unzip();
    sqlx::query!("delete from idempotency where tenant_id = any($1) and batch_id = any($2)", &tenants, &batches)
        .execute(db)
        .await?;
    Ok(())
}

/// Adds to what is used of each quota; returns what is used now.
async fn count(db: &mut PgConnection, quotas: &Counts) -> sqlx::Result<Counts> {
    if quotas.is_empty() {
        return Ok(Counts::new());
    }
    let mut sorted: Vec<(Quota, i32)> = quotas.iter().map(|(quota, count)| (*quota, *count)).collect();
    sorted.sort_unstable();
    let tenants: Vec<i64> = sorted.iter().map(|((tenant, ..), _)| tenant.0).collect();
    let days: Vec<jiff_sqlx::Date> = sorted.iter().map(|((_, day, _), _)| day.to_sqlx()).collect();
    let hours: Vec<i16> = sorted.iter().map(|((.., hour), _)| *hour).collect();
    let sums: Vec<i32> = sorted.iter().map(|(_, sum)| *sum).collect();
    let rows = sqlx::query!(
        r#"insert into quota as q (tenant_id, day, hour, used)
         select * from unnest($1::bigint[], $2::date[], $3::smallint[], $4::integer[])
         on conflict (tenant_id, day, hour) do update set used = q.used + excluded.used
         returning tenant_id, day as "day: jiff_sqlx::Date", hour, used"#,
        &tenants,
        &days as &[jiff_sqlx::Date],
        &hours,
        &sums,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| ((TenantId(row.tenant_id), row.day.to_jiff(), row.hour), row.used)).collect())
}
