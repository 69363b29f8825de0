//! What is enforced on a Tenant's account, what its sender is told, and the objects that make the sender.
use jiff::civil::Date;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource as _, ResourceExt as _};
use serde::Serialize;

use super::super::context::Workloads;
use super::super::material::Data;
use super::super::network::{self, SMPP_PORT};
use super::super::pods::{self, Pods};
use super::super::{billing_plan, labels, retention_policy, route};
use super::dereference::{Dereferenced, FoundRoute, Route, Under};
use super::services;
use super::validate::Judgement;
use crate::config::sender::{Alphabet, Concatenation, Cost, CrashPolicy, Leg, Receipts, Settings};
use crate::crd::smsroute::{self, AlphabetEncoding, ReceiptRequest, Upstream};
use crate::crd::tenant::{self, Keyword, PremiumService, RouteOrder, Sender, Service};
use crate::crd::values::{Country, Hours, Weekday};
use crate::crd::{RetentionPolicySpec, Tenant, TenantSpec};
use crate::domain::{MilliOre, TenantId, opt_out};
use crate::keyring::WalWindow;
use crate::retention::shortened::Wanted;
use crate::retention::shortened::mail::Wanted as WantedMail;
use crate::store::accounts::{Enforcement, InboundNumber, Orders, Share, Terms, Window};

/// CPU and memory of a sender, and the memory it may use at most, unless the owner writes otherwise.
const RESOURCES: (&str, &str, &str) = ("5m", "16Mi", "64Mi");

/// Everything that is enforced on an account.
#[derive(Debug, PartialEq)]
pub(super) struct Enforced {
    enforcement: Enforcement,
    plan: Option<Terms>,
    policy: Option<Terms>,
    prices: Vec<(String, MilliOre)>,
    shares: Vec<Share>,
    numbers: Vec<InboundNumber>,
}

impl Enforced {
    pub(super) fn borrow<'a>(&'a self, resource_uid: Option<&'a str>) -> Orders<'a> {
        Orders {
            enforcement: &self.enforcement,
            resource_uid: resource_uid.unwrap_or_default(),
            plan: self.plan.as_ref(),
            policy: self.policy.as_ref(),
            prices: &self.prices,
            shares: &self.shares,
            numbers: &self.numbers,
        }
    }

    /// How long the day's log keys live, days.
    pub(super) fn log_days(&self) -> u32 {
        self.enforcement.log_days.unsigned_abs()
    }
}

/// What is enforced; nothing before there was a policy, since nothing may be accepted without one.
pub(super) fn orders(tenant: &Tenant, found: &Dereferenced, judgement: &Judgement, today: Date) -> Option<Enforced> {
    let spec = &tenant.spec;
    let policy = found.policy.spec()?;
    let plan = found.plan.spec();
    Some(Enforced {
        enforcement: enforcement(tenant, policy, &services::had(spec, found), judgement),
        plan: named(&spec.plan_ref.name, &found.plan),
        policy: named(&spec.retention_ref.name, &found.policy),
        // Valid plans have prices; the last valid form was valid once.
        prices: plan.and_then(|plan| billing_plan::prices(plan, today).ok()).unwrap_or_default(),
        shares: found_routes(found).map(|(route, found)| share(route, found)).collect(),
        numbers: numbers(spec, found),
    })
}

/// For how long what is logged already is to be kept.
pub(super) fn kept(tenant: &Tenant, found: &Dereferenced, log_days: u32) -> Wanted {
    let confirmed = found.policy.spec().and_then(|policy| policy.erase_confirmed_before);
    Wanted {
        days: i32::try_from(log_days).unwrap_or(i32::MAX),
        opted_out: tenant.spec.logging.is_some(),
        confirmed_before: confirmed.map(|day| day.0),
    }
}

/// For how long copies of mail that are there already are to be kept, also of a service that the tenant has no more.
pub(super) fn kept_mail(tenant: &Tenant, policy: &RetentionPolicySpec, wal: &WalWindow) -> WantedMail {
    WantedMail {
        hours: if is_logged(&tenant.spec, policy) { retention_policy::kept_mail_hours(policy, wal) } else { 0 },
        opted_out: tenant.spec.logging.is_some(),
        confirmed_before: policy.erase_confirmed_before.map(|day| day.0),
    }
}

