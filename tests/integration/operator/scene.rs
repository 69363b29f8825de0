//! An installation: a namespace, databases, and an operator that serves them.
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::{Method, Request};
use base64::Engine as _;
use budstikke::crd::{BillingPlan, RetentionPolicy, SmsRoute, Tenant};
use budstikke::keyring::KekArgs;
use budstikke::operator::{self, Args};
use budstikke::pki::Authority;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::client::{Body, ClientBuilder};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

use crate::support::apiserver::ApiServer;
use crate::support::postgres::Databases;

/// Long enough for two cores that others use too.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Scene {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) databases: Databases,
    files: PathBuf,
    /// Beside the key that is handed out.
    pub(super) kek: KekArgs,
}

/// An operator that runs; it goes without releasing its Lease when it is dropped.
pub(super) struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), operator::Error>>,
}

impl Running {
    /// Tells it to stop and waits until it has.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.expect("no panic").expect("no error");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scene {
    /// An empty namespace, fresh databases, no operator yet.
    pub(super) async fn set() -> Self {
        Self::on(Databases::start().await).await
    }

    /// The same on these databases.
    pub(super) async fn on(databases: Databases) -> Self {
        let (client, namespace) = ApiServer::shared().namespace().await;
        let files = std::env::temp_dir().join(format!("budstikke-operator-{}-{namespace}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = files.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
            std::fs::write(path, text).expect("write a file");
        };
        write("database/operator-url", &databases.data.url("budstikke_operator"));
        write("keyring/operator-url", &databases.keyring.url("budstikke_operator"));
        write("kek/kek", &kek(7));
        let authority = Authority::generate(jiff::Timestamp::now()).expect("an authority");
        write("ca/ca.crt", &authority.certificate);
        write("ca/ca.key", authority.key.expose());
        Self { client, namespace, databases, files, kek: KekArgs::default() }
    }

    /// Starts an operator under a pod's name.
    pub(super) fn operator(&self, pod: &str) -> Running {
        self.operator_of(pod, self.client.clone(), vec![self.namespace.clone()])
    }

    /// Starts an operator that tells its metrics at this address.
    pub(super) fn operator_at(&self, pod: &str, health_address: SocketAddr) -> Running {
        let args = self.args(pod, vec![self.namespace.clone()]);
        Self::run(Args { health_address, ..args }, self.client.clone())
    }

    /// Starts an operator of a version of its own.
    pub(super) fn operator_of_version(&self, pod: &str, image: &str) -> Running {
        let args = self.args(pod, vec![self.namespace.clone()]);
        Self::run(Args { image: image.to_owned(), ..args }, self.client.clone())
    }

    /// Starts an operator that serves these namespaces with this client.
    pub(super) fn operator_of(&self, pod: &str, client: Client, namespaces: Vec<String>) -> Running {
        Self::run(self.args(pod, namespaces), client)
    }

    fn args(&self, pod: &str, namespaces: Vec<String>) -> Args {
        Args {
            namespace: self.namespace.clone(),
            namespaces,
            pod: pod.to_owned(),
            lease: "budstikke-operator".to_owned(),
            files: self.files.clone(),
            kek: self.kek.clone(),
            wrapping_key_days: 365,
            image: "budstikke:test".to_owned(),
            image_pull_policy: "IfNotPresent".to_owned(),
            image_pull_secrets: Vec::new(),
            workload_log: "info".to_owned(),
            network_policies: true,
            embedded_database: false,
            embedded_keyring: false,
            backups: false,
            concurrency: 4,
            settle_seconds: 1,
            health_address: "127.0.0.1:0".parse().expect("an address"),
        }
    }

    fn run(args: Args, client: Client) -> Running {
        let stop = CancellationToken::new();
        let task = tokio::spawn(operator::run_until(args, client, stop.clone()));
        Running { stop, task }
    }

    /// A client that may do everything in this namespace and nothing elsewhere, as the operator's Roles have it.
    pub(super) async fn confined(&self) -> Client {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "all"},
                          "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
        self.create::<Role>(role).await;
        let group = "rbac.authorization.k8s.io";
        let user = format!("confined-to-{}", self.namespace);
        let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": "all"},
                             "roleRef": {"apiGroup": group, "kind": "Role", "name": "all"},
                             "subjects": [{"apiGroup": group, "kind": "User", "name": user}]});
        self.create::<RoleBinding>(binding).await;
        let mut config = ApiServer::shared().config().await;
        config.auth_info.impersonate = Some(user);
        Client::try_from(config).expect("a client")
    }

    /// A client, and the writes it has sent but for Leases and events.
    pub(super) async fn watched(&self) -> (Client, Arc<Mutex<Vec<String>>>) {
        let writes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&writes);
        let note = MapRequestLayer::new(move |request: Request<Body>| {
            let path = request.uri().path();
            let told = path.contains("/leases/") || path.contains("/events");
            if request.method() != Method::GET && !told {
                seen.lock().expect("no panic").push(format!("{} {path}", request.method()));
            }
            request
        });
        let builder = ClientBuilder::try_from(ApiServer::shared().config().await).expect("a client");
        (builder.with_layer(&note).build(), writes)
    }

    pub(super) fn pool(&self) -> PgPool {
        self.databases.data.pool("budstikke_operator")
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let object: K = serde_json::from_value(object).expect("an object");
        self.api::<K>().create(&PostParams::default(), &object).await.expect("create")
    }

    /// Merges into an object.
    pub(super) async fn change<K>(&self, name: &str, change: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await.expect("change");
    }

    pub(super) async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await.expect("delete");
    }

    pub(super) async fn find<K>(&self, name: &str) -> Option<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        self.api::<K>().get_opt(name).await.expect("get")
    }

    /// A plan, a policy, a route with its credentials.
    pub(super) async fn furnish(&self) {
        self.create::<BillingPlan>(plan("standard")).await;
        self.create::<RetentionPolicy>(policy("standard")).await;
        self.create::<Secret>(credentials("main-credentials")).await;
        self.create::<SmsRoute>(route("main")).await;
    }

    /// Says what the cluster's controllers would: as many pods are ready as are wanted.
    pub(super) async fn pods_come(&self, deployment: &str) {
        let found: Deployment = self.until(deployment, || async { self.find(deployment).await }).await;
        let replicas = found.spec.and_then(|spec| spec.replicas).expect("replicas");
        let status = json!({"status": {
            "observedGeneration": found.metadata.generation, "replicas": replicas, "readyReplicas": replicas,
            "updatedReplicas": replicas, "availableReplicas": replicas,
        }});
        let (api, as_us) = (self.api::<Deployment>(), PatchParams::default());
        api.patch_status(deployment, &as_us, &Patch::Merge(status)).await.expect("say that pods are ready");
    }

    /// Polls until there is something.
    pub(super) async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, mut look: impl FnMut() -> F) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(begin.elapsed() < DEADLINE, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a Tenant's condition has this status and reason; its message.
    pub(super) async fn tenant_says(&self, name: &str, about: &str, status: &str, reason: &str) -> String {
        self.says::<Tenant>(name, about, status, reason, |tenant| tenant.status.map(|status| status.conditions)).await
    }

    /// Waits until a route's condition has this status and reason; its message.
    pub(super) async fn route_says(&self, name: &str, about: &str, status: &str, reason: &str) -> String {
        self.says::<SmsRoute>(name, about, status, reason, |route| route.status.map(|status| status.conditions)).await
    }

    async fn says<K>(
        &self,
        name: &str,
        about: &str,
        status: &str,
        reason: &str,
        conditions: impl Fn(K) -> Option<Vec<Condition>>,
    ) -> String
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let what = format!("{name}: {about}={status} ({reason})");
        let last = std::cell::RefCell::new(Vec::new());
        let found = tokio::time::timeout(
            DEADLINE,
            self.until(&what, || async {
                let all = conditions(self.find::<K>(name).await?)?;
                let found = all.iter().find(|condition| {
                    condition.type_ == about && condition.status == status && condition.reason == reason
                });
                let message = found.map(|condition| condition.message.clone());
                *last.borrow_mut() = all;
                message
            }),
        );
        found.await.unwrap_or_else(|_| panic!("{what} is not said, but {:#?}", last.borrow()))
    }

    /// The enforcement row of a Tenant: may it accept, may it send, and why not.
    pub(super) async fn enforced(&self, name: &str) -> Option<(bool, bool, Option<String>)> {
        sqlx::query_as(
            "select may_accept, may_send, code from enforcement join tenant using (tenant_id)
             where namespace = $1 and name = $2 and erased_at is null",
        )
        .bind(&self.namespace)
        .bind(name)
        .fetch_optional(&self.pool())
        .await
        .expect("read the enforcement")
    }

    /// Waits until the enforcement of a Tenant is so.
    pub(super) async fn enforces(&self, name: &str, may_send: bool, code: Option<&str>) {
        self.until(&format!("{name}: may_send={may_send}, code {code:?}"), || async {
            let (_, sends, why) = self.enforced(name).await?;
            (sends == may_send && why.as_deref() == code).then_some(())
        })
        .await;
    }

    pub(super) fn files(&self) -> &Path {
        &self.files
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.files);
    }
}

