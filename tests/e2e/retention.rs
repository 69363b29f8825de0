//! That retention is kept is shown by the running installation itself, and who opts out of logging has no history (D2, D4).
use std::process::Command;

use budstikke::crd::RetentionPolicy;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::caller::numbers;
use crate::support::manifests::{self, NAMESPACE};
use crate::support::stage;
use crate::support::wait::{eventually, holds};
use crate::support::world::{SOON, World};

/// A policy that promises nothing which the local cluster cannot keep, and a name of its own.
fn policy(world: &World) -> Value {
    let [_, mut policy] = manifests::plan_and_policy();
    policy["metadata"]["name"] = world.named("policy").into();
    policy["spec"]["hosting"]["declared"] = json!(["encryptedVolumes", "encryptedStandby", "encryptedExternalBackups"]);
    policy
}

/// What the operator's own program says of the journal.
fn journal() -> String {
    let exec = ["exec", "--namespace", NAMESPACE, "deploy/budstikke-operator", "--container", "operator", "--"];
    let output = Command::new("kubectl").args(exec).args(["/budstikke", "journal"]).output().expect("kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_policy_is_shown_to_be_kept_and_who_opts_out_loses_the_history() {
    stage::beside_others("retention", async |world| {
        let smsc = world.smsc(&[]).await;
        let policy = world.make(policy(world)).await;
        let route = world.route("main", &smsc, |_| {}).await;
        let tenant =
            world.tenant("tenant", &[&route], |spec| spec["retentionRef"]["name"] = policy.clone().into()).await;
        world.route_ready(&route).await;
        world.tenant_ready(&tenant).await;
        let caller = world.caller(&tenant).await;
        let accepted = caller.send(&numbers(1, 1)).await;
        caller.until(accepted.messages[0], "delivered", SOON).await;

        world.condition::<RetentionPolicy>(&policy, "Compliant", "True").await;
        let classes = eventually("what is kept is shown", SOON, async || {
            let status = world.look::<RetentionPolicy>(&policy).await?["status"].clone();
            let classes = status["classes"].as_array().cloned().unwrap_or_default();
            // No mail is carried here, so nothing of it is kept.
            let kept = classes.iter().filter(|class| class["oldest"].is_string()).count();
            holds(classes.len() == 4 && kept == 3, &status)?;
            Ok(classes)
        })
        .await;
        let days: Vec<_> = classes.iter().map(|class| (class["class"].clone(), class["days"].clone())).collect();
        assert_eq!(
            days,
            [("inbound", 88), ("log", 88), ("queue", 39), ("mail", 1)].map(|(class, days)| (class.into(), days.into()))
        );

        world.edit_tenant(&tenant, json!({"logging": {"optOutConfirmedOn": "2026-01-07"}})).await;
        let path = format!("/v1/messages/{}", accepted.messages[0]);
        eventually("there is no history", SOON, async || {
            let answer = caller.call(Method::GET, &path, None).await;
            holds(answer.status == StatusCode::NOT_FOUND, answer)
        })
        .await;
        // Its keys are destroyed by now, or are about to be: the journal says so without a name.
        let whole = eventually("it is entered in the journal", SOON, async || {
            let said = tokio::task::spawn_blocking(journal).await.expect("kubectl's thread");
            holds(!said.contains("nothing was erased"), &said)?;
            Ok(said)
        })
        .await;
        assert!(whole.starts_with("the journal is whole: "), "{whole}");

        let before = smsc.stats().await.expect("its counters").submitted;
        let answer = caller.send(&numbers(2, 1)).await;
        eventually("it goes all the same", SOON, async || {
            let stats = smsc.stats().await?;
            holds(stats.submitted > before, stats)
        })
        .await;
        // The upstream counts it before the sender has heard that it was taken: what is not sent yet can be looked up by its id.
        let path = format!("/v1/messages/{}", answer.messages[0]);
        eventually("it is in no history", SOON, async || {
            let answer = caller.call(Method::GET, &path, None).await;
            holds(answer.status == StatusCode::NOT_FOUND, answer)
        })
        .await;
    })
    .await;
}
