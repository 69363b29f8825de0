//! Every failure is told as problem details with a stable type, and says what to write instead.
use budstikke::domain::ApiKey;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::service::{Api, Service, mint};
use crate::support::postgres::Databases;

#[tokio::test]
async fn a_caller_without_a_valid_key_is_unauthorized() {
    let service = Service::start().await;
    let url = service.api.url("/v1/messages");
    let unauthorized = async |request: reqwest::RequestBuilder| {
        let answer = service.api.call(request).await;
        assert_eq!(answer.problem(401), "unauthorized");
        assert!(answer.headers["www-authenticate"].to_str().expect("ASCII").starts_with("Bearer"));
    };
    let client = &service.api.client;
    unauthorized(client.get(&url)).await;
    unauthorized(client.post(&url).json(&json!({}))).await;
    unauthorized(client.get(&url).bearer_auth("")).await;
    unauthorized(client.get(&url).bearer_auth("bud_short_key")).await;
    unauthorized(client.get(&url).basic_auth("user", Some(service.key.reveal()))).await;
    unauthorized(client.get(&url).bearer_auth(ApiKey::mint().expect("a key").reveal())).await;
    let forged = format!("{}_{}", service.key.prefix(), "A".repeat(43));
    unauthorized(client.get(&url).bearer_auth(forged)).await;

    let operator = service.databases.data.pool("budstikke_operator");
    for end in ["revoked_at = now()", "expires_at = now() - interval '1 second'"] {
        let key = mint(&service.databases, service.tenant, &budstikke::domain::Scope::ALL).await;
        let statement = format!("update api_key set {end} where prefix = '{}'", key.prefix());
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&operator).await.expect("end the key");
        unauthorized(client.get(&url).bearer_auth(key.reveal())).await;
    }
}

#[tokio::test]
async fn what_cannot_be_read_says_where_it_is_wrong() {
    let service = Service::start().await;
    let post = async |body: &'static str| {
        let request = service.api.request(&service.key, Method::POST, "/v1/messages");
        service.api.call(request.header("content-type", "application/json; charset=utf-8").body(body)).await
    };
    for (body, path) in [
        ("", None),
        ("{", None),
        (r#"{"to": "20123456"}"#, None),
        (r#"{"to": "20123456", "text": "Hej"} x"#, None),
        (r#"{"to": ["20123456", 7], "text": "Hej"}"#, Some("to[1]")),
        (r#"{"to": {}, "text": "Hej"}"#, Some("to")),
        (r#"{"to": "20123456", "text": 1}"#, Some("text")),
        (r#"{"to": "20123456", "text": "Hej", "colour": "red"}"#, Some("colour")),
        (r#"{"to": "20123456", "text": "Hej", "encoding": "morse"}"#, Some("encoding")),
        (r#"{"to": "20123456", "text": "Hej", "sendAt": "soon"}"#, Some("sendAt")),
    ] {
        let answer = post(body).await;
        assert_eq!(answer.problem(400), "malformed", "{body}");
        assert_eq!(answer.body["path"].as_str(), path, "{body}: {answer:?}");
    }
    let empty = post(r#"{"to": "20123456", "text": ""}"#).await;
    assert_eq!(
        (empty.problem(422).as_str(), &empty.body["path"], &empty.body["code"]),
        ("invalid", &json!("text"), &json!("text_empty"))
    );
}

#[tokio::test]
async fn addresses_methods_sizes_and_kinds_are_told_apart() {
    let service = Service::start().await;
    let call =
        async |method: Method, path: &str| service.api.call(service.api.request(&service.key, method, path)).await;
    assert_eq!(call(Method::GET, "/v1/nothing").await.problem(404), "no-such-address");
    assert_eq!(call(Method::GET, "/").await.problem(404), "no-such-address");
    let wrong = call(Method::DELETE, "/v1/messages").await;
    assert_eq!(wrong.problem(405), "method-not-allowed");
    let allowed = wrong.headers["allow"].to_str().expect("ASCII");
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");

    let request = || service.api.request(&service.key, Method::POST, "/v1/messages");
    assert_eq!(service.api.call(request().body("to=20123456")).await.problem(415), "not-json");
    let form = request().header("content-type", "application/x-www-form-urlencoded").body("to=20123456");
    assert_eq!(service.api.call(form).await.problem(415), "not-json");
    let large = json!({"to": "20123456", "text": "a".repeat(1024 * 1024)});
    assert_eq!(service.api.call(request().json(&large)).await.problem(413), "body-too-large");
    let key = request().header("Idempotency-Key", "a".repeat(256)).json(&json!({"to": "20123456", "text": "Hej"}));
    let refused = service.api.call(key).await;
    assert_eq!((refused.problem(422).as_str(), &refused.body["path"]), ("invalid", &json!("Idempotency-Key")));
}

#[tokio::test]
async fn too_many_calls_are_turned_away() {
    let service = Service::start().await;
    let api = Api::limited(&service.databases, 1).await;
    let calls = (0..20).map(|_| api.get(&service.key, "/v1/messages"));
    let answers = futures::future::join_all(calls).await;
    let refused = answers.iter().find(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).expect("one");
    assert_eq!(refused.problem(429), "too-many-calls");
    assert!(refused.retry_after() >= 1);
    assert!(answers.iter().any(|answer| answer.status == StatusCode::OK));
}

#[tokio::test]
async fn a_database_that_is_away_is_said_to_be_and_comes_back() {
    let mut service = Service::on(Databases::alone().await).await;
    let body = json!({"to": "20123456", "text": "Hej"});
    assert_eq!(service.api.post_once(&service.key, "order", &body).await.status, StatusCode::ACCEPTED);
    service.databases.data.kill();
    let away = service.api.post(&service.key, &body).await;
    assert_eq!(away.problem(503), "unavailable");
    assert!(away.retry_after() >= 1);
    assert!(away.body["instance"].as_str().is_some_and(|id| id.starts_with("urn:uuid:")), "{away:?}");
    service.databases.data.revive().await;
    let again = service.api.post_once(&service.key, "order", &body).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
    assert_eq!(again.headers["idempotency-replayed"], "true", "what was answered is still there");
    assert_eq!(service.count("queue").await, 1);
}

#[tokio::test]
async fn without_its_keys_a_tenant_is_not_accepted_from() {
    let service = Service::start().await;
    let tenant = service.databases.tenant("without keys").await;
    let key = mint(&service.databases, tenant, &budstikke::domain::Scope::ALL).await;
    let refused = service.api.post(&key, &json!({"to": "20123456", "text": "Hej"})).await;
    assert_eq!(refused.problem(503), "unavailable");
    assert_eq!(service.count("queue").await, 0);
}