/// A key-encryption key, as its Secret has it.
pub(super) fn kek(octet: u8) -> String {
    base64::prelude::BASE64_STANDARD.encode([octet; 32])
}

pub(super) fn plan(name: &str) -> Value {
    json!({
        "apiVersion": "budstikke.dev/v1alpha1", "kind": "BillingPlan", "metadata": {"name": name},
        "spec": {
            "seller": {
                "name": "Vert ApS", "address": {"lines": ["Vej 1"], "postcode": "8000", "city": "Aarhus", "country": "DK"},
                "cvr": "25313763", "email": "faktura@example.dk",
                "bankAccount": {"registration": "1234", "number": "1234567"},
            },
            "brands": [{"name": "sms", "displayName": "SMS", "domain": "sms.example.dk",
                        "senderAddress": "sms@example.dk", "services": ["api", "bulk"]}],
            "terms": [{"version": "2026-1", "from": "2026-01-01", "page": "https://example.dk/terms"}],
            "currency": "DKK",
            "prices": [{"from": "2026-01-01", "monthlyFee": "99", "sms": [{"prefix": "45", "price": "0.295"}]}],
            "vat": {"percent": "25"}, "payment": {"days": 8},
        },
    })
}

pub(super) fn policy(name: &str) -> Value {
    json!({
        "apiVersion": "budstikke.dev/v1alpha1", "kind": "RetentionPolicy", "metadata": {"name": name},
        "spec": {
            "log": {"keep": {"months": 3}, "textCharacters": 160}, "mail": {"keepDays": 3},
            "accounts": {"deleteAfterMonths": 3}, "invoices": {"keepYears": 5},
            "backups": {"keyringKeepHours": 24, "dataKeepDays": 14},
            "hosting": {"country": "DK", "location": "Aarhus", "provider": "Vert ApS"},
        },
    })
}

