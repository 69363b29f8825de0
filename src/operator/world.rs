//! What is known of one namespace: the four kinds, the children made for them, and of other Secrets the names and
//! versions alone. Kept in step by watches, on the leader and on its stand-by, so that a change of leader costs nothing.
//!
//! Each change puts the objects it concerns on the queues of whoever leads.
mod follow;
mod queues;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use self::follow::{follow, version};
pub(super) use self::queues::{Queues, Target};
use super::labels;
use super::metrics::Metrics;
use crate::crd::conditions::types;
use crate::crd::{BillingPlan, RetentionPolicy, SmsRoute, Tenant};

/// After this time it is said that a namespace could not be listed yet,
const FIRST_WORD: Duration = Duration::from_secs(30);
/// and again at the latest after this one.
const LONGEST_SILENCE: Duration = Duration::from_secs(3600);

/// What is known of one namespace.
pub(super) struct World {
    pub(super) namespace: String,
    pub(super) tenants: Store<Tenant>,
    pub(super) routes: Store<SmsRoute>,
    pub(super) policies: Store<RetentionPolicy>,
    pub(super) plans: Store<BillingPlan>,
    pub(super) children: Children,
    pub(super) queues: Queues,
    foreign_secrets: Store<PartialObjectMeta<Secret>>,
    listed: OnceCell<()>,
}

/// What the operator made.
pub(super) struct Children {
    pub(super) deployments: Store<Deployment>,
    pub(super) secrets: Store<Secret>,
    pub(super) services: Store<Service>,
    pub(super) network_policies: Store<NetworkPolicy>,
    pub(super) budgets: Store<PodDisruptionBudget>,
}

impl World {
    /// Begins to watch a namespace. The watches run in `tasks` until those are aborted.
    pub(super) fn watch(client: &Client, namespace: &str, tasks: &mut JoinSet<()>) -> Arc<Self> {
        let (tenants, tenants_writer) = store();
        let (routes, routes_writer) = store();
        let (policies, policies_writer) = store();
        let (plans, plans_writer) = store();
        let (deployments, deployments_writer) = store();
        let (secrets, secrets_writer) = store();
        let (services, services_writer) = store();
        let (network_policies, network_policies_writer) = store();
        let (budgets, budgets_writer) = store();
        let (foreign_secrets, foreign_secrets_writer) = store();
        let world = Arc::new(Self {
            namespace: namespace.to_owned(),
            tenants,
            routes,
            policies,
            plans,
            children: Children { deployments, secrets, services, network_policies, budgets },
            queues: Queues::default(),
            foreign_secrets,
            listed: OnceCell::new(),
        });
        let all = watcher::Config::default;
        let ours = || watcher::Config::default().labels(labels::MANAGED);
        let others = watcher::Config::default().labels(labels::NOT_MANAGED);
        let api = || (client.clone(), Arc::clone(&world));

        tasks.spawn(follow(tenants_writer, watched(api(), all()), api().1, of_tenant, spec_version));
        tasks.spawn(follow(routes_writer, watched(api(), all()), api().1, of_route, |route: &SmsRoute| {
            (spec_version(route), readiness(route.status.as_ref().map(|status| status.conditions.as_slice())))
        }));
        tasks.spawn(follow(policies_writer, watched(api(), all()), api().1, of_policy, spec_version));
        tasks.spawn(follow(plans_writer, watched(api(), all()), api().1, of_plan, spec_version));
        tasks.spawn(follow(deployments_writer, watched(api(), ours()), api().1, of_child, version));
        tasks.spawn(follow(secrets_writer, watched(api(), ours()), api().1, of_child, version));
        tasks.spawn(follow(services_writer, watched(api(), ours()), api().1, of_child, version));
        tasks.spawn(follow(network_policies_writer, watched(api(), ours()), api().1, of_child, version));
        tasks.spawn(follow(budgets_writer, watched(api(), ours()), api().1, of_child, version));
        tasks.spawn(follow(foreign_secrets_writer, watched(api(), others), api().1, of_foreign_secret, version));
        world
    }

    /// Waits until everything was listed once. Any number may wait.
    pub(super) async fn synced(&self) {
        // A store of kube wakes only the last of those that wait for it: so one waits, and the others for that one.
        self.listed.get_or_init(|| self.every_list()).await;
    }

    /// Says by metric whether everything was listed, and by log, ever more seldom, that it still was not.
    pub(super) async fn tell_until_synced(self: Arc<Self>, metrics: Metrics) {
        metrics.synced(&self.namespace, false);
        let mut synced = std::pin::pin!(self.synced());
        let mut wait = FIRST_WORD;
        while tokio::time::timeout(wait, &mut synced).await.is_err() {
            tracing::warn!(
                namespace = self.namespace,
                "not served: its resources cannot be listed; is the namespace there, and the operator's RoleBinding in it?"
            );
            wait = wait.saturating_mul(2).min(LONGEST_SILENCE);
        }
        metrics.synced(&self.namespace, true);
    }

