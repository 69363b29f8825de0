//! SmsRoute: its row and login in PostgreSQL, and its connector with everything that one is told. Tenants, weights and
//! numbers reach a connector through PostgreSQL, never through its pods.
mod build;
mod dereference;
mod follow;
mod upstream;
mod validate;

use std::time::Duration;

use jiff::{Timestamp, Zoned};
use kube::ResourceExt as _;

use self::build::Parts;
use self::dereference::{Credentials, Dereferenced};
use super::apply::Applier;
use super::conditions::{Standing, Verdict, conditions};
use super::controller::{Controlled, Scope};
use super::failure::Failure;
use super::{labels, material, rollout, status};
use crate::config::names;
use crate::crd::conditions::{reasons, types};
use crate::crd::smsroute::{ConnectorStatus, Upstream};
use crate::crd::{SmsRoute, SmsRouteSpec, SmsRouteStatus};
use crate::domain::RouteId;
use crate::pki::Leaf;
use crate::store::logins::Holder;
use crate::store::routes;
use crate::store::upstream_reports::{self, Report};

pub(super) use self::follow::follow as follow_upstreams;

const MANAGER: &str = "budstikke-operator/route";

/// The DNS name that a route's senders reach its connector by.
pub(super) fn host(namespace: &str, route: &str) -> String {
    format!("{}.{namespace}.svc", labels::child("connector", route))
}

/// The Secrets that a route names.
pub(super) fn secrets_named(spec: &SmsRouteSpec) -> impl Iterator<Item = &str> {
    let (credentials, ca) = match &spec.upstream {
        Upstream::Smpp(smpp) => (&smpp.credentials_ref, smpp.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref())),
        Upstream::Https(https) => (&https.credentials_ref, https.ca_ref.as_ref()),
    };
    std::iter::once(credentials).chain(ca).map(|named| &*named.name)
}

impl Controlled for SmsRoute {
    async fn reconcile(&self, scope: &Scope) -> Result<Duration, Failure> {
        let name = self.name_any();
        let found = dereference::dereference(scope, self).await?;
        let route = routes::ensure(&scope.context.pool, &scope.world.namespace, &name).await.map_err(Failure::Route)?;
        let processor = serde_json::to_value(&self.spec.processor)
            .map_err(|source| Failure::Serialize { what: "the processor", source })?;
        routes::note(&scope.context.pool, route, &processor, self.spec.give_up_hours())
            .await
            .map_err(Failure::Route)?;
        let verdict = validate::validate(&self.spec, &found);
        let now = scope.context.clock.now();
        let mut waits_until = None;
        if let Some(credentials) = found.credentials.usable() {
            waits_until = provision(scope, self, route, &found, credentials, now).await?;
        }
        let reports = upstream_reports::of_route(&scope.context.pool, route).await.map_err(Failure::UpstreamReports)?;
        status::write(scope, self, told(self, &found, verdict, &reports, (waits_until.as_ref(), now))).await?;
        let left = waits_until.and_then(|until| Duration::try_from(until.timestamp().duration_since(now)).ok());
        Ok(left.unwrap_or(Duration::MAX))
    }
}

