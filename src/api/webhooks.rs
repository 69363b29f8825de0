//! `/v1/webhooks`: the endpoints that are told what happened. What they were told is in [`deliveries`].
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::auth::Caller;
use super::extract::{self, JsonBody};
use super::problem::{Document, Problem, ReadProblems};
use super::seal::away;
use crate::domain::webhook::{WebhookEvent, WebhookSecret, WebhookTarget, WebhookUrl, is_public};
use crate::domain::{BatchId, Personal, Scope, TenantId};
use crate::keyring::seal::AccountKey;
use crate::store::webhooks::{self as store, sealed};

pub mod deliveries;

/// Endpoints of an account.
const MOST: i64 = 10;
/// How long the secret before signs too.
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);

/// An event that an endpoint can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum EventName {
    /// The upstream took a message.
    #[serde(rename = "message.sent")]
    MessageSent,
    /// Nothing more will happen to a message: its delivery report.
    #[serde(rename = "message.final")]
    MessageFinal,
    /// A message was received.
    #[serde(rename = "message.received")]
    MessageReceived,
}

impl From<EventName> for WebhookEvent {
    fn from(name: EventName) -> Self {
        match name {
            EventName::MessageSent => Self::MessageSent,
            EventName::MessageFinal => Self::MessageFinal,
            EventName::MessageReceived => Self::MessageReceived,
        }
    }
}

impl EventName {
    fn of(event: WebhookEvent) -> Option<Self> {
        match event {
            WebhookEvent::MessageSent => Some(Self::MessageSent),
            WebhookEvent::MessageFinal => Some(Self::MessageFinal),
            WebhookEvent::MessageReceived => Some(Self::MessageReceived),
            WebhookEvent::Test => None,
        }
    }
}

/// An endpoint that is to be told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where it is: HTTPS, at an address that the Internet reaches.
    #[schema(value_type = String, format = "uri", max_length = 2000, examples("https://hooks.example.dk/sms"))]
    url: Personal<String>,
    /// What it is told of.
    #[schema(min_items = 1, max_items = 3)]
    events: Vec<EventName>,
    /// The account's own words about it.
    #[schema(value_type = Option<String>, max_length = 200)]
    description: Option<Personal<String>>,
}

/// What is to be changed of an endpoint; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChange {
    /// Where it is. What waits is tried there at once.
    #[schema(value_type = Option<String>, format = "uri", max_length = 2000)]
    url: Option<Personal<String>>,
    /// What it is told of.
    #[schema(min_items = 1, max_items = 3)]
    events: Option<Vec<EventName>>,
    /// The account's own words about it; empty: none.
    #[schema(value_type = Option<String>, max_length = 200)]
    description: Option<Personal<String>>,
    /// Whether it is told anything. What waits when it is switched off is cancelled, and can be replayed.
    enabled: Option<bool>,
}

/// An endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Its id.
    id: Uuid,
    /// Where it is.
    #[schema(value_type = String, format = "uri")]
    url: Personal<String>,
    /// What it is told of.
    events: Vec<EventName>,
    /// The account's own words about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    description: Option<Personal<String>>,
    /// Whether it is told anything.
    enabled: bool,
    /// Why not: `gone` (it answered 410), `failing` (one event could not be delivered for three days), or `asked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<String>,
    /// Since when not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    disabled_at: Option<Timestamp>,
    /// When it was set up.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Until then the secret before the last rotation signs too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    old_secret_until: Option<Timestamp>,
}

/// An endpoint and its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookWithSecret {
    /// The endpoint.
    #[serde(flatten)]
    webhook: Webhook,
    /// Signs what the endpoint is told (Standard Webhooks).
    #[schema(value_type = String, examples("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))]
    secret: Personal<String>,
}

/// An account's endpoints.
#[derive(Debug, Serialize, ToSchema)]
pub struct Webhooks {
    /// All of them, oldest first.
    webhooks: Vec<Webhook>,
}

impl Webhook {
    /// Its id.
    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// What is stored, opened.
    pub(super) fn open(key: &AccountKey, stored: store::Webhook, now: Timestamp) -> Result<Self, Problem> {
        let target = sealed::open_target(key, stored.id, &stored.sealed).map_err(Problem::internal)?;
        Ok(Self {
            id: stored.id,
            url: target.url,
            events: stored.events.into_iter().filter_map(EventName::of).collect(),
            description: target.description,
            enabled: stored.disabled.is_none(),
            disabled_reason: stored.disabled,
            disabled_at: stored.disabled_at,
            created_at: stored.created_at,
            old_secret_until: stored.old_until.filter(|until| *until > now),
        })
    }
}

