//! Everything that can go wrong with a call, as problem details (RFC 9457). The `type` of each is stable: programs may
//! tell failures apart by it. A detail may repeat what the caller wrote, and so is never logged.
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};
use uuid::Uuid;

use super::send::RefusedRecipient;
use crate::domain::{Scope, Service};
use crate::store::accept::Per;

/// What every `type` begins with.
const TYPES: &str = "https://budstikke.dev/problems/";

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No such address.
    #[error("there is nothing at this address")]
    NoSuchAddress,
    /// No such message, batch or page of this tenant's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The address is right, the method is not.
    #[error("this address does not take this method")]
    MethodNotAllowed,
    /// The body is longer than 1 MiB.
    #[error("the body of a call may have 1 MiB")]
    TooLarge,
    /// The body did not arrive.
    #[error("the body could not be read")]
    BodyNotRead,
    /// The body is not JSON by its header.
    #[error("send the body as JSON, with the header Content-Type: application/json")]
    NotJson,
    /// The body cannot be read as this call's.
    #[error("the body cannot be read{}: {detail}", at(path))]
    Malformed {
        /// The field, such as `to[3]`; empty for the whole.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// Readable, but it cannot be done.
    #[error("{}: {detail}", .path)]
    Invalid {
        /// The field or parameter.
        path: &'static str,
        /// A stable word for programs.
        code: &'static str,
        /// What is wrong, and what to write instead.
        detail: String,
    },
    /// Every recipient was refused.
    #[error("none of the recipients can be sent to; nothing was accepted")]
    AllRefused(Vec<RefusedRecipient>),
    /// No key, or not a valid one.
    #[error("send a valid API key, with the header Authorization: Bearer bud_…")]
    Unauthorized,
    /// The key may not do this.
    #[error("this API key lacks the scope {}", .0.as_str())]
    MissingScope(Scope),
    /// The account lacks a service (A9).
    #[error("{by} needs the service `{}`, which the account does not have: ask the provider for it", .service.as_str())]
    MissingService {
        /// Which.
        service: Service,
        /// What is part of it.
        by: String,
    },
    /// The account may not send (A2, A3, A5, B6).
    #[error("{reason}")]
    NotActive {
        /// The stable word: `suspended`, `unverified`, …
        code: String,
        /// The owner's words.
        reason: String,
    },
    /// The key was used for another call.
    #[error("this Idempotency-Key was used with another body; nothing was accepted")]
    KeyReused,
    /// The first call with the key is not answered yet.
    #[error("a call with this Idempotency-Key is being worked on")]
    InFlight,
    /// The hour's or the day's messages are spent.
    #[error("the account may send {limit} messages {}, and this call exceeds it; nothing was accepted", match per { Per::Hour => "an hour", Per::Day => "a day" })]
    OverQuota {
        /// Messages.
        limit: i32,
        /// In which time.
        per: Per,
        /// Until the next one begins.
        retry_after: Duration,
    },
    /// Too many calls.
    #[error("too many calls in a short time")]
    TooManyCalls,
    /// A copy is being made for this tenant.
    #[error("a copy is being made already; take the next one when that has ended")]
    CopyUnderWay,
    /// As many copies, statistics and searches are at work as may be at once.
    #[error("as many copies, statistics and searches are at work as may be at once; come again in a moment")]
    ManyLargeReads,
    /// The account has as many endpoints as it may have.
    #[error("an account has {most} webhooks at most; remove one first")]
    ManyWebhooks {
        /// How many.
        most: i64,
    },
    /// The endpoint is told nothing.
    #[error("the webhook is switched off; switch it on first")]
    WebhookDisabled,
    /// More calls at once than the service takes.
    #[error("the service is busy; nothing was accepted")]
    Busy,
    /// A part of the service is away; nothing was stored.
    #[error("the service cannot reach its {part} just now; nothing was accepted")]
    Unavailable {
        /// Which.
        part: &'static str,
        /// For the log.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer to the commit is missing.
    #[error(
        "it is not known whether the call was carried out; repeat it with the same Idempotency-Key, which never carries it \
         out twice"
    )]
    OutcomeUnknown,
    /// The call took too long.
    #[error("the call took too long; repeat it with the same Idempotency-Key, which never sends twice")]
    TimedOut,
    /// A fault of ours.
    #[error("the service failed; the fault is logged under the instance shown")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at {path}") }
}

