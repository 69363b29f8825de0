//! `POST /v1/messages`: one text to one or many recipients.
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::Caller;
use super::extract::JsonBody;
use super::idempotency::{self, IdempotencyKey};
use super::problem::{Document, Problem};
use super::{Shared, opt_outs, seal};
use crate::domain::{BatchId, Encoding, MessageId, MessageState, Msisdn, Personal, Scope, copenhagen_day};
use crate::store::accept::{self, Call, Outcome, Per};

mod duplicates;
pub mod plan;
mod recipients;
pub mod reference;
mod wording;

pub use recipients::{Recipients, Wanted};

/// Recipients that are read at once, without leaving the thread.
const FEW_RECIPIENTS: usize = 50;
/// How often a call is held against a list that grows meanwhile.
const LOOKS: usize = 5;

/// What to send, to whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendRequest {
    /// One number or a list of them. International with + or 00, or national to the account's country.
    #[schema(value_type = RecipientsSchema)]
    pub to: Recipients,
    /// One of the account's sender ids; without it, the first of them.
    #[schema(max_length = 16, examples("Sølyst"))]
    pub from: Option<String>,
    /// The text, in as many parts as it takes. Where recipients have parameters, `{{name}}` stands for the recipient's own.
    #[schema(value_type = String, min_length = 1, examples("Hej! Din tid er kl. 10.15."))]
    pub text: Personal<String>,
    /// How the text is written: `auto` takes the GSM alphabet where it can, else UCS-2.
    #[serde(default)]
    pub encoding: EncodingChoice,
    /// Writes letters that the GSM alphabet lacks with those that it has, where some say the same: `œ` as `oe`, `“` as `\"`. Emoji
    /// stay as they are.
    #[serde(default)]
    pub transliterate: bool,
    /// The most parts; without it, and at most, as many as the account allows.
    #[schema(minimum = 1, maximum = 20)]
    pub max_parts: Option<u8>,
    /// What becomes of a text that takes more parts.
    #[serde(default)]
    pub too_long: TooLong,
    /// What the account calls these messages, for finding them: shown in history, kept as long as it. A recipient may have its own.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, examples("order 4711"))]
    pub reference: Option<Personal<String>>,
    /// `high` goes before everything of the account's that waits and is not: one-time passwords, alarms.
    #[serde(default)]
    pub priority: Priority,
    /// Shows the text at once; the handset does not keep it.
    #[serde(default)]
    pub flash: bool,
    /// Not before this instant; at most 30 days ahead, and so that the message ends while the account's log is kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub send_at: Option<Timestamp>,
    /// How many seconds the network tries, from `sendAt` on; without it, as long as the account allows.
    #[schema(minimum = 60, examples(86400))]
    pub validity: Option<i64>,
    /// Checks the call and counts the parts, and sends nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// One recipient, or a list of them.
#[derive(ToSchema)]
#[schema(as = Recipients)]
#[serde(untagged)]
pub enum RecipientsSchema {
    /// One.
    One(RecipientSchema),
    /// Many.
    Many(Vec<RecipientSchema>),
}

/// A number, or a number with what the text of this recipient differs in.
#[derive(ToSchema)]
#[schema(as = Recipient)]
#[serde(untagged)]
pub enum RecipientSchema {
    /// The number.
    #[schema(examples("+45 20 12 34 56"))]
    Number(String),
    /// With parameters.
    WithParameters {
        /// The number.
        #[schema(examples("+45 20 12 34 56"))]
        number: String,
        /// What stands in the text where it says `{{name}}`, by name: letters, digits, `_`, `-` and `.`.
        parameters: Option<BTreeMap<String, String>>,
        /// What the account calls this recipient's message.
        reference: Option<String>,
    },
}

/// How the text is to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodingChoice {
    /// The one that takes the fewest parts.
    #[default]
    Auto,
    /// GSM 03.38, or a refusal where the text has other characters.
    Gsm,
    /// UTF-16.
    Ucs2,
}

/// What becomes of a text that takes too many parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TooLong {
    /// It is not sent.
    #[default]
    Refuse,
    /// Its beginning is sent, as much as fits.
    Truncate,
}

/// Which of the account's messages go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// In the order of accept.
    #[default]
    Normal,
    /// Before those that are not, and among themselves in the order of accept.
    High,
}

/// What became of a call.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendAnswer {
    /// Groups the messages of this call; absent after a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<Uuid>,
    /// The accepted recipients' messages, in the order of the call.
    pub messages: Vec<AcceptedRecipient>,
    /// The refused recipients; nothing is sent to them.
    pub refused: Vec<RefusedRecipient>,
}

