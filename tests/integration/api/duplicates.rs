//! The same text to the same number, within the account's interval: refused by itself, and nothing else is.
use std::sync::Arc;

use budstikke::domain::SystemClock;
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::service::{Answer, Api, Service};

async fn guarded() -> Service {
    let service = Service::start().await;
    service.enforce("duplicate_seconds = 60").await;
    service
}

fn codes(answer: &Answer) -> Vec<(Value, Value)> {
    let refused = answer.body["refused"].as_array().expect("a list");
    refused.iter().map(|it| (it["index"].clone(), it["code"].clone())).collect()
}

#[tokio::test]
async fn the_same_text_to_the_same_number_is_refused_for_a_while() {
    let service = guarded().await;
    let send = async |to: Value, text: &str| service.api.post(&service.key, &json!({"to": to, "text": text})).await;
    assert_eq!(send(json!("20123456"), "Hej").await.status, StatusCode::ACCEPTED);
    let again = send(json!("+45 20 12 34 56"), "Hej").await;
    assert_eq!(again.problem(422), "recipients-refused");
    assert_eq!(codes(&again), [(json!(0), json!("duplicate"))]);
    assert_eq!(send(json!("20123456"), "Hej igen").await.status, StatusCode::ACCEPTED, "another text");

    let some = send(json!(["20123457", "20123456", "x", "20123458"]), "Hej").await;
    assert_eq!(some.status, StatusCode::ACCEPTED, "{some:?}");
    let indexes: Vec<_> = some.body["messages"].as_array().expect("a list").iter().map(|it| &it["index"]).collect();
    assert_eq!(indexes, [0, 3]);
    assert_eq!(some.body["messages"][1]["to"], "+4520123458");
    assert_eq!(codes(&some), [(json!(1), json!("duplicate")), (json!(2), json!("number_malformed"))]);
    assert_eq!((service.count("queue").await, service.count("duplicate_guard").await), (4, 4));

    let dry = json!({"to": "20123456", "text": "Hej", "dryRun": true});
    assert_eq!(
        service.api.post(&service.key, &dry).await.status,
        StatusCode::OK,
        "nothing is sent, nothing is a duplicate"
    );

    let over = "update duplicate_guard set until = now() - interval '1 second'";
    sqlx::query(over).execute(&service.owner()).await.expect("time goes by");
    assert_eq!(send(json!("20123456"), "Hej").await.status, StatusCode::ACCEPTED, "the interval is over");
    let operator = service.databases.data.pool("budstikke_operator");
    assert_eq!(budstikke::store::partitions::purge(&operator).await.expect("purge"), 3);
    assert_eq!(service.count("duplicate_guard").await, 1, "what is over is removed");
}

#[tokio::test]
async fn a_repeated_call_is_answered_and_is_no_duplicate() {
    let service = guarded().await;
    let body = json!({"to": ["20123456", "20123457"], "text": "Hej"});
    let first = service.api.post_once(&service.key, "one", &body).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    let again = service.api.post_once(&service.key, "one", &body).await;
    assert_eq!((again.status, &again.body), (StatusCode::ACCEPTED, &first.body));
    assert_eq!(again.headers["idempotency-replayed"], "true");

    // Part of it is a duplicate now: its answer says so, and is repeated as it was.
    let body = json!({"to": ["20123457", "20123458"], "text": "Hej"});
    let first = service.api.post_once(&service.key, "two", &body).await;
    assert_eq!(codes(&first), [(json!(0), json!("duplicate"))]);
    let again = service.api.post_once(&service.key, "two", &body).await;
    assert_eq!((&again.body, again.headers.contains_key("idempotency-replayed")), (&first.body, true));

    // A refusal is no answer to repeat: later the same call passes.
    let body = json!({"to": "20123458", "text": "Hej"});
    assert_eq!(service.api.post_once(&service.key, "three", &body).await.problem(422), "recipients-refused");
    sqlx::query("delete from duplicate_guard").execute(&service.owner()).await.expect("time goes by");
    assert_eq!(service.api.post_once(&service.key, "three", &body).await.status, StatusCode::ACCEPTED);
    assert_eq!(service.count("queue").await, 4);
}

#[tokio::test]
async fn of_many_calls_at_once_one_is_the_first() {
    let service = guarded().await;
    let other = Api::with(&service.databases, Arc::new(SystemClock), |_| {}).await;
    let body = json!({"to": "20123456", "text": "Hej"});
    let calls = (0..40).map(|nth| if nth % 2 == 0 { &service.api } else { &other });
    let answers = join_all(calls.map(|api| api.post(&service.key, &body))).await;
    let accepted = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    assert_eq!((accepted, service.count("queue").await), (1, 1));
}

#[tokio::test]
async fn what_was_refused_counts_for_nothing() {
    let service = guarded().await;
    service.enforce("messages_per_day = 2, messages_per_hour = 2").await;
    let send = async |to: Value| service.api.post(&service.key, &json!({"to": to, "text": "Hej"})).await;
    assert_eq!(send(json!(["20123456", "20123457", "20123458"])).await.problem(429), "quota-exceeded");
    assert_eq!(service.count("duplicate_guard").await, 0, "nothing was sent that could come again");
    assert_eq!(send(json!("20123456")).await.status, StatusCode::ACCEPTED);
    for _ in 0..5 {
        assert_eq!(send(json!("20123456")).await.problem(422), "recipients-refused");
    }
    assert_eq!(send(json!("20123457")).await.status, StatusCode::ACCEPTED, "duplicates have used no quota");
    assert_eq!(send(json!("20123458")).await.problem(429), "quota-exceeded");
    let (tenant, key) = service.other_tenant("other").await;
    for _ in 0..2 {
        let answer = service.api.post(&key, &json!({"to": "20123456", "text": "Hej"})).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{tenant} has no guard, and is not the other one");
    }
    assert_eq!(service.count("duplicate_guard").await, 2);
}
