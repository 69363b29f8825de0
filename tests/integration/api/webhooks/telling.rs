//! What endpoints are told of, and what they are not.
use budstikke::store::received;
use reqwest::Method;
use serde_json::{Value, json};

use super::scene::{Scene, text};

const SENT: i16 = 2;
const DELIVERED: i16 = 3;
const FAILED: i16 = 4;
const REJECTED: i16 = 6;

#[tokio::test]
async fn a_message_is_told_of_when_it_is_sent_and_when_it_is_final() {
    let scene = Scene::set().await;
    let (webhook, secret) = scene.webhook(&["message.sent", "message.final"]).await;
    let id = scene.service.sent("20123456", "en hemmelighed").await;
    assert_eq!(scene.deliver().await, 0, "nothing has happened yet");

    scene.settle(&[&id], SENT, false).await;
    assert_eq!(scene.deliver().await, 1);
    let told = scene.receiver.taken();
    assert_eq!(told.len(), 1);
    let sent = told[0].body();
    assert_eq!(
        (&sent["type"], &sent["data"]["id"], &sent["data"]["state"]),
        (&json!("message.sent"), &json!(id), &json!("sent"))
    );
    assert_eq!(sent["data"]["final"], false);
    assert_eq!(told[0].path, "/hook?token=adgangskode");
    assert!(told[0].agent.starts_with("Budstikke-Webhooks/"));

    assert_eq!(scene.receipts(&[&id], FAILED, Some(27)).await, [1]);
    assert_eq!(scene.receipts(&[&id], FAILED, Some(27)).await, [2], "once more, by the upstream");
    assert_eq!(scene.deliver().await, 1);
    let told = scene.receiver.taken();
    let last = told[0].body();
    assert_eq!(last["type"], "message.final");
    assert_eq!(last["data"]["state"], "failed");
    assert_eq!(last["data"]["error"], json!({"code": 27}));
    assert_eq!((&last["data"]["to"], &last["data"]["from"]), (&json!("+4520123456"), &json!("Budstikke")));
    assert_eq!((&last["data"]["final"], &last["data"]["parts"]), (&json!(true), &json!(1)));
    assert_eq!(last["data"]["price"], "0.35");
    assert!(last["data"]["acceptedAt"].is_string() && last["data"]["submittedAt"].is_string());
    assert!(!String::from_utf8_lossy(&told[0].bytes).contains("hemmelighed"), "its tenant knows what it wrote");
    assert_eq!((told[0].signatures().len(), told[0].signed_by(&secret)), (1, 1));

    let deliveries = scene.deliveries(&webhook).await;
    assert_eq!(deliveries.len(), 2);
    assert_eq!(deliveries[0]["id"], told[0].id);
    assert_eq!((&deliveries[0]["type"], &deliveries[0]["messageId"]), (&json!("message.final"), &json!(id)));
    assert_eq!((&deliveries[0]["state"], &deliveries[0]["attempts"]), (&json!("delivered"), &json!(1)));
    assert_eq!(deliveries[0]["lastStatus"], 204);
    assert_eq!(scene.deliver().await, 0, "and never again");
}

#[tokio::test]
async fn what_is_cancelled_or_given_up_is_told_of_under_its_reference() {
    let scene = Scene::set().await;
    scene.webhook(&["message.sent", "message.final"]).await;
    let mut ids = Vec::new();
    for reference in ["ordre 1", "ordre 2"] {
        let call = json!({"to": "20123456", "text": "Hej", "reference": reference});
        let accepted = scene.call(Method::POST, "/v1/messages", &call).await;
        ids.push(text(&accepted.body["messages"][0]["id"]));
    }
    let held = sqlx::query("update queue set state = 1 where message_id = $1::uuid").bind(&ids[1]);
    held.execute(&scene.service.owner()).await.expect("held");
    scene.call(Method::POST, "/v1/messages/cancel", &json!({"messages": ids})).await;
    scene.call(Method::POST, "/v1/messages/fail", &json!({"messages": ids})).await;
    assert_eq!(scene.deliver().await, 2);
    let told: Vec<_> = scene.receiver.taken().iter().map(|told| told.body()["data"].clone()).collect();
    assert!(told.iter().all(|data| data["price"].is_null()), "neither was submitted, so neither costs anything");
    let seen = told.iter().map(|data| (text(&data["id"]), text(&data["state"]), text(&data["reference"])));
    let [first, second] = [0, 1].map(|nth| ids[nth].clone());
    let wanted =
        [(first, "cancelled".into(), "ordre 1".to_owned()), (second, "unknown".to_owned(), "ordre 2".to_owned())];
    assert_eq!(seen.collect::<Vec<_>>(), wanted);
}

