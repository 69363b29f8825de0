//! What a route's connector is told, and the objects that make it.
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource as _, ResourceExt as _};

use super::super::context::Workloads;
use super::super::labels;
use super::super::material::Data;
use super::super::network::{self, CALLBACK_PORT, SMPP_PORT};
use super::super::pods::{self, Pods};
use crate::config::connector::{Addressing, Bind, Https, IdFormat, Settings};
use crate::crd::smsroute::{self, BindMode, HttpsUpstream, Npi, ReceiptIdFormat, SmppUpstream, TlsMode, Ton, Upstream};
use crate::crd::values::{Hours, HttpsUrl};
use crate::crd::{SmsRoute, SmsRouteSpec};
use crate::domain::RouteId;

/// CPU and memory of a connector, and the memory it may use at most, unless the owner writes otherwise.
const RESOURCES: (&str, &str, &str) = ("20m", "32Mi", "128Mi");

/// Why the route is closed, if it is.
pub(super) fn closed(spec: &SmsRouteSpec) -> Option<String> {
    let maintenance = spec.maintenance.as_ref().filter(|maintenance| maintenance.closed == Some(true))?;
    Some(maintenance.message.clone().unwrap_or_else(|| "closed for maintenance".to_owned()))
}

/// When its pods may be replaced for a new version, where that is not always.
pub(super) fn rollout_window(spec: &SmsRouteSpec) -> Option<&Hours> {
    spec.maintenance.as_ref()?.rollout_window.as_ref()
}

/// Pods that are wanted now.
pub(super) fn replicas(spec: &SmsRouteSpec) -> i32 {
    if closed(spec).is_some() { 0 } else { i32::from(spec.replicas()) }
}

/// What the connector is told; `None` for an upstream whose address cannot be read. Each pod takes its share of binds and
/// rate.
pub(super) fn settings(route: &SmsRoute, id: RouteId) -> Option<Settings> {
    let spec = &route.spec;
    let timeouts = spec.timeouts.clone().unwrap_or_default();
    let seconds = |seconds: u32| u64::from(seconds) * 1000;
    let common = Settings {
        route_id: id,
        name: route.name_any(),
        host: String::new(),
        port: 0,
        tls_name: None,
        system_type: String::new(),
        address_range: String::new(),
        addressing: Addressing::default(),
        bind: Bind::Transceiver,
        binds: spec.binds(),
        rate_millis: u64::from(spec.rate_per_second) * 1000,
        tenant_rate_millis: tenant_rate_millis(spec),
        window: spec.window_per_bind(),
        connect_millis: seconds(timeouts.connect_seconds()),
        bind_millis: seconds(timeouts.bind_seconds()),
        response_millis: seconds(timeouts.submit_seconds()),
        enquire_millis: seconds(timeouts.enquire_link_seconds()),
        reconnect_min_millis: u64::from(timeouts.reconnect_min_milliseconds()),
        reconnect_max_millis: seconds(timeouts.reconnect_max_seconds()),
        id_format: match spec.receipts.as_ref().and_then(|receipts| receipts.id_format).unwrap_or_default() {
            ReceiptIdFormat::AsIs | ReceiptIdFormat::Decimal | ReceiptIdFormat::Hex => IdFormat::Same,
            ReceiptIdFormat::HexToDecimal => IdFormat::HexThenDecimal,
            ReceiptIdFormat::DecimalToHex => IdFormat::DecimalThenHex,
        },
        https: None,
    };
    match &spec.upstream {
        Upstream::Smpp(smpp) => Some(over_smpp(smpp, common)),
        Upstream::Https(https) => over_https(https, &route.name_any(), common),
    }
}

/// A percent of a rate in whole PDUs is ten thousandths of one; all of it is no bound.
fn tenant_rate_millis(spec: &SmsRouteSpec) -> Option<u64> {
    let percent = spec.sharing.as_ref()?.max_share_percent.filter(|percent| *percent < 100)?;
    Some(u64::from(spec.rate_per_second) * u64::from(percent) * 10)
}