/// A recipient that a message was accepted for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedRecipient {
    /// Its place in `to`, from 0.
    pub index: usize,
    /// The message's id; absent after a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Its number in international form.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub to: Option<Personal<String>>,
    /// Where the message stands; absent after a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<super::view::State>)]
    pub state: Option<MessageState>,
    /// How many parts it takes.
    #[schema(minimum = 1, maximum = 255)]
    pub parts: u8,
    /// How its text is written.
    #[schema(value_type = super::view::EncodingName)]
    pub encoding: Encoding,
    /// What it costs, all parts together, in the currency of the account's plan and before VAT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("0.50"))]
    pub price: Option<String>,
}

/// A recipient that nothing is sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedRecipient {
    /// Its place in `to`, from 0.
    pub index: usize,
    /// A stable word for programs.
    #[schema(examples("number_too_short"))]
    pub code: String,
    /// Why, in words.
    pub detail: String,
}

/// Send a text to one or many recipients
///
/// Answered after the messages are stored for good. A recipient that cannot be sent to is refused by itself; when all
/// are, so is the call. With an `Idempotency-Key`, repeating a call whose answer was lost never sends twice.
#[utoipa::path(
    post,
    path = "/v1/messages",
    operation_id = "sendMessages",
    tag = "messages",
    params(("Idempotency-Key" = Option<String>, Header, description = "Up to 255 visible ASCII characters, for this call \
        alone: the same call again is answered as the first one was, with the header Idempotency-Replayed: true.")),
    request_body = SendRequest,
    responses(
        (status = 202, description = "Accepted and stored.", body = SendAnswer,
            headers(("Idempotency-Replayed" = bool, description = "true where the answer is that of an earlier call."))),
        (status = 200, description = "The outcome of a dry run.", body = SendAnswer),
        (status = 400, description = "Malformed.", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "No valid API key.", body = Document, content_type = "application/problem+json"),
        (status = 403, description = "The key lacks the scope messages:send, or the account the service that `code` names, or it may not send: \
            `code` says why.",
            body = Document, content_type = "application/problem+json"),
        (status = 409, description = "A call with this Idempotency-Key is being worked on.", body = Document,
            content_type = "application/problem+json"),
        (status = 413, description = "More than 1 MiB.", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "Not JSON.", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "It cannot be done as written, or every recipient was refused, or the \
            Idempotency-Key was used with another body.", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "Too many calls, or a quota is exceeded.", body = Document,
            content_type = "application/problem+json"),
        (status = 503, description = "Come again after Retry-After.", body = Document,
            content_type = "application/problem+json"),
    ),
    security(("apiKey" = ["messages:send"])),
)]
pub async fn send(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody { content: request, bytes }: JsonBody<SendRequest>,
) -> Result<Response, Problem> {
    caller.may(Scope::MessagesSend)?;
    let key = IdempotencyKey::of(&headers)?;
    let request = Arc::new(request);
    let refused = match accept(&shared, &caller, &request, key.as_ref(), &bytes).await {
        Ok(response) => return Ok(response),
        Err(problem) => problem,
    };
    // Nothing was accepted now; but was it before?
    let Some(key) = key.filter(|_| !request.dry_run && !matches!(refused, Problem::InFlight | Problem::KeyReused))
    else {
        return Err(refused);
    };
    match idempotency::earlier_answer(&shared, caller.tenant(), &key, &bytes).await {
        Ok(Some(answer)) => Ok(again(answer, &request, &caller)),
        Err(Problem::KeyReused) => Err(Problem::KeyReused),
        // Without an answer from the database, what was said first stands.
        Ok(None) | Err(_) => Err(refused),
    }
}

