//! An installation without Kubernetes: what the operator would write for its pods is written here, for one tenant and one route.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use budstikke::config::connector::{Addressing, Bind, IdFormat, Settings};
use budstikke::config::sender::{self, CrashPolicy, Leg};
use budstikke::config::{NamedKey, names};
use budstikke::domain::{ApiKey, Clock as _, RouteId, Scope, SystemClock, TenantId, copenhagen_day};
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::pki::Leaf;
use jiff::ToSpan as _;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::place::{Place, local, shown, url};
use super::process::{Process, free_port};
use crate::postgres::Databases;

const KEK: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const CONNECTOR: &str = "connector.bench";

/// Who connects to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    ApiToData,
    ApiToKeyring,
    SenderToData,
    ConnectorToData,
    SenderToConnector,
    ConnectorToUpstream,
}

/// How the route is to its upstream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) binds: u16,
    /// PDUs a second.
    pub(crate) rate: u64,
    /// Unanswered PDUs on a bind.
    pub(crate) window: u16,
    pub(crate) response: Duration,
    pub(crate) enquire: Duration,
}

/// The API as the tenant sees it.
#[derive(Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    url: String,
    key: ApiKey,
}

impl Api {
    async fn answers(&self) -> bool {
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
}

pub(crate) struct Installation {
    processes: Vec<Process>,
    pub(crate) api: Api,
    #[allow(dead_code, reason = "the fault harness has its own")]
    pub(crate) owner: PgPool,
    place: Place,
}

impl Installation {
    /// Starts the API, a connector and a sender. `wire` says where each finds what it connects to, and may put something
    /// between.
    pub(crate) async fn start(
        databases: &mut Databases,
        settings: &[&str],
        upstream: SocketAddr,
        route: &Route,
        mut wire: impl FnMut(Link, SocketAddr) -> SocketAddr,
    ) -> Self {
        let place = Place::new("installation");
        let [data, keyring] = place.serve(databases, settings).await;
        let tenant = databases.tenant("tenant").await;
        let route_id = databases.route("route", &[(tenant, 1)]).await;
        databases.connector_login(route_id).await;
        databases.sender_login(tenant).await;
        let key = mint(databases, tenant).await;

        let (connector_port, api_port) = (free_port(), free_port());
        let seen = Seen {
            upstream: wire(Link::ConnectorToUpstream, upstream),
            connector: wire(Link::SenderToConnector, local(connector_port)),
        };
        let connector = connector_files(&place, route_id, route, seen, wire(Link::ConnectorToData, data));
        let keys = queue_keys(databases, tenant).await;
        let sender = sender_files(&place, tenant, route_id, seen, keys, wire(Link::SenderToData, data));
        let mut api = place.identity(&Leaf::Server(vec!["localhost".to_owned()]));
        api.extend([
            ("data", url("budstikke_api", wire(Link::ApiToData, data))),
            ("keyring", url("budstikke_api", wire(Link::ApiToKeyring, keyring))),
            ("kek", KEK.to_owned()),
        ]);
        let [connector, sender, api] = [("connector", connector), ("sender", sender), ("api", api)]
            .map(|(name, files)| place.folder(name, &files));

        let health = |role| (role, local(free_port()).to_string());
        let processes = vec![
            place.start(
                "api",
                api_port,
                &[
                    ("database-url-file", shown(&api.join("data"))),
                    ("keyring-url-file", shown(&api.join("keyring"))),
                    ("kek-dirs", shown(&api)),
                    ("tls-dir", shown(&api)),
                    ("listen", local(api_port).to_string()),
                    health("health-listen"),
                    ("calls-per-second", "1000000".to_owned()),
                ],
            ),
            place.start(
                "connector",
                connector_port,
                &[("config-dir", shown(&connector)), ("listen", local(connector_port).to_string()), health("health")],
            ),
            place.start("sender", 0, &[("config-dir", shown(&sender)), health("health")]),
        ];
        let trusted = reqwest::Certificate::from_pem(place.authority.certificate().as_bytes()).expect("a certificate");
        let client = reqwest::Client::builder().tls_certs_only([trusted]).build().expect("a client");
        let installation = Self {
            processes,
            api: Api { client, url: format!("https://localhost:{api_port}/v1/messages"), key },
            owner: databases.data.pool("budstikke_owner"),
            place,
        };
        installation.answers().await;
        installation
    }