fn over_smpp(smpp: &SmppUpstream, common: Settings) -> Settings {
    Settings {
        host: smpp.host.to_string(),
        port: smpp.port,
        tls_name: tls_name(smpp),
        system_type: smpp.system_type.clone().unwrap_or_default(),
        address_range: smpp.addressing.as_ref().and_then(|how| how.address_range.clone()).unwrap_or_default(),
        addressing: addressing(smpp.addressing.as_ref()),
        bind: match smpp.bind_mode.unwrap_or_default() {
            BindMode::Transceiver => Bind::Transceiver,
            BindMode::TransmitterReceiver => Bind::Separate,
        },
        ..common
    }
}

fn over_https(https: &HttpsUpstream, route: &str, common: Settings) -> Option<Settings> {
    let Address { host, port, path } = Address::read(&https.url)?;
    let callback_path = https.callback_path.as_ref().map_or(route, |path| &*path.0).to_owned();
    Some(Settings {
        tls_name: Some(host.clone()),
        host,
        port,
        id_format: IdFormat::Same,
        https: Some(Https { path, callback_path }),
        ..common
    })
}

/// Where an upstream over HTTPS is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    /// Without a slash at the end.
    pub(super) path: String,
}

impl Address {
    /// Reads it; `None` where it is not one that calls can be made at: it must have no query, fragment or login.
    pub(super) fn read(url: &HttpsUrl) -> Option<Self> {
        let url: url::Url = url.parse().ok()?;
        let plain = url.scheme() == "https"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let path = url.path().trim_end_matches('/').to_owned();
        plain.then_some(())?;
        Some(Self { host: url.host_str()?.to_owned(), port: url.port_or_known_default()?, path })
    }
}

fn tls_name(smpp: &SmppUpstream) -> Option<String> {
    let tls = smpp.tls.as_ref();
    match tls.and_then(|tls| tls.mode).unwrap_or_default() {
        TlsMode::Disabled => None,
        TlsMode::Verify => {
            let name = tls.and_then(|tls| tls.server_name.as_ref()).unwrap_or(&smpp.host);
            Some(name.to_string())
        }
    }
}

fn addressing(written: Option<&smsroute::Addressing>) -> Addressing {
    let Some(written) = written else { return Addressing::default() };
    Addressing {
        source_ton: written.source_ton.map(ton),
        source_npi: written.source_npi.map(npi),
        destination_ton: written.destination_ton.map(ton),
        destination_npi: written.destination_npi.map(npi),
    }
}

/// SMPP 3.4, 5.2.5.
fn ton(ton: Ton) -> u8 {
    match ton {
        Ton::Unknown => 0,
        Ton::International => 1,
        Ton::National => 2,
        Ton::NetworkSpecific => 3,
        Ton::Subscriber => 4,
        Ton::Alphanumeric => 5,
        Ton::Abbreviated => 6,
    }
}

/// SMPP 3.4, 5.2.6.
fn npi(npi: Npi) -> u8 {
    match npi {
        Npi::Unknown => 0,
        Npi::Isdn => 1,
        Npi::Data => 3,
        Npi::Telex => 4,
        Npi::LandMobile => 6,
        Npi::National => 8,
        Npi::Private => 9,
        Npi::Ermes => 10,
        Npi::Internet => 14,
        Npi::Wap => 18,
    }
}

/// The objects of one route.
pub(super) struct Parts<'a> {
    route: &'a SmsRoute,
    name: String,
    namespace: &'a str,
    workloads: &'a Workloads,
}

impl<'a> Parts<'a> {
    pub(super) fn new(route: &'a SmsRoute, namespace: &'a str, workloads: &'a Workloads) -> Self {
        Self { route, name: route.name_any(), namespace, workloads }
    }