fn invalid(path: &'static str, code: &'static str, detail: &str) -> Problem {
    Problem::Invalid { path, code, detail: detail.to_owned() }
}

impl Shared {
    /// An address that can be told at, as far as it shows.
    fn check_url(&self, url: &Personal<String>) -> Result<(), Problem> {
        let checked =
            WebhookUrl::parse(url.reveal()).map_err(|error| invalid("url", "not_an_address", &error.to_string()))?;
        let rules = &self.settings.webhooks;
        if !rules.ports.is_empty() && !rules.ports.contains(&checked.port()) {
            let ports: Vec<String> = rules.ports.iter().map(u16::to_string).collect();
            return Err(invalid("url", "port_refused", &format!("use one of the ports {}", ports.join(", "))));
        }
        if !rules.allow_private && checked.literal().is_some_and(|address| !is_public(address)) {
            return Err(invalid("url", "address_refused", "use an address that the Internet reaches"));
        }
        Ok(())
    }

    async fn one(&self, caller: &Caller, id: Result<Path<Uuid>, PathRejection>) -> Result<store::Webhook, Problem> {
        caller.may(Scope::WebhooksManage)?;
        // What is no id is no webhook's id.
        let Ok(Path(id)) = id else { return Err(Problem::NotFound("webhook")) };
        let found = store::find(&self.pool, caller.tenant(), id).await.map_err(Problem::database)?;
        found.ok_or(Problem::NotFound("webhook"))
    }

    /// An endpoint as it is now.
    async fn shown(&self, tenant: TenantId, id: Uuid, key: &AccountKey) -> Result<Webhook, Problem> {
        let found = store::find(&self.pool, tenant, id).await.map_err(Problem::database)?;
        Webhook::open(key, found.ok_or(Problem::NotFound("webhook"))?, self.clock.now())
    }
}

fn check_events(events: Vec<EventName>) -> Result<Vec<WebhookEvent>, Problem> {
    let mut events = events;
    events.sort_unstable();
    events.dedup();
    if events.is_empty() {
        return Err(invalid("events", "no_events", "name at least one event"));
    }
    Ok(events.into_iter().map(WebhookEvent::from).collect())
}

fn check_description(description: Option<Personal<String>>) -> Result<Option<Personal<String>>, Problem> {
    let Some(text) = description.filter(|text| !text.reveal().is_empty()) else { return Ok(None) };
    if text.reveal().chars().count() > 200 {
        return Err(invalid("description", "text_length", "200 characters at most"));
    }
    extract::printable("description", text.reveal())?;
    Ok(Some(text))
}

/// Set up an endpoint
///
/// Its secret is in the answer, and never shown again. An account has 10 at most.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    operation_id = "addWebhook",
    tag = "webhooks",
    request_body = NewWebhook,
    responses(
        (status = 201, description = "It is set up.", body = WebhookWithSecret),
        (status = 409, description = "The account has as many as it may have.", body = Document,
            content_type = "application/problem+json"),
        ReadProblems,
    ),
    security(("apiKey" = ["webhooks:manage"])),
)]
pub async fn add(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonBody { content, .. }: JsonBody<NewWebhook>,
) -> Result<(StatusCode, Json<WebhookWithSecret>), Problem> {
    caller.may(Scope::WebhooksManage)?;
    let (tenant, now) = (caller.tenant(), shared.clock.now());
    shared.check_url(&content.url)?;
    let events = check_events(content.events)?;
    let target = WebhookTarget { url: content.url, description: check_description(content.description)? };
    let key = shared.keyring.account_key(tenant).await.map_err(away)?;
    let (id, secret) = (BatchId::new(now).0, WebhookSecret::mint().map_err(Problem::internal)?);
    let sealed_target = sealed::seal_target(&key, id, &target).map_err(Problem::internal)?;
    let sealed_secret = sealed::seal_secret(&key, id, &secret).map_err(Problem::internal)?;
    let new = store::New { id, events: &events, sealed: &sealed_target, secret: &sealed_secret, at: now };
    if !store::add(&shared.pool, tenant, &new, MOST).await.map_err(Problem::database)? {
        return Err(Problem::ManyWebhooks { most: MOST });
    }
    let webhook = shared.shown(tenant, id, &key).await?;
    Ok((StatusCode::CREATED, Json(WebhookWithSecret { webhook, secret: Personal::new(secret.reveal().to_owned()) })))
}

