//! What a route names, and what was made for it.
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;

use super::super::controller::Scope;
use super::super::failure::Failure;
use super::super::{labels, material, rollout};
use crate::config::names;
use crate::crd::smsroute::{ReceiptRequest, Upstream};
use crate::crd::{SmsRoute, SmsRouteSpec};

/// What a route names, and what was made for it.
pub(super) struct Dereferenced {
    pub(super) credentials: Found,
    pub(super) live: Live,
    /// Tenants that name the route.
    pub(super) tenants: usize,
}

/// The upstream's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// A user name, or over HTTPS the service plan.
    pub(super) system_id: String,
    /// A password, or over HTTPS a token.
    pub(super) password: String,
    /// Over HTTPS: what callbacks are signed with.
    pub(super) callback_secret: Option<String>,
    pub(super) ca: Option<String>,
}

impl Credentials {
    pub(super) fn entries(&self) -> impl Iterator<Item = (String, ByteString)> {
        let Self { system_id, password, callback_secret, ca } = self;
        let own = [material::entry(names::SYSTEM_ID, system_id), material::entry(names::PASSWORD, password)];
        let callbacks = callback_secret.as_ref().map(|secret| material::entry(names::CALLBACK_SECRET, secret));
        own.into_iter().chain(callbacks).chain(ca.as_ref().map(|ca| material::entry(names::UPSTREAM_CA, ca)))
    }
}

/// What became of the credentials that a route names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// They are there.
    Good(Credentials),
    /// They are missing or unusable; the connector goes on with those it had, if any.
    Bad {
        /// Missing, not unusable.
        missing: bool,
        /// What to do.
        message: String,
        /// Those it had.
        before: Option<Credentials>,
    },
}

impl Found {
    pub(super) fn usable(&self) -> Option<&Credentials> {
        match self {
            Self::Good(credentials) => Some(credentials),
            Self::Bad { before, .. } => before.as_ref(),
        }
    }
}

/// What was made for a route.
#[derive(Default)]
pub(super) struct Live {
    pub(super) secret: Option<Arc<Secret>>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) deployment: Option<Arc<Deployment>>,
    pub(super) network_policy: Option<Arc<NetworkPolicy>>,
    pub(super) budget: Option<Arc<PodDisruptionBudget>>,
}

impl Live {
    pub(super) fn ready_pods(&self) -> i32 {
        self.deployment.as_deref().map_or(0, rollout::ready_pods)
    }
}

pub(super) async fn dereference(scope: &Scope, route: &SmsRoute) -> Result<Dereferenced, Failure> {
    let name = route.name_any();
    let child = labels::child("connector", &name);
    let world = &scope.world;
    let children = &world.children;
    let live = Live {
        secret: scope.own_secret(&child).await?,
        service: world.get(&children.services, &child),
        deployment: world.get(&children.deployments, &child),
        network_policy: world.get(&children.network_policies, &child),
        budget: world.get(&children.budgets, &child),
    };
    let credentials = credentials(scope, route, live.secret.as_deref()).await?;
    let tenants = world.tenants.state();
    let tenants = tenants.iter().filter(|tenant| tenant.spec.routes.iter().any(|used| used.name.0 == name)).count();
    Ok(Dereferenced { credentials, live, tenants })
}

async fn credentials(scope: &Scope, route: &SmsRoute, child: Option<&Secret>) -> Result<Found, Failure> {
    let (named, ca) = match &route.spec.upstream {
        Upstream::Smpp(smpp) => (&smpp.credentials_ref, smpp.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref())),
        Upstream::Https(https) => (&https.credentials_ref, https.ca_ref.as_ref()),
    };
    let secret = scope.read_secret(&named.name).await?;
    let good = match &route.spec.upstream {
        Upstream::Smpp(_) => read_credentials(&named.name, secret.as_ref()),
        Upstream::Https(https) => {
            read_token(&named.name, secret.as_ref(), &https.service_plan_id, calls_back(&route.spec))
        }
    };
    let ca = match ca {
        Some(ca) => authority(&ca.name, scope.read_secret(&ca.name).await?.as_ref()).map(Some),
        None => Ok(None),
    };
    Ok(match good.and_then(|good| Ok(Credentials { ca: ca?, ..good })) {
        Ok(good) => Found::Good(good),
        Err(Bad { missing, message }) => Found::Bad { missing, message, before: before(child) },
    })
}

/// Why a Secret is of no use.
struct Bad {
    missing: bool,
    message: String,
}

fn read_credentials(name: &str, secret: Option<&Secret>) -> Result<Credentials, Bad> {
    let Some(secret) = secret else { return Err(absent(name, "`systemId` and `password`")) };
    // SMPP 3.4 bounds both; a longer one would end each bind with an error that names nothing.
    let read = |key: &str, longest: usize| match material::text(Some(secret), key).map(str::trim_end) {
        Some(text) if !text.is_empty() && text.len() <= longest && text.is_ascii() => Ok(text.to_owned()),
        _ => Err(Bad {
            missing: false,
            message: format!("Secret {name}: write {key} with 1 to {longest} ASCII characters"),
        }),
    };
    let (system_id, password) = (read("systemId", 15)?, read("password", 8)?);
    Ok(Credentials { system_id, password, callback_secret: None, ca: None })
}