    fn owner(&self) -> (&'static str, &str) {
        (labels::ROUTE, &self.name)
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(labels::child("connector", &self.name)),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(labels::all("connector", self.owner())),
            owner_references: self.route.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    fn pods(&self) -> Pods<'_> {
        let written = self.route.spec.connector.as_ref().and_then(|connector| connector.resources.as_ref());
        Pods {
            role: "connector",
            metadata: self.metadata(),
            owner: self.owner(),
            replicas: replicas(&self.route.spec),
            resources: pods::resources(written, RESOURCES),
            ports: self.ports().map(|(name, port)| (name, port.into())).collect(),
            // A pod more would be a bind more than the upstream allows.
            surge: 0,
            // Not in the Secret, which old pods read too: with another count they must go before their successors come.
            // The wanted count and not that of a closed route, so that closing one leaves its pods' form alone.
            env: vec![pods::env("BUDSTIKKE_PODS", &self.route.spec.replicas().to_string())],
        }
    }

    /// For senders, and for the callbacks of an upstream over HTTPS.
    fn ports(&self) -> impl Iterator<Item = (&'static str, u16)> {
        let https = matches!(self.route.spec.upstream, Upstream::Https(_));
        [("smpp", SMPP_PORT)].into_iter().chain(https.then_some(("callbacks", CALLBACK_PORT)))
    }

    pub(super) fn secret(&self, data: Data) -> Secret {
        Secret { metadata: self.metadata(), data: Some(data), ..Secret::default() }
    }

    pub(super) fn deployment(&self) -> Deployment {
        self.pods().deployment(self.workloads)
    }

    pub(super) fn budget(&self) -> Option<PodDisruptionBudget> {
        self.pods().budget()
    }

