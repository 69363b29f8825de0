//! Control over HTTP: `GET /stats`, `GET /submits?since=N`, `GET` and `POST /behaviour`, `POST /inbound`.
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use rusmpp::pdus::DeliverSm;
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::behaviour::{Behaviour, Change};
use super::record::{Stats, Submit};
use super::smsc::Centre;
use crate::domain::text::{Encoding, split};

/// A message from a handset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inbound {
    /// The handset's number.
    pub from: String,
    /// The number or short code that was written to.
    pub to: String,
    /// The text; longer than one SMS it comes in parts.
    pub text: String,
    /// Send the last part first.
    #[serde(default)]
    pub reversed: bool,
}

impl Inbound {
    /// The PDUs; none when an address or the text does not fit.
    pub(super) fn parts(&self) -> Vec<DeliverSm> {
        let encoding = Encoding::of(&self.text);
        let (Ok(from), Ok(to), Ok(parts)) =
            (COctetString::from_str(&self.from), COctetString::from_str(&self.to), split(&self.text, encoding))
        else {
            return Vec::new();
        };
        let coding = match encoding {
            Encoding::Gsm => DataCoding::McSpecific,
            Encoding::Ucs2 => DataCoding::Ucs2,
        };
        let count = u8::try_from(parts.len()).unwrap_or(u8::MAX);
        let reference = rand::random::<u8>();
        let mut pdus: Vec<_> = (1_u8..)
            .zip(parts)
            .filter_map(|(part, payload)| {
                // User data header: concatenation with an 8-bit reference.
                let header: &[u8] = if count > 1 { &[5, 0, 3, reference, count, part] } else { &[] };
                let octets = [header, payload.reveal().as_slice()].concat();
                let deliver = DeliverSm::builder()
                    .source_addr(from.clone())
                    .destination_addr(to.clone())
                    .esm_class(EsmClass::from(if count > 1 { 0b0100_0000 } else { 0 }))
                    .data_coding(coding)
                    .short_message(OctetString::from_vec(octets).ok()?)
                    .build();
                Some(deliver)
            })
            .collect();
        if self.reversed {
            pdus.reverse();
        }
        pdus
    }
}

#[derive(Debug, Deserialize)]
struct Since {
    #[serde(default)]
    since: u64,
}

#[derive(Debug, Serialize)]
struct Submits {
    /// What to ask for next.
    next: u64,
    submits: Vec<Submit>,
}

#[derive(Debug, Serialize)]
struct Sent {
    parts: usize,
}

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, centre: Arc<Centre>, stop: CancellationToken) {
    let router = Router::new()
        .route("/stats", get(stats))
        .route("/submits", get(submits))
        .route("/behaviour", get(behaviour).post(behave))
        .route("/inbound", post(inbound))
        .with_state(centre);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "control over HTTP ended");
    }
}

async fn stats(State(centre): State<Arc<Centre>>) -> Json<Stats> {
    Json(centre.stats())
}

async fn submits(State(centre): State<Arc<Centre>>, Query(from): Query<Since>) -> Json<Submits> {
    let submits = centre.submits(from.since);
    let next = submits.last().map_or(from.since, |last| last.number + 1);
    Json(Submits { next, submits })
}

async fn behaviour(State(centre): State<Arc<Centre>>) -> Json<Behaviour> {
    Json(centre.behaviour())
}

async fn behave(State(centre): State<Arc<Centre>>, Json(change): Json<Change>) -> Json<Behaviour> {
    centre.behave(&change);
    Json(centre.behaviour())
}

/// 409 when nobody is bound to receive it, or it does not fit.
async fn inbound(State(centre): State<Arc<Centre>>, Json(inbound): Json<Inbound>) -> (StatusCode, Json<Sent>) {
    let parts = centre.inbound(&inbound);
    (if parts == 0 { StatusCode::CONFLICT } else { StatusCode::ACCEPTED }, Json(Sent { parts }))
}