/// Whether the upstream has anything to bring: else nobody need sign it.
fn calls_back(spec: &SmsRouteSpec) -> bool {
    let receipts = spec.receipts.as_ref().and_then(|receipts| receipts.request).unwrap_or_default();
    let inbound = spec.carries.as_ref().and_then(|carries| carries.inbound).unwrap_or(true);
    inbound || receipts != ReceiptRequest::None
}

/// The token of an upstream over HTTPS, and what it signs its callbacks with: whoever could forge those could write SMS in
/// anybody's name.
fn read_token(name: &str, secret: Option<&Secret>, plan: &str, calls_back: bool) -> Result<Credentials, Bad> {
    let Some(secret) = secret else { return Err(absent(name, "`token` and `callbackSecret`")) };
    let read = |key: &str| material::text(Some(secret), key).map(str::trim_end).filter(|text| !text.is_empty());
    let fits = |text: &str, shortest: usize| {
        (shortest..=500).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic())
    };
    let bad = |message: String| Bad { missing: false, message };
    let token = read("token").filter(|token| fits(token, 1));
    let token = token.ok_or_else(|| bad(format!("Secret {name}: write token with 1 to 500 ASCII characters")))?;
    let callback_secret = read("callbackSecret");
    if callback_secret.is_none() && calls_back {
        return Err(bad(format!(
            "Secret {name}: write callbackSecret, and have the upstream sign its callbacks with it; without callbacks write \
             `receipts.request: none` and `carries.inbound: false`"
        )));
    }
    if callback_secret.is_some_and(|secret| !fits(secret, 12)) {
        return Err(bad(format!("Secret {name}: write callbackSecret with 12 to 500 ASCII characters")));
    }
    let (system_id, password) = (plan.to_owned(), token.to_owned());
    Ok(Credentials { system_id, password, callback_secret: callback_secret.map(str::to_owned), ca: None })
}

fn authority(name: &str, secret: Option<&Secret>) -> Result<String, Bad> {
    let Some(secret) = secret else { return Err(absent(name, "`ca.crt`")) };
    let text = material::text(Some(secret), "ca.crt");
    match text.filter(|pem| crate::pki::expires(pem.as_bytes()).is_ok()) {
        Some(pem) => Ok(pem.to_owned()),
        None => Err(Bad { missing: false, message: format!("Secret {name}: write certificates in PEM as ca.crt") }),
    }
}

fn absent(name: &str, keys: &str) -> Bad {
    Bad { missing: true, message: format!("Secret {name} does not exist: create it with {keys}") }
}

/// The credentials that the connector has now.
fn before(child: Option<&Secret>) -> Option<Credentials> {
    Some(Credentials {
        system_id: material::text(child, names::SYSTEM_ID)?.to_owned(),
        password: material::text(child, names::PASSWORD)?.to_owned(),
        callback_secret: material::text(child, names::CALLBACK_SECRET).map(str::to_owned),
        ca: material::text(child, names::UPSTREAM_CA).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let data = entries.iter().map(|(key, text)| material::entry(key, text)).collect();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn a_secret_that_is_of_no_use_says_what_to_write() {
        let bad = |entries| match read_credentials("sinch", Some(&secret(entries))) {
            Ok(good) => panic!("{good:?}"),
            Err(Bad { missing, message }) => (missing, message),
        };
        assert!(bad(&[("systemId", "me")]).1.contains("Secret sinch: write password"));
        assert!(bad(&[("systemId", "me"), ("password", "much-too-long")]).1.contains("1 to 8"));
        assert!(!bad(&[]).0);
        let good = read_credentials("sinch", Some(&secret(&[("systemId", "me\n"), ("password", "12345678")])));
        assert_eq!(good.ok().map(|good| good.system_id), Some("me".to_owned()));
        assert!(read_credentials("sinch", None).is_err_and(|bad| bad.missing && bad.message.contains("sinch")));
    }

    #[test]
    fn a_token_comes_with_what_proves_callbacks_unless_there_are_none() {
        let read = |entries: &[(&str, &str)], calls_back| {
            read_token("rest", Some(&secret(entries)), "plan_1", calls_back)
                .map(|good| (good.system_id, good.password, good.callback_secret))
                .map_err(|bad| bad.message)
        };
        let (token, proof) = (("token", "abc\n"), ("callbackSecret", "a-long-secret\n"));
        let good = |proof: Option<&str>| Ok(("plan_1".to_owned(), "abc".to_owned(), proof.map(str::to_owned)));
        assert_eq!(read(&[token, proof], true), good(Some("a-long-secret")));
        assert_eq!(read(&[token], false), good(None));
        let refused = |entries: &[(&str, &str)]| read(entries, true).expect_err("refused");
        assert!(refused(&[token]).contains("Secret rest: write callbackSecret, and have the upstream sign"));
        assert!(refused(&[token, ("callbackSecret", "short")]).contains("12 to 500"));
        assert!(refused(&[proof]).contains("Secret rest: write token"));
        assert!(refused(&[("token", "a b"), proof]).contains("write token"));
        assert!(
            read_token("rest", None, "plan_1", true).is_err_and(|bad| bad.missing && bad.message.contains("`token`"))
        );
    }
}
