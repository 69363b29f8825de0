//! A simulated upstream in the cluster, and its own record of what came: reached through the API server.
use std::collections::HashSet;

use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::crash::RECOVERY;
use super::manifests::NAMESPACE;
use super::wait::{eventually, holds};

/// Looks in a row that see nothing new before it counts as still: about a second, long after any latency.
const STILL: usize = 6;

/// One life of it: who comes after its pod has died has a record of its own.
pub(crate) struct Smsc {
    client: Client,
    name: String,
    /// What was read of its record, which only grows.
    read: Mutex<Vec<Submit>>,
}

/// The counters that the tests look at.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Stats {
    pub(crate) binds: usize,
    pub(crate) bound: u64,
    pub(crate) binds_refused: u64,
    pub(crate) submitted: u64,
    pub(crate) unanswered: usize,
    pub(crate) busiest_second: usize,
}

/// One submit as it came.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Submit {
    number: u64,
    pub(crate) at_ms: i64,
    pub(crate) source: String,
    pub(crate) destination: String,
    /// `None` where the answer was withheld.
    pub(crate) status: Option<u32>,
}

impl Smsc {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name, read: Mutex::default() }
    }

    /// The one that took its place.
    pub(crate) fn successor(&self) -> Self {
        Self::new(self.client.clone(), self.name.clone())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn host(&self) -> String {
        format!("{}.{NAMESPACE}.svc", self.name)
    }

    fn path(&self, path: &str) -> String {
        format!("/api/v1/namespaces/{NAMESPACE}/services/http:{}:control/proxy{path}", self.name)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let request = Request::get(self.path(path)).body(Vec::new()).expect("a request");
        self.client.request(request).await.map_err(|error| error.to_string())
    }

    pub(crate) async fn stats(&self) -> Result<Stats, String> {
        self.get("/stats").await
    }

    /// Changes how it behaves, from now on.
    pub(crate) async fn behave(&self, change: &Value) {
        let request = Request::post(self.path("/behaviour")).header(CONTENT_TYPE, "application/json");
        let request = request.body(change.to_string().into_bytes()).expect("a request");
        let behaves: kube::Result<Value> = self.client.request(request).await;
        behaves.unwrap_or_else(|error| panic!("{} shall behave as {change}: {error}", self.name));
    }

    /// Has a handset write to a number of ours; an error while nobody is bound to receive it.
    pub(crate) async fn inbound(&self, from: &str, to: &str, text: &str) -> Result<(), String> {
        let request = Request::post(self.path("/inbound")).header(CONTENT_TYPE, "application/json");
        let written = json!({"from": from, "to": to, "text": text}).to_string();
        let request = request.body(written.into_bytes()).expect("a request");
        let sent: kube::Result<Value> = self.client.request(request).await;
        sent.map(drop).map_err(|error| error.to_string())
    }

    /// Has it keep back its answers, and waits until `window` submits wait for theirs and nothing more comes: their fate
    /// is open then, and of no others, since every answer before had its time to be stored.
    pub(crate) async fn fall_silent(&self, window: usize) {
        self.behave(&json!({"stall": true})).await;
        let (mut before, mut still) = (None, 0);
        eventually(&format!("{window} wait for their answers"), RECOVERY, async || {
            let stats = self.stats().await?;
            still = if before == Some(stats.submitted) { still + 1 } else { 0 };
            before = Some(stats.submitted);
            holds(stats.unanswered == window && still >= STILL, stats)
        })
        .await;
    }

    /// Everything that came.
    pub(crate) async fn submits(&self) -> Result<Vec<Submit>, String> {
        #[derive(Deserialize)]
        struct Page {
            submits: Vec<Submit>,
        }
        let mut read = self.read.lock().await;
        loop {
            let next = read.len() as u64;
            let page: Page = self.get(&format!("/submits?since={next}")).await?;
            let Some(first) = page.submits.first() else { return Ok(read.clone()) };
            assert_eq!(first.number, next, "{} still remembers what came: give it a longer --record", self.name);
            read.extend(page.submits);
        }
    }
}

/// Submits that were taken, or may have been, for numbers that had come before.
pub(crate) fn repeated(submits: &[Submit]) -> usize {
    let taken: Vec<&str> = submits
        .iter()
        .filter(|submit| submit.status.is_none_or(|status| status == 0))
        .map(|submit| &*submit.destination)
        .collect();
    taken.len() - taken.iter().collect::<HashSet<_>>().len()
}
