//! A route's credentials: added late, and changed while messages flow.
use std::sync::Arc;
use std::time::Duration;

use budstikke::crd::{SmsRoute, Tenant};
use kube::ResourceExt as _;
use serde_json::json;

use crate::support::caller::numbers;
use crate::support::manifests;
use crate::support::stage;
use crate::support::traffic::Traffic;
use crate::support::wait::{eventually, holds};
use crate::support::world::SOON;

/// A kubelet hands a changed Secret to a running pod within its sync period (a minute) and a little.
const HANDED: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_route_waits_for_its_credentials_and_takes_them_up() {
    stage::beside_others("late", async |world| {
        let smsc = world.smsc(&[]).await;
        let name = world.named("main");
        let route = world.make(manifests::route(&name, &smsc.host())).await;
        let tenant = world.tenant("tenant", &[&route], |_| {}).await;
        let missing = world.condition::<SmsRoute>(&route, "CredentialsReady", "False").await;
        assert_eq!(missing["reason"], "SecretNotFound");
        assert!(missing["message"].as_str().is_some_and(|message| message.contains(&name)), "it names it: {missing}");
        world.condition::<Tenant>(&tenant, "RoutesReady", "False").await;
        let caller = world.caller(&tenant).await;
        let accepted = caller.send(&numbers(1, 1)).await;

        world.make(manifests::credentials(&name, "late")).await;
        world.route_ready(&route).await;
        world.condition::<Tenant>(&tenant, "RoutesReady", "True").await;
        caller.until(accepted.messages[0], "delivered", SOON).await;
    })
    .await;
}

#[tokio::test]
async fn changed_credentials_are_taken_up_bind_by_bind() {
    stage::beside_others("rotate", async |world| {
        // As many binds as the route has: one more at any moment is refused, and counted, and so is another password.
        let smsc = world.smsc(&["--max-binds", "2", "--password", "secret12", "--latency-ms", "20"]).await;
        let (route, _, caller) = world.simple(&smsc).await;
        let connectors = format!("budstikke.dev/route={route}");
        let pods =
            |pods: Vec<k8s_openapi::api::core::v1::Pod>| pods.iter().map(|pod| pod.name_any()).collect::<Vec<_>>();
        let before = pods(world.pods(&connectors).await);
        let binds = async |made: u64, within| {
            eventually(&format!("two binds after {made} were made"), within, async || {
                let stats = smsc.stats().await?;
                holds(stats.bound >= made && stats.binds == 2, stats)
            })
            .await;
        };
        binds(2, SOON).await;
        let caller = Arc::new(caller);
        let traffic = Traffic::start(&caller, 0);

        // The password alone: the SMSC owes receipts to the system that submitted. It takes the new one only, from now on.
        smsc.behave(&json!({"password": "renewed1"})).await;
        let mut renewed = manifests::credentials(&route, "main");
        renewed["stringData"]["password"] = "renewed1".into();
        world.make(renewed).await;
        binds(4, HANDED).await;
        traffic.settle(Vec::new(), SOON).await.assert_all("delivered");

        let stats = smsc.stats().await.expect("its counters");
        assert_eq!(stats.binds_refused, 0, "never more binds than allowed, and the new password: {stats:?}");
        assert_eq!(stats.bound, 4, "each was made anew once: {stats:?}");
        assert_eq!(pods(world.pods(&connectors).await), before, "by the same pods");
    })
    .await;
}
