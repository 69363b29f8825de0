//! The worker's pods tell webhooks: what is noted by the database's functions reaches them, and they go to public addresses alone.
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::caller::numbers;
use crate::support::stage;
use crate::support::wait::{eventually, holds};
use crate::support::world::SOON;

/// An address that every pod could reach, and no tenant may.
const INSIDE: &str = "https://kubernetes.default.svc.cluster.local/hook";

#[tokio::test]
async fn the_workers_pods_take_up_what_happened_and_go_to_no_address_of_the_cluster() {
    stage::beside_others("hooks", async |world| {
        let smsc = world.smsc(&[]).await;
        let (_, _, caller) = world.simple(&smsc).await;
        let wanted = json!({"url": INSIDE, "events": ["message.final"]});
        let made = caller.call(Method::POST, "/v1/webhooks", Some(&wanted)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let accepted = caller.send(&numbers(1, 1)).await;

        let path = format!("/v1/webhooks/{}/deliveries", made.body["id"].as_str().expect("an id"));
        eventually("the endpoint was tried, and not gone to", SOON, async || {
            let answer = caller.call(Method::GET, &path, None).await;
            let [delivery] = answer.body["deliveries"].as_array().map_or(&[][..], Vec::as_slice) else {
                return Err(answer.body.to_string());
            };
            holds(
                delivery["type"] == "message.final"
                    && delivery["messageId"] == accepted.messages[0].to_string()
                    && delivery["state"] == "waiting"
                    && delivery["lastFailure"] == "address"
                    && delivery["nextAttemptAt"].is_string(),
                delivery,
            )
        })
        .await;
    })
    .await;
}
