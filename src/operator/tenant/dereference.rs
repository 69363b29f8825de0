//! What a Tenant names, what is in force for it, and what was made for it.
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use serde::de::DeserializeOwned;

use super::super::controller::Scope;
use super::super::failure::Failure;
use super::super::{billing_plan, labels, retention_policy, rollout, status};
use crate::crd::tenant::RouteUse;
use crate::crd::{BillingPlanSpec, RetentionPolicySpec, SmsRoute, SmsRouteSpec, Tenant};
use crate::domain::{RouteId, TenantId, copenhagen_day};
use crate::store::accounts::{self, Terms};
use crate::store::routes;

/// What a Tenant names, what is in force for it, and what was made for it.
pub(super) struct Dereferenced {
    pub(super) plan: Under<BillingPlanSpec>,
    pub(super) policy: Under<RetentionPolicySpec>,
    pub(super) routes: Vec<Route>,
    pub(super) live: Live,
}

/// The plan or policy a Tenant is under.
#[derive(Debug, PartialEq)]
pub(super) enum Under<Spec> {
    /// The one it names.
    Named(Spec),
    /// The one it names is missing or invalid: the last valid form that it was under stays in force.
    Last {
        /// Missing, not invalid.
        missing: bool,
        /// What is wrong with the one it names.
        message: String,
        /// What stays in force.
        spec: Spec,
    },
    /// The one it names is missing or invalid, and it was never under a valid one.
    Nothing {
        /// Missing, not invalid.
        missing: bool,
        /// What is wrong with the one it names.
        message: String,
    },
}

impl<Spec> Under<Spec> {
    /// What is in force.
    pub(super) fn spec(&self) -> Option<&Spec> {
        match self {
            Self::Named(spec) | Self::Last { spec, .. } => Some(spec),
            Self::Nothing { .. } => None,
        }
    }
}

/// A route that a Tenant names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) written_weight: Option<u32>,
    pub(super) found: Option<FoundRoute>,
}

/// A route that exists.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundRoute {
    pub(super) id: RouteId,
    pub(super) ready: bool,
    /// What its own status says, where it is not ready.
    pub(super) why_not: String,
    /// Why its owner closed it, if that is so: nothing is sent by it meanwhile, and it has no connector.
    pub(super) closed: Option<String>,
    pub(super) spec: SmsRouteSpec,
}

impl FoundRoute {
    /// Messages go out by it now.
    pub(super) fn sends(&self) -> bool {
        self.ready && self.closed.is_none()
    }
}

impl Route {
    /// The weight in force, after defaults.
    pub(super) fn weight(&self) -> u32 {
        let default = || self.found.as_ref().map_or(1, |found| found.spec.default_weight());
        self.written_weight.unwrap_or_else(default)
    }
}

/// What was made for a Tenant.
#[derive(Default)]
pub(super) struct Live {
    pub(super) secret: Option<Arc<Secret>>,
    pub(super) deployment: Option<Arc<Deployment>>,
    pub(super) network_policy: Option<Arc<NetworkPolicy>>,
    pub(super) budget: Option<Arc<PodDisruptionBudget>>,
}

impl Live {
    /// No pods are wanted at present.
    pub(super) fn is_at_zero(&self) -> bool {
        self.deployment.as_deref().and_then(|deployment| deployment.spec.as_ref()?.replicas) == Some(0)
    }

    pub(super) fn ready_pods(&self) -> i32 {
        self.deployment.as_deref().map_or(0, rollout::ready_pods)
    }
}

