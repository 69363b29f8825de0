//! One question to the engine, over TLS alone and in a bounded time.
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request};
use bytes::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::TransitError;
use crate::domain::Secret;

/// Of one question, from the connection to the answer's end.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Of an answer, bytes.
const MOST: usize = 64 * 1024;
/// A question is written once: what holds a key is not left behind in a buffer that was too small.
const ROOM: usize = 8 * 1024;

pub(super) struct Asker {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    /// `https://host:port/v1/`.
    base: String,
    namespace: Option<HeaderValue>,
}

impl Asker {
    /// `None` where the namespace cannot be one.
    pub(super) fn new(address: &url::Url, namespace: Option<&str>, tls: &Arc<rustls::ClientConfig>) -> Option<Self> {
        let namespace = namespace.map(HeaderValue::from_str).transpose().ok()?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let tls = HttpsConnectorBuilder::new().with_tls_config(rustls::ClientConfig::clone(tls)).https_only();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(tls.enable_http1().wrap_connector(tcp));
        Some(Self { client, base: format!("{}v1/", address.as_str()), namespace })
    }

    pub(super) async fn post<T: for<'a> Deserialize<'a>>(
        &self,
        what: &'static str,
        path: &str,
        token: Option<&Secret>,
        body: &impl Serialize,
    ) -> Result<T, TransitError> {
        let request = self.request(path, token, body).ok_or(TransitError::Answer)?;
        let asked = tokio::time::timeout(TIMEOUT, async {
            let response = self.client.request(request).await.map_err(|error| root(&error))?;
            let status = response.status();
            let body = axum::body::to_bytes(Body::new(response.into_body()), MOST).await;
            Ok::<_, String>((status, Zeroizing::new(Vec::from(body.map_err(|error| root(&error))?))))
        });
        let (status, answer) = asked
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
            .map_err(|why| TransitError::Away { what, why })?;
        if !status.is_success() {
            return Err(TransitError::refused(what, status, &answer));
        }
        serde_json::from_slice(&answer).map_err(|_| TransitError::Answer)
    }

    fn request(&self, path: &str, token: Option<&Secret>, body: &impl Serialize) -> Option<Request<Body>> {
        let mut written = Zeroizing::new(Vec::with_capacity(ROOM));
        serde_json::to_writer(&mut *written, body).ok()?;
        let mut request = Request::post(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, "application/json")
            .header("x-vault-request", "true");
        if let Some(token) = token {
            let mut token = HeaderValue::from_str(token.expose()).ok()?;
            token.set_sensitive(true);
            request = request.header("x-vault-token", token);
        }
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        request.body(Body::from(Bytes::from_owner(written))).ok()
    }
}

/// What was at the bottom of it: refused connection, unknown authority and the like.
fn root(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
