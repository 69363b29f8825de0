//! A scenario's view of the cluster: what it makes carries its label and goes with it.
use std::time::Duration;

use budstikke::crd::{RetentionPolicy, SmsRoute, Tenant};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::caller::Caller;
use super::crash;
use super::manifests::{self, NAMESPACE};
use super::smsc::Smsc;
use super::wait::{AGAIN, eventually};

const LABEL: &str = "budstikke.dev/scenario";
/// A pod is scheduled, started and ready, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(180);

/// Within which what a scenario made should be gone; the next one waits no longer.
const GONE: Duration = Duration::from_secs(120);

pub(crate) struct World {
    pub(crate) client: Client,
    namespace: String,
    /// The pod that kills, once there was something to kill.
    pub(super) killer: OnceCell<String>,
    /// Ends the names of this run's objects.
    pub(crate) id: String,
}

impl World {
    pub(crate) async fn open(name: &str) -> Self {
        let client = client(None).await;
        let id = format!("{name}-{:04x}", rand::random::<u16>());
        let world = Self { client, namespace: NAMESPACE.into(), killer: OnceCell::new(), id };
        for object in manifests::plan_and_policy() {
            world.apply(&object).await;
        }
        world
    }

    /// The same scenario in another namespace.
    pub(crate) fn elsewhere(&self, namespace: &str) -> Self {
        let (client, id) = (self.client.clone(), self.id.clone());
        Self { client, namespace: namespace.to_owned(), killer: OnceCell::new(), id }
    }

    /// A namespace that goes with the scenario.
    pub(crate) async fn namespace(&self, short: &str) -> String {
        let name = self.named(short);
        let metadata = json!({"name": name, "labels": {LABEL: self.id}});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.patch(&name, &PatchParams::apply("e2e"), &Patch::Apply(&object)).await.expect("a namespace");
        name
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Any kind, by its manifest.
    fn dynamic(&self, object: &Value) -> Api<DynamicObject> {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let (group, version) = match object["apiVersion"].as_str().and_then(|both| both.split_once('/')) {
            Some((group, version)) => (group.to_owned(), version.to_owned()),
            None => (String::new(), text("apiVersion")),
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind { group, version, kind: text("kind") });
        // English plurals are guessed; this one would come out wrong.
        let resource = match resource.kind.as_str() {
            "RetentionPolicy" => ApiResource { plural: "retentionpolicies".into(), ..resource },
            _ => resource,
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    pub(crate) async fn apply(&self, object: &Value) {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let parameters = PatchParams::apply("e2e").force();
        let applied = self.dynamic(object).patch(name, &parameters, &Patch::Apply(object)).await;
        applied.unwrap_or_else(|error| panic!("apply {} {name}: {error}", object["kind"]));
    }

    /// Applies something that goes with the scenario.
    pub(crate) async fn make(&self, mut object: Value) -> String {
        object["metadata"]["labels"] = json!({LABEL: self.id});
        self.apply(&object).await;
        object["metadata"]["name"].as_str().expect("a name").to_owned()
    }

    pub(crate) fn named(&self, short: &str) -> String {
        format!("{short}-{}", self.id)
    }

    /// A simulated upstream that is up.
    pub(crate) async fn smsc(&self, options: &[&str]) -> Smsc {
        let name = self.named("smsc");
        for object in manifests::smsc(&name, options) {
            self.make(object).await;
        }
        eventually("the SMSC's pod", SOON, async || {
            let deployment = self.api::<Deployment>().get(&name).await.map_err(|error| error.to_string())?;
            let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas);
            ready.filter(|ready| *ready > 0).map(drop).ok_or_else(|| format!("{:?}", deployment.status))
        })
        .await;
        Smsc::new(self.client.clone(), name)
    }

    /// A route to an upstream, with its credentials; not yet ready.
    pub(crate) async fn route(&self, short: &str, upstream: &Smsc, change: impl FnOnce(&mut Value)) -> String {
        let name = self.named(short);
        self.make(manifests::credentials(&name, short)).await;
        let mut route = manifests::route(&name, &upstream.host());
        change(&mut route["spec"]);
        self.make(route).await
    }

    /// A tenant that may send; not yet ready.
    pub(crate) async fn tenant(&self, short: &str, routes: &[&str], change: impl FnOnce(&mut Value)) -> String {
        let mut tenant = manifests::tenant(&self.named(short), routes);
        change(&mut tenant["spec"]);
        self.make(tenant).await
    }

    /// Changes a Tenant's spec as `kubectl patch` does.
    pub(crate) async fn edit_tenant(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.api::<Tenant>().patch(name, &PatchParams::default(), &patch).await.expect("edit a Tenant");
    }

    /// Changes any object, as somebody who edits it by hand.
    pub(crate) async fn edit(&self, api_version: &str, kind: &str, name: &str, patch: Value) {
        let object = json!({"apiVersion": api_version, "kind": kind});
        let edited = self.dynamic(&object).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        edited.unwrap_or_else(|error| panic!("edit {kind} {name}: {error}"));
    }

    /// The object's whole JSON.
    pub(crate) async fn look<K>(&self, name: &str) -> Result<Value, String>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<K>(&()));
        let object = api.get(name).await.map_err(|error| error.to_string())?;
        serde_json::to_value(object).map_err(|error| error.to_string())
    }

