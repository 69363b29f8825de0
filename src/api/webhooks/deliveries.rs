//! What an endpoint was told, and what it is to be told again; and a trial.
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::Shared;
use crate::api::auth::Caller;
use crate::api::cursor::{self, PageQuery};
use crate::api::extract::Parameters;
use crate::api::problem::{Document, Problem, ReadProblems};
use crate::domain::{BatchId, Scope};
use crate::store::webhooks::jobs::{self, Asked};

/// One event to one endpoint, however often it was tried.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Its id: the header `webhook-id`, the same at every try.
    id: Uuid,
    /// The event: `message.sent`, `message.final`, `message.received` or `webhook.test`.
    r#type: String,
    /// The message that it tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<Uuid>,
    /// When the event took place.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// When it was noted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// `waiting`, `delivered`, `failed` (given up), or `cancelled` (the endpoint was switched off).
    state: String,
    /// How often it was tried.
    attempts: i16,
    /// When last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Timestamp>,
    /// The HTTP status that was answered then.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<i16>,
    /// What failed then: `address` (the name is not known, or leads to no public address), `connect`, `tls`, `timeout`, `answer` (not
    /// HTTP), or `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
    /// When it is tried next, where it failed before and waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
}

/// A page of deliveries, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryPage {
    /// The deliveries.
    deliveries: Vec<Delivery>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A delivery that is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub struct OnItsWay {
    /// Its id.
    id: Uuid,
}

impl From<jobs::Delivery> for Delivery {
    fn from(job: jobs::Delivery) -> Self {
        Self {
            id: job.id,
            r#type: job.event,
            message_id: job.subject,
            timestamp: job.at,
            created_at: job.made_at,
            state: job.outcome,
            attempts: job.attempts,
            last_attempt_at: job.tried_at,
            last_status: job.status,
            last_failure: job.failure,
            next_attempt_at: job.next_at,
        }
    }
}

/// List what an endpoint was told, newest first
///
/// Kept for some days after the last try: three, unless the owner's policy says less.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}/deliveries",
    operation_id = "listDeliveries",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint's id."), PageQuery),
    responses((status = 200, description = "A page.", body = DeliveryPage), ReadProblems),
    security(("apiKey" = ["webhooks:manage"])),
)]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    id: Result<Path<Uuid>, PathRejection>,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Json<DeliveryPage>, Problem> {
    let webhook = shared.one(&caller, id).await?;
    let place = query.place()?;
    let found = jobs::list(&shared.pool, caller.tenant(), webhook.id, place.below, place.rows()).await;
    let (found, next) = cursor::page(found.map_err(Problem::database)?, place, |delivery| delivery.id);
    Ok(Json(DeliveryPage { deliveries: found.into_iter().map(Delivery::from).collect(), next }))
}

/// Deliver something once more
///
/// Behind what waits already, with the same `webhook-id`: whoever has it knows it again. What still waits stays where it is.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/deliveries/{deliveryId}/replay",
    operation_id = "replayDelivery",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint's id."), ("deliveryId" = Uuid, Path, description = "The delivery's id.")),
    responses(
        (status = 202, description = "It is on its way.", body = OnItsWay),
        (status = 409, description = "The endpoint is switched off.", body = Document, content_type = "application/problem+json"),
        ReadProblems,
    ),
    security(("apiKey" = ["webhooks:manage"])),
)]
pub async fn replay(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    ids: Result<Path<(Uuid, Uuid)>, PathRejection>,
) -> Result<(StatusCode, Json<OnItsWay>), Problem> {
    caller.may(Scope::WebhooksManage)?;
    let Ok(Path((webhook, id))) = ids else { return Err(Problem::NotFound("delivery")) };
    let asked = jobs::replay(&shared.pool, caller.tenant(), webhook, id).await.map_err(Problem::database)?;
    on_its_way(asked, id, "delivery")
}

/// Tell an endpoint of a trial
///
/// An event of the type `webhook.test`, signed and delivered as any other.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/test",
    operation_id = "testWebhook",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint's id.")),
    responses(
        (status = 202, description = "It is on its way.", body = OnItsWay),
        (status = 409, description = "The endpoint is switched off.", body = Document, content_type = "application/problem+json"),
        ReadProblems,
    ),
    security(("apiKey" = ["webhooks:manage"])),
)]
pub async fn test(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<(StatusCode, Json<OnItsWay>), Problem> {
    let webhook = shared.one(&caller, id).await?;
    let now = shared.clock.now();
    let id = BatchId::new(now).0;
    let asked = jobs::test(&shared.pool, caller.tenant(), webhook.id, id, now).await.map_err(Problem::database)?;
    on_its_way(asked, id, "webhook")
}

fn on_its_way(asked: Asked, id: Uuid, what: &'static str) -> Result<(StatusCode, Json<OnItsWay>), Problem> {
    match asked {
        Asked::Waits => Ok((StatusCode::ACCEPTED, Json(OnItsWay { id }))),
        Asked::Disabled => Err(Problem::WebhookDisabled),
        Asked::Nothing => Err(Problem::NotFound(what)),
    }
}
