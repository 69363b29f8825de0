//! Who may ask the engine, and what who may not is told.
use budstikke::keyring::{Kek, KekArgs, TransitArgs, TransitError};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::{Api, Client, api::PostParams};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{FROM, Secret, TENANT, keyring, said};
use crate::support::apiserver::ApiServer;
use crate::support::postgres::Databases;
use crate::support::vault::Vault;

#[tokio::test]
async fn who_may_not_is_told_what_is_missing() {
    let (databases, vault, secret) = (Databases::start().await, Vault::start().await, Secret::mounted());
    let good = vault.args().await;
    let made = |transit: &TransitArgs| {
        let operator = keyring(&databases, "budstikke_operator", &secret, transit);
        async move { said(operator.provide(TENANT, FROM, FROM, 90).await.map(drop)) }
    };
    let other = TransitArgs { token_file: Some(vault.token("default").await), ..good.clone() };
    assert!(matches!(made(&other).await, TransitError::Forbidden { .. }), "a token without the policy");
    let none = TransitArgs { token_file: Some(vault.file("ca.crt")), ..good.clone() };
    assert!(matches!(made(&none).await, TransitError::NoToken(_)), "no token at all");
    let gone = TransitArgs { token_file: Some(vault.file("nothing")), ..good.clone() };
    assert!(matches!(made(&gone).await, TransitError::Read { .. }), "no file");

    let everything = r#"path "*" { capabilities = ["update"] }"#;
    vault.call(Method::PUT, "sys/policies/acl/everything", json!({"policy": everything})).await;
    let all = TransitArgs { token_file: Some(vault.token("everything").await), ..good.clone() };
    let no_key = TransitArgs { key: Some("absent".to_owned()), ..all.clone() };
    let error = made(&no_key).await;
    assert!(matches!(error, TransitError::Forbidden { .. }), "and none is made: {error}");
    let no_mount = TransitArgs { mount: Some("elsewhere".to_owned()), ..all };
    let error = made(&no_mount).await;
    assert!(matches!(error, TransitError::Missing { .. }), "{error}");

    let stranger = TransitArgs { ca_file: None, ..good.clone() };
    let error = made(&stranger).await;
    assert!(matches!(&error, TransitError::Away { why, .. } if why.contains("certificate")), "{error}");

    // An agent that writes a token anew tells nobody.
    let renewed = other.token_file.clone().expect("a file");
    let operator = keyring(&databases, "budstikke_operator", &secret, &other);
    assert!(matches!(said(operator.route_key(budstikke::domain::RouteId(1)).await), TransitError::Forbidden { .. }));
    std::fs::copy(good.token_file.as_ref().expect("a file"), renewed).expect("written");
    let heals = async {
        while operator.provide(TENANT, FROM, FROM, 90).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), heals).await.expect("the new token is read");
}

#[test]
fn settings_that_would_show_keys_or_reach_nothing_are_refused() {
    let good = TransitArgs {
        address: Some("https://vault.example:8200".to_owned()),
        wraps: true,
        token_file: Some("/token".into()),
        ..TransitArgs::default()
    };
    let read = |transit: TransitArgs| Kek::read(&KekArgs { dirs: Vec::new(), transit }).map(drop);
    read(good.clone()).expect("enough");
    let wrong = |change: fn(&mut TransitArgs)| {
        let mut transit = good.clone();
        change(&mut transit);
        read(transit).expect_err("refused").to_string()
    };
    for address in
        ["http://vault.example:8200", "vault.example", "https://me@vault.example", "https://vault.example/v1"]
    {
        let refused = read(TransitArgs { address: Some(address.to_owned()), ..good.clone() });
        assert!(refused.expect_err(address).to_string().contains("want https://host:port"), "{address}");
    }
    assert!(wrong(|transit| transit.address = None).contains("no address"));
    assert!(wrong(|transit| transit.token_file = None).contains("one of both"));
    assert!(wrong(|transit| transit.role = Some("budstikke".to_owned())).contains("one of both"));
    assert!(wrong(|transit| transit.key = Some("../sys/seal".to_owned())).contains("a mount or key"));
    assert!(wrong(|transit| transit.wraps = false).contains("no key-encryption key"), "and no Secret");
}

async fn create<K>(api: Api<K>, object: Value)
where
    K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    let object: K = serde_json::from_value(object).expect("an object");
    api.create(&PostParams::default(), &object).await.expect("created");
}

/// A token of a service account, as the kubelet brings it to a pod.
async fn projected(client: &Client, namespace: &str, account: &str, audience: &str) -> String {
    let spec = TokenRequestSpec { audiences: vec![audience.to_owned()], ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let api = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let made = api.create_token_request(account, &PostParams::default(), &request).await.expect("a token");
    made.status.expect("granted").token
}

#[tokio::test]
async fn a_service_account_logs_in_and_again_when_its_token_ends() {
    let (databases, vault, secret) = (Databases::start().await, Vault::start().await, Secret::mounted());
    let server = ApiServer::shared();
    let (client, namespace) = server.namespace().await;
    for account in ["budstikke-operator", "other", "reviewer"] {
        create(Api::<ServiceAccount>::namespaced(client.clone(), &namespace), json!({"metadata": {"name": account}}))
            .await;
    }
    let group = "rbac.authorization.k8s.io";
    let binding = json!({"metadata": {"name": format!("reviewer-{namespace}")},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"kind": "ServiceAccount", "name": "reviewer", "namespace": namespace}]});
    create(Api::<ClusterRoleBinding>::all(client.clone()), binding).await;
    let reviewer = projected(&client, &namespace, "reviewer", "https://kubernetes.default.svc").await;

    vault.call(Method::POST, "sys/auth/kubernetes", json!({"type": "kubernetes"})).await;
    let authority = std::fs::read_to_string(server.authority()).expect("its authority");
    let config =
        json!({"kubernetes_host": server.address(), "kubernetes_ca_cert": authority, "token_reviewer_jwt": reviewer});
    vault.call(Method::POST, "auth/kubernetes/config", config).await;
    let role = json!({"bound_service_account_names": ["budstikke-operator"], "bound_service_account_namespaces": [namespace],
        "audience": "vault", "token_policies": ["budstikke"], "token_ttl": "1h"});
    vault.call(Method::POST, "auth/kubernetes/role/budstikke", role).await;

    let jwt = vault.file("jwt");
    let transit = TransitArgs {
        token_file: None,
        role: Some("budstikke".to_owned()),
        jwt_file: Some(jwt.clone()),
        ..vault.args().await
    };
    let operator = || keyring(&databases, "budstikke_operator", &secret, &transit);
    let write = async |account: &str, audience: &str| {
        std::fs::write(&jwt, projected(&client, &namespace, account, audience).await).expect("written");
    };
    for (account, audience) in [("other", "vault"), ("budstikke-operator", "elsewhere")] {
        write(account, audience).await;
        let error = said(operator().provide(TENANT, FROM, FROM, 90).await.map(drop));
        assert!(error.to_string().contains("log in"), "{account} for {audience}: {error}");
    }
    write("budstikke-operator", "vault").await;
    let operator = operator();
    operator.provide(TENANT, FROM, FROM, 90).await.expect("provided");

    // As at its end, or when somebody takes all tokens back.
    vault.call(Method::POST, "sys/leases/revoke-prefix/auth/kubernetes", json!({})).await;
    operator.rewrap(100).await.expect("logs in once more");
}