    /// Waits until a condition of the present generation has a status; gives the condition.
    pub(crate) async fn condition<K>(&self, name: &str, kind: &str, status: &str) -> Value
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        eventually(&format!("{kind}={status} of {name}"), SOON, async || {
            let object = self.look::<K>(name).await?;
            let found = object["status"]["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == kind);
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            match found {
                Some(found) if current && found["status"] == status => Ok(found.clone()),
                _ => Err(object["status"].to_string()),
            }
        })
        .await
    }

    pub(crate) async fn tenant_ready(&self, name: &str) {
        self.condition::<Tenant>(name, "Ready", "True").await;
    }

    pub(crate) async fn route_ready(&self, name: &str) {
        self.condition::<SmsRoute>(name, "Ready", "True").await;
    }

    /// A key of a Secret, once it is there.
    pub(crate) async fn secret(&self, name: &str, key: &str) -> String {
        eventually(&format!("Secret {name}"), SOON, async || {
            let secret = self.api::<Secret>().get(name).await.map_err(|error| error.to_string())?;
            let value = secret.data.and_then(|mut data| data.remove(key)).ok_or("no such key")?;
            String::from_utf8(value.0).map_err(|error| error.to_string())
        })
        .await
    }

    /// A caller of the API that is in this namespace, with the tenant's own key.
    pub(crate) async fn caller(&self, tenant: &str) -> Caller {
        let key = self.secret(&format!("{tenant}-api-key"), "apiKey").await;
        Caller::new(self.namespace.clone(), &self.secret("budstikke-ca", "ca.crt").await, key)
    }

    /// One route and one tenant on it, both ready, and a caller with its key.
    pub(crate) async fn simple(&self, smsc: &Smsc) -> (String, String, Caller) {
        let route = self.route("main", smsc, |_| {}).await;
        let tenant = self.tenant("tenant", &[&route], |_| {}).await;
        self.route_ready(&route).await;
        self.tenant_ready(&tenant).await;
        let caller = self.caller(&tenant).await;
        (route, tenant, caller)
    }

    pub(crate) async fn pods(&self, selector: &str) -> Vec<Pod> {
        self.api().list(&ListParams::default().labels(selector)).await.expect("list pods").items
    }

    /// Removes what the scenario made, and waits until its pods are gone, so that they do not load the next one; those of the
    /// operator's go by owner references.
    pub(crate) async fn clear(&self) {
        let mine = ListParams::default().labels(&format!("{LABEL}={}", self.id));
        let now = DeleteParams::background();
        let _ = self.api::<Tenant>().delete_collection(&now, &mine).await;
        let _ = self.api::<SmsRoute>().delete_collection(&now, &mine).await;
        let _ = self.api::<RetentionPolicy>().delete_collection(&now, &mine).await;
        let _ = self.api::<Deployment>().delete_collection(&now, &mine).await;
        let _ = self.api::<Secret>().delete_collection(&now, &mine).await;
        let _ = self.api::<ConfigMap>().delete_collection(&now, &mine).await;
        let _ = self.api::<Pod>().delete_collection(&now, &mine).await;
        let services = self.api::<Service>();
        for service in services.list(&mine).await.map(|list| list.items).unwrap_or_default() {
            let _ = services.delete(&service.name_any(), &now).await;
        }
        let _ = self.elsewhere(crash::NAMESPACE).api::<Pod>().delete_collection(&now, &mine).await;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for namespace in namespaces.list(&mine).await.map(|list| list.items).unwrap_or_default() {
            let _ = namespaces.delete(&namespace.name_any(), &now).await;
        }
        let gone = async {
            while !self.left().await.is_ok_and(|left| left.is_empty()) {
                tokio::time::sleep(AGAIN).await;
            }
        };
        if timeout(GONE, gone).await.is_err() {
            println!("scenario {} left pods behind: {:?}", self.id, self.left().await);
        }
    }

    /// The scenario's pods in all namespaces: their names have its id in them, whoever made them.
    async fn left(&self) -> kube::Result<Vec<String>> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let named = pods.list(&ListParams::default()).await?.items.into_iter().filter(|pod| {
            let id = Some(self.id.as_str());
            pod.name_any().contains(&self.id) || pod.labels().get(LABEL).map(String::as_str) == id
        });
        Ok(named.map(|pod| pod.name_any()).collect())
    }

    /// The scenario's Tenants and SmsRoutes.
    pub(crate) async fn resources(&self) -> (Vec<String>, Vec<String>) {
        let mine = ListParams::default().labels(&format!("{LABEL}={}", self.id));
        let tenants = self.api::<Tenant>().list(&mine).await.map(|list| list.items).unwrap_or_default();
        let routes = self.api::<SmsRoute>().list(&mine).await.map(|list| list.items).unwrap_or_default();
        (tenants.iter().map(Tenant::name_any).collect(), routes.iter().map(SmsRoute::name_any).collect())
    }
}

/// A client as the kubeconfig says, or in the name of somebody else.
pub(crate) async fn client(impersonate: Option<&str>) -> Client {
    let mut config = Config::infer().await.expect("a cluster: eval \"$(dev/cluster env)\"");
    config.auth_info.impersonate = impersonate.map(str::to_owned);
    config.proxy_url = None;
    Client::try_from(config).expect("a client")
}
