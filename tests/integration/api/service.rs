//! A served API with one tenant who may send, and callers of it.
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use budstikke::api::{Metrics, Settings, Shared, WebhookRules, router, server};
use budstikke::domain::{ApiKey, Clock, Scope, SystemClock, TenantId, copenhagen_day};
use budstikke::keyring::{self, Kek, Keyring, PublicDay};
use budstikke::pki::{self, Authority, Leaf};
use jiff::ToSpan as _;
use prometheus_client::registry::Registry;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::postgres::Databases;

pub(crate) const KEK: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The owner's key, and the file with its hash.
pub(super) static OWNER: LazyLock<(ApiKey, PathBuf)> = LazyLock::new(|| {
    let key = ApiKey::mint().expect("a key");
    let hash: String = key.hash().iter().map(|octet| format!("{octet:02x}")).collect();
    let file = std::env::temp_dir().join(format!("budstikke-owner-key-{}", std::process::id()));
    std::fs::write(&file, hash).expect("write the hash");
    (key, file)
});

/// Databases, an API that serves them, and a tenant with a key for everything.
pub(super) struct Service {
    pub(super) databases: Databases,
    pub(super) tenant: TenantId,
    pub(super) key: ApiKey,
    pub(super) api: Api,
}

/// One process of the API.
pub(crate) struct Api {
    pub(super) address: std::net::SocketAddr,
    pub(super) authority: String,
    /// The certificate that is shown.
    pub(super) settings: watch::Sender<Arc<rustls::ServerConfig>>,
    pub(super) registry: Registry,
    pub(super) client: reqwest::Client,
    pub(super) stop: CancellationToken,
    _stop: DropGuard,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Service {
    /// The usual: a pair of databases shared with other tests, and generous limits.
    pub(super) async fn start() -> Self {
        Self::on(Databases::start().await).await
    }

    pub(super) async fn on(databases: Databases) -> Self {
        let tenant = databases.tenant("tenant").await;
        provide(&databases, tenant).await;
        let key = mint(&databases, tenant, &Scope::ALL).await;
        let api = Api::start(&databases).await;
        Self { databases, tenant, key, api }
    }

    /// Another tenant of the same installation, with a key for everything.
    pub(super) async fn other_tenant(&self, name: &str) -> (TenantId, ApiKey) {
        let tenant = self.databases.tenant(name).await;
        provide(&self.databases, tenant).await;
        (tenant, mint(&self.databases, tenant, &Scope::ALL).await)
    }

    /// Sends one message and returns its id.
    pub(super) async fn sent(&self, to: &str, text: &str) -> String {
        let answer = self.api.post(&self.key, &json!({"to": to, "text": text})).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        answer.body["messages"][0]["id"].as_str().expect("an id").to_owned()
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.api.get(&self.key, path).await
    }

    pub(super) fn owner(&self) -> PgPool {
        self.databases.data.pool("budstikke_owner")
    }

    /// Changes what is enforced on the tenant, as the operator does.
    pub(super) async fn enforce(&self, change: &'static str) {
        let statement = format!("update enforcement set {change} where tenant_id = {}", self.tenant);
        let operator = self.databases.data.pool("budstikke_operator");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&operator).await.expect("enforce");
        operator.close().await;
    }

    /// Moves a message to the log, as its sender does.
    pub(super) async fn settle(&self, id: &str, state: i16, error: Option<i32>) {
        let moved = sqlx::query(
            "with gone as (delete from queue where message_id = $1::uuid returning *)
             insert into message_log (tenant_id, message_id, day, batch_id, state, error, parts, amount, submitted_at,
                 final_at, log_key, entry, number_hash, reference_hash)
             select tenant_id, message_id, day, batch_id, $2, $3, parts, amount, now(), case when $2 > 2 then now() end,
                 log_key, entry, number_hash, reference_hash from gone",
        )
        .bind(id)
        .bind(state)
        .bind(error)
        .execute(&self.owner())
        .await
        .expect("settle");
        assert_eq!(moved.rows_affected(), 1);
    }

    pub(super) async fn count(&self, table: &'static str) -> i64 {
        let statement = format!("select count(*) from {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&self.owner()).await.expect("count")
    }
}

/// Makes the tenant's keys around today, as the operator does; returns the public ones.
pub(super) async fn provide(databases: &Databases, tenant: TenantId) -> Vec<PublicDay> {
    let today = copenhagen_day(SystemClock.now());
    let pool = keyring::connect(&databases.keyring.dsn("budstikke_operator"), 1, "test");
    let keyring = Keyring::open(pool.clone(), Kek::parse(KEK).expect("a key"));
    let days = keyring.provide(tenant, today, today.saturating_add(1.day()), 90).await.expect("provide keys");
    pool.close().await;
    days
}

/// Gives the tenant a fresh key, as the operator does.
pub(crate) async fn mint(databases: &Databases, tenant: TenantId, scopes: &[Scope]) -> ApiKey {
    let key = ApiKey::mint().expect("a key");
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let operator = databases.data.pool("budstikke_operator");
    sqlx::query(
        "insert into api_key (tenant_id, key_id, prefix, hash, scopes, source) values ($1, $2, $3, $4, $5, 'minted')",
    )
    .bind(tenant.0)
    .bind(uuid::Uuid::now_v7())
    .bind(key.prefix())
    .bind(key.hash().as_slice())
    .bind(scopes)
    .execute(&operator)
    .await
    .expect("insert a key");
    operator.close().await;
    key
}

impl Api {
    /// One process on these databases; stops with the value.
    pub(super) async fn start(databases: &Databases) -> Self {
        Self::limited(databases, 10_000).await
    }