pub(super) fn credentials(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
           "stringData": {"systemId": "budstikke", "password": "secret12"}})
}

pub(super) fn route(name: &str) -> Value {
    json!({
        "apiVersion": "budstikke.dev/v1alpha1", "kind": "SmsRoute", "metadata": {"name": name},
        "spec": {
            "upstream": {"smpp": {"host": "smsc.example.com", "port": 2775, "tls": {"mode": "disabled"},
                                  "credentialsRef": {"name": format!("{name}-credentials")}}},
            "processor": {"name": "SMSC", "country": "DK"}, "binds": 2, "ratePerSecond": 20,
        },
    })
}

/// A Tenant that may send.
pub(super) fn tenant(name: &str) -> Value {
    json!({
        "apiVersion": "budstikke.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": name},
        "spec": {
            "organisation": {
                "name": "Bageren ApS", "registration": {"cvr": "25313763"},
                "address": {"lines": ["Torvet 1"], "postcode": "8000", "city": "Aarhus", "country": "DK"},
            },
            "contact": {"email": "sms@example.dk"},
            "services": ["api"],
            "planRef": {"name": "standard"}, "retentionRef": {"name": "standard"},
            "routes": [{"name": "main", "weight": 3}],
            "senderIds": [{"id": "Bageren"}],
            "verification": {"organisationConfirmedOn": "2026-01-02",
                             "contactEmail": {"address": "sms@example.dk", "confirmedOn": "2026-01-02"}},
            "acceptance": {"termsVersion": "2026-1", "acceptedOn": "2026-01-02"},
        },
    })
}
