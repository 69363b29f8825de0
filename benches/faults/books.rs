//! What the database holds at the end, and what the API shows of it.
use std::collections::{HashMap, HashSet};

use budstikke::domain::{RouteId, TenantId};
use sqlx::PgPool;
use uuid::Uuid;

use super::support::api::{Api, list};

/// Of other tenants' messages, so many are asked for.
const DOORS: usize = 25;

/// A tenant's.
pub(crate) struct Books {
    /// State by message.
    pub(crate) log: HashMap<Uuid, i16>,
    /// Billed parts by message.
    pub(crate) usage: HashMap<Uuid, i64>,
    pub(crate) queued: i64,
    /// What the API lists as the tenant's.
    pub(crate) listed: HashSet<Uuid>,
    /// Others' messages that the API answers for.
    pub(crate) open_doors: usize,
}

impl Books {
    /// `others`: messages that are not the tenant's.
    pub(crate) async fn read(pool: &PgPool, tenant: TenantId, api: &Api, others: &[Uuid]) -> Self {
        let log: Vec<(Uuid, i16)> = sqlx::query_as("select message_id, state from message_log where tenant_id = $1")
            .bind(tenant.0)
            .fetch_all(pool)
            .await
            .expect("the log");
        let rows = log.len();
        let log: HashMap<_, _> = log.into_iter().collect();
        assert_eq!(rows, log.len(), "a message is in the log twice");
        let usage: Vec<(Uuid, i64)> =
            sqlx::query_as("select message_id, count(*) from usage where tenant_id = $1 group by message_id")
                .bind(tenant.0)
                .fetch_all(pool)
                .await
                .expect("the usage");
        let queued = sqlx::query_scalar("select count(*) from queue where tenant_id = $1").bind(tenant.0);
        let mut open_doors = 0;
        for id in others.iter().step_by((others.len() / DOORS).max(1)) {
            open_doors += usize::from(api.get(&format!("/{id}")).await.expect("an answer").0 != 404);
        }
        Self {
            log,
            usage: usage.into_iter().collect(),
            queued: queued.fetch_one(pool).await.expect("a count"),
            listed: list(api, "").await.expect("a list").into_iter().collect(),
            open_doors,
        }
    }
}

/// Submits of a route by the ids that its upstream gave them: those that have a message, and those whose receipts have none.
pub(crate) async fn named_and_parked(pool: &PgPool, route: RouteId) -> (i64, i64) {
    sqlx::query_as(
        "select (select count(distinct upstream_id) from message_log where upstream_id is not null and route_id = $1)
                + (select count(distinct upstream_id) from message_part where route_id = $1),
                (select count(distinct upstream_id) from parked_receipt where route_id = $1)",
    )
    .bind(route.0)
    .fetch_one(pool)
    .await
    .expect("the counts")
}
