//! The main job: one SMS, from the tenant's call to the handset and back.
use crate::support::caller::numbers;
use crate::support::stage;
use crate::support::wait::{eventually, holds};
use crate::support::world::{SOON, World};

#[tokio::test]
async fn an_sms_is_delivered_with_its_receipt() {
    assert!(stage::basics().await, "see above");
}

/// What every other scenario takes for granted.
pub(crate) async fn one_sms(world: &World) {
    let smsc = world.smsc(&[]).await;
    let (_, _, caller) = world.simple(&smsc).await;

    let accepted = caller.send(&numbers(1, 1)).await;
    let message = caller.until(accepted.messages[0], "delivered", SOON).await;

    assert_eq!(message["to"], "+4526000001");
    assert_eq!(message["from"], "Proeve");
    assert_eq!(message["text"], "En budstikke gik fra gård til gård.");
    assert_eq!(message["final"], true);
    let submits = smsc.submits().await.expect("the SMSC's record");
    let came: Vec<_> = submits.iter().map(|submit| (submit.source.as_str(), submit.destination.as_str())).collect();
    assert_eq!(came, [("Proeve", "4526000001")], "it came once, as it was written");
}

#[tokio::test]
async fn a_call_repeated_with_its_idempotency_key_sends_once() {
    stage::beside_others("once", async |world| {
        let smsc = world.smsc(&[]).await;
        let (_, _, caller) = world.simple(&smsc).await;
        let body = crate::support::caller::message(&numbers(1, 1));
        let call = async || {
            let answer = caller.attempt(reqwest::Method::POST, "/v1/messages", "order-7", Some(&body)).await;
            answer.expect("an answer").body
        };
        let first = call().await;
        assert_eq!(call().await, first, "the same call has the same answer");
        eventually("it is submitted", SOON, async || {
            let stats = smsc.stats().await?;
            holds(stats.submitted > 0, stats)
        })
        .await;
        let id = first["messages"][0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        caller.until(id, "delivered", SOON).await;
        assert_eq!(smsc.stats().await.expect("its counters").submitted, 1);
    })
    .await;
}
