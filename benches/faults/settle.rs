//! The end of a run: what is under way ends, and of what is held its tenant decides, by the API and by what the API lists.
use std::collections::HashSet;
use std::time::Duration;

use budstikke::config::sender::CrashPolicy;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::inject::Injector;
use super::now_ms;
use super::support::api::{Api, list};

/// Parked receipts are looked at again ever more rarely: what was parked early in an outage may wait for minutes.
const PATIENCE: Duration = Duration::from_secs(480);
const LOOK: Duration = Duration::from_millis(250);
/// Between two words about what is awaited.
const SAY: Duration = Duration::from_secs(3);
/// An endpoint that is told nothing for so long waits for its worker.
const QUIET: Duration = Duration::from_secs(3);
/// Of a call.
const CALL: Duration = Duration::from_secs(60);
/// As many as a call may name.
const MOST: usize = 1000;

/// What a tenant has decided.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// With the moment before it was asked for, Unix milliseconds; one may be held again.
    pub(crate) released: Vec<(Uuid, i64)>,
    pub(crate) given_up: HashSet<Uuid>,
    /// Held in the database and not listed by the API, or the other way round.
    pub(crate) hidden: usize,
}

/// Waits until nothing is under way any more, and decides of what is held: with `hold` every second one is released and the others
/// are given up, else all are released. Gives what each tenant decided, and whether all came to an end. Whoever is in a hurry does
/// not wait for what is only looked at again later.
pub(crate) async fn settle(
    injector: &mut Injector,
    apis: &[Api],
    policies: &[CrashPolicy],
    hurry: bool,
) -> (Vec<Decided>, bool) {
    let (deadline, pool) = (Instant::now() + PATIENCE, injector.superuser().clone());
    let mut decided: Vec<Decided> = apis.iter().map(|_| Decided::default()).collect();
    let mut said = Instant::now();
    while Instant::now() < deadline {
        if hurry {
            let soon = sqlx::query("update parked_receipt set retry_at = now() where retry_at > now()").execute(&pool);
            let _ = soon.await;
            if injector.endpoint().last_called().elapsed() > QUIET {
                injector.take_away().await;
            }
        }
        let mut open = Vec::new();
        for (tenant, id) in injector.installation().tenants.iter().enumerate() {
            let counts: Result<(i64, i64, i64, i64, i64), _> = sqlx::query_as(
                "select (select count(*) from queue where tenant_id = $1 and state = 0),
                        (select count(*) from queue where tenant_id = $1 and state = 1),
                        (select count(*) from flight where tenant_id = $1),
                        (select count(*) from message_log where tenant_id = $1 and state = 2),
                        (select count(*) from webhook_job where tenant_id = $1 and outcome = 'waiting')",
            )
            .bind(id.0)
            .fetch_one(&pool)
            .await;
            match &counts {
                Ok((0, 0, 0, 0, 0)) => {}
                Ok((queued, held, flights, sent, untold)) => open.push(format!(
                    "tenant {tenant}: {queued} queued, {held} held, {flights} flights, {sent} without receipt, {untold} untold"
                )),
                Err(error) => open.push(error.to_string()),
            }
            if let Ok((0, 1.., 0, ..)) = counts {
                let hold = policies[tenant] == CrashPolicy::Hold;
                decide(&pool, id.0, &apis[tenant], hold, &mut decided[tenant]).await;
            }
        }
        let receipts = injector.smsc().stats().waiting;
        if open.is_empty() && receipts == 0 {
            return (decided, true);
        }
        if said.elapsed() > SAY {
            println!("  {}; {receipts} receipts wait at the SMSC", open.join("; "));
            said = Instant::now();
        }
        sleep(LOOK).await;
    }
    (decided, false)
}

/// Nothing of the tenant's is on its way now, so what is held stays as it is until this decides.
async fn decide(pool: &PgPool, tenant: i64, api: &Api, hold: bool, decided: &mut Decided) {
    let held = sqlx::query_scalar::<_, Uuid>("select message_id from queue where tenant_id = $1 and state = 1");
    let (Ok(held), Ok(listed)) = (held.bind(tenant).fetch_all(pool).await, list(api, "?state=held").await) else {
        return;
    };
    let (held, shown): (HashSet<_>, HashSet<_>) = (held.into_iter().collect(), listed.iter().copied().collect());
    decided.hidden += held.symmetric_difference(&shown).count();
    let (release, give_up): (Vec<_>, Vec<_>) = (0..).zip(listed).partition(|(place, _)| !hold || place % 2 == 0);
    for some in release.chunks(MOST) {
        let at_ms = now_ms();
        decided.released.extend(done(api, "/release", some).await.into_iter().map(|id| (id, at_ms)));
    }
    for some in give_up.chunks(MOST) {
        decided.given_up.extend(done(api, "/fail", some).await);
    }
}

/// Those for which it was done.
async fn done(api: &Api, decision: &str, messages: &[(usize, Uuid)]) -> Vec<Uuid> {
    let ids: Vec<Uuid> = messages.iter().map(|(_, id)| *id).collect();
    match api.post(decision, &json!({"messages": ids}), None, CALL).await {
        Ok((200, answer)) => serde_json::from_value(answer["messages"].clone()).unwrap_or_default(),
        _ => Vec::new(),
    }
}
