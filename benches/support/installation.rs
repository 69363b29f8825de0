//! An installation without Kubernetes: what the operator would write for its pods is written here, for one route and the tenants
//! that share it.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use budstikke::config::connector::{Addressing, Bind, IdFormat, Settings};
use budstikke::config::names;
use budstikke::config::sender::{self, CrashPolicy, Leg};
use budstikke::domain::{RouteId, TenantId};
use budstikke::pki::{self, Leaf};
use rustls::ClientConfig;
use serde_json::json;
use sqlx::PgPool;

use super::accounts::{self, Account, KEK, Member};
use super::api::Api;
use super::place::{Place, local, own, shown, url};
use super::postgres::Databases;
use super::process::{Process, free_port};

/// Senders that start at the same time.
const AT_ONCE: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);
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
    WorkerToData,
    WorkerToKeyring,
    WorkerToEndpoint,
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

/// Who is there.
#[derive(Debug, Clone)]
pub(crate) struct Crew {
    pub(crate) members: Vec<Member>,
    /// So many more that have nothing to do, and no sender.
    pub(crate) idle: usize,
    /// Whether the senders run.
    pub(crate) sends: bool,
    /// A server that tenants' webhooks may be at: with it a worker runs.
    pub(crate) tells: Option<Endpoint>,
}

/// Where webhooks may be.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// What signed its certificate, which is for `localhost`.
    pub(crate) authority: String,
}

impl Crew {
    /// One tenant that sends.
    #[allow(dead_code, reason = "the fault harness has several")]
    pub(crate) fn one() -> Self {
        Self::weighing(&[1])
    }

    /// Tenants that send, with shares of such weights; what is of unknown fate they send again.
    #[allow(dead_code, reason = "the fault harness has one that holds it")]
    pub(crate) fn weighing(weights: &[i32]) -> Self {
        let member = |weight: &i32| Member { weight: *weight, policy: CrashPolicy::Resend };
        Self { members: weights.iter().map(member).collect(), idle: 0, sends: true, tells: None }
    }
}

pub(crate) struct Installation {
    processes: Vec<Process>,
    /// Of the first tenant.
    pub(crate) api: Api,
    /// Of each tenant.
    pub(crate) apis: Vec<Api>,
    pub(crate) tenants: Vec<TenantId>,
    #[allow(dead_code, reason = "the fault harness alone asks")]
    pub(crate) route: RouteId,
    /// The port of this machine by which webhooks are.
    #[allow(dead_code, reason = "the fault harness alone has them")]
    pub(crate) webhooks: Option<u16>,
    #[allow(dead_code, reason = "the fault harness has its own")]
    pub(crate) owner: PgPool,
    place: Place,
}

impl Installation {
    /// Starts the API, a connector and the senders, and waits until all of them can serve. `wire` says where each finds what it
    /// connects to, and may put something between.
    pub(crate) async fn start(
        databases: &mut Databases,
        settings: &[&str],
        upstream: SocketAddr,
        route: &Route,
        crew: &Crew,
        mut wire: impl FnMut(Link, SocketAddr) -> SocketAddr,
    ) -> Self {
        let place = Place::new("installation");
        let [data, keyring] = place.serve(databases, settings).await;
        let idle = Member { weight: 1, policy: CrashPolicy::Resend };
        let members = [&crew.members[..], &vec![idle; crew.idle]].concat();
        let (route_id, mut accounts) = accounts::make(databases, &members).await;
        accounts.truncate(crew.members.len());

        let (connector_port, api_port) = (free_port(), free_port());
        let seen = Seen {
            upstream: wire(Link::ConnectorToUpstream, upstream),
            connector: wire(Link::SenderToConnector, local(connector_port)),
        };
        let connector = connector_files(&place, route_id, route, seen, wire(Link::ConnectorToData, data));
        let sender_to_data = wire(Link::SenderToData, data);
        let mut api = place.identity(&Leaf::Server(vec!["localhost".to_owned()]));
        api.extend([
            ("data", url("budstikke_api", wire(Link::ApiToData, data))),
            ("keyring", url("budstikke_api", wire(Link::ApiToKeyring, keyring))),
            ("kek", KEK.to_owned()),
        ]);
        let [connector, api] = [("connector", connector), ("api", api)].map(|(name, files)| place.folder(name, &files));

        let webhooks = crew.tells.as_ref().map(|at| wire(Link::WorkerToEndpoint, at.address).port());
        let may = [
            ("webhook-ports", webhooks.unwrap_or(443).to_string()),
            ("webhooks-allow-private", webhooks.is_some().to_string()),
        ];

        let health = |role| (role, local(free_port()).to_string());
        let mut processes = vec![
            place.start(
                "api",
                local(api_port),
                &[
                    ("database-url-file", shown(&api.join("data"))),
                    ("keyring-url-file", shown(&api.join("keyring"))),
                    ("kek-dirs", shown(&api)),
                    ("tls-dir", shown(&api)),
                    ("listen", local(api_port).to_string()),
                    health("health-listen"),
                    ("calls-per-second", "1000000".to_owned()),
                    may[0].clone(),
                    may[1].clone(),
                ],
            ),
            place.start(
                "connector",
                local(connector_port),
                &[("config-dir", shown(&connector)), ("listen", local(connector_port).to_string()), health("health")],
            ),
        ];
        if let Some(endpoint) = &crew.tells {
            let files = [
                ("data", url("budstikke_worker", wire(Link::WorkerToData, data))),
                ("keyring", url("budstikke_worker", wire(Link::WorkerToKeyring, keyring))),
                ("kek", KEK.to_owned()),
                (names::AUTHORITY, place.authority.certificate().to_owned()),
                ("endpoints", endpoint.authority.clone()),
            ];
            let (worker, at) = (place.folder("worker", &files), local(free_port()));
            let arguments = [
                ("database-url-file", shown(&worker.join("data"))),
                ("keyring-url-file", shown(&worker.join("keyring"))),
                ("kek-dirs", shown(&worker)),
                ("health-listen", at.to_string()),
                ("webhook-ca-file", shown(&worker.join("endpoints"))),
            ];
            processes.push(place.start("worker", at, &[&arguments[..], &may].concat()));
        }
        let trusted = reqwest::Certificate::from_pem(place.authority.certificate().as_bytes()).expect("a certificate");
        let client = reqwest::Client::builder().tls_certs_only([trusted]).build().expect("a client");
        let apis: Vec<_> = accounts.iter().map(|account| Api::new(&client, api_port, account.key.clone())).collect();
        let tenants = accounts.iter().map(|account| account.tenant).collect();
        let owner = databases.data.pool("budstikke_owner");
        let mut installation =
            Self { processes, api: apis[0].clone(), apis, tenants, route: route_id, webhooks, owner, place };
        installation.answers().await;
        if crew.sends {
            installation.send(&accounts, &members, route_id, seen, sender_to_data).await;
        }
        installation
    }

