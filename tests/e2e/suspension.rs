//! A suspended account sends nothing from that moment on, and loses nothing (A5, B6).
use std::collections::HashSet;
use std::time::Duration;

use budstikke::crd::Tenant;
use k8s_openapi::api::apps::v1::Deployment;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::caller::{message, numbers};
use crate::support::smsc::{Smsc, repeated};
use crate::support::stage;
use crate::support::traffic::all_final;
use crate::support::wait::{eventually, holds};
use crate::support::world::SOON;

/// Submits a second, so that what is queued lasts for longer than a suspension takes.
const RATE: usize = 15;
const QUEUED: usize = 900;

/// How many of the queued messages have come to the upstream. (Others were accepted while the API was asked whether it
/// refuses by now.)
async fn came(smsc: &Smsc, queued: &HashSet<String>) -> usize {
    let submits = eventually("the SMSC's record", SOON, async || smsc.submits().await).await;
    assert_eq!(repeated(&submits), 0, "nothing goes twice");
    submits.iter().filter(|submit| queued.contains(&submit.destination)).count()
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_and_held_and_goes_on_when_it_is_lifted() {
    stage::beside_others("suspend", async |world| {
        let smsc = world.smsc(&[]).await;
        let route = world.route("slow", &smsc, |spec| spec["ratePerSecond"] = RATE.into()).await;
        let tenant = world.tenant("tenant", &[&route], |_| {}).await;
        world.route_ready(&route).await;
        world.tenant_ready(&tenant).await;
        let caller = world.caller(&tenant).await;
        let to = numbers(0, u32::try_from(QUEUED).expect("few"));
        let queued: HashSet<String> = to.iter().map(|number| number.trim_start_matches('+').to_owned()).collect();
        let accepted = caller.send(&to).await;
        eventually("it has begun", SOON, async || {
            let stats = smsc.stats().await?;
            holds(stats.submitted >= 10, stats)
        })
        .await;

        let suspension = json!({"reason": "nonPayment", "message": "Faktura 1017 er ikke betalt."});
        world.edit_tenant(&tenant, json!({"suspension": suspension})).await;
        let mut asked = 900_000;
        let refused = eventually("the API refuses", SOON, async || {
            asked += 1;
            let answer = caller.call(Method::POST, "/v1/messages", Some(&message(&numbers(asked, 1)))).await;
            if answer.status == StatusCode::FORBIDDEN { Ok(answer.body) } else { Err(format!("{answer:?}")) }
        })
        .await;
        let at_refusal = came(&smsc, &queued).await;
        assert_eq!(refused["code"], "suspended");
        assert!(refused["detail"].as_str().is_some_and(|why| why.contains("Faktura 1017")), "it says why: {refused}");
        eventually("the sender goes to zero", SOON, async || {
            let held = came(&smsc, &queued).await;
            assert!(held <= at_refusal + RATE, "{held} were sent, {at_refusal} of them when the API refused first");
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
        let states = caller.batch(accepted.batch).await;
        let held = came(&smsc, &queued).await;
        assert!(held <= at_refusal + RATE, "{held} were sent, {at_refusal} of them when the API refused first");
        assert!(held < QUEUED && states["states"]["queued"].as_i64() > Some(0), "the rest is held: {states}");

        world.edit_tenant(&tenant, json!({"suspension": null})).await;
        let states = all_final(&caller, &[accepted.batch], SOON + Duration::from_secs(120)).await;
        assert_eq!(states.get("delivered").copied(), i64::try_from(QUEUED).ok(), "nothing is lost: {states:?}");
        assert_eq!(came(&smsc, &queued).await, QUEUED, "each has come, and none twice");
    })
    .await;
}