pub(super) async fn dereference(scope: &Scope, tenant: &Tenant, account: TenantId) -> Result<Dereferenced, Failure> {
    let world = &scope.world;
    let spec = &tenant.spec;
    let today = copenhagen_day(scope.context.clock.now());
    let in_force = accounts::in_force(&scope.context.pool, account).await.map_err(Failure::Account)?;

    let plan = world.get(&world.plans, &spec.plan_ref.name).map(|plan| plan.spec.clone());
    let plan = plan.map(|plan| billing_plan::validate(&plan, today).map(|()| plan));
    let policy = world.get(&world.policies, &spec.retention_ref.name).map(|policy| policy.spec.clone());
    let policy = policy.map(|policy| retention_policy::validate(&policy).map(|()| policy));

    let child = labels::child("sender", &tenant.name_any());
    let children = &world.children;
    let mut routes = Vec::new();
    for used in &spec.routes {
        routes.push(route(scope, used).await?);
    }
    Ok(Dereferenced {
        plan: under("BillingPlan", &spec.plan_ref.name, plan, in_force.plan),
        policy: under("RetentionPolicy", &spec.retention_ref.name, policy, in_force.policy),
        routes,
        live: Live {
            secret: scope.own_secret(&child).await?,
            deployment: world.get(&children.deployments, &child),
            network_policy: world.get(&children.network_policies, &child),
            budget: world.get(&children.budgets, &child),
        },
    })
}

/// The named one where it is good, else the last good one.
fn under<Spec: DeserializeOwned>(
    kind: &str,
    name: &str,
    named: Option<Result<Spec, String>>,
    last: Option<Terms>,
) -> Under<Spec> {
    let (missing, message) = match named {
        Some(Ok(spec)) => return Under::Named(spec),
        Some(Err(message)) => (false, format!("{kind} {name} is invalid: {message}")),
        None => (true, format!("{kind} {name} does not exist: create it")),
    };
    let last = last.and_then(|last| Some((last.name, serde_json::from_value(last.spec).ok()?)));
    match last {
        Some((of, spec)) => {
            let message = format!("{message}; the last valid form of {kind} {of} stays in force");
            Under::Last { missing, message, spec }
        }
        None => Under::Nothing { missing, message },
    }
}

async fn route(scope: &Scope, used: &RouteUse) -> Result<Route, Failure> {
    let world = &scope.world;
    let found = match world.get(&world.routes, &used.name) {
        Some(route) => Some(found(scope, &route).await?),
        None => None,
    };
    Ok(Route { name: used.name.to_string(), written_weight: used.weight, found })
}

async fn found(scope: &Scope, route: &SmsRoute) -> Result<FoundRoute, Failure> {
    let Scope { world, context } = scope;
    let id = routes::ensure(&context.pool, &world.namespace, &route.name_any()).await.map_err(Failure::Route)?;
    let ready = status::is_ready(route);
    Ok(FoundRoute {
        id,
        ready,
        why_not: if ready { String::new() } else { status::why_not(route) },
        closed: closed(&route.spec),
        spec: route.spec.clone(),
    })
}

pub(super) fn closed(spec: &SmsRouteSpec) -> Option<String> {
    let maintenance = spec.maintenance.as_ref().filter(|maintenance| maintenance.closed == Some(true))?;
    Some(maintenance.message.clone().unwrap_or_else(|| "closed for maintenance".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn last(spec: serde_json::Value) -> Option<Terms> {
        Some(Terms { name: "old".to_owned(), spec })
    }

    #[test]
    fn the_last_valid_form_stays_in_force() {
        assert_eq!(under("Plan", "new", Some(Ok(1)), last(json!(2))), Under::Named(1));
        let Under::Last { missing, message, spec } = under::<i32>("Plan", "new", None, last(json!(2))) else {
            panic!()
        };
        assert!(missing);
        assert_eq!(spec, 2);
        assert_eq!(message, "Plan new does not exist: create it; the last valid form of Plan old stays in force");
        let invalid = under::<i32>("Plan", "new", Some(Err("no prices".to_owned())), last(json!(2)));
        assert!(matches!(invalid, Under::Last { missing: false, spec: 2, .. }));
        assert!(matches!(under::<i32>("Plan", "new", None, None), Under::Nothing { missing: true, .. }));
    }
}