/// List the endpoints
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    operation_id = "listWebhooks",
    tag = "webhooks",
    responses((status = 200, description = "All of them.", body = Webhooks), ReadProblems),
    security(("apiKey" = ["webhooks:manage"])),
)]
pub async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Json<Webhooks>, Problem> {
    caller.may(Scope::WebhooksManage)?;
    let webhooks = opened(&shared, caller.tenant()).await?;
    Ok(Json(Webhooks { webhooks }))
}

/// All of an account's endpoints, opened; no key is asked for where there is none.
pub(super) async fn opened(shared: &Shared, tenant: TenantId) -> Result<Vec<Webhook>, Problem> {
    let stored = store::list(&shared.pool, tenant).await.map_err(Problem::database)?;
    if stored.is_empty() {
        return Ok(Vec::new());
    }
    let (key, now) = (shared.keyring.account_key(tenant).await.map_err(away)?, shared.clock.now());
    stored.into_iter().map(|webhook| Webhook::open(&key, webhook, now)).collect()
}

/// Read an endpoint
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}",
    operation_id = "readWebhook",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "The endpoint.", body = Webhook), ReadProblems),
    security(("apiKey" = ["webhooks:manage"])),
)]
pub async fn read(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<Webhook>, Problem> {
    let stored = shared.one(&caller, id).await?;
    let key = shared.keyring.account_key(caller.tenant()).await.map_err(away)?;
    Webhook::open(&key, stored, shared.clock.now()).map(Json)
}

/// Change an endpoint, or switch it on or off
#[utoipa::path(
    patch,
    path = "/v1/webhooks/{id}",
    operation_id = "changeWebhook",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint's id.")),
    request_body = WebhookChange,
    responses((status = 200, description = "As it is now.", body = Webhook), ReadProblems),
    security(("apiKey" = ["webhooks:manage"])),
)]
pub async fn change(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    id: Result<Path<Uuid>, PathRejection>,
    JsonBody { content, .. }: JsonBody<WebhookChange>,
) -> Result<Json<Webhook>, Problem> {
    let stored = shared.one(&caller, id).await?;
    let (tenant, id) = (caller.tenant(), stored.id);
    let key = shared.keyring.account_key(tenant).await.map_err(away)?;
    let mut change = store::Change { enabled: content.enabled, ..store::Change::default() };
    change.events = content.events.map(check_events).transpose()?;
    if content.url.is_some() || content.description.is_some() {
        let mut target = sealed::open_target(&key, id, &stored.sealed).map_err(Problem::internal)?;
        if let Some(url) = content.url {
            shared.check_url(&url)?;
            target.url = url;
        }
        if content.description.is_some() {
            target.description = check_description(content.description)?;
        }
        change.sealed = Some(sealed::seal_target(&key, id, &target).map_err(Problem::internal)?);
    }
    if !store::change(&shared.pool, tenant, id, &change, shared.clock.now()).await.map_err(Problem::database)? {
        return Err(Problem::NotFound("webhook"));
    }
    shared.shown(tenant, id, &key).await.map(Json)
}

/// Remove an endpoint, and what it was told
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{id}",
    operation_id = "removeWebhook",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint's id.")),
    responses((status = 204, description = "It is gone."), ReadProblems),
    security(("apiKey" = ["webhooks:manage"])),
)]
pub async fn remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let stored = shared.one(&caller, id).await?;
    match store::remove(&shared.pool, caller.tenant(), stored.id).await.map_err(Problem::database)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::NotFound("webhook")),
    }
}

/// Give an endpoint another secret
///
/// It is in the answer, and never shown again. The one before signs too for 24 hours: the header has both signatures then.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/rotate",
    operation_id = "rotateWebhook",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "The endpoint, and its new secret.", body = WebhookWithSecret), ReadProblems),
    security(("apiKey" = ["webhooks:manage"])),
)]
pub async fn rotate(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<WebhookWithSecret>, Problem> {
    let stored = shared.one(&caller, id).await?;
    let (tenant, id, now) = (caller.tenant(), stored.id, shared.clock.now());
    let key = shared.keyring.account_key(tenant).await.map_err(away)?;
    let secret = WebhookSecret::mint().map_err(Problem::internal)?;
    let sealed_secret = sealed::seal_secret(&key, id, &secret).map_err(Problem::internal)?;
    let until = now.saturating_add(OVERLAP).unwrap_or(now);
    if !store::rotate(&shared.pool, tenant, id, &sealed_secret, until).await.map_err(Problem::database)? {
        return Err(Problem::NotFound("webhook"));
    }
    let webhook = shared.shown(tenant, id, &key).await?;
    Ok(Json(WebhookWithSecret { webhook, secret: Personal::new(secret.reveal().to_owned()) }))
}
