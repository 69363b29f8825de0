//! What a call may not do to others: hold everything with large reads, read nothing for ever, or bring what no database takes.
use std::sync::Arc;
use std::time::{Duration, Instant};

use budstikke::domain::SystemClock;
use reqwest::{Method, Response, StatusCode, Version};
use serde_json::json;

use super::service::{Api, OWNER, Service};

/// So much about the tenant that no buffer between a reader and the API takes it: 20 MB.
async fn plenty(service: &Service) {
    sqlx::query(
        "insert into disclosure (tenant_id, disclosure_id, recipient_kind, recipient, legal_basis, classes, disclosed_at)
         select $1, gen_random_uuid(), 'authority', repeat('x', 5000), 'lov', '{log}', now() from generate_series(1, 4000)",
    )
    .bind(service.tenant.0)
    .execute(&service.owner())
    .await
    .expect("stored");
}

/// A copy that has begun, of which nothing is read; as soon as there is a place.
async fn begun(api: &Api, service: &Service) -> Response {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let copy = api.request(&service.key, Method::GET, "/v1/data").send().await.expect("an answer");
        if copy.status() == StatusCode::OK {
            return copy;
        }
        assert_eq!(copy.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(Instant::now() < deadline, "the place of a copy that nobody reads is not free again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn who_reads_nothing_of_a_copy_is_cut_off() {
    let service = Service::start().await;
    plenty(&service).await;
    let patience = Duration::from_millis(300);
    let api = Api::with(&service.databases, Arc::new(SystemClock), |it| it.patience_with_readers = patience).await;
    let unread = begun(&api, &service).await;
    assert_eq!(unread.version(), Version::HTTP_11, "of which the connection is ended");
    // One copy at a time: this one begins when the place of the other is free.
    drop(begun(&api, &service).await);
    assert!(unread.bytes().await.is_err(), "what is not whole does not look whole");
}

#[tokio::test]
async fn large_reads_are_bounded() {
    let service = Service::start().await;
    plenty(&service).await;
    let (_, other) = service.other_tenant("other").await;
    let api = Api::with(&service.databases, Arc::new(SystemClock), |it| it.large_reads = 1).await;
    let copy = begun(&api, &service).await;
    let search = |path: &str| api.request(&service.key, Method::POST, path).json(&json!({"number": "20123456"}));
    for request in [
        search("/v1/messages/search"),
        search("/v1/inbound/search"),
        api.request(&service.key, Method::GET, "/v1/statistics"),
        api.request(&OWNER.0, Method::GET, "/v1/owner/statistics"),
        api.request(&other, Method::GET, "/v1/data"),
    ] {
        let refused = api.call(request).await;
        assert_eq!(refused.problem(429), "many-large-reads");
        assert!(refused.retry_after() >= 1);
    }
    assert_eq!(api.get(&service.key, "/v1/messages").await.status, StatusCode::OK, "others go on");
    drop(copy);
    let deadline = Instant::now() + Duration::from_secs(30);
    while api.get(&service.key, "/v1/statistics").await.status != StatusCode::OK {
        assert!(Instant::now() < deadline, "the place of a reader that is gone is not free again");
    }
}

#[tokio::test]
async fn dates_that_cannot_be_are_refused_in_words() {
    let service = Service::start().await;
    for (query, path, code) in [
        ("statistics?from=yesterday", "from", "not_a_date"),
        ("statistics?from=2026-02-30", "from", "not_a_date"),
        ("statistics?to=2026-02-01T00:00:00Z", "to", "not_a_date"),
        ("statistics?to=-009999-01-01", "to", "not_a_date"),
        ("statistics?to=1999-12-31", "to", "too_early"),
        ("statistics?to=2999-01-01", "to", "day_too_late"),
        ("statistics?from=2999-01-01", "from", "day_too_late"),
        ("statistics?from=2026-02-02&to=2026-02-01", "from", "dates_reversed"),
        ("messages?from=yesterday", "from", "not_an_instant"),
        ("messages?from=2026-02-01", "from", "not_an_instant"),
        ("messages?from=2999-01-01T00:00:00Z", "from", "in_the_future"),
        ("messages?until=-009998-01-01T00:00:00Z", "until", "too_early"),
        ("messages?from=2026-02-02T00:00:00Z&until=2026-02-01T00:00:00Z", "from", "dates_reversed"),
    ] {
        let answer = service.get(&format!("/v1/{query}")).await;
        assert_eq!(answer.problem(422), "invalid", "{query}");
        assert_eq!((&answer.body["path"], &answer.body["code"]), (&json!(path), &json!(code)), "{query}: {answer:?}");
        if query.starts_with("statistics") && code != "day_too_late" {
            assert_eq!(service.api.get(&OWNER.0, &format!("/v1/owner/{query}")).await.body["code"], code, "{query}");
        }
    }
}

#[tokio::test]
async fn control_characters_are_refused_in_words() {
    let service = Service::start().await;
    for (path, body, wrong) in [
        ("messages/search", json!({"number": "20\u{0}123456"}), "number"),
        ("inbound/search", json!({"number": "Al\u{0}fa"}), "number"),
        ("inbound/search", json!({"number": "20123456\n"}), "number"),
        ("messages", json!({"to": "20123456", "text": "Hej", "from": "Bud\u{0}"}), "from"),
        ("messages/search", json!({"number": "20123456", "cursor": "\u{0}"}), "cursor"),
    ] {
        let answer =
            service.api.call(service.api.request(&service.key, Method::POST, &format!("/v1/{path}")).json(&body)).await;
        assert_eq!((answer.problem(422).as_str(), &answer.body["path"]), ("invalid", &json!(wrong)), "{body}");
    }
    for query in ["messages?cursor=%00", "inbound?cursor=%00", "disclosures?cursor=%00", "statistics?from=%00"] {
        assert_eq!(service.get(&format!("/v1/{query}")).await.problem(422), "invalid", "{query}");
    }
}
