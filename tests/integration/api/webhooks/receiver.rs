//! A tenant's own server: it answers as it is told to, and checks signatures by its own means.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use budstikke::api::server;
use budstikke::domain::{Clock as _, SystemClock};
use budstikke::pki::Authority;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::service::certificate;

/// A call as it came.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) path: String,
    pub(super) id: String,
    pub(super) timestamp: String,
    pub(super) signature: String,
    pub(super) agent: String,
    pub(super) bytes: Bytes,
}

impl Told {
    pub(super) fn body(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("JSON")
    }

    /// How many of the signatures are by this secret.
    pub(super) fn signed_by(&self, secret: &str) -> usize {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let mut content = format!("{}.{}.", self.id, self.timestamp).into_bytes();
        content.extend_from_slice(&self.bytes);
        let good = |signature: &&str| {
            let signature = signature.strip_prefix("v1,").expect("of version 1");
            hmac::verify(&key, &content, &BASE64_STANDARD.decode(signature).expect("base64")).is_ok()
        };
        self.signatures().iter().filter(|signature| good(signature)).count()
    }

    pub(super) fn signatures(&self) -> Vec<&str> {
        self.signature.split(' ').collect()
    }
}

/// What is answered: a status, and headers.
type Scripted = (u16, Vec<(&'static str, String)>);

#[derive(Debug)]
struct Shared {
    told: Mutex<Vec<Told>>,
    /// Told already, whether answered or not.
    arrived: watch::Sender<usize>,
    answers: Mutex<VecDeque<Scripted>>,
    /// Closed while answers are held back.
    gate: Semaphore,
    now: AtomicUsize,
    most: AtomicUsize,
}

/// The server; stops with the value.
pub(super) struct Receiver {
    shared: Arc<Shared>,
    pub(super) port: u16,
    pub(super) authority: String,
    _stop: DropGuard,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let root = Authority::generate(SystemClock.now()).expect("an authority");
        let authority = Authority::load(&root.certificate, &root.key).expect("an authority");
        let (_certificates, shown) = watch::channel(certificate(&authority));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (port, stop) = (listener.local_addr().expect("an address").port(), CancellationToken::new());
        let shared = Arc::new(Shared {
            told: Mutex::default(),
            arrived: watch::channel(0).0,
            answers: Mutex::default(),
            gate: Semaphore::new(1000),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        tokio::spawn(server::serve(listener, shown, router, stop.clone()));
        Self { shared, port, authority: root.certificate, _stop: stop.drop_guard() }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Answers the next calls so, one after another; after that with 204.
    pub(super) fn answer(&self, statuses: &[u16]) {
        self.answers().extend(statuses.iter().map(|status| (*status, Vec::new())));
    }

    pub(super) fn answer_with(&self, status: u16, header: &'static str, value: &str) {
        self.answers().push_back((status, vec![(header, value.to_owned())]));
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, VecDeque<Scripted>> {
        self.shared.answers.lock().expect("answers")
    }

    /// All calls until now.
    pub(super) fn told(&self) -> Vec<Told> {
        self.shared.told.lock().expect("calls").clone()
    }

    /// The calls since this was asked last.
    pub(super) fn taken(&self) -> Vec<Told> {
        std::mem::take(&mut *self.shared.told.lock().expect("calls"))
    }

    /// Answers nobody from now on.
    pub(super) fn hold(&self) {
        self.shared.gate.forget_permits(1000);
    }

    pub(super) fn let_go(&self) {
        self.shared.gate.add_permits(1000);
    }

    /// Waits until so many calls came.
    pub(super) async fn until_arrived(&self, count: usize) {
        let mut arrived = self.shared.arrived.subscribe();
        let wait = arrived.wait_for(|now| *now >= count);
        tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.expect("a call").expect("it serves");
    }

    /// The most calls that were under way at once.
    pub(super) fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

async fn take(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, bytes: Bytes) -> impl IntoResponse {
    let at_once = shared.now.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(at_once, Ordering::SeqCst);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let told = Told {
        path: uri.to_string(),
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp"),
        signature: text("webhook-signature"),
        agent: text("user-agent"),
        bytes,
    };
    shared.told.lock().expect("calls").push(told);
    shared.arrived.send_modify(|count| *count += 1);
    let _pass = shared.gate.acquire().await.expect("it is never closed");
    // So that calls at once would be seen.
    tokio::task::yield_now().await;
    shared.now.fetch_sub(1, Ordering::SeqCst);
    let (status, headers) = shared.answers.lock().expect("answers").pop_front().unwrap_or((204, Vec::new()));
    let mut answered = HeaderMap::new();
    for (name, value) in headers {
        answered.insert(name, value.parse().expect("a header"));
    }
    (StatusCode::from_u16(status).expect("a status"), answered)
}
