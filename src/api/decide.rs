//! `POST /v1/messages/cancel`, `/release` and `/fail`: what becomes of messages that wait. Cancelling is for what was not sent
//! yet; the other two are for what is held, because a crash or a restore left it unknown whether it was sent.
use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::auth::Caller;
use super::extract::JsonBody;
use super::problem::{Document, Problem};
use crate::domain::{BatchId, Scope};
use crate::store::decisions::{self, Decision, Which};

/// Messages that may be named in one call.
const MOST: usize = 1000;

/// Which messages: some by their ids, or all of one call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// These messages.
    #[schema(min_items = 1, max_items = 1000)]
    messages: Option<Vec<Uuid>>,
    /// All messages of this call.
    batch: Option<Uuid>,
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
pub struct DecisionAnswer {
    /// The messages for which it was done.
    messages: Vec<Uuid>,
    /// Named messages for which it was not: they are on their way, or at their end, or not of the state that it is for, or none
    /// of the account's.
    untouched: Vec<Uuid>,
}

macro_rules! decision {
    ($name:ident, $path:literal, $operation:literal, $decision:expr, $(#[$doc:meta])+) => {
        $(#[$doc])+
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $operation,
            tag = "messages",
            request_body = DecisionRequest,
            responses(
                (status = 200, description = "What was done.", body = DecisionAnswer),
                (status = 400, description = "Malformed.", body = Document, content_type = "application/problem+json"),
                (status = 401, description = "No valid API key.", body = Document,
                    content_type = "application/problem+json"),
                (status = 403, description = "The key lacks the scope messages:send.", body = Document,
                    content_type = "application/problem+json"),
                (status = 413, description = "More than 1 MiB.", body = Document,
                    content_type = "application/problem+json"),
                (status = 415, description = "Not JSON.", body = Document, content_type = "application/problem+json"),
                (status = 422, description = "Neither messages nor a batch, or both, or too many messages.",
                    body = Document, content_type = "application/problem+json"),
                (status = 429, description = "Too many calls.", body = Document,
                    content_type = "application/problem+json"),
                (status = 503, description = "Come again after Retry-After.", body = Document,
                    content_type = "application/problem+json"),
            ),
            security(("apiKey" = ["messages:send"])),
        )]
        pub async fn $name(
            State(shared): State<Arc<Shared>>,
            caller: Caller,
            request: JsonBody<DecisionRequest>,
        ) -> Result<Json<DecisionAnswer>, Problem> {
            carry_out(&shared, &caller, request.content, $decision).await.map(Json)
        }
    };
}

decision!(
    cancel,
    "/v1/messages/cancel",
    "cancelMessages",
    Decision::Cancel,
    /// Cancel messages that were not sent yet
    ///
    /// A message that waits, for its time or for its turn, is not sent and costs nothing; it shows as cancelled. One that is on its
    /// way already stays untouched.
);
decision!(
    release,
    "/v1/messages/release",
    "releaseMessages",
    Decision::Release,
    /// Send messages that are held
    ///
    /// A message is held where it is not known whether it was sent. Released, it is sent, perhaps for the second time; it is billed
    /// once.
);
decision!(
    fail,
    "/v1/messages/fail",
    "failMessages",
    Decision::Fail,
    /// Give up messages that are held
    ///
    /// A message is held where it is not known whether it was sent. Given up, it is not sent again, and shows as unknown.
);

async fn carry_out(
    shared: &Shared,
    caller: &Caller,
    request: DecisionRequest,
    decision: Decision,
) -> Result<DecisionAnswer, Problem> {
    caller.may(Scope::MessagesSend)?;
    let invalid = |path, code, detail: &str| Problem::Invalid { path, code, detail: detail.to_owned() };
    let which = match (&request.messages, request.batch) {
        (Some(messages), None) if messages.is_empty() => {
            return Err(invalid("messages", "messages_empty", "name at least one message"));
        }
        (Some(messages), None) if messages.len() > MOST => {
            return Err(invalid("messages", "too_many_messages", "a call may name 1000 messages"));
        }
        (Some(messages), None) => Which::These(messages),
        (None, Some(batch)) => Which::Batch(BatchId(batch)),
        _ => return Err(invalid("messages", "messages_or_batch", "write either `messages` or `batch`")),
    };
    let done = decisions::decide(&shared.pool, caller.tenant(), decision, which).await;
    let done = done.map_err(|error| Problem::database(error.0))?;
    if decision == Decision::Release && !done.is_empty() {
        shared.waker.wake(caller.tenant());
    }
    let messages: Vec<Uuid> = done.into_iter().map(|id| id.0).collect();
    let mut seen: HashSet<Uuid> = messages.iter().copied().collect();
    let untouched = request.messages.unwrap_or_default().into_iter().filter(|id| seen.insert(*id)).collect();
    Ok(DecisionAnswer { messages, untouched })
}
