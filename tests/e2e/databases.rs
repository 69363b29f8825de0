//! The chart on databases that it did not install.
use budstikke::domain::{Clock as _, SystemClock};
use budstikke::pki::{Authority, Leaf};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::support::caller::numbers;
use crate::support::crash::is_ready;
use crate::support::helm::{RELEASE, helm_in, install_in};
use crate::support::manifests;
use crate::support::stage;
use crate::support::wait::{eventually, holds};
use crate::support::world::{SOON, World};

const OWNER: &str = "owner-of-the-schema";
/// How the chart starts its own; it makes the owner and the database as the chart's README says.
const START: &str = include_str!("../../charts/budstikke/files/postgres.sh");
const ENVIRONMENT: &str = include_str!("../../charts/budstikke/files/environment.sh");

/// The chart in a cluster that has the kinds, with the Secrets that are made here.
const SETTINGS: [&str; 6] = [
    "--set",
    "crds.enabled=false",
    "--set",
    "postgres.existingSecret=data,postgres.existingCaSecret=servers-ca",
    "--set",
    "keyring.existingSecret=keys,keyring.existingCaSecret=servers-ca",
];

/// A PostgreSQL server by itself, as somebody else might run one: certificate by an authority of its own.
async fn server(there: &World, namespace: &str, name: &str, authority: &Authority) {
    let host = format!("{name}.{namespace}.svc");
    let leaf = authority.issue(&Leaf::Server(vec![host]), SystemClock.now(), 1).expect("a certificate");
    there
        .make(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{name}-server")},
            "stringData": {
                "tls.crt": leaf.certificate, "tls.key": leaf.key.expose(),
                "postgres-password": "superuser", "owner-password": OWNER, "standby-password": "nobody", "postgres.sh": START,
                "environment.sh": ENVIRONMENT,
            },
        }))
        .await;
    there
        .make(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"server": name}, "ports": [{"port": 5432}]},
        }))
        .await;
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 999, "fsGroup": 999},
            "containers": [{
                "name": "postgres",
                "image": "budstikke.dev/postgres:15",
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/bash", "/secrets/postgres.sh", "-c", "max_connections=100"],
                "env": [{"name": "RUN", "value": "/tmp/run"}, {"name": "SOCKETS", "value": "/tmp/run"}],
                "readinessProbe": {
                    "exec": {"command": ["/usr/lib/postgresql/15/bin/pg_isready", "-q", "-h", "127.0.0.1"]}, "periodSeconds": 1,
                },
                "volumeMounts": [
                    mount("data", "/var/lib/postgresql/data"), mount("secret", "/secrets"), mount("secret", "/tls"),
                ],
            }],
            "volumes": [
                {"name": "data", "emptyDir": {}},
                {"name": "secret", "secret": {"secretName": format!("{name}-server"), "defaultMode": 0o440}},
            ],
        },
    });
    pod["metadata"]["labels"] = json!({"server": name});
    there.apply(&pod).await;
    eventually(&format!("the server {name}"), SOON, async || {
        let pod = there.api::<Pod>().get(name).await.map_err(|error| error.to_string())?;
        holds(is_ready(&pod), &pod.status)
    })
    .await;
}

/// The addresses of a server's logins, as the chart wants them.
fn logins(namespace: &str, server: &str) -> Value {
    let url = |role: &str, password: &str| {
        format!("postgres://budstikke_{role}:{password}@{server}.{namespace}.svc/budstikke?sslmode=verify-full")
    };
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": server},
        "stringData": {
            "owner-url": url("owner", OWNER), "operator-url": url("operator", "of-the-operator"), "api-url": url("api", "of-the-api"),
            "worker-url": url("worker", "of-the-worker"),
        },
    })
}

#[tokio::test]
async fn the_chart_runs_on_databases_that_exist() {
    stage::beside_others("existing", async |world| {
        let smsc = world.smsc(&[]).await;
        let namespace = world.namespace("existing").await;
        let there = world.elsewhere(&namespace);
        let issued = Authority::generate(SystemClock.now()).expect("an authority");
        let authority = Authority::load(&issued.certificate, &issued.key).expect("an authority");
        let ca = json!({"name": "servers-ca"});
        there
            .make(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": ca, "stringData": {"ca.crt": issued.certificate},
            }))
            .await;
        for name in ["data", "keys"] {
            server(&there, &namespace, name, &authority).await;
            there.make(logins(&namespace, name)).await;
        }
        install_in(&namespace, &SETTINGS).await;
        let sets = there.api::<StatefulSet>().list(&ListParams::default()).await.expect("list").items;
        assert_eq!(sets.len(), 0, "none is installed");

        for object in manifests::plan_and_policy() {
            there.apply(&object).await;
        }
        let (_, tenant, caller) = there.simple(&smsc).await;
        let accepted = caller.send(&numbers(1, 1)).await;
        caller.until(accepted.messages[0], "delivered", SOON).await;
        // It is the same installation after a new start, with its keys and its history.
        helm_in(&namespace, &["uninstall", RELEASE, "--wait", "--timeout", "5m"]).await;
        install_in(&namespace, &SETTINGS).await;
        there.tenant_ready(&tenant).await;
        assert_eq!(caller.read(accepted.messages[0]).await["state"], "delivered");
        helm_in(&namespace, &["uninstall", RELEASE, "--wait", "--timeout", "5m"]).await;
    })
    .await;
}