#[tokio::test]
async fn messages_that_are_final_at_once_and_those_of_several_parts_are_told_of_once() {
    let scene = Scene::set().await;
    scene.webhook(&["message.final"]).await;
    let rejected = scene.service.sent("20123456", "a").await;
    let without_receipt = scene.service.sent("20123457", "b").await;
    let long = scene.service.sent("20123458", &"c".repeat(200)).await;
    scene.settle(&[&rejected], REJECTED, true).await;
    scene.settle(&[&without_receipt], SENT, true).await;
    sqlx::query(
        "select sender_settle(array[$1::uuid], array[2::smallint], array[null::integer], array[$2::bigint], array[null], array[null::integer],
             array[now()], array[null::timestamptz], array[1, 1], array[1, 2]::smallint[], array[2, 2]::smallint[],
             array[null, null]::integer[], array['one', 'two'], array[1, 1], array[now(), now()], '{}')",
    )
    .bind(&long)
    .bind(scene.route.0)
    .execute(&scene.sender)
    .await
    .expect("settled");
    assert_eq!(scene.receipts(&["one"], DELIVERED, None).await, [1]);
    assert_eq!(scene.deliver().await, 2, "of the long one a part is still under way");
    assert_eq!(scene.receipts(&["two"], DELIVERED, None).await, [1]);
    assert_eq!(scene.deliver().await, 1);
    let told: Vec<_> = scene
        .receiver
        .taken()
        .iter()
        .map(|told| (told.body()["data"]["id"].clone(), told.body()["data"]["state"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            (json!(rejected), json!("rejected")),
            (json!(without_receipt), json!("sent")),
            (json!(long), json!("delivered"))
        ]
    );
}

#[tokio::test]
async fn what_is_received_is_told_with_its_text_and_once() {
    let scene = Scene::set().await;
    let (webhook, secret) = scene.webhook(&["message.received"]).await;
    let id = scene.received("4520123459", "JA TAK").await;
    assert_eq!(scene.deliver().await, 1);
    let told = scene.receiver.taken();
    let body = told[0].body();
    assert_eq!(body["type"], "message.received");
    assert_eq!(
        (&body["data"]["id"], &body["data"]["from"], &body["data"]["to"], &body["data"]["text"]),
        (&json!(id), &json!("4520123459"), &json!("1204"), &json!("JA TAK"))
    );
    assert_eq!(told[0].signed_by(&secret), 1);
    assert_eq!(scene.states(&webhook).await, ["delivered"]);
}

#[tokio::test]
async fn what_is_received_in_parts_is_told_once_and_whole() {
    let scene = Scene::set().await;
    scene.webhook(&["message.received"]).await;
    scene.received_part("4520123459", 2, 2, "TAK").await;
    assert_eq!(scene.deliver().await, 0, "its first part is awaited");
    let last = scene.received_part("4520123459", 1, 2, "JA ").await;
    assert_eq!(scene.deliver().await, 1);
    scene.received_part("4520123459", 1, 2, "JA ").await;
    assert_eq!(scene.deliver().await, 0);
    let data = &scene.receiver.taken()[0].body()["data"];
    assert_eq!((&data["id"], &data["text"], &data["parts"]), (&json!(last), &json!("JA TAK"), &json!(2)));
    assert!(data["missingParts"].is_null(), "{data}");

    let first = scene.received_part("4520123459", 2, 3, "UDEN").await;
    let past = sqlx::query("update inbound set open_until = now() where not done");
    past.execute(&scene.service.owner()).await.expect("an hour has passed");
    let worker = scene.service.databases.data.pool("budstikke_worker");
    assert_eq!(received::give_up(&worker).await.expect("given up"), 1);
    assert_eq!(scene.deliver().await, 1);
    let data = &scene.receiver.taken()[0].body()["data"];
    assert_eq!((&data["id"], &data["text"]), (&json!(first), &json!("UDEN")));
    assert_eq!((&data["parts"], &data["missingParts"]), (&json!(3), &json!([1, 3])));
}

#[tokio::test]
async fn messages_that_others_end_are_told_of_too() {
    let scene = Scene::set().await;
    scene.webhook(&["message.final"]).await;
    let id = scene.service.sent("20123456", "for sent").await;
    let owner = scene.service.owner();
    sqlx::query("update queue set queue_key = 'queue/2020-01-01/2019-12-01'")
        .execute(&owner)
        .await
        .expect("an old key");
    let operator = scene.service.databases.data.pool("budstikke_operator");
    let ended: i64 = sqlx::query_scalar("select removed from expire_queue(current_date, 100)")
        .fetch_one(&operator)
        .await
        .expect("ended");
    assert_eq!(ended, 1);
    assert_eq!(scene.deliver().await, 1);
    let body = scene.receiver.taken()[0].body();
    assert_eq!((&body["data"]["id"], &body["data"]["state"]), (&json!(id), &json!("expired")));
    assert_eq!(body["data"]["error"], json!({"code": -1}));
}

