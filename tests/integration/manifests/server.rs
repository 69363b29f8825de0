//! A real API server's verdict: what `kubectl create` and `kubectl replace` would be told, without keeping anything.
use kube::Client;
use serde_json::Value;

use super::Manifest;

/// Creates (or, after the old manifest was really created, replaces) in a dry run with strict fields.
pub(super) async fn verdict(client: &Client, namespace: &str, manifest: &Manifest) -> Result<(), String> {
    let kind = manifest.new["kind"].as_str().unwrap().to_lowercase();
    let plural = if kind.ends_with('y') { format!("{}ies", kind.trim_end_matches('y')) } else { format!("{kind}s") };
    let list = format!("/apis/budstikke.dev/v1alpha1/namespaces/{namespace}/{plural}");
    let dry_run = "dryRun=All&fieldValidation=Strict";
    let Some(old) = &manifest.old else {
        return send(client, "POST", &format!("{list}?{dry_run}"), &manifest.new).await.map(drop);
    };
    let made = send(client, "POST", &format!("{list}?fieldValidation=Strict"), old).await?;
    assert_eq!(made["status"]["observedGeneration"], -1, "a new object has a status, or kstatus takes it for done");
    let mut new = manifest.new.clone();
    new["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    let name = made["metadata"]["name"].as_str().unwrap();
    send(client, "PUT", &format!("{list}/{name}?{dry_run}"), &new).await.map(drop)
}

async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let request = axum::http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(body).unwrap())
        .unwrap();
    client.request(request).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("no verdict: {other}"),
    })
}