    pub(super) async fn limited(databases: &Databases, calls_per_second: u32) -> Self {
        Self::at(databases, calls_per_second, Arc::new(SystemClock)).await
    }

    /// One process at a time of the test's.
    pub(crate) async fn at(databases: &Databases, calls_per_second: u32, clock: Arc<dyn Clock>) -> Self {
        Self::with(databases, clock, |settings| settings.calls_per_second = calls_per_second).await
    }

    /// One process with other settings than the usual ones.
    pub(super) async fn with(databases: &Databases, clock: Arc<dyn Clock>, change: impl FnOnce(&mut Settings)) -> Self {
        let now = SystemClock.now();
        let root = Authority::generate(now).expect("an authority");
        let authority = Authority::load(&root.certificate, &root.key).expect("an authority");
        let (certificates, shown) = watch::channel(certificate(&authority));
        let mut registry = Registry::default();
        let keys = keyring::connect(&databases.keyring.dsn("budstikke_api"), 2, "test");
        let keyring = Keyring::open(keys, Kek::parse(KEK).expect("a key"));
        let pool = databases.data.pool("budstikke_api");
        let metrics = Metrics::register(&mut registry);
        let mut settings = Settings {
            calls_per_second: 10_000,
            owner_key_hash_file: Some(OWNER.1.clone()),
            minimum_tenants: 3,
            large_reads: 4,
            patience_with_readers: Duration::from_secs(60),
            webhooks: WebhookRules::default(),
        };
        change(&mut settings);
        let shared = Shared::start(pool, keyring, clock, metrics, settings);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, stop) = (listener.local_addr().expect("an address"), CancellationToken::new());
        tokio::spawn(server::serve(listener, shown, router(&shared), stop.clone()));
        let trusted = reqwest::Certificate::from_pem(root.certificate.as_bytes()).expect("a certificate");
        let client = reqwest::Client::builder().tls_certs_only([trusted]).build().expect("a client");
        let guard = stop.clone().drop_guard();
        Self { address, authority: root.certificate, settings: certificates, registry, client, stop, _stop: guard }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// `POST /v1/messages`.
    pub(crate) async fn post(&self, key: &ApiKey, body: &Value) -> Answer {
        self.call(self.request(key, Method::POST, "/v1/messages").json(body)).await
    }

    /// The same with an `Idempotency-Key`.
    pub(crate) async fn post_once(&self, key: &ApiKey, idempotency_key: &str, body: &Value) -> Answer {
        let request = self.request(key, Method::POST, "/v1/messages").header("Idempotency-Key", idempotency_key);
        self.call(request.json(body)).await
    }

    pub(super) async fn get(&self, key: &ApiKey, path: &str) -> Answer {
        self.call(self.request(key, Method::GET, path)).await
    }

    pub(super) fn request(&self, key: &ApiKey, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth(key.reveal())
    }

    pub(super) async fn call(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.expect("a body");
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        Answer { status, headers, body }
    }
}

/// A fresh certificate for this machine.
pub(super) fn certificate(authority: &Authority) -> Arc<rustls::ServerConfig> {
    // Two providers in the graph: the process says which.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let leaf =
        authority.issue(&Leaf::Server(vec!["localhost".to_owned()]), SystemClock.now(), 1).expect("a certificate");
    pki::server_config(&leaf.certificate, &leaf.key, &[b"h2", b"http/1.1"]).expect("settings")
}

impl Answer {
    /// Holds that this is a problem as promised, and returns the last part of its type.
    pub(super) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert!(self.body["title"].is_string() && self.body["detail"].is_string(), "{self:?}");
        let kind = self.body["type"].as_str().expect("a type");
        kind.strip_prefix("https://budstikke.dev/problems/").expect("a type of ours").to_owned()
    }

    pub(super) fn retry_after(&self) -> u64 {
        self.headers["retry-after"].to_str().expect("ASCII").parse().expect("seconds")
    }
}

/// A number that no other call of this process uses.
pub(super) fn number() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("+45201{:05}", NEXT.fetch_add(1, Ordering::Relaxed))
}
