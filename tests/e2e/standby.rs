//! A tenant with more than one sender pod: one sends, and when it dies another goes on.
use std::collections::BTreeMap;

use axum::http::Request;
use budstikke::crd::Tenant;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::json;

use crate::support::caller::numbers;
use crate::support::crash::{RECOVERY, is_ready, restarts};
use crate::support::manifests::NAMESPACE;
use crate::support::smsc::repeated;
use crate::support::stage;
use crate::support::wait::{eventually, holds};
use crate::support::world::{SOON, World};

const REPLICAS: i32 = 2;
/// Submits a second: slow enough for several looks while so many messages go.
const RATE: u32 = 20;
const MESSAGES: u32 = 200;
/// Submits of the route without an answer: two binds with ten each.
const WINDOW: usize = 20;

async fn ready_replicas(world: &World, tenant: &str) -> Result<i32, String> {
    let sender = world.api::<Deployment>().get(&format!("sender-{tenant}")).await.map_err(|error| error.to_string())?;
    Ok(sender.status.and_then(|status| status.ready_replicas).unwrap_or_default())
}

/// Both pods are ready and neither was started anew.
async fn assert_steady(world: &World, tenant: &str, pods: &str) {
    assert_eq!(ready_replicas(world, tenant).await, Ok(REPLICAS), "all its pods are ready");
    let restarted: BTreeMap<_, _> = world
        .pods(pods)
        .await
        .iter()
        .map(|pod| (pod.name_any(), restarts(pod)))
        .filter(|(_, count)| *count > 0)
        .collect();
    assert!(restarted.is_empty(), "pods were started anew: {restarted:?}");
    let tenant = world.look::<Tenant>(tenant).await.expect("the Tenant");
    let ready = |one: &serde_json::Value| one["type"] == "Ready" && one["status"] == "True";
    let conditions = &tenant["status"]["conditions"];
    assert!(conditions.as_array().is_some_and(|all| all.iter().any(ready)), "it stays ready: {conditions}");
}

/// Whether a pod is the one that sends: it alone has a session with the connector.
async fn sends(world: &World, pod: &Pod) -> Result<bool, String> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{}:8080/proxy/metrics", pod.name_any());
    let request = Request::get(path).body(Vec::new()).expect("a request");
    let metrics = world.client.request_text(request).await.map_err(|error| error.to_string())?;
    Ok(metrics.lines().any(|line| line.starts_with("budstikke_sender_bound{") && line.ends_with(" 1")))
}

/// The one that sends, when exactly one does.
async fn active(world: &World, pods: &str) -> Pod {
    eventually("one pod sends", RECOVERY, async || {
        let mut sending = Vec::new();
        for pod in world.pods(pods).await.into_iter().filter(is_ready) {
            if sends(world, &pod).await? {
                sending.push(pod);
            }
        }
        let names: Vec<_> = sending.iter().map(Pod::name_any).collect();
        sending.pop().filter(|_| sending.is_empty()).ok_or_else(|| format!("{names:?} send"))
    })
    .await
}

#[tokio::test]
async fn of_two_senders_one_sends_and_the_other_takes_over() {
    stage::beside_others("standby", async |world| {
        let smsc = world.smsc(&[]).await;
        let route = world.route("main", &smsc, |spec| spec["ratePerSecond"] = RATE.into()).await;
        let sender = json!({"idleSeconds": 0, "replicas": REPLICAS});
        let tenant = world.tenant("tenant", &[&route], |spec| spec["sender"] = sender).await;
        world.prepare_to_crash().await;
        world.route_ready(&route).await;
        let pods = format!("budstikke.dev/tenant={tenant}");
        eventually("both pods are ready", SOON, async || {
            let ready = ready_replicas(world, &tenant).await?;
            holds(ready == REPLICAS, ready)
        })
        .await;
        world.tenant_ready(&tenant).await;
        let sending = active(world, &pods).await;

        let caller = world.caller(&tenant).await;
        let accepted = caller.send(&numbers(0, MESSAGES)).await;
        let delivered = json!({"delivered": MESSAGES});
        let mut looks = 0;
        eventually("all are delivered", RECOVERY, async || {
            assert_steady(world, &tenant, &pods).await;
            looks += 1;
            let batch = caller.batch(accepted.batch).await;
            holds(batch["states"] == delivered, batch)
        })
        .await;
        assert!(looks > 3, "it was looked at {looks} times");
        assert_eq!(active(world, &pods).await.name_any(), sending.name_any(), "the same one sends all the time");
        assert_eq!(repeated(&smsc.submits().await.expect("the SMSC's record")), 0, "and nothing twice");

        let accepted = caller.send(&numbers(1_000, MESSAGES)).await;
        let before = smsc.stats().await.expect("its counters").submitted;
        eventually("they are on their way", SOON, async || {
            let stats = smsc.stats().await?;
            holds(stats.submitted >= before + 20, stats)
        })
        .await;
        world.crash_and_replace(&sending).await;
        eventually("all are delivered", RECOVERY, async || {
            let batch = caller.batch(accepted.batch).await;
            holds(batch["states"] == delivered, batch)
        })
        .await;
        let heir = active(world, &pods).await;
        assert_ne!(heir.metadata.uid, sending.metadata.uid, "another sends now");
        let twice = repeated(&smsc.submits().await.expect("the SMSC's record"));
        assert!(twice <= WINDOW, "{twice} went twice");
        world.tenant_ready(&tenant).await;
    })
    .await;
}