/// Makes the connector and everything around it. Until when its pods wait with a new version, if they do; what they are told does not
/// wait.
async fn provision(
    scope: &Scope,
    route: &SmsRoute,
    id: RouteId,
    found: &Dereferenced,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<Option<Zoned>, Failure> {
    let Some(settings) = build::settings(route, id) else { return Ok(None) };
    let context = &scope.context;
    let live = &found.live;
    let secret = live.secret.as_deref();
    let server = Leaf::Server(vec![host(&scope.world.namespace, &route.name_any())]);

    let mut data = material::Data::new();
    let config = serde_json::to_string(&settings)
        .map_err(|source| Failure::Serialize { what: "a connector's settings", source })?;
    data.extend([material::entry(names::CONFIG, &config)]);
    data.extend(material::database(context, secret, Holder::Route(id)).await?);
    data.extend(material::certificate(context, secret, &server, |_| true)?);
    data.extend([material::tag_key(context, id).await?]);
    data.extend(credentials.entries());

    let parts = Parts::new(route, &scope.world.namespace, &context.workloads);
    let applier = Applier { client: &context.client, namespace: &scope.world.namespace, manager: MANAGER };
    applier.apply(secret, &parts.secret(data)).await.map_err(Failure::Apply)?;
    match parts.network_policy(context.database.port()) {
        Some(policy) => applier.apply(live.network_policy.as_deref(), &policy).await,
        None => applier.delete(live.network_policy.as_deref()).await,
    }
    .map_err(Failure::Apply)?;
    applier.apply(live.service.as_deref(), &parts.service()).await.map_err(Failure::Apply)?;
    let (wanted, hours) = (parts.deployment(), build::rollout_window(&route.spec));
    let waits_until = rollout::waits_until(live.deployment.as_deref(), &wanted, hours, now);
    if waits_until.is_none() {
        applier.apply(live.deployment.as_deref(), &wanted).await.map_err(Failure::Apply)?;
    }
    match parts.budget() {
        Some(budget) => applier.apply(live.budget.as_deref(), &budget).await,
        None => applier.delete(live.budget.as_deref()).await,
    }
    .map_err(Failure::Apply)?;
    Ok(waits_until)
}

fn told(
    route: &SmsRoute,
    found: &Dereferenced,
    credentials: Verdict,
    reports: &[Report],
    (waits_until, now): (Option<&Zoned>, Timestamp),
) -> SmsRouteStatus {
    let (ready, desired) = (found.live.ready_pods(), build::replicas(&route.spec));
    let asked = [credentials, connector(&route.spec, ready, desired)];
    let (summary, bound) = upstream::verdict(&route.spec, reports);
    let beside = [bound, validate::compliant(&route.spec)];
    let standing = Standing::of(&asked);
    // The one line for people: once all is done, what is wrong beyond the operator's reach.
    let pending = build::rollout_window(&route.spec).map(|_| rollout_pending(waits_until));
    let waiting = pending.iter().find(|verdict| verdict.holds);
    let done = beside.iter().find(|verdict| !verdict.holds).or(waiting).unwrap_or(&asked[1]).message.as_str();
    let verdicts = [asked.as_slice(), &beside, pending.as_slice()].concat();
    let generation = route.metadata.generation.unwrap_or_default();
    SmsRouteStatus {
        observed_generation: generation,
        conditions: conditions(status::current(route), &standing, done, &verdicts, generation, now),
        tenants: i32::try_from(found.tenants).ok(),
        upstream: Some(upstream_in_a_word(&route.spec)),
        connector: Some(ConnectorStatus { ready, desired, summary }),
        proposed_id_format: upstream::proposed_id_format(&route.spec, reports),
        circuit: upstream::circuit(&route.spec, reports),
    }
}

/// Whether a new version waits for the hours in which pods may be replaced.
fn rollout_pending(waits_until: Option<&Zoned>) -> Verdict {
    match waits_until {
        None => Verdict::no(types::ROLLOUT_PENDING, reasons::NONE, "no new version waits"),
        Some(until) => {
            let message = format!(
                "a new version waits until {} in Copenhagen for `maintenance.rolloutWindow`; take that out to have it now",
                until.strftime("%Y-%m-%d %H:%M")
            );
            Verdict::yes(types::ROLLOUT_PENDING, reasons::OUTSIDE_WINDOW, message)
        }
    }
}

/// Whether the connector's pods are as wanted.
fn connector(spec: &SmsRouteSpec, ready: i32, desired: i32) -> Verdict {
    let message = format!("{ready} of {desired} connector pods are ready");
    if let Some(closed) = build::closed(spec) {
        Verdict::yes(types::CONNECTOR_READY, reasons::MAINTENANCE, closed)
    } else if ready >= desired {
        Verdict::yes(types::CONNECTOR_READY, reasons::SUCCEEDED, message)
    } else {
        Verdict::no(types::CONNECTOR_READY, reasons::PODS_NOT_READY, message)
    }
}

fn upstream_in_a_word(spec: &SmsRouteSpec) -> String {
    match &spec.upstream {
        Upstream::Smpp(smpp) => format!("{}:{}", smpp.host, smpp.port),
        Upstream::Https(https) => https.url.to_string(),
    }
}