impl Problem {
    /// Something that should not happen, happened.
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(error.into())
    }

    /// The database does not answer.
    pub fn database(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable { part: "database", source: Box::new(error) }
    }

    /// Status, last part of the type, title.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoSuchAddress => (StatusCode::NOT_FOUND, "no-such-address", "No such address"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::BodyNotRead => (StatusCode::BAD_REQUEST, "body-not-read", "The body could not be read"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "The body is not JSON"),
            Self::Malformed { .. } => (StatusCode::BAD_REQUEST, "malformed", "The call is malformed"),
            Self::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The call cannot be done as written"),
            Self::AllRefused(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "recipients-refused", "Every recipient was refused")
            }
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A valid API key is needed"),
            Self::MissingScope(_) => (StatusCode::FORBIDDEN, "missing-scope", "The API key may not do this"),
            Self::MissingService { .. } => {
                (StatusCode::FORBIDDEN, "missing-service", "The account does not have this service")
            }
            Self::NotActive { .. } => (StatusCode::FORBIDDEN, "account-not-active", "The account may not send"),
            Self::KeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The Idempotency-Key was used before")
            }
            Self::InFlight => (StatusCode::CONFLICT, "idempotency-key-in-flight", "The same call is being worked on"),
            Self::OverQuota { .. } => (StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", "The quota is exceeded"),
            Self::TooManyCalls => (StatusCode::TOO_MANY_REQUESTS, "too-many-calls", "Too many calls"),
            Self::CopyUnderWay => (StatusCode::TOO_MANY_REQUESTS, "copy-under-way", "A copy is being made"),
            Self::ManyLargeReads => (StatusCode::TOO_MANY_REQUESTS, "many-large-reads", "Many large reads at once"),
            Self::ManyWebhooks { .. } => (StatusCode::CONFLICT, "many-webhooks", "The account has enough webhooks"),
            Self::WebhookDisabled => (StatusCode::CONFLICT, "webhook-disabled", "The webhook is switched off"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "The service is busy"),
            Self::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The service is unavailable"),
            Self::OutcomeUnknown => (StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown", "The outcome is unknown"),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed-out", "The call took too long"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The service failed"),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::OverQuota { retry_after, .. } => Some(*retry_after),
            Self::CopyUnderWay => Some(Duration::from_secs(60)),
            Self::InFlight | Self::TooManyCalls | Self::Busy => Some(Duration::from_secs(1)),
            Self::ManyLargeReads => Some(Duration::from_secs(2)),
            Self::Unavailable { .. } | Self::OutcomeUnknown | Self::TimedOut => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    /// Writes the fault to the log, under an id that the caller sees too.
    fn log(&self, instance: Uuid) {
        match self {
            Self::Unavailable { part, source } => {
                tracing::warn!(%instance, part, error = %source, "a call was turned away")
            }
            Self::Internal(source) => tracing::error!(%instance, error = %source, "a call failed"),
            _ => tracing::warn!(%instance, problem = self.kind().1, "a call was turned away"),
        }
    }
}

/// Problem details (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// What kind of failure: stable, for programs.
    #[schema(format = "uri", examples("https://budstikke.dev/problems/invalid"))]
    r#type: String,
    /// The same in words.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this call.
    detail: String,
    /// The fault's id in the service's log, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    instance: Option<String>,
    /// The field or parameter that is wrong, such as `to[3]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// A stable word that tells failures of one type apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The refused recipients, when all were refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedRecipient>,
}

/// How reading can fail, for the document.
#[derive(IntoResponses)]
pub enum ReadProblems {
    /// A parameter is malformed.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Document),
    /// No valid API key.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Document),
    /// The key lacks the scope, or the account the service that `code` names.
    #[response(status = 403, content_type = "application/problem+json")]
    MissingScope(Document),
    /// This account has nothing of that id, or no longer.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Document),
    /// A parameter has no possible value.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Document),
    /// Too many calls, or as many copies, statistics and searches at work as may be at once.
    #[response(status = 429, content_type = "application/problem+json")]
    TooManyCalls(Document),
    /// Come again after Retry-After.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Document),
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, slug, title) = self.kind();
        let instance = status.is_server_error().then(Uuid::now_v7);
        if let Some(instance) = instance {
            self.log(instance);
        }
        let retry_after = self.retry_after().map(|after| HeaderValue::from(after.as_secs().max(1)));
        let detail = self.to_string();
        let unauthorized = matches!(self, Self::Unauthorized);
        let (path, code, refused) = match self {
            Self::Malformed { path, .. } => (Some(path).filter(|path| !path.is_empty()), None, Vec::new()),
            Self::Invalid { path, code, .. } => (Some(path.to_owned()), Some(code.to_owned()), Vec::new()),
            Self::MissingService { service, .. } => (None, Some(service.as_str().to_owned()), Vec::new()),
            Self::NotActive { code, .. } => (None, Some(code), Vec::new()),
            Self::AllRefused(refused) => (Some("to".to_owned()), None, refused),
            _ => (None, None, Vec::new()),
        };
        let document = Document {
            r#type: format!("{TYPES}{slug}"),
            title,
            status: status.as_u16(),
            detail,
            instance: instance.map(|id| format!("urn:uuid:{id}")),
            path,
            code,
            refused,
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(retry_after) = retry_after {
            headers.insert(header::RETRY_AFTER, retry_after);
        }
        if unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"budstikke\""));
        }
        response
    }
}