/// The policy that says how long copies of mail are kept, where any are: the tenant has a service that uses mail, and has not opted
/// out of logging, which would not be worth much while its mail is kept (D3, D4).
pub(super) fn keeps_mail<'a>(spec: &TenantSpec, found: &'a Dereferenced) -> Option<&'a RetentionPolicySpec> {
    let by_mail = |service: &Service| matches!(service, Service::EmailToSms | Service::Bulk | Service::SmsToEmail);
    found.policy.spec().filter(|policy| is_logged(spec, policy) && services::had(spec, found).iter().any(by_mail))
}

fn is_logged(spec: &TenantSpec, policy: &RetentionPolicySpec) -> bool {
    spec.logging.is_none() && policy.opt_out.as_ref().and_then(|opt| opt.always) != Some(true)
}

/// The named plan or policy, to be kept as the last valid form. One that stands in is kept already.
fn named<Spec: Serialize>(name: &str, under: &Under<Spec>) -> Option<Terms> {
    let Under::Named(spec) = under else { return None };
    Some(Terms { name: name.to_owned(), spec: serde_json::to_value(spec).ok()? })
}

fn enforcement(
    tenant: &Tenant,
    policy: &RetentionPolicySpec,
    services: &[Service],
    judgement: &Judgement,
) -> Enforcement {
    let spec = &tenant.spec;
    let limits = spec.limits.clone().unwrap_or_default();
    let logged = is_logged(spec, policy);
    let open = judgement.closed.is_none();
    let (code, reason) = judgement.closed.clone().unzip();
    let (stop_words, start_words) = opt_out_words(spec);
    Enforcement {
        generation: tenant.metadata.generation.unwrap_or_default(),
        may_accept: open,
        may_send: open,
        code: code.map(str::to_owned),
        reason,
        services: services.iter().map(|service| service.as_str().to_owned()).collect(),
        sender_ids: spec.sender_ids.iter().map(|sender| sender.id.to_string()).collect(),
        sender_lacks: spec.sender_ids.iter().map(|sender| lacks(spec, services, &sender.id)).collect(),
        sender_countries: spec.sender_ids.iter().map(|sender| countries(&sender.countries)).collect(),
        allowed_prefixes: limits.allowed_prefixes.iter().map(|prefix| prefix.to_string()).collect(),
        default_region: default_region(spec, judgement),
        max_parts: limits.max_parts.unwrap_or(10).into(),
        recipients_per_call: count(limits.recipients_per_call.unwrap_or(1000)),
        messages_per_hour: limits.messages_per_hour.map(count),
        messages_per_day: limits.messages_per_day.map(count),
        duplicate_seconds: limits.duplicate_guard.map(|guard| count(guard.seconds)),
        log_days: if logged { retention_policy::log_days(policy) } else { 0 },
        log_characters: if logged { i16::try_from(policy.log.text_characters).unwrap_or(160) } else { 0 },
        validity_seconds: count(limits.validity_minutes.unwrap_or(4320)).saturating_mul(60),
        window: spec.send_window.as_ref().and_then(window),
        crash_policy: crash_policy(spec).as_str().to_owned(),
        receipts_by_webhook_from: receipts_by_webhook_from(spec, policy),
        stop_words,
        start_words,
    }
}

/// The words that stop what the tenant sends, and those that take that back; none where it listens to none.
fn opt_out_words(spec: &TenantSpec) -> (Vec<String>, Vec<String>) {
    let written = spec.opt_outs.clone().unwrap_or_default();
    if written.by_keyword == Some(false) {
        return (Vec::new(), Vec::new());
    }
    let or_usual = |words: &[Keyword], usual: &[&str]| -> Vec<String> {
        if words.is_empty() {
            return usual.iter().map(|word| (*word).to_owned()).collect();
        }
        words.iter().map(|word| word.to_string()).collect()
    };
    (or_usual(&written.stop_words, opt_out::STOP_WORDS), or_usual(&written.start_words, opt_out::START_WORDS))
}

/// The service that a sender id needs and the tenant lacks: of a premium number, where it has none that one of its keywords is part of.
fn lacks(spec: &TenantSpec, services: &[Service], id: &str) -> String {
    let needed = || spec.premium.iter().filter(|premium| *premium.number == *id).map(PremiumService::needs);
    let has = needed().any(|service| services.contains(&service));
    needed().next().filter(|_| !has).map_or_else(String::new, |service| service.as_str().to_owned())
}

