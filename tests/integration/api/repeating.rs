//! `Idempotency-Key`: a repetition is answered, and never sends twice.
use reqwest::StatusCode;
use serde_json::json;

use super::service::{Api, Service};

#[tokio::test]
async fn a_repetition_gets_the_first_answer() {
    let service = Service::start().await;
    let body = json!({"to": ["20123456", "bad"], "text": "Hej"});
    let first = service.api.post_once(&service.key, "order 1", &body).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let again = service.api.post_once(&service.key, "order 1", &body).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.body, first.body, "numbers included, though none is stored");
    assert_eq!(service.count("queue").await, 1);
    assert_eq!(service.api.post_once(&service.key, "order 2", &body).await.status, StatusCode::ACCEPTED);
    assert_eq!(service.count("queue").await, 2);
}

/// What has changed since the first call is no reason to refuse its repetition: nothing more is sent.
#[tokio::test]
async fn a_repetition_is_answered_whatever_the_account_may_do_by_now() {
    let service = Service::start().await;
    let body = json!({"to": "20123456", "text": "Hej"});
    let first = service.api.post_once(&service.key, "order", &body).await;
    let closed = "may_accept = false, code = 'suspended', reason = 'Faktura 7'";
    for change in [closed, "may_accept = true, sender_ids = '{}'"] {
        service.enforce(change).await;
        let caller = Api::start(&service.databases).await;
        let again = caller.post_once(&service.key, "order", &body).await;
        assert_eq!((again.status, &again.body), (StatusCode::ACCEPTED, &first.body), "{change}");
        assert_eq!(again.headers["idempotency-replayed"], "true");
        let other = caller.post_once(&service.key, "order", &json!({"to": "20123456", "text": "Hov"})).await;
        assert_eq!(other.problem(422), "idempotency-key-reused", "{change}");
        let new = caller.post_once(&service.key, change, &body).await;
        assert!(new.status.is_client_error(), "{change}");
    }
    assert_eq!(service.count("queue").await, 1);
}

#[tokio::test]
async fn answers_are_kept_for_a_day() {
    let service = Service::start().await;
    for key in ["old", "new"] {
        service.api.post_once(&service.key, key, &json!({"to": "20123456", "text": "Hej"})).await;
    }
    let age = "update idempotency set created_at = now() - interval '25 hours'
        where created_at = (select min(created_at) from idempotency)";
    sqlx::query(age).execute(&service.owner()).await.expect("age");
    let operator = service.databases.data.pool("budstikke_operator");
    assert_eq!(budstikke::store::partitions::purge(&operator).await.expect("purge"), 1);
    assert_eq!(service.count("idempotency").await, 1);
}

#[tokio::test]
async fn answers_are_kept_as_long_as_the_accounts_policy_says() {
    let service = Service::start().await;
    let operator = service.databases.data.pool("budstikke_operator");
    let purged = async |hours: i32, age: i32| {
        sqlx::query(
            "insert into in_force (tenant_id, kind, name, spec)
             values ($1, 'policy', 'policy', jsonb_build_object('working', jsonb_build_object('idempotencyHours', $2::integer)))
             on conflict (tenant_id, kind) do update set spec = excluded.spec",
        )
        .bind(service.tenant.0)
        .bind(hours)
        .execute(&service.owner())
        .await
        .expect("in force");
        let old = sqlx::query("update idempotency set created_at = now() - make_interval(hours => $1)").bind(age);
        old.execute(&service.owner()).await.expect("age");
        budstikke::store::partitions::purge(&operator).await.expect("purge")
    };
    service.api.post_once(&service.key, "order", &json!({"to": "20123456", "text": "Hej"})).await;
    assert_eq!(purged(48, 47).await, 0);
    assert_eq!(purged(2, 1).await, 0);
    assert_eq!(purged(48, 49).await, 1);
    service.api.post_once(&service.key, "order", &json!({"to": "20123456", "text": "Hej"})).await;
    assert_eq!(purged(2, 3).await, 1);
}

#[tokio::test]
async fn the_key_with_another_body_is_refused() {
    let service = Service::start().await;
    service.api.post_once(&service.key, "order", &json!({"to": "20123456", "text": "Hej"})).await;
    let changed = service.api.post_once(&service.key, "order", &json!({"to": "20123456", "text": "Hov"})).await;
    assert_eq!(changed.problem(422), "idempotency-key-reused");
    assert_eq!(service.count("queue").await, 1);
}

#[tokio::test]
async fn another_tenants_key_is_another_key() {
    let service = Service::start().await;
    let (_, other) = service.other_tenant("other").await;
    let body = json!({"to": "20123456", "text": "Hej"});
    service.api.post_once(&service.key, "order", &body).await;
    let answer = service.api.post_once(&other, "order", &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(!answer.headers.contains_key("idempotency-replayed"));
    assert_eq!(service.count("queue").await, 2);
}

#[tokio::test]
async fn of_equal_calls_at_once_one_sends() {
    let service = Service::start().await;
    // Two processes: what one of them remembers does not help the other, so the database decides.
    let second = Api::start(&service.databases).await;
    let body = json!({"to": ["20123456", "20123457"], "text": "Hej"});
    for round in 0..10 {
        let key = format!("round {round}");
        let calls = (0..8).map(|nth| [&service.api, &second][nth % 2].post_once(&service.key, &key, &body));
        let answers = futures::future::join_all(calls).await;
        let first = answers.iter().filter(|answer| {
            answer.status == StatusCode::ACCEPTED && !answer.headers.contains_key("idempotency-replayed")
        });
        assert_eq!(first.count(), 1, "{answers:?}");
        let batch = &answers.iter().find(|answer| answer.status == StatusCode::ACCEPTED).expect("one").body["batchId"];
        for answer in &answers {
            if answer.status == StatusCode::CONFLICT {
                assert_eq!(answer.problem(409), "idempotency-key-in-flight");
                assert!(answer.retry_after() >= 1);
            } else {
                assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
                assert_eq!(&answer.body["batchId"], batch);
            }
        }
    }
    assert_eq!(service.count("queue").await, 20);
}
