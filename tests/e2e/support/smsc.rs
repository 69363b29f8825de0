//! A simulated upstream in the cluster, and its own record of what came: reached through the API server.
use axum::http::Request;
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::manifests::NAMESPACE;

pub(crate) struct Smsc {
    client: Client,
    name: String,
}

/// The counters that the tests look at.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Stats {
    pub(crate) binds: usize,
    pub(crate) bound: u64,
    pub(crate) binds_refused: u64,
    pub(crate) submitted: u64,
    pub(crate) busiest_second: usize,
}

/// One submit as it came.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Submit {
    pub(crate) at_ms: i64,
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) status: Option<u32>,
}

impl Smsc {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
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

    /// Everything it remembers.
    pub(crate) async fn submits(&self) -> Result<Vec<Submit>, String> {
        #[derive(Deserialize)]
        struct Page {
            next: u64,
            submits: Vec<Submit>,
        }
        let (mut all, mut since) = (Vec::new(), 0);
        loop {
            let page: Page = self.get(&format!("/submits?since={since}")).await?;
            if page.submits.is_empty() {
                return Ok(all);
            }
            all.extend(page.submits);
            since = page.next;
        }
    }
}