    async fn every_list(&self) {
        // A dropped writer means that the watches were stopped: nobody waits then.
        let Children { deployments, secrets, services, network_policies, budgets } = &self.children;
        let _ = tokio::join!(
            self.tenants.wait_until_ready(),
            self.routes.wait_until_ready(),
            self.policies.wait_until_ready(),
            self.plans.wait_until_ready(),
            deployments.wait_until_ready(),
            secrets.wait_until_ready(),
            services.wait_until_ready(),
            network_policies.wait_until_ready(),
            budgets.wait_until_ready(),
            self.foreign_secrets.wait_until_ready(),
        );
    }

    /// An object of this namespace by its name.
    pub(super) fn get<K>(&self, store: &Store<K>, name: &str) -> Option<Arc<K>>
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        store.get(&ObjectRef::new(name).within(&self.namespace))
    }

    /// Everything there is: what a new leader begins with.
    pub(super) fn everything(&self) -> Vec<Target> {
        let mut targets: Vec<Target> = Vec::new();
        targets.extend(self.policies.state().iter().map(|policy| Target::Policy(policy.name_any())));
        targets.extend(self.plans.state().iter().map(|plan| Target::Plan(plan.name_any())));
        targets.extend(self.routes.state().iter().map(|route| Target::Route(route.name_any())));
        targets.extend(self.tenants.state().iter().map(|tenant| Target::Tenant(tenant.name_any())));
        targets
    }

    fn tenants_that(&self, name_it: impl Fn(&Tenant) -> bool) -> Vec<Target> {
        let tenants = self.tenants.state();
        tenants.iter().filter(|tenant| name_it(tenant)).map(|tenant| Target::Tenant(tenant.name_any())).collect()
    }
}

fn watched<K>(
    (client, world): (Client, Arc<World>),
    config: watcher::Config,
) -> impl futures::Stream<Item = watcher::Result<watcher::Event<K>>> + Send
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    watcher(Api::namespaced(client, &world.namespace), config)
}

/// Changes with what its owner wrote, not with status.
fn spec_version<K: Resource>(object: &K) -> impl PartialEq + use<K> {
    let metadata = object.meta();
    (metadata.uid.clone(), metadata.generation, metadata.annotations.clone(), metadata.deletion_timestamp.is_some())
}

fn readiness(
    conditions: Option<&[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]>,
) -> Vec<(String, Option<String>)> {
    let told = [types::READY, types::CONNECTOR_READY];
    let conditions = conditions.unwrap_or_default().iter();
    conditions
        .filter(|condition| told.contains(&condition.type_.as_str()))
        // Others ask why not, but no further once it is.
        .map(|condition| (condition.status.clone(), (condition.status != "True").then(|| condition.message.clone())))
        .collect()
}

/// A Tenant concerns itself, and whatever counts who names it.
fn of_tenant(_: &World, tenant: &Tenant) -> Vec<Target> {
    let spec = &tenant.spec;
    let mut targets = vec![
        Target::Tenant(tenant.name_any()),
        Target::Plan(spec.plan_ref.name.to_string()),
        Target::Policy(spec.retention_ref.name.to_string()),
    ];
    targets.extend(spec.routes.iter().map(|route| Target::Route(route.name.to_string())));
    targets
}

fn of_route(world: &World, route: &SmsRoute) -> Vec<Target> {
    let name = route.name_any();
    let mut targets = world.tenants_that(|tenant| tenant.spec.routes.iter().any(|used| used.name.0 == name));
    targets.push(Target::Route(name));
    targets
}

fn of_policy(world: &World, policy: &RetentionPolicy) -> Vec<Target> {
    let name = policy.name_any();
    let mut targets = world.tenants_that(|tenant| tenant.spec.retention_ref.name.0 == name);
    targets.push(Target::Policy(name));
    targets
}

fn of_plan(world: &World, plan: &BillingPlan) -> Vec<Target> {
    let name = plan.name_any();
    let mut targets = world.tenants_that(|tenant| tenant.spec.plan_ref.name.0 == name);
    targets.push(Target::Plan(name));
    targets
}

/// A child concerns its owner.
fn of_child<K: Resource>(_: &World, child: &K) -> Vec<Target> {
    let owners = child.owner_references().iter().filter(|owner| owner.controller == Some(true));
    owners
        .filter_map(|owner| match owner.kind.as_str() {
            "Tenant" => Some(Target::Tenant(owner.name.clone())),
            "SmsRoute" => Some(Target::Route(owner.name.clone())),
            _ => None,
        })
        .collect()
}

/// A Secret that somebody else made concerns those that name it.
fn of_foreign_secret(world: &World, secret: &PartialObjectMeta<Secret>) -> Vec<Target> {
    let name = secret.name_any();
    let mut targets = world.tenants_that(|tenant| {
        tenant.spec.api.as_ref().and_then(|api| api.key_secret_ref.as_ref()).is_some_and(|named| named.name.0 == name)
    });
    let routes = world.routes.state();
    let naming = routes.iter().filter(|route| super::route::secrets_named(&route.spec).any(|named| named == name));
    targets.extend(naming.map(|route| Target::Route(route.name_any())));
    targets
}