    async fn answers(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.api.answers().await {
            assert!(Instant::now() < deadline, "the API does not answer: {}", self.log("api"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a role has said.
    pub(crate) fn log(&self, role: &str) -> String {
        std::fs::read_to_string(self.place.log(role)).unwrap_or_default()
    }

    #[allow(dead_code, reason = "the fault harness does not ask")]
    pub(crate) fn memory(&self) -> Vec<(&'static str, f64)> {
        self.processes.iter().map(Process::memory).collect()
    }

    /// The process of a role.
    #[allow(dead_code, reason = "the bench kills nobody")]
    pub(crate) fn process(&mut self, role: &str) -> &mut Process {
        self.processes.iter_mut().find(|process| process.role == role).expect("a role")
    }
}

/// Where the connector finds its upstream, and the sender its connector.
#[derive(Clone, Copy)]
struct Seen {
    upstream: SocketAddr,
    connector: SocketAddr,
}

type Files = Vec<(&'static str, String)>;

fn json_of(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).expect("JSON")
}

fn connector_files(place: &Place, id: RouteId, route: &Route, seen: Seen, data: SocketAddr) -> Files {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).expect("short");
    let settings = Settings {
        route_id: id,
        name: "route".to_owned(),
        host: seen.upstream.ip().to_string(),
        port: seen.upstream.port(),
        tls_name: None,
        system_type: String::new(),
        address_range: String::new(),
        addressing: Addressing::default(),
        bind: Bind::Transceiver,
        binds: route.binds,
        rate_millis: route.rate * 1000,
        window: route.window,
        connect_millis: 2_000,
        bind_millis: 2_000,
        response_millis: millis(route.response),
        enquire_millis: millis(route.enquire),
        reconnect_min_millis: 100,
        reconnect_max_millis: 1_000,
        id_format: IdFormat::Same,
        https: None,
    };
    let mut files = place.identity(&Leaf::Server(vec![CONNECTOR.to_owned()]));
    files.extend([
        (names::CONFIG, json_of(settings)),
        (names::DATABASE_URL, url(&format!("bsr_{id}"), data)),
        (names::DATABASE_CA, place.authority.certificate().to_owned()),
        (names::TAG_KEY, KEK.to_owned()),
        (names::SYSTEM_ID, "budstikke".to_owned()),
        (names::PASSWORD, "secret".to_owned()),
    ]);
    files
}

fn sender_files(
    place: &Place,
    tenant: TenantId,
    route: RouteId,
    seen: Seen,
    keys: Vec<NamedKey>,
    data: SocketAddr,
) -> Files {
    let leg: Leg = serde_json::from_value(json!({
        "routeId": route, "name": "route", "address": seen.connector.to_string(), "serverName": CONNECTOR,
    }))
    .expect("a leg");
    let settings =
        sender::Settings { tenant_id: tenant, routes: vec![leg], crash_policy: CrashPolicy::Resend, stands_by: false };
    let mut files = place.identity(&Leaf::Client(format!("sender-{tenant}")));
    files.extend([
        (names::CONFIG, json_of(settings)),
        (names::QUEUE_KEYS, json_of(keys)),
        (names::DATABASE_URL, url(&format!("bst_{tenant}"), data)),
        (names::DATABASE_CA, place.authority.certificate().to_owned()),
    ]);
    files
}

/// The tenant's keys, made as the operator makes them.
async fn queue_keys(databases: &Databases, tenant: TenantId) -> Vec<NamedKey> {
    let today = copenhagen_day(SystemClock.now());
    let operator = keyring::connect(&databases.keyring.dsn("budstikke_operator"), 1, "bench");
    let keyring = Keyring::open(operator, Kek::parse(KEK).expect("a key"));
    keyring.provide(tenant, today, today.saturating_add(1.day()), 90).await.expect("keys");
    let keys = keyring.queue_keys(tenant, today).await.expect("keys");
    keys.iter().map(|key| NamedKey { name: key.name().to_owned(), key: key.export() }).collect()
}

async fn mint(databases: &Databases, tenant: TenantId) -> ApiKey {
    let key = ApiKey::mint().expect("a key");
    let operator = databases.data.pool("budstikke_operator");
    sqlx::query(
        "insert into api_key (tenant_id, key_id, prefix, hash, scopes, source)
         values ($1, gen_random_uuid(), $2, $3, $4, 'minted')",
    )
    .bind(tenant.0)
    .bind(key.prefix())
    .bind(key.hash().as_slice())
    .bind(Scope::ALL.map(|scope| scope.as_str()).to_vec())
    .execute(&operator)
    .await
    .expect("insert a key");
    operator.close().await;
    key
}