    pub(super) fn service(&self) -> Service {
        Service {
            metadata: self.metadata(),
            spec: Some(ServiceSpec {
                selector: Some(labels::selector("connector", self.owner())),
                ports: Some(self.ports().map(|(name, number)| service_port(name, number)).collect()),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    pub(super) fn network_policy(&self, database_port: u16) -> Option<NetworkPolicy> {
        let upstream = match &self.route.spec.upstream {
            Upstream::Smpp(smpp) => smpp.port,
            Upstream::Https(https) => Address::read(&https.url)?.port,
        };
        let senders = LabelSelector {
            match_labels: Some(
                [("app.kubernetes.io/name", "budstikke"), ("app.kubernetes.io/component", "sender")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            ..LabelSelector::default()
        };
        let ingress = self.ports().map(|(_, port)| match port {
            CALLBACK_PORT => network::from_anywhere(port),
            _ => network::from_pods(port, senders.clone()),
        });
        let ingress = ingress.collect();
        let egress = vec![network::to_port(database_port), network::to_port(upstream)];
        let policy = || network::policy(self.metadata(), self.pods().selector(), ingress, egress);
        self.workloads.network_policies.then(policy)
    }
}

fn service_port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number.into(),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use serde_json::json;

    use super::*;

    fn route(spec: serde_json::Value) -> SmsRoute {
        let mut all = json!({
            "upstream": {"smpp": {"host": "smpp.example.com", "port": 3601, "credentialsRef": {"name": "sinch"}}},
            "processor": {"name": "Sinch", "country": "SE"}, "ratePerSecond": 20,
        });
        for (key, value) in spec.as_object().expect("fields") {
            all[key] = value.clone();
        }
        let mut route = SmsRoute::new("fast", serde_json::from_value(all).expect("a route"));
        route.metadata.namespace = Some("sms".to_owned());
        route.metadata.uid = Some("uid".to_owned());
        route
    }

    fn workloads() -> Workloads {
        Workloads {
            image: "budstikke:1".to_owned(),
            pull_policy: "IfNotPresent".to_owned(),
            pull_secrets: Vec::new(),
            network_policies: true,
            log: "info".to_owned(),
        }
    }

    /// How many pods' environment says that there are.
    fn told(deployment: &Deployment) -> NonZeroU16 {
        let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).expect("a pod");
        let env = pod.containers[0].env.iter().flatten().find(|env| env.name == "BUDSTIKKE_PODS").expect("a count");
        env.value.as_deref().expect("a value").parse().expect("a number")
    }

    #[test]
    fn whatever_changes_pods_never_have_more_than_the_upstream_allows() {
        let made = |binds: u16, rate: u32, pods: u16| {
            let spec = json!({"binds": binds, "ratePerSecond": rate, "connector": {"replicas": pods}});
            let route = route(spec);
            let settings = settings(&route, RouteId(1)).expect("SMPP");
            (settings, Parts::new(&route, "sms", &workloads()).deployment())
        };
        let forms =
            [(2, 20, 1), (2, 20, 2), (4, 40, 2), (4, 40, 4), (4, 50, 4), (3, 50, 3)].map(|(b, r, p)| made(b, r, p));
        for (settings, deployment) in &forms {
            let spec = deployment.spec.as_ref().expect("a spec");
            let strategy = spec.strategy.as_ref().expect("a strategy");
            // So pods of two templates are never there together.
            assert_eq!((strategy.type_.as_deref(), &strategy.rolling_update), (Some("Recreate"), &None));
            let pods = told(deployment);
            assert_eq!(spec.replicas, Some(pods.get().into()));
            assert_eq!(settings.share(pods).binds * pods.get(), settings.binds, "none is lost");
            // And old pods may read what new ones are told.
            for (other, _) in &forms {
                let share = other.share(pods);
                assert!(share.binds * pods.get() <= other.binds);
                assert!(share.rate_millis * u64::from(pods.get()) <= other.rate_millis);
            }
        }
    }

    #[test]
    fn the_part_of_one_tenant_is_of_the_routes_rate_however_many_pods_there_are() {
        let most = |sharing: serde_json::Value, pods: u16| {
            let spec = json!({"binds": 2, "ratePerSecond": 15, "sharing": sharing, "connector": {"replicas": pods}});
            let settings = settings(&route(spec), RouteId(1)).expect("SMPP");
            settings.share(NonZeroU16::new(pods).expect("some")).tenant_rate_millis
        };
        assert_eq!(most(json!({"maxSharePercent": 30}), 1), Some(4_500));
        assert_eq!(most(json!({"maxSharePercent": 30}), 2), Some(4_500));
        assert_eq!(most(json!({"maxSharePercent": 100}), 1), None);
        assert_eq!(most(json!({"defaultWeight": 2}), 1), None);
    }

    #[test]
    fn another_count_replaces_pods_and_other_credentials_binds_or_a_closed_route_do_not() {
        let template = |spec: serde_json::Value| {
            let deployment = Parts::new(&route(spec), "sms", &workloads()).deployment();
            deployment.spec.expect("a spec").template
        };
        let two = template(json!({"binds": 4, "connector": {"replicas": 2}}));
        assert_eq!(two, template(json!({"binds": 2, "ratePerSecond": 90, "connector": {"replicas": 2}})));
        assert_ne!(two, template(json!({"binds": 4, "connector": {"replicas": 4}})));
        let one = template(json!({"connector": {"replicas": 1}}));
        let closed = json!({"closed": true, "message": "moving"});
        assert_eq!(one, template(json!({"connector": {"replicas": 1}, "maintenance": closed})));
    }

    #[test]
    fn a_closed_route_has_no_pods() {
        let route = route(json!({"maintenance": {"closed": true, "message": "moving"}}));
        assert_eq!(replicas(&route.spec), 0);
        assert_eq!(closed(&route.spec).as_deref(), Some("moving"));
    }

    #[test]
    fn tls_is_verified_unless_the_owner_says_otherwise() {
        let name = |tls: serde_json::Value| {
            let upstream =
                json!({"smpp": {"host": "smpp.example.com", "port": 1, "credentialsRef": {"name": "s"}, "tls": tls}});
            settings(&route(json!({"upstream": upstream})), RouteId(1)).expect("SMPP").tls_name
        };
        assert_eq!(name(json!({})).as_deref(), Some("smpp.example.com"));
        assert_eq!(name(json!({"serverName": "other.example.com"})).as_deref(), Some("other.example.com"));
        assert_eq!(name(json!({"mode": "disabled"})), None);
    }

    fn over_https(change: serde_json::Value) -> SmsRoute {
        let mut https = json!({
            "url": "https://eu.sms.example.com/xms/v1", "servicePlanId": "plan_1", "credentialsRef": {"name": "rest"},
        });
        for (key, value) in change.as_object().expect("fields") {
            https[key] = value.clone();
        }
        route(json!({"upstream": {"https": https}, "binds": 4, "windowPerBind": 100}))
    }

    #[test]
    fn an_upstream_over_https_is_reached_over_verified_tls_at_its_address() {
        let settings = |change| settings(&over_https(change), RouteId(1)).expect("HTTPS");
        let told = settings(json!({}));
        assert_eq!((told.host.as_str(), told.port, told.binds, told.window), ("eu.sms.example.com", 443, 4, 100));
        assert_eq!(told.tls_name.as_deref(), Some("eu.sms.example.com"));
        let https = told.https.expect("HTTPS");
        assert_eq!((https.path.as_str(), https.callback_path.as_str()), ("/xms/v1", "fast"));
        let told = settings(json!({"url": "https://localhost:8443/", "callbackPath": "rest"}));
        let https = told.https.expect("HTTPS");
        assert_eq!((told.port, https.path.as_str(), https.callback_path.as_str()), (8443, "", "rest"));
        for wrong in ["https://example.com/xms?v=1", "https://example.com/xms#v1", "https://example.com:99999/xms"] {
            assert_eq!(super::settings(&over_https(json!({"url": wrong})), RouteId(1)), None, "{wrong}");
        }
    }

    #[test]
    fn callbacks_have_a_port_where_the_upstream_makes_them_and_nowhere_else() {
        let workloads = workloads();
        let ports = |route: &SmsRoute| {
            let parts = Parts::new(route, "sms", &workloads);
            let service = parts.service().spec.and_then(|spec| spec.ports).unwrap_or_default();
            let policy = parts.network_policy(5432).and_then(|policy| policy.spec).expect("a policy");
            let numbers = |ports: Option<Vec<k8s_openapi::api::networking::v1::NetworkPolicyPort>>| {
                ports.into_iter().flatten().filter_map(|port| port.port).collect::<Vec<_>>()
            };
            let open: Vec<_> = policy
                .ingress
                .into_iter()
                .flatten()
                .filter(|rule| rule.from.is_none())
                .flat_map(|rule| numbers(rule.ports))
                .collect();
            let out: Vec<_> = policy.egress.into_iter().flatten().flat_map(|rule| numbers(rule.ports)).collect();
            let pod = parts.deployment().spec.and_then(|spec| spec.template.spec).expect("a pod");
            let names =
                pod.containers[0].ports.iter().flatten().filter_map(|port| port.name.clone()).collect::<Vec<_>>();
            (service.iter().map(|port| port.port).collect::<Vec<_>>(), open, out, names)
        };
        let (service, open, out, names) = ports(&over_https(json!({"url": "https://eu.sms.example.com:8444/xms/v1"})));
        assert_eq!((service, names), (vec![2775, 8443], vec!["health".to_owned(), "smpp".into(), "callbacks".into()]));
        assert_eq!(open, [IntOrString::Int(8080), IntOrString::Int(8443)]);
        assert!(out.contains(&IntOrString::Int(8444)) && out.contains(&IntOrString::Int(5432)), "{out:?}");
        let (service, open, _, names) = ports(&route(json!({})));
        assert_eq!((service, open, names.len()), (vec![2775], vec![IntOrString::Int(8080)], 2));
    }

    #[test]
    fn pods_are_restricted_and_know_nothing_of_kubernetes() {
        let deployment = Parts::new(&route(json!({})), "sms", &workloads()).deployment();
        let pod = deployment.spec.expect("a spec").template.spec.expect("a pod");
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.security_context.and_then(|context| context.run_as_non_root), Some(true));
        let context = pod.containers[0].security_context.clone().expect("a context");
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.capabilities.and_then(|some| some.drop), Some(vec!["ALL".to_owned()]));
    }
}