async fn accept(
    shared: &Shared,
    caller: &Caller,
    request: &Arc<SendRequest>,
    key: Option<&IdempotencyKey>,
    bytes: &[u8],
) -> Result<Response, Problem> {
    let started = Instant::now();
    let now = shared.clock.now();
    let mut plan = work_out(request, caller, now).await?;
    if request.dry_run {
        opt_outs::hold(shared, caller.tenant(), &mut plan).await?;
        return Ok((StatusCode::OK, Json(plan.answer(None, &[]))).into_response());
    }
    let mut in_flight = None;
    // What is remembered of the caller: who has no list makes no hashes.
    let mut listed = caller.account()?.opt_outs;
    let urgent = request.priority == Priority::High;
    for _ in 0..LOOKS {
        let (call, mut answer) =
            seal_call(shared, caller, &mut plan, now, (listed, urgent), key.map(|key| (key, bytes))).await?;
        if in_flight.is_none()
            && let Some(repeat) = &call.repeat
        {
            in_flight = Some(shared.in_flight.enter(caller.tenant(), repeat.key_hash)?);
        }
        let outcome = shared.acceptor.accept(call).await.map_err(|error| match error {
            accept::Error::Overloaded => Problem::Busy,
            accept::Error::Store(source) => Problem::database(source),
            accept::Error::Commit => Problem::OutcomeUnknown,
        })?;
        return match outcome {
            Outcome::Accepted => {
                shared.metrics.accepted(plan.accepted.len(), started.elapsed());
                plan.show_numbers(&mut answer);
                Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
            }
            Outcome::Repeated(stored) => {
                let answer: SendAnswer = serde_json::from_value(stored).map_err(Problem::internal)?;
                Ok(again(answer, request, caller))
            }
            Outcome::OptOuts => {
                listed = true;
                opt_outs::hold(shared, caller.tenant(), &mut plan).await?;
                continue;
            }
            Outcome::Duplicates(duplicates) => {
                plan.refuse_duplicates(&duplicates)?;
                continue;
            }
            Outcome::KeyReused => Err(Problem::KeyReused),
            Outcome::Refused { code, reason } => Err(Problem::NotActive { code, reason }),
            Outcome::OverQuota { limit, per } => {
                let retry_after = match per {
                    Per::Hour => plan::until_next_hour(now),
                    Per::Day => plan::until_tomorrow(now),
                };
                Err(Problem::OverQuota { limit, per, retry_after })
            }
        };
    }
    Err(Problem::Busy)
}

/// Seals a call as it is planned, and says what it will be answered.
async fn seal_call(
    shared: &Shared,
    caller: &Caller,
    plan: &mut plan::Plan,
    now: Timestamp,
    (listed, urgent): (bool, bool),
    key: Option<(&IdempotencyKey, &[u8])>,
) -> Result<(Call, SendAnswer), Problem> {
    let tenant = caller.tenant();
    let batch = BatchId::new(now);
    let ids: Vec<MessageId> = (0..).take(plan.accepted.len()).map(|nth| MessageId::nth(now, nth)).collect();
    // Batch and messages share the millisecond of `now`, which is how a batch finds its messages.
    let sealed = seal::seal(&shared.keyring, tenant, now, caller.account()?, plan, &ids).await?;
    plan.bound(now, &sealed.queue_key, sealed.log_key.as_deref())?;
    let answer = plan.answer(Some(batch), &ids);
    let repeat = match key {
        Some((key, bytes)) => Some(idempotency::repeat(shared, tenant, key, bytes, &answer).await?),
        None => None,
    };
    let numbers = if listed { Some(opt_outs::hashes(shared, tenant, plan).await?) } else { None };
    let call = Call {
        tenant,
        batch,
        day: copenhagen_day(now),
        hour: plan::hour_of_day(now),
        not_before: plan.send_at,
        expires_at: plan.expires_at,
        urgent,
        queue_key: sealed.queue_key,
        log_key: sealed.log_key,
        repeat,
        numbers,
        guard: duplicates::guard(shared, caller, caller.account()?, plan, now).await?,
        messages: sealed.messages,
    };
    Ok((call, answer))
}

/// Works a call out. Reading a number takes some 25 µs, so long lists are read beside the threads that serve all callers.
async fn work_out(request: &Arc<SendRequest>, caller: &Caller, now: Timestamp) -> Result<plan::Plan, Problem> {
    if request.to.as_slice().len() <= FEW_RECIPIENTS {
        return plan::plan(request, caller.account()?, now);
    }
    let (request, caller) = (Arc::clone(request), caller.clone());
    let work = move || plan::plan(&request, caller.account()?, now);
    tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?
}

/// The answer of an earlier call. It was stored without numbers; the repeated call has the same ones in the same places.
fn again(mut answer: SendAnswer, request: &SendRequest, caller: &Caller) -> Response {
    if let Some(region) = caller.account().ok().and_then(|account| account.region) {
        for message in &mut answer.messages {
            let number = request.to.as_slice().get(message.index);
            let number = number.and_then(|wanted| Msisdn::parse(wanted.number.reveal(), region).ok());
            message.to = number.map(|number| number.international());
        }
    }
    (StatusCode::ACCEPTED, [("idempotency-replayed", "true")], Json(answer)).into_response()
}