/// D4: nothing but ids and states, and receipts only where the tenant asked for them.
#[tokio::test]
async fn where_nothing_is_logged_ids_and_states_are_told_and_receipts_only_if_asked_for() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.sent", "message.final", "message.received"]).await;
    scene.service.enforce("log_days = 0, receipts_by_webhook_from = null").await;
    let id = scene.service.sent("20123456", "hemmelig").await;
    scene.settle(&[&id], SENT, false).await;
    scene.receipts(&[&id], DELIVERED, None).await;
    assert_eq!(scene.count("select count(*) from webhook_job").await, 0, "not even a job");

    scene.service.enforce("receipts_by_webhook_from = current_date - 1").await;
    let id = scene.service.sent("20123457", "hemmelig").await;
    scene.settle(&[&id], SENT, true).await;
    let inbound = scene.received("4520123459", "hemmelig").await;
    assert_eq!(scene.deliver().await, 3);
    let told: Vec<Value> = scene.receiver.taken().iter().map(|told| told.body()).collect();
    let words = serde_json::to_string(&told).expect("JSON");
    for hidden in ["20123457", "20123459", "hemmelig", "1204", "Budstikke", "batchId"] {
        assert!(!words.contains(hidden), "{hidden}: {words}");
    }
    assert_eq!((&told[1]["data"]["id"], &told[1]["data"]["state"]), (&json!(id), &json!("sent")));
    assert_eq!(told[2]["data"]["id"], json!(inbound));

    // Written while it was allowed, and to be told when it is not any more.
    let id = scene.service.sent("20123458", "hemmelig").await;
    scene.settle(&[&id], SENT, true).await;
    scene.service.enforce("receipts_by_webhook_from = null").await;
    assert_eq!(scene.deliver().await, 0);
    assert_eq!(scene.states(&webhook).await[3..], ["cancelled", "cancelled"]);
}

#[tokio::test]
async fn what_is_erased_meanwhile_is_told_by_its_id() {
    let scene = Scene::set().await;
    scene.webhook(&["message.final", "message.received"]).await;
    let id = scene.service.sent("20123456", "hemmelig").await;
    scene.settle(&[&id], REJECTED, true).await;
    scene.received("4520123459", "hemmelig").await;
    for table in ["message_log", "inbound"] {
        let erase = sqlx::AssertSqlSafe(format!("delete from {table}"));
        sqlx::query(erase).execute(&scene.service.owner()).await.expect("erased");
    }
    assert_eq!(scene.deliver().await, 2);
    let told = scene.receiver.taken();
    assert_eq!(
        (told[0].body()["data"]["id"].clone(), told[0].body()["data"]["state"].clone()),
        (json!(id), json!("rejected"))
    );
    for told in told {
        assert!(told.body()["data"].get("to").is_none(), "{:?}", told.body());
    }
}

#[tokio::test]
async fn a_trial_is_told_and_a_removed_endpoint_is_not() {
    let scene = Scene::set().await;
    let (webhook, secret) = scene.webhook(&["message.final"]).await;
    let trial = scene.call(Method::POST, &format!("/v1/webhooks/{webhook}/test"), &Value::Null).await;
    assert_eq!(trial.status, 202, "{trial:?}");
    assert_eq!(scene.deliver().await, 1);
    let told = scene.receiver.taken();
    assert_eq!(told[0].id, text(&trial.body["id"]));
    assert_eq!(told[0].body()["type"], "webhook.test");
    assert_eq!(told[0].body()["data"], json!({"webhookId": webhook}));
    assert_eq!(told[0].signed_by(&secret), 1);

    let id = scene.service.sent("20123456", "a").await;
    scene.settle(&[&id], REJECTED, true).await;
    let removed = scene.call(Method::DELETE, &format!("/v1/webhooks/{webhook}"), &Value::Null).await;
    assert_eq!(removed.status, 204, "{removed:?}");
    assert_eq!(scene.deliver().await, 0);
    assert_eq!(scene.count("select count(*) from webhook_job").await, 0);
}

#[tokio::test]
async fn without_the_service_that_they_are_part_of_webhooks_are_told_nothing() {
    let scene = Scene::set().await;
    scene.webhook(&["message.sent", "message.received"]).await;
    let ids = [scene.service.sent("20123456", "Hej").await, scene.service.sent("20123457", "Hej").await];
    scene.service.enforce("services = '{portal}'").await;
    scene.settle(&[&ids[0]], SENT, false).await;
    scene.received("+4520123456", "Hej igen").await;
    assert_eq!(scene.service.count("webhook_job").await, 0);
    scene.service.enforce("services = '{api}'").await;
    scene.settle(&[&ids[1]], SENT, false).await;
    assert_eq!(scene.service.count("webhook_job").await, 1);
}
