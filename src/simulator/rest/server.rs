//! The API's two operations that matter: a batch, and the list of batches, which is always empty.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Centre;
use super::record::{Batch, Call};
use crate::domain::{Clock as _, SystemClock};
use crate::simulator::behaviour::{Behaviour, Receipts};

/// The API's own limits.
const RECIPIENTS: usize = 1_000;
const CHARACTERS: usize = 2_000;

pub(super) fn router(centre: Arc<Centre>) -> Router {
    Router::new().route("/xms/v1/{plan}/batches", post(create).get(list)).with_state(centre)
}

type Shared = State<Arc<Centre>>;

async fn list(State(centre): Shared, Path(plan): Path<String>, headers: HeaderMap) -> Response {
    if let Some(refusal) = centre.refuse(&plan, &headers) {
        return refusal;
    }
    centre.record().stats.probes += 1;
    if !centre.answers().await {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    Json(json!({"count": 0, "page": 0, "page_size": 1, "batches": []})).into_response()
}

async fn create(State(centre): Shared, Path(plan): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = centre.refuse(&plan, &headers) {
        return refusal;
    }
    let _busy = Busy::new(&centre);
    match serde_json::from_slice::<Batch>(&body) {
        Ok(batch) => centre.create(batch).await,
        Err(_) => error(StatusCode::BAD_REQUEST, "syntax_invalid_json"),
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({"code": code, "text": "see the code"}))).into_response()
}

/// A call at work.
struct Busy<'a>(&'a Centre);

impl<'a> Busy<'a> {
    fn new(centre: &'a Centre) -> Self {
        let mut record = centre.record();
        record.stats.at_once += 1;
        record.stats.most_at_once = record.stats.most_at_once.max(record.stats.at_once);
        drop(record);
        Self(centre)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.record().stats.at_once -= 1;
    }
}

impl Centre {
    fn refuse(&self, plan: &str, headers: &HeaderMap) -> Option<Response> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let wanted = self.token();
        let known = plan == self.plan
            && !self.behaviour.borrow().latch
            && given.is_some_and(|given| wanted.as_ref().is_none_or(|wanted| wanted.expose() == given));
        drop(wanted);
        if known {
            return None;
        }
        self.record().stats.unauthorized += 1;
        Some(StatusCode::UNAUTHORIZED.into_response())
    }

    /// Waits out latency and stalling; false when it is to answer no more.
    async fn answers(&self) -> bool {
        let mut behaviour = self.behaviour.subscribe();
        let latency = Duration::from_millis(behaviour.borrow().latency_ms);
        let answered = self.stop.run_until_cancelled(async {
            sleep(latency).await;
            let _ = behaviour.wait_for(|behaviour| !behaviour.stall).await;
        });
        answered.await.is_some()
    }

    async fn create(&self, batch: Batch) -> Response {
        let behaviour = self.behaviour.borrow().clone();
        let (status, code, call) = self.judge(&batch, &behaviour);
        let stalled = behaviour.stall;
        let accepted = status == StatusCode::CREATED;
        let id = accepted.then(|| format!("01SIM{call:021}"));
        if stalled {
            self.record().stats.stalled += 1;
        } else if let Some(id) = &id {
            self.record().stats.accepted += batch.to.len() as u64;
            self.report(id, &batch, &behaviour);
        }
        self.record().keep(Call {
            number: call,
            at_ms: SystemClock.now().as_millisecond(),
            batch: batch.clone(),
            status: (!stalled).then_some(status.as_u16()),
            id: id.clone().filter(|_| !stalled),
        });
        if !self.answers().await {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let Some(id) = id else {
            let mut answer = error(status, code);
            if status == StatusCode::TOO_MANY_REQUESTS {
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            return answer;
        };
        let mut answer = serde_json::to_value(&batch).unwrap_or_default();
        answer["id"] = id.into();
        answer["canceled"] = false.into();
        (StatusCode::CREATED, Json(answer)).into_response()
    }

    /// The status, its code, and the number of the call.
    fn judge(&self, batch: &Batch, behaviour: &Behaviour) -> (StatusCode, &'static str, u64) {
        let mut record = self.record();
        let number = record.stats.calls;
        record.stats.calls += 1;
        let busy = record.came(batch.to.len());
        // Evenly spread instead of by chance, so that tests can count.
        let strikes = |percent: u8| (number + 1) * u64::from(percent) / 100 > number * u64::from(percent) / 100;
        #[expect(clippy::cast_precision_loss, reason = "at most as many as arrive in a second")]
        let too_many = behaviour.rate > 0.0 && busy as f64 > behaviour.rate + (behaviour.rate / 20.0).max(1.0);
        let (status, code) = if too_many || strikes(behaviour.throttle_percent) {
            record.stats.throttled += 1;
            (StatusCode::TOO_MANY_REQUESTS, "too_many_requests")
        } else if let Some(code) = fault(batch) {
            record.stats.refused += 1;
            (StatusCode::BAD_REQUEST, code)
        } else if strikes(behaviour.error_percent) {
            record.stats.refused += 1;
            (StatusCode::BAD_REQUEST, "syntax_constraint_violation")
        } else {
            (StatusCode::CREATED, "")
        };
        (status, code, number)
    }

    /// Tells what became of each message, where that was asked for.
    fn report(&self, id: &str, batch: &Batch, behaviour: &Behaviour) {
        if batch.delivery_report != "per_recipient" {
            return;
        }
        let delay = Duration::from_millis(behaviour.latency_ms + behaviour.receipt_delay_ms);
        for to in &batch.to {
            let number = self.messages.fetch_add(1, Ordering::Relaxed);
            let (status, code) = match (behaviour.receipts, number % 20) {
                (Receipts::None, _) => continue,
                (Receipts::Failed, _) | (Receipts::Mix, 3 | 13) => ("Failed", 27),
                (Receipts::Mix, 8) => ("Expired", 406),
                (Receipts::Mix, 18) => ("Rejected", 402),
                (Receipts::Delivered | Receipts::Mix, _) => ("Delivered", 0),
            };
            for (status, code) in [("Dispatched", 401), (status, code)] {
                self.caller.call(receipt(id, to, status, code), delay);
            }
        }
    }
}

fn receipt(id: &str, to: &str, status: &str, code: u32) -> Value {
    json!({
        "type": "recipient_delivery_report_sms", "batch_id": id, "recipient": to.trim_start_matches('+'),
        "status": status, "code": code, "at": SystemClock.now().to_string(),
    })
}

/// What the API finds wrong with a batch.
fn fault(batch: &Batch) -> Option<&'static str> {
    let number = |to: &String| {
        let digits = to.strip_prefix('+').unwrap_or(to);
        (6..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
    };
    let binary = batch.kind == "mt_binary";
    if !batch.to.iter().all(number) {
        return Some("syntax_invalid_parameter_format");
    }
    let fits = (1..=RECIPIENTS).contains(&batch.to.len())
        && batch.body.chars().count() <= CHARACTERS
        && !batch.from.is_empty()
        && (binary || batch.kind == "mt_text")
        && binary == batch.udh.is_some()
        && ["none", "summary", "full", "per_recipient"].contains(&batch.delivery_report.as_str());
    (!fits).then_some("syntax_constraint_violation")
}
