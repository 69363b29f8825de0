//! What people and GitOps tools see of the kinds on a real server: columns that answer "is it fine, and if not why", and
//! no change when the same file is applied again (K2).
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use super::examples;
use crate::support::apiserver::ApiServer;

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("budstikke.dev", "v1alpha1", kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

#[tokio::test]
async fn examples_applied_again_change_nothing() {
    let (client, namespace) = ApiServer::shared().namespace().await;
    for example in examples() {
        let kind = example.new["kind"].as_str().unwrap();
        let name = example.new["metadata"]["name"].as_str().unwrap();
        let apply = || async {
            let params = PatchParams::apply("gitops").validation_strict();
            api(&client, &namespace, kind).patch(name, &params, &Patch::Apply(&example.new)).await.unwrap()
        };
        // The second write stores the status that the first one was shown as a default; from then on nothing is written.
        let (first, second, third) = (apply().await, apply().await, apply().await);
        assert_eq!(first.metadata.generation, second.metadata.generation, "{}", example.what);
        assert_eq!(second.metadata.resource_version, third.metadata.resource_version, "{}", example.what);
        assert_eq!(first.data["spec"], example.new["spec"], "nothing is filled in: {}", example.what);
    }
}

#[tokio::test]
async fn columns_tell_whether_it_is_fine_and_if_not_why() {
    let (client, namespace) = ApiServer::shared().namespace().await;
    let tenant = examples().into_iter().find(|example| example.new["metadata"]["name"] == "nordlys").unwrap();
    let tenants = api(&client, &namespace, "Tenant");
    let params = PatchParams::apply("test");
    tenants.patch("nordlys", &params, &Patch::Apply(&tenant.new)).await.unwrap();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        })
    };
    let status = json!({
        "apiVersion": "budstikke.dev/v1alpha1",
        "kind": "Tenant",
        "status": {
            "observedGeneration": 1,
            "sender": { "ready": 0, "desired": 0, "summary": "0/0" },
            "conditions": [
                condition("Ready", "True", "Succeeded", "Suspended (nonPayment): Invoice 1017 is overdue."),
                condition("Active", "False", "Suspended", "Invoice 1017 is overdue."),
            ],
        },
    });
    tenants.patch_status("nordlys", &params, &Patch::Apply(&status)).await.unwrap();
    let shown = shown(&client, &namespace, "tenants").await;
    let expected = [
        ("Name", json!("nordlys")),
        ("Ready", json!("True")),
        ("Active", json!("False")),
        ("Reason", json!("Suspended")),
        ("Sender", json!("0/0")),
        ("Status", json!("Suspended (nonPayment): Invoice 1017 is overdue.")),
    ];
    for (column, value) in expected {
        assert!(shown.contains(&(column.to_owned(), value.clone())), "{column} {value} in {shown:?}");
    }
}

#[tokio::test]
async fn a_routes_columns_tell_of_an_upstream_that_is_away() {
    let (client, namespace) = ApiServer::shared().namespace().await;
    let route = examples().into_iter().find(|example| example.new["kind"] == "SmsRoute").unwrap();
    let name = route.new["metadata"]["name"].as_str().unwrap();
    let routes = api(&client, &namespace, "SmsRoute");
    let params = PatchParams::apply("test");
    routes.patch(name, &params, &Patch::Apply(&route.new)).await.unwrap();
    let why = "0 of 2 binds stand: the upstream refused the bind";
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": why,
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        })
    };
    let status = json!({
        "apiVersion": "budstikke.dev/v1alpha1",
        "kind": "SmsRoute",
        "status": {
            "observedGeneration": 1,
            "connector": { "ready": 1, "desired": 1, "summary": "0/2" },
            "circuit": { "state": "halfOpen", "since": "2026-01-01T00:00:00Z" },
            "conditions": [
                condition("Ready", "True", "Succeeded"),
                condition("UpstreamReady", "False", "UpstreamUnavailable"),
                condition("Compliant", "True", "Succeeded"),
            ],
        },
    });
    routes.patch_status(name, &params, &Patch::Apply(&status)).await.unwrap();
    let shown = shown(&client, &namespace, "smsroutes").await;
    let expected = [
        ("Ready", "True"),
        ("Upstream", "False"),
        ("Binds", "0/2"),
        ("Circuit", "halfOpen"),
        ("Compliant", "True"),
        ("Status", why),
    ];
    for (column, value) in expected {
        assert!(shown.contains(&(column.to_owned(), json!(value))), "{column} {value} in {shown:?}");
    }
}

/// The first row of `kubectl get`, without the columns of `-o wide`.
async fn shown(client: &Client, namespace: &str, plural: &str) -> Vec<(String, Value)> {
    let request = axum::http::Request::get(format!("/apis/budstikke.dev/v1alpha1/namespaces/{namespace}/{plural}"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = client.request(request).await.unwrap();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap();
    let row = columns.iter().zip(cells).filter(|(column, _)| column["priority"] == 0);
    row.map(|(column, cell)| (column["name"].as_str().unwrap().to_owned(), cell.clone())).collect()
}
