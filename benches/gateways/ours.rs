//! An installation without Kubernetes: what the operator would write for its pods is written here, for one tenant and one route.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use budstikke::config::connector::{Addressing, Bind, IdFormat, Settings};
use budstikke::config::sender::{self, CrashPolicy, Leg};
use budstikke::config::{NamedKey, names};
use budstikke::domain::{ApiKey, Clock as _, Scope, SystemClock, copenhagen_day};
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::pki::{Authority, Leaf};
use jiff::ToSpan as _;
use serde_json::json;
use sqlx::PgPool;

use super::load::recipient;
use super::process::{Process, free_port};
use crate::postgres::{Databases, NOBODY, PASSWORD, directory, is_root};

const KEK: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const CONNECTOR: &str = "connector.bench";
/// More than a machine can do: the route's rate is not what is measured.
const RATE_MILLIS: u64 = 100_000_000;
const WINDOW: u16 = 1000;
const TEXT: &str = "Hej! Din tid hos Værkstedet er i morgen kl. 9.30. Ring på 70 12 34 56 for at flytte den.";

pub(crate) struct Ours {
    processes: Vec<Process>,
    client: reqwest::Client,
    url: String,
    key: ApiKey,
    owner: PgPool,
    directory: Removed,
}

struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the parts have in common.
struct Place {
    root: PathBuf,
    authority: Authority,
}

impl Place {
    fn folder(&self, name: &str, files: &[(&str, String)]) -> PathBuf {
        let folder = self.root.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, content) in files {
            std::fs::write(folder.join(name), content).expect("a file");
        }
        folder
    }

    fn identity(&self, leaf: &Leaf) -> Vec<(&'static str, String)> {
        let issued = self.authority.issue(leaf, SystemClock.now(), 1).expect("a certificate");
        vec![
            (names::CERTIFICATE, issued.certificate),
            (names::KEY, issued.key.expose().to_owned()),
            (names::AUTHORITY, self.authority.certificate().to_owned()),
        ]
    }

    /// Has both instances serve over TLS, as the chart has them: each at an address of this machine's own.
    async fn serve(&self, databases: &mut Databases, settings: &[&str]) -> [At; 2] {
        let mut all = Vec::new();
        for (instance, address) in [(&mut databases.data, "127.0.0.2"), (&mut databases.keyring, "127.0.0.3")] {
            let files = self.identity(&Leaf::Server(vec![address.to_owned()]));
            let folder = self.folder(address, &files);
            for (name, _) in files {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(folder.join(name), mode).expect("close it");
                if is_root() {
                    std::os::unix::fs::chown(folder.join(name), Some(NOBODY), Some(NOBODY)).expect("give it away");
                }
            }
            let file = |name: &str| folder.join(name).display().to_string();
            let tls = [
                "ssl=on".to_owned(),
                format!("ssl_cert_file={}", file(names::CERTIFICATE)),
                format!("ssl_key_file={}", file(names::KEY)),
                format!("listen_addresses={address}"),
            ];
            let settings: Vec<&str> = settings.iter().copied().chain(tls.iter().map(String::as_str)).collect();
            instance.restart(&settings).await;
            all.push(At(address));
        }
        all.try_into().unwrap_or_else(|_| unreachable!("two"))
    }

    fn start(&self, role: &'static str, port: u16, arguments: &[(&str, String)]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_budstikke"));
        command.arg(role).env("RUST_LOG", "warn");
        command.args(arguments.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]));
        Process::start(role, port, &mut command, &self.root.join(format!("{role}.log")))
    }
}

