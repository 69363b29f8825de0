//! Brings callbacks to whoever is to hear them, signed, again and again until they are taken or refused for good.
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::{Clock as _, Secret, SystemClock};
use crate::simulator::Error;

/// How many may wait; more are lost.
const MOST: usize = 100_000;
/// How many are brought at once.
const AT_ONCE: usize = 50;
/// How often one is brought, and the pauses between: the first, and the longest.
const TRIES: u32 = 30;
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of callbacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CallbackStats {
    /// Answered with 2xx.
    pub taken: u64,
    /// Answered with 4xx: not brought again.
    pub refused: u64,
    /// Brought once more, after 5xx, 429 or no answer.
    pub again: u64,
    /// Waiting, or being brought.
    pub waiting: usize,
    /// Given up.
    pub lost: u64,
}

/// See the module. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Caller(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    url: watch::Sender<Option<String>>,
    secret: Secret,
    stats: Mutex<CallbackStats>,
    turns: Semaphore,
    stop: CancellationToken,
}

impl Caller {
    pub(super) fn new(
        url: Option<String>,
        secret: Secret,
        authority: Option<&Path>,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let unfit = |error: &dyn std::fmt::Display| Error::Certificate(error.to_string());
        let mut roots = rustls::RootCertStore::empty();
        match authority {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let pem: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
                for certificate in pem.map_err(|error| unfit(&error))? {
                    roots.add(certificate).map_err(|error| unfit(&error))?;
                }
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unfit(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self(Arc::new(Shared {
            client,
            url: watch::Sender::new(url),
            secret,
            stats: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            stop,
        })))
    }

    pub(super) fn stats(&self) -> CallbackStats {
        *self.0.stats()
    }

    pub(super) fn call_at(&self, url: &str) {
        self.0.url.send_replace(Some(url.to_owned()));
    }

    /// Brings it after `delay`.
    pub(super) fn call(&self, content: Value, delay: Duration) {
        {
            let mut stats = self.0.stats();
            if stats.waiting >= MOST {
                stats.lost += 1;
                return;
            }
            stats.waiting += 1;
        }
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let stop = shared.stop.clone();
            let status = stop.run_until_cancelled(shared.bring(content, delay)).await.flatten();
            let mut stats = shared.stats();
            stats.waiting -= 1;
            match status {
                Some(status) if status.is_success() => stats.taken += 1,
                Some(_) => stats.refused += 1,
                None => stats.lost += 1,
            }
        });
    }
}

impl Shared {
    fn stats(&self) -> MutexGuard<'_, CallbackStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last answer; `None` when it was given up.
    async fn bring(&self, content: Value, delay: Duration) -> Option<StatusCode> {
        sleep(delay).await;
        let mut pause = PAUSES.0;
        for _ in 0..TRIES {
            let status = self.bring_once(&content).await;
            match status {
                Some(status) if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                    return Some(status);
                }
                _ => {}
            }
            self.stats().again += 1;
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        None
    }

    async fn bring_once(&self, content: &Value) -> Option<StatusCode> {
        let _turn = self.turns.acquire().await.ok()?;
        let url = self.url.subscribe().wait_for(Option::is_some).await.ok()?.clone()?;
        let (body, nonce) = (content.to_string(), format!("{:016x}", rand::random::<u64>()));
        let time = SystemClock.now().as_second().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose().as_bytes());
        let signature = hmac::sign(&key, format!("{body}.{nonce}.{time}").as_bytes());
        let request = Request::post(url)
            .header("content-type", "application/json")
            .header("x-sinch-webhook-signature", BASE64_STANDARD.encode(signature))
            .header("x-sinch-webhook-signature-nonce", nonce)
            .header("x-sinch-webhook-signature-timestamp", time)
            .header("x-sinch-webhook-signature-algorithm", "HmacSHA256")
            .body(Body::from(body))
            .ok()?;
        timeout(PATIENCE, self.client.request(request)).await.ok()?.ok().map(|answer| answer.status())
    }
}
