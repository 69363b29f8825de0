//! Where an upstream over HTTPS brings receipts and SMS from handsets. Each is answered when it is safe, and not before: an
//! upstream that hears of a fault comes again, for almost a day.
//!
//! The connector listens itself, since it is what knows whose a receipt or an SMS is and has the rights to store it: the API
//! would have to pass them on, and each to the right pod.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::sync::Semaphore;
use tower_http::timeout::TimeoutLayer;

use super::notice::{self, Notice};
use super::signature::{self, Doubt};
use crate::connector::inbound::Error;
use crate::connector::intake::Intake;
use crate::connector::metrics::Metrics;
use crate::domain::MessageId;

/// Of a callback, octets.
const MOST: usize = 64 * 1024;
/// Callbacks at once; more are asked to come later, and fewer at a time.
const AT_ONCE: usize = 200;
/// For a callback, from its first octet to what is answered: longer than a sender may take to store a receipt.
const PATIENCE: Duration = Duration::from_secs(25);

/// Between two lines about callbacks that are not believed.
const SELDOM: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(in crate::connector) struct Callbacks {
    intake: Arc<Intake>,
    metrics: Metrics,
    places: Semaphore,
    /// When it was last said that one was not believed.
    doubted: Mutex<Option<Instant>>,
}

impl Callbacks {
    /// What is to be served.
    pub(in crate::connector) fn router(intake: Arc<Intake>, metrics: Metrics) -> Router {
        let callbacks = Self { intake, metrics, places: Semaphore::new(AT_ONCE), doubted: Mutex::default() };
        Router::new()
            .route("/callbacks/{path}", post(take))
            .layer(DefaultBodyLimit::max(MOST))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, PATIENCE))
            .with_state(Arc::new(callbacks))
    }
}

/// Answers nothing but a status: there is nobody who would read more.
async fn take(
    State(callbacks): State<Arc<Callbacks>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let (status, word) = callbacks.take(&path, &headers, &body).await;
    callbacks.metrics.callback(word);
    status
}

impl Callbacks {
    async fn take(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> (StatusCode, &'static str) {
        let Ok(_place) = self.places.try_acquire() else { return (StatusCode::TOO_MANY_REQUESTS, "busy") };
        let (intake, now) = (&self.intake, self.intake.clock.now());
        let config = Arc::clone(&intake.config.borrow());
        if config.settings.https.as_ref().is_none_or(|https| https.callback_path != path) {
            return (StatusCode::NOT_FOUND, "elsewhere");
        }
        if let Err(doubt) = signature::check(config.callback_secret.as_ref(), headers, body, now) {
            self.tell(doubt);
            let status = match doubt {
                // While the secret is being exchanged, and only one side has the new one: what is refused for good is lost.
                Doubt::NoSecret | Doubt::Wrong => StatusCode::SERVICE_UNAVAILABLE,
                Doubt::Unsigned | Doubt::Late => StatusCode::UNAUTHORIZED,
            };
            return (status, "unproven");
        }
        match notice::read(body, &intake.key, now) {
            Err(error) => {
                tracing::warn!(%error, "a callback is of no use");
                (StatusCode::BAD_REQUEST, "unreadable")
            }
            Ok(Notice::Other) => (StatusCode::OK, "other"),
            Ok(Notice::Receipt(receipt)) => match intake.receipts.bring(receipt).await {
                Ok(()) => (StatusCode::OK, "receipt"),
                Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_stored"),
            },
            Ok(Notice::Inbound(inbound)) => {
                // The same each time: what is told twice is stored once.
                let id = MessageId::named(inbound.received_at, intake.key.name(&inbound.id));
                match intake.take_message(&inbound.delivery(), id, inbound.received_at).await {
                    Ok(()) => (StatusCode::OK, "inbound"),
                    Err(Error::Unowned) => (StatusCode::UNPROCESSABLE_ENTITY, "unowned"),
                    Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_stored"),
                }
            }
        }
    }

    /// Anybody can come with something unbelievable, and as often as they like: one line a minute.
    fn tell(&self, doubt: Doubt) {
        let mut doubted = self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        if doubted.is_none_or(|last| last.elapsed() >= SELDOM) {
            *doubted = Some(Instant::now());
            tracing::warn!(%doubt, "a callback is not believed; see the metric for how many");
        }
    }
}
