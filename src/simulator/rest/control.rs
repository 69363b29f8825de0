//! Control over HTTP: `GET /stats`, `GET /calls?since=N`, `GET` and `POST /behaviour`, `POST /inbound`.
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Centre;
use super::record::{Call, RestStats};
use crate::simulator::behaviour::{Behaviour, Change};
use crate::simulator::control::Inbound;

#[derive(Debug, Deserialize)]
struct Since {
    #[serde(default)]
    since: u64,
}

#[derive(Debug, Serialize)]
struct Calls {
    /// What to ask for next.
    next: u64,
    calls: Vec<Call>,
}

type Shared = State<Arc<Centre>>;

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, centre: Arc<Centre>, stop: CancellationToken) {
    let router = Router::new()
        .route("/stats", get(stats))
        .route("/calls", get(calls))
        .route("/behaviour", get(behaviour).post(behave))
        .route("/inbound", post(inbound))
        .with_state(centre);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "control over HTTP ended");
    }
}

async fn stats(State(centre): Shared) -> Json<RestStats> {
    Json(centre.stats())
}

async fn calls(State(centre): Shared, Query(from): Query<Since>) -> Json<Calls> {
    let calls = centre.record().since(from.since);
    let next = calls.last().map_or(from.since, |last| last.number + 1);
    Json(Calls { next, calls })
}

async fn behaviour(State(centre): Shared) -> Json<Behaviour> {
    Json(centre.behaviour.borrow().clone())
}

async fn behave(State(centre): Shared, Json(change): Json<Change>) -> Json<Behaviour> {
    centre.behave(&change);
    Json(centre.behaviour.borrow().clone())
}

async fn inbound(State(centre): Shared, Json(inbound): Json<Inbound>) -> StatusCode {
    centre.inbound(&inbound);
    StatusCode::ACCEPTED
}