/// Where an instance is.
struct At(&'static str);

impl At {
    fn url(&self, login: &str) -> String {
        format!("postgres://{login}:{PASSWORD}@{}/budstikke", self.0)
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

impl Ours {
    pub(crate) async fn start(databases: &mut Databases, settings: &[&str], upstream: u16) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root = directory("gateways");
        let made = Authority::generate(SystemClock.now()).expect("an authority");
        let authority = Authority::load(&made.certificate, &made.key).expect("the authority");
        let place = Place { root: root.clone(), authority };
        let [data, keyring_at] = place.serve(databases, settings).await;
        let tenant = databases.tenant("tenant").await;
        let route = databases.route("route", &[(tenant, 1)]).await;
        let today = copenhagen_day(SystemClock.now());
        let operator = keyring::connect(&databases.keyring.dsn("budstikke_operator"), 1, "bench");
        let keyring = Keyring::open(operator, Kek::parse(KEK).expect("a key"));
        keyring.provide(tenant, today, today.saturating_add(1.day()), 90).await.expect("keys");
        let queue_keys = keyring.queue_keys(tenant, today).await.expect("keys");
        let queue_keys: Vec<_> =
            queue_keys.iter().map(|key| NamedKey { name: key.name().to_owned(), key: key.export() }).collect();
        let key = mint(databases, tenant.0).await;

        databases.connector_login(route).await;
        databases.sender_login(tenant).await;
        let (connector_port, api_port) = (free_port(), free_port());
        let json = |value: serde_json::Value| value.to_string();
        let mut files = place.identity(&Leaf::Server(vec![CONNECTOR.to_owned()]));
        let settings = Settings {
            route_id: route,
            name: "route".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: upstream,
            tls_name: None,
            system_type: String::new(),
            address_range: String::new(),
            addressing: Addressing::default(),
            bind: Bind::Transceiver,
            binds: 1,
            rate_millis: RATE_MILLIS,
            window: WINDOW,
            connect_millis: 2_000,
            bind_millis: 2_000,
            response_millis: 30_000,
            enquire_millis: 30_000,
            reconnect_min_millis: 100,
            reconnect_max_millis: 1_000,
            id_format: IdFormat::Same,
            https: None,
        };
        files.extend([
            (names::CONFIG, json(serde_json::to_value(settings).expect("settings"))),
            (names::DATABASE_URL, data.url(&format!("bsr_{route}"))),
            (names::DATABASE_CA, place.authority.certificate().to_owned()),
            (names::TAG_KEY, KEK.to_owned()),
            (names::SYSTEM_ID, "budstikke".to_owned()),
            (names::PASSWORD, "secret".to_owned()),
        ]);
        let connector = place.folder("connector", &files);
        let leg: Leg = serde_json::from_value(json!({
            "routeId": route, "name": "route", "address": local(connector_port), "serverName": CONNECTOR,
        }))
        .expect("a leg");
        let settings = sender::Settings {
            tenant_id: tenant,
            routes: vec![leg],
            crash_policy: CrashPolicy::Resend,
            stands_by: false,
        };
        let mut files = place.identity(&Leaf::Client(format!("sender-{tenant}")));
        files.extend([
            (names::CONFIG, json(serde_json::to_value(settings).expect("settings"))),
            (names::QUEUE_KEYS, json(serde_json::to_value(queue_keys).expect("keys"))),
            (names::DATABASE_URL, data.url(&format!("bst_{tenant}"))),
            (names::DATABASE_CA, place.authority.certificate().to_owned()),
        ]);
        let sender = place.folder("sender", &files);
        let mut files = place.identity(&Leaf::Server(vec!["localhost".to_owned()]));
        files.extend([
            ("data", data.url("budstikke_api")),
            ("keyring", keyring_at.url("budstikke_api")),
            ("kek", KEK.to_owned()),
        ]);
        let api = place.folder("api", &files);

        let health = |role| (role, local(free_port()));
        let processes = vec![
            place.start(
                "api",
                api_port,
                &[
                    ("database-url-file", shown(&api.join("data"))),
                    ("keyring-url-file", shown(&api.join("keyring"))),
                    ("kek-dirs", shown(&api)),
                    ("tls-dir", shown(&api)),
                    ("listen", local(api_port)),
                    health("health-listen"),
                    ("calls-per-second", "1000000".to_owned()),
                ],
            ),
            place.start(
                "connector",
                connector_port,
                &[("config-dir", shown(&connector)), ("listen", local(connector_port)), health("health")],
            ),
            place.start("sender", 0, &[("config-dir", shown(&sender)), health("health")]),
        ];
        let trusted = reqwest::Certificate::from_pem(made.certificate.as_bytes()).expect("a certificate");
        let client = reqwest::Client::builder().tls_certs_only([trusted]).build().expect("a client");
        let ours = Self {
            processes,
            client,
            url: format!("https://localhost:{api_port}/v1/messages"),
            key,
            owner: databases.data.pool("budstikke_owner"),
            directory: Removed(root),
        };
        ours.answers().await;
        ours
    }

    async fn answers(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.client.get(&self.url).bearer_auth(self.key.reveal()).send().await.is_err() {
            assert!(Instant::now() < deadline, "the API does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One message to one recipient.
    pub(crate) async fn call(&self, number: usize) {
        let body = json!({"to": format!("+{}", recipient(number)), "text": TEXT});
        let answer = self.client.post(&self.url).bearer_auth(self.key.reveal()).json(&body).send().await;
        let answer = answer.expect("an answer");
        let status = answer.status();
        let said = answer.text().await.expect("a body");
        assert_eq!(status, 202, "{said}\n{}", self.log());
    }

    /// What the API has said.
    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.0.join("api.log")).unwrap_or_default()
    }

    /// Waits until so many messages have their receipt stored.
    pub(crate) async fn settled(&self, messages: usize, patience: Duration) {
        let wanted = i64::try_from(messages).expect("few");
        let deadline = Instant::now() + patience;
        loop {
            let delivered: i64 = sqlx::query_scalar("select count(*) from message_log where state = 3")
                .fetch_one(&self.owner)
                .await
                .expect("a count");
            if delivered >= wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{delivered} of {wanted} have their receipt");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn memory(&self) -> Vec<(&'static str, f64)> {
        self.processes.iter().map(Process::memory).collect()
    }
}

async fn mint(databases: &Databases, tenant: i64) -> ApiKey {
    let key = ApiKey::mint().expect("a key");
    let operator = databases.data.pool("budstikke_operator");
    sqlx::query(
        "insert into api_key (tenant_id, key_id, prefix, hash, scopes, source)
         values ($1, gen_random_uuid(), $2, $3, $4, 'minted')",
    )
    .bind(tenant)
    .bind(key.prefix())
    .bind(key.hash().as_slice())
    .bind(Scope::ALL.map(|scope| scope.as_str()).to_vec())
    .execute(&operator)
    .await
    .expect("insert a key");
    operator.close().await;
    key
}