    async fn answers(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.api.answers().await {
            assert!(Instant::now() < deadline, "the API does not answer: {}", self.log("api"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts the senders, a few at once.
    async fn send(&mut self, accounts: &[Account], members: &[Member], route: RouteId, seen: Seen, data: SocketAddr) {
        let mut ports = 10_000..;
        let all: Vec<_> = accounts.iter().zip(members).collect();
        for some in all.chunks(AT_ONCE) {
            let first = self.processes.len();
            for (account, member) in some {
                let files = sender_files(&self.place, account, member.policy, route, seen, data);
                let folder = self.place.folder(&format!("sender-{}", account.tenant), &files);
                let health = own(4, ports.next().expect("a port"));
                let arguments = [("config-dir", shown(&folder)), ("health", health.to_string())];
                self.processes.push(self.place.start("sender", health, &arguments));
            }
            for sender in &self.processes[first..] {
                assert!(sender.is_ready(PATIENCE).await, "a sender is not ready: {}", self.log("sender"));
            }
        }
    }

    /// The API's port, and how its certificate is known.
    #[allow(dead_code, reason = "the fault harness calls otherwise")]
    pub(crate) fn at(&self) -> (u16, Arc<ClientConfig>) {
        let api = self.of_role("api").next().expect("an API");
        (api.at.port(), pki::upstream_config(Some(self.place.authority.certificate())).expect("a certificate"))
    }

    /// What a role has said.
    pub(crate) fn log(&self, role: &str) -> String {
        std::fs::read_to_string(self.place.log(role)).unwrap_or_default()
    }

    /// All processes of a role.
    #[allow(dead_code, reason = "the fault harness does not ask")]
    pub(crate) fn of_role(&self, role: &str) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(move |process| process.role == role)
    }

    /// The process of a role; of the senders, that of the tenant with this number.
    #[allow(dead_code, reason = "most benches kill nobody")]
    pub(crate) fn process(&mut self, role: &str, number: usize) -> &mut Process {
        self.processes.iter_mut().filter(|process| process.role == role).nth(number).expect("a role")
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
        tenant_rate_millis: None,
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
    account: &Account,
    crash_policy: CrashPolicy,
    route: RouteId,
    seen: Seen,
    data: SocketAddr,
) -> Files {
    let tenant = account.tenant;
    let leg: Leg = serde_json::from_value(json!({
        "routeId": route, "name": "route", "address": seen.connector.to_string(), "serverName": CONNECTOR,
    }))
    .expect("a leg");
    let settings = sender::Settings { tenant_id: tenant, routes: vec![leg], crash_policy, stands_by: false };
    let mut files = place.identity(&Leaf::Client(format!("sender-{tenant}")));
    files.extend([
        (names::CONFIG, json_of(settings)),
        (names::QUEUE_KEYS, json_of(&account.queue_keys)),
        (names::DATABASE_URL, url(&format!("bst_{tenant}"), data)),
        (names::DATABASE_CA, place.authority.certificate().to_owned()),
    ]);
    files
}
