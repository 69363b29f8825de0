//! A tenant that has nothing to send has no pods; its next message starts them (M1, K3).
use budstikke::crd::Tenant;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::support::caller::numbers;
use crate::support::stage;
use crate::support::wait::{eventually, holds};
use crate::support::world::SOON;

#[tokio::test]
async fn a_sender_goes_to_zero_after_its_idle_time_and_comes_back_with_the_next_message() {
    stage::beside_others("idle", async |world| {
        let smsc = world.smsc(&[]).await;
        let route = world.route("main", &smsc, |_| {}).await;
        let tenant = world.tenant("tenant", &[&route], |spec| spec["sender"]["idleSeconds"] = json!(60)).await;
        world.tenant_ready(&tenant).await;
        let caller = world.caller(&tenant).await;
        let first = caller.send(&numbers(1, 1)).await;
        caller.until(first.messages[0], "delivered", SOON).await;

        eventually("its pods go", SOON, async || {
            let sender =
                world.api::<Deployment>().get(&format!("sender-{tenant}")).await.map_err(|error| error.to_string())?;
            holds(sender.spec.as_ref().and_then(|spec| spec.replicas) == Some(0), sender.spec)
        })
        .await;
        eventually("the last one has ended", SOON, async || {
            let pods = world.pods(&format!("budstikke.dev/tenant={tenant}")).await;
            holds(pods.is_empty(), pods.len())
        })
        .await;
        let asleep = world.condition::<Tenant>(&tenant, "SenderReady", "True").await;
        assert_eq!(asleep["reason"], "Idle", "{asleep}");
        let ready = world.condition::<Tenant>(&tenant, "Ready", "True").await;
        assert_eq!(ready["status"], "True", "nothing is missing: {ready}");

        let next = caller.send(&numbers(2, 1)).await;
        caller.until(next.messages[0], "delivered", SOON).await;
    })
    .await;
}