fn countries(countries: &[Country]) -> String {
    let words: Vec<&str> = countries.iter().map(|country| &**country).collect();
    words.join(",")
}

/// The schema has seen to the form of the times.
fn window(hours: &Hours) -> Option<Window> {
    let minute = |time: &str| {
        let (hours, minutes) = time.split_once(':')?;
        Some(hours.parse::<i16>().ok()? * 60 + minutes.parse::<i16>().ok()?)
    };
    let day = |day: &Weekday| *day as i16 + 1;
    Some(Window {
        days: hours.days.iter().map(day).collect(),
        from: minute(&hours.from)?,
        until: minute(&hours.until)?,
    })
}

/// D4: only where the tenant asked for it in writing, and the policy allows it. Of no account to one that is logged.
pub(super) fn receipts_by_webhook_from(spec: &TenantSpec, policy: &RetentionPolicySpec) -> Option<Date> {
    let allowed = policy.opt_out.as_ref().and_then(|opt| opt.webhook_receipts) != Some(false);
    let asked = spec.logging.as_ref().and_then(|logging| logging.receipts_by_webhook_from);
    asked.filter(|_| allowed).map(|day| day.0)
}

/// An account whose country is unknown is closed: its calls get so far as to hear it.
fn default_region(spec: &TenantSpec, judgement: &Judgement) -> String {
    let known = spec.default_country.as_ref().filter(|_| judgement.country.holds);
    known.map_or("DK", |country| country).to_owned()
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn crash_policy(spec: &TenantSpec) -> CrashPolicy {
    match spec.sender.as_ref().and_then(|sender| sender.crash_policy).unwrap_or_default() {
        tenant::CrashPolicy::Resend => CrashPolicy::Resend,
        tenant::CrashPolicy::Hold => CrashPolicy::Hold,
    }
}

fn found_routes(found: &Dereferenced) -> impl Iterator<Item = (&Route, &FoundRoute)> {
    found.routes.iter().filter_map(|route| Some((route, route.found.as_ref()?)))
}

fn share(route: &Route, found: &FoundRoute) -> Share {
    Share { route: found.id, weight: count(route.weight()) }
}

/// On every route that carries inbound; a number without keywords is the tenant's as a whole.
fn numbers(spec: &TenantSpec, found: &Dereferenced) -> Vec<InboundNumber> {
    let carries = |found: &FoundRoute| found.spec.carries.as_ref().and_then(|carries| carries.inbound) != Some(false);
    let mut numbers = Vec::new();
    for (_, found) in found_routes(found).filter(|(_, found)| carries(found)) {
        for written in &spec.inbound_numbers {
            let whole = written.keywords.is_empty().then(String::new);
            let keywords = written.keywords.iter().map(|keyword| keyword.to_string()).chain(whole);
            numbers.extend(keywords.map(|keyword| InboundNumber {
                route: found.id,
                number: written.number.to_string(),
                keyword,
            }));
        }
    }
    numbers
}

/// The routes that there is a connector for.
fn open_routes(found: &Dereferenced) -> impl Iterator<Item = (&Route, &FoundRoute)> {
    found_routes(found).filter(|(_, found)| found.closed.is_none())
}

/// Pods that are wanted now: none while the account is closed or has had nothing to send for long, and none that would have no
/// connector to reach.
pub(super) fn replicas(spec: &TenantSpec, found: &Dereferenced, judgement: &Judgement) -> i32 {
    if judgement.closed.is_some() || judgement.asleep || open_routes(found).next().is_none() {
        return 0;
    }
    pods_wanted(spec)
}

fn pods_wanted(spec: &TenantSpec) -> i32 {
    i32::from(spec.sender.as_ref().map_or(1, Sender::replicas))
}

/// What the sender is told. Routes that are closed are left out: there is no connector to reach.
pub(super) fn settings(tenant: &Tenant, namespace: &str, id: TenantId, found: &Dereferenced) -> Settings {
    Settings {
        tenant_id: id,
        routes: open_routes(found).map(|(route, found)| leg(&tenant.spec, route, found, namespace)).collect(),
        crash_policy: crash_policy(&tenant.spec),
        stands_by: pods_wanted(&tenant.spec) > 1,
    }
}

fn leg(spec: &TenantSpec, used: &Route, found: &FoundRoute, namespace: &str) -> Leg {
    let host = route::host(namespace, &used.name);
    let carries = found.spec.carries.clone().unwrap_or_default();
    let text = found.spec.text.clone().unwrap_or_default();
    // Over HTTPS a text goes out whole, and the upstream splits it; on the way to the connector it is as GSM 03.38 has it.
    let whole = matches!(found.spec.upstream, Upstream::Https(_));
    Leg {
        route_id: found.id,
        name: used.name.clone(),
        address: format!("{host}:{SMPP_PORT}"),
        server_name: host,
        prefixes: carries.prefixes.iter().map(|prefix| prefix.to_string()).collect(),
        alphanumeric_senders: carries.alphanumeric_senders.unwrap_or(true),
        without_senders: without_senders(spec, carries.premium == Some(true)),
        costs: if spec.route_order == Some(RouteOrder::Cost) { costs(&carries) } else { Vec::new() },
        receipts: match found.spec.receipts.as_ref().and_then(|receipts| receipts.request).unwrap_or_default() {
            ReceiptRequest::All => Receipts::All,
            ReceiptRequest::Failures => Receipts::Failures,
            ReceiptRequest::None => Receipts::None,
        },
        alphabet: match text.default_alphabet.unwrap_or_default() {
            _ if whole => Alphabet::Gsm7,
            AlphabetEncoding::Gsm7 => Alphabet::Gsm7,
            AlphabetEncoding::Gsm7Packed => Alphabet::Gsm7Packed,
            AlphabetEncoding::Latin1 => Alphabet::Latin1,
        },
        concatenation: match text.concatenation.unwrap_or_default() {
            _ if whole => Concatenation::Payload,
            smsroute::Concatenation::Udh8 => Concatenation::Udh8,
            smsroute::Concatenation::Udh16 => Concatenation::Udh16,
            smsroute::Concatenation::Sar => Concatenation::Sar,
            smsroute::Concatenation::Payload => Concatenation::Payload,
        },
    }
}

/// Premium-rated SMS go by routes for them alone (M5).
fn without_senders(spec: &TenantSpec, premium: bool) -> Vec<String> {
    let mut numbers: Vec<_> = spec.premium.iter().map(|service| service.number.to_string()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if premium { Vec::new() } else { numbers }
}

fn costs(carries: &smsroute::Carries) -> Vec<Cost> {
    let cost = |written: &smsroute::Cost| {
        Some(Cost { prefix: written.prefix.to_string(), cost: billing_plan::milli_ore(&written.cost)? })
    };
    // The schema has seen to their form.
    carries.costs.iter().filter_map(cost).collect()
}

/// The objects of one Tenant.
pub(super) struct Parts<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) name: String,
    pub(super) namespace: &'a str,
    pub(super) workloads: &'a Workloads,
    pub(super) replicas: i32,
}

