//! The operator converges: after its own death, and after somebody's edit of what it made.
use budstikke::crd::Tenant;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::caller::numbers;
use crate::support::stage;
use crate::support::wait::{eventually, holds};
use crate::support::world::{SOON, World};

/// How many Tenants are being set up when the operator dies.
const TENANTS: usize = 6;

#[tokio::test]
async fn a_killed_operator_finishes_what_it_began() {
    stage::alone("converge", async |world| {
        let smsc = world.smsc(&[]).await;
        let route = world.route("main", &smsc, |_| {}).await;
        let mut tenants = Vec::new();
        for number in 0..TENANTS {
            tenants.push(world.tenant(&format!("tenant{number}"), &[&route], |_| {}).await);
        }
        eventually("it is in the middle", SOON, async || {
            let made =
                world.api::<Secret>().get_opt(&format!("sender-{}", tenants[0])).await.map_err(|e| e.to_string())?;
            holds(made.is_some(), "no Secret yet")
        })
        .await;
        let operators = world.pods("app.kubernetes.io/component=operator").await;
        let mut unready = Vec::new();
        for tenant in &tenants {
            let status = world.look::<Tenant>(tenant).await.expect("the Tenant")["status"].take();
            let ready = |one: &serde_json::Value| one["type"] == "Ready" && one["status"] == "True";
            if !status["conditions"].as_array().is_some_and(|conditions| conditions.iter().any(ready)) {
                unready.push(tenant);
            }
        }
        assert!(!unready.is_empty(), "it dies in the middle");
        for pod in &operators {
            world.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await.expect("delete");
        }
        println!("{} of {TENANTS} Tenants were not ready", unready.len());
        for tenant in &tenants {
            world.tenant_ready(tenant).await;
            let caller = world.caller(tenant).await;
            let accepted = caller.send(&numbers(1, 1)).await;
            caller.until(accepted.messages[0], "delivered", SOON).await;
        }
        world.replaced("app.kubernetes.io/component=operator", &operators).await;
    })
    .await;
}

#[tokio::test]
async fn what_the_operator_made_is_repaired_when_somebody_edits_it() {
    stage::beside_others("repair", async |world| {
        let smsc = world.smsc(&[]).await;
        let (route, tenant, caller) = world.simple(&smsc).await;
        let (sender, connector) = (format!("sender-{tenant}"), format!("connector-{route}"));
        let made = async || {
            let spec = world.api::<Deployment>().get(&sender).await.map_err(|error| error.to_string())?.spec;
            let spec = spec.ok_or("no spec")?;
            let pod = spec.template.spec.ok_or("no pod")?;
            let images: Vec<_> = pod.containers.into_iter().map(|container| container.image).collect();
            // What the owner of the installation did not ask for is not there: a pause, another node, the node's network.
            let foreign = (spec.paused, pod.node_selector.unwrap_or_default(), pod.host_network);
            Ok::<_, String>((images, foreign))
        };
        let before = made().await.expect("the sender");

        let edited = json!({"spec": {"paused": true, "template": {"spec": {
            "containers": [{"name": "sender", "image": "nonsense"}],
            "nodeSelector": {"budstikke.dev/nowhere": "true"},
            "hostNetwork": true,
        }}}});
        world.edit("apps/v1", "Deployment", &sender, edited).await;
        assert_ne!(made().await.expect("the sender"), before, "it is edited");
        world.api::<Secret>().delete(&sender, &DeleteParams::default()).await.expect("delete");
        world.api::<Service>().delete(&connector, &DeleteParams::default()).await.expect("delete");
        world.api::<Deployment>().delete(&connector, &DeleteParams::default()).await.expect("delete");

        eventually("all is as it was", SOON, async || {
            let now = made().await?;
            holds(now == before, now)?;
            world.api::<Secret>().get(&sender).await.map_err(|error| error.to_string())?;
            world.api::<Service>().get(&connector).await.map_err(|error| error.to_string())?;
            world.api::<Deployment>().get(&connector).await.map_err(|error| error.to_string()).map(drop)
        })
        .await;
        world.tenant_ready(&tenant).await;
        let accepted = caller.send(&numbers(1, 1)).await;
        caller.until(accepted.messages[0], "delivered", SOON).await;
    })
    .await;
}

#[tokio::test]
async fn a_deleted_tenant_is_taken_up_again_with_its_history() {
    stage::beside_others("again", async |world| {
        let smsc = world.smsc(&[]).await;
        let (route, tenant, caller) = world.simple(&smsc).await;
        let account = account(world, &tenant).await;
        let accepted = caller.send(&numbers(1, 1)).await;
        caller.until(accepted.messages[0], "delivered", SOON).await;

        world.api::<Tenant>().delete(&tenant, &DeleteParams::default()).await.expect("delete");
        eventually("its workload goes", SOON, async || {
            let sender = world.api::<Deployment>().get_opt(&format!("sender-{tenant}")).await;
            let tenant = world.api::<Tenant>().get_opt(&tenant).await;
            holds(matches!(sender, Ok(None)) && matches!(tenant, Ok(None)), "still there")
        })
        .await;
        assert_eq!(world.tenant("tenant", &[&route], |_| {}).await, tenant);
        world.tenant_ready(&tenant).await;
        assert_eq!(self::account(world, &tenant).await, account, "the same account");
        let caller = world.caller(&tenant).await;
        assert_eq!(caller.read(accepted.messages[0]).await["state"], "delivered", "with its history");
        let accepted = caller.send(&numbers(2, 1)).await;
        caller.until(accepted.messages[0], "delivered", SOON).await;
    })
    .await;
}

async fn account(world: &World, tenant: &str) -> i64 {
    let tenant = world.api::<Tenant>().get(tenant).await.expect("the Tenant");
    tenant.status.and_then(|status| status.account_id).expect("an account id")
}
