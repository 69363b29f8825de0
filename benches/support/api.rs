//! The API as a tenant sees it.
use std::time::Duration;

use budstikke::domain::ApiKey;
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    url: String,
    key: ApiKey,
}

impl Api {
    /// With a tenant's key, at the port of this machine.
    pub(crate) fn new(client: &reqwest::Client, port: u16, key: ApiKey) -> Self {
        Self { client: client.clone(), url: format!("https://localhost:{port}/v1/messages"), key }
    }

    /// A call with this body (JSON), as it goes over a connection.
    #[allow(dead_code, reason = "the fault harness calls by itself")]
    pub(crate) fn request(&self, body: &str) -> String {
        let (key, length) = (self.key.reveal(), body.len());
        format!(
            "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }

    pub(crate) async fn answers(&self) -> bool {
        self.client.get(&self.url).bearer_auth(self.key.reveal()).send().await.is_ok()
    }

    /// Calls the API: the path behind `/v1/messages`, what to say, and the call's own key, if it has one. Gives the status and
    /// the answer; waits no longer than `patience`.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: &Value,
        once: Option<&str>,
        patience: Duration,
    ) -> Result<(u16, Value), reqwest::Error> {
        let mut call = self.client.post(format!("{}{path}", self.url)).bearer_auth(self.key.reveal()).timeout(patience);
        if let Some(once) = once {
            call = call.header("Idempotency-Key", once);
        }
        let answer = call.json(body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// Sets up an endpoint that is told of these events: the answer, which has its secret.
    #[allow(dead_code, reason = "the fault harness alone is told anything")]
    pub(crate) async fn webhook(&self, url: &str, events: &[&str]) -> Result<(u16, Value), reqwest::Error> {
        let at = self.url.replace("/v1/messages", "/v1/webhooks");
        let call = self.client.post(at).bearer_auth(self.key.reveal()).json(&json!({"url": url, "events": events}));
        let answer = call.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// Reads what is behind a path under `/v1/messages`.
    #[allow(dead_code, reason = "some read the tables alone")]
    pub(crate) async fn get(&self, path: &str) -> Result<(u16, Value), reqwest::Error> {
        let call = self.client.get(format!("{}{path}", self.url)).bearer_auth(self.key.reveal());
        let answer = call.timeout(Duration::from_secs(60)).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }
}

/// The ids of all messages that a query under `/v1/messages` finds, over all its pages.
#[allow(dead_code, reason = "the fault harness alone lists")]
pub(crate) async fn list(api: &Api, query: &str) -> Result<Vec<Uuid>, reqwest::Error> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let join = if query.is_empty() { '?' } else { '&' };
        let (_, page) = api.get(&format!("{query}{join}limit=200{cursor}")).await?;
        let messages = page["messages"].as_array().into_iter().flatten();
        ids.extend(messages.filter_map(|message| message["id"].as_str()?.parse::<Uuid>().ok()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(ids),
        }
    }
}
