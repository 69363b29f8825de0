//! A suspended account sends nothing from that moment on, and loses nothing (A5, B6).
use std::time::Duration;

use budstikke::crd::Tenant;
use k8s_openapi::api::apps::v1::Deployment;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::caller::{message, numbers};
use crate::support::stage;
use crate::support::traffic::all_final;
use crate::support::wait::{eventually, holds};
use crate::support::world::SOON;

#[tokio::test]
async fn a_suspended_tenant_is_refused_and_held_and_goes_on_when_it_is_lifted() {
    stage::beside_others("suspend", async |world| {
        let smsc = world.smsc(&[]).await;
        let route = world.route("slow", &smsc, |spec| spec["ratePerSecond"] = 10.into()).await;
        let tenant = world.tenant("tenant", &[&route], |_| {}).await;
        world.route_ready(&route).await;
        world.tenant_ready(&tenant).await;
        let caller = world.caller(&tenant).await;
        let accepted = caller.send(&numbers(0, 100)).await;
        eventually("it has begun", SOON, async || {
            let stats = smsc.stats().await?;
            holds(stats.submitted >= 10, stats)
        })
        .await;

        let suspension = json!({"reason": "nonPayment", "message": "Faktura 1017 er ikke betalt."});
        world.edit_tenant(&tenant, json!({"suspension": suspension})).await;
        let refused = eventually("the API refuses", Duration::from_secs(20), async || {
            let answer = caller.call(Method::POST, "/v1/messages", Some(&message(&numbers(900, 1)))).await;
            if answer.status == StatusCode::FORBIDDEN { Ok(answer.body) } else { Err(format!("{answer:?}")) }
        })
        .await;
        assert_eq!(refused["code"], "suspended");
        assert!(refused["detail"].as_str().is_some_and(|why| why.contains("Faktura 1017")), "it says why: {refused}");
        eventually("the sender goes to zero", SOON, async || {
            let sender = world.api::<Deployment>().get(&format!("sender-{tenant}")).await.map_err(|e| e.to_string())?;
            let wanted = sender.spec.and_then(|spec| spec.replicas);
            let running = sender.status.and_then(|status| status.replicas).unwrap_or_default();
            holds(wanted == Some(0) && running == 0, (wanted, running))
        })
        .await;
        world.condition::<Tenant>(&tenant, "Suspended", "True").await;
        world.condition::<Tenant>(&tenant, "Ready", "True").await;
        let active = world.condition::<Tenant>(&tenant, "Active", "False").await;
        assert_eq!(active["reason"], "Suspended");
        let submitted = smsc.stats().await.expect("its counters").submitted;
        let states = caller.batch(accepted.batch).await;
        assert!(submitted < 100 && states["states"]["queued"].as_i64() > Some(0), "the rest is held: {states}");

        world.edit_tenant(&tenant, json!({"suspension": null})).await;
        let states = all_final(&caller, &[accepted.batch], SOON).await;
        assert_eq!(states.get("delivered"), Some(&100), "nothing is lost: {states:?}");
        assert_eq!(smsc.stats().await.expect("its counters").submitted, 100, "and nothing went twice");
    })
    .await;
}
