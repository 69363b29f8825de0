//! A tenant's own server, which is told what becomes of its messages; and the account of what it was told.
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use budstikke::domain::{Clock as _, SystemClock};
use budstikke::pki::{self, Authority, Leaf};
use budstikke::web;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::account::Check;
use super::inject::Event;
use super::load::Accepted;
use super::support::accounts::sender_id;
use super::support::api::Api;
use super::support::installation;

/// What it is told of.
const EVENT: &str = "message.final";

/// A call that it took.
#[derive(Debug)]
struct Told {
    id: String,
    timestamp: String,
    signature: String,
    bytes: Bytes,
}

#[derive(Debug)]
struct Shared {
    told: Mutex<Vec<Told>>,
    last: Mutex<Instant>,
    /// So many calls are refused first.
    refusals: AtomicU32,
}

/// Serves for as long as the value lives.
pub(crate) struct Endpoint {
    shared: Arc<Shared>,
    pub(crate) at: installation::Endpoint,
    secret: String,
    _stop: DropGuard,
}

impl Endpoint {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root = Authority::generate(SystemClock.now()).expect("an authority");
        let authority = Authority::load(&root.certificate, &root.key).expect("the authority");
        let name = Leaf::Server(vec!["localhost".to_owned()]);
        let leaf = authority.issue(&name, SystemClock.now(), 1).expect("a certificate");
        let tls = pki::server_config(&leaf.certificate, &leaf.key, &[b"http/1.1"]).expect("settings");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let shared =
            Arc::new(Shared { told: Mutex::default(), last: Mutex::new(Instant::now()), refusals: AtomicU32::new(0) });
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let stop = CancellationToken::new();
        tokio::spawn(web::serve(listener, watch::channel(tls).1, router, stop.clone()));
        let at = installation::Endpoint { address, authority: root.certificate };
        Self { shared, at, secret: String::new(), _stop: stop.drop_guard() }
    }

    /// Has a tenant told here, through this port of the machine.
    pub(crate) async fn tell(&mut self, api: &Api, port: u16) {
        let answer = api.webhook(&format!("https://localhost:{port}/told"), &[EVENT]).await.expect("an answer");
        assert_eq!(answer.0, 201, "{}", answer.1);
        answer.1["secret"].as_str().expect("a secret").clone_into(&mut self.secret);
    }

    /// Refuses the next call.
    pub(crate) fn refuse(&self) {
        self.shared.refusals.fetch_add(1, Ordering::SeqCst);
    }

    /// When it was called last.
    pub(crate) fn last_called(&self) -> Instant {
        *self.shared.last.lock().expect("not poisoned")
    }

    fn is_signed(&self, told: &Told) -> bool {
        let secret = self.secret.strip_prefix("whsec_").and_then(|secret| BASE64_STANDARD.decode(secret).ok());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.expect("base64"));
        let content = [format!("{}.{}.", told.id, told.timestamp).as_bytes(), &told.bytes].concat();
        told.signature.split(' ').any(|signature| {
            let signature = signature.strip_prefix("v1,").and_then(|signature| BASE64_STANDARD.decode(signature).ok());
            signature.is_some_and(|signature| hmac::verify(&key, &content, &signature).is_ok())
        })
    }

    /// Goes through all that was told of a tenant's messages. `taken_away`: how often the worker was not waited for.
    pub(crate) fn check(&self, tenant: usize, accepted: &[Accepted], journal: &[Event], taken_away: usize) -> Check {
        let told = self.shared.told.lock().expect("not poisoned");
        let own: HashMap<Uuid, &Accepted> = accepted.iter().map(|message| (message.id, message)).collect();
        let (mut events, mut of, mut strange) = (HashSet::new(), HashSet::new(), 0);
        for one in told.iter() {
            let body: Value = serde_json::from_slice(&one.bytes).unwrap_or_default();
            let data = &body["data"];
            let id = data["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_default();
            let is_right = own.get(&id).is_some_and(|message| {
                data["to"].as_str() == Some(&format!("+{}", message.number.recipient()))
                    && data["from"].as_str() == Some(&sender_id(tenant))
                    && data["state"] == "delivered"
                    && body["type"] == EVENT
            });
            strange += usize::from(!is_right || !self.is_signed(one));
            events.insert(&one.id);
            of.insert(id);
        }
        let untold = own.keys().filter(|id| !of.contains(id)).count();
        // An endpoint is told one thing at a time, so each of these can have it told once more.
        let bound = journal.iter().filter(|event| event.fault.may_tell_again()).count() + taken_away;
        let again = told.len() - events.len();
        let several = events.len().saturating_sub(of.len());
        Check::new(
            "the end of each is told, and of no other tenant's",
            untold == 0 && strange == 0 && several == 0 && again <= bound,
            format!(
                "tenant {tenant}: {} told, {untold} not; {strange} wrong or unsigned, {several} told as another event; \
                 {again} told again, at most {bound} allowed",
                of.len()
            ),
        )
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, bytes: Bytes) -> StatusCode {
    *shared.last.lock().expect("not poisoned") = Instant::now();
    let one_less = |left: u32| left.checked_sub(1);
    if shared.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, timestamp, signature) = (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"));
    shared.told.lock().expect("not poisoned").push(Told { id, timestamp, signature, bytes });
    StatusCode::NO_CONTENT
}