impl Parts<'_> {
    fn owner(&self) -> (&'static str, &str) {
        (labels::TENANT, &self.name)
    }

    fn metadata(&self) -> ObjectMeta {
        metadata(self.tenant, self.namespace, labels::child("sender", &self.name))
    }

    fn pods(&self) -> Pods<'_> {
        let written = self.tenant.spec.sender.as_ref().and_then(|sender| sender.resources.as_ref());
        Pods {
            role: "sender",
            metadata: self.metadata(),
            owner: self.owner(),
            replicas: self.replicas,
            resources: pods::resources(written, RESOURCES),
            ports: Vec::new(),
            surge: 1,
            env: vec![pods::env_uid("BUDSTIKKE_POD")],
        }
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

    /// To the database, and to the connectors of its own routes.
    pub(super) fn network_policy(&self, database_port: u16) -> Option<NetworkPolicy> {
        let connectors = self.tenant.spec.routes.iter().map(|used| {
            let labels = Some(labels::selector("connector", (labels::ROUTE, &used.name)));
            network::to_pods(SMPP_PORT, LabelSelector { match_labels: labels, ..LabelSelector::default() })
        });
        let egress = std::iter::once(network::to_port(database_port)).chain(connectors).collect();
        let policy = || network::policy(self.metadata(), self.pods().selector(), Vec::new(), egress);
        self.workloads.network_policies.then(policy)
    }
}

/// Of everything that is made for a Tenant: gone with it.
pub(super) fn metadata(tenant: &Tenant, namespace: &str, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels::all("sender", (labels::TENANT, &tenant.name_any()))),
        owner_references: tenant.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}
