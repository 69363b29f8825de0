//! Messages under the tenant's own references: shown, found, and never stored in the clear.
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::service::{Service, number};

async fn found(service: &Service, reference: &str) -> Vec<String> {
    let request = service.api.request(&service.key, Method::POST, "/v1/messages/search");
    let answer = service.api.call(request.json(&json!({"reference": reference}))).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body["messages"].as_array().expect("a list").iter().map(id).collect()
}

fn id(message: &Value) -> String {
    message["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn messages_are_found_by_the_reference_they_were_sent_under() {
    let service = Service::start().await;
    let own = json!({"number": number(), "reference": "kunde 7"});
    let call = json!({"to": [number(), own], "text": "Hej {{navn}}", "reference": "ordre 4711"});
    let sent = service.api.post(&service.key, &call).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{sent:?}");
    let [order, customer] = [0, 1].map(|at| id(&sent.body["messages"][at]));
    service.sent(&number(), "without").await;
    let (_, other_key) = service.other_tenant("other").await;
    service.api.post(&other_key, &json!({"to": number(), "text": "Hej", "reference": "ordre 4711"})).await;

    assert_eq!(found(&service, "ordre 4711").await, [&*order]);
    assert_eq!(found(&service, "kunde 7").await, [&*customer]);
    assert!(found(&service, "ordre 471").await.is_empty(), "whole references alone");
    service.settle(&order, 3, None).await;
    assert_eq!(found(&service, "ordre 4711").await, [&*order], "in the log as in the queue");

    let message = service.get(&format!("/v1/messages/{}", customer)).await.body;
    assert_eq!((&message["reference"], &message["text"]), (&json!("kunde 7"), &json!("Hej {{navn}}")));
    for table in ["queue", "message_log"] {
        let rows = format!("select coalesce(string_agg(t::text, ''), '') from {table} t");
        let rows: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_one(&service.owner()).await.expect("rows");
        // Octets are shown in hexadecimal, in which a few digits stand together by chance.
        for word in ["ordre", "kunde"] {
            let octets: String = word.bytes().map(|octet| format!("{octet:02x}")).collect();
            assert!(!rows.contains(word) && !rows.contains(&octets), "{word} in {table}");
        }
    }
}

#[tokio::test]
async fn a_reference_that_is_none_is_refused_in_words() {
    let service = Service::start().await;
    for bad in ["", &"x".repeat(65), "a\nb"] {
        let refused = service.api.post(&service.key, &json!({"to": number(), "text": "Hej", "reference": bad})).await;
        assert_eq!((refused.problem(422), &refused.body["path"]), ("invalid".into(), &json!("reference")));
        assert_eq!(refused.body["code"], "reference_malformed");
        let own = json!({"to": [{"number": number(), "reference": bad}, number()], "text": "Hej"});
        let answer = service.api.post(&service.key, &own).await;
        assert_eq!(answer.body["refused"][0]["code"], "reference_malformed");
        assert_eq!(answer.body["messages"][0]["index"], 1);
    }
    let request = service.api.request(&service.key, Method::POST, "/v1/messages/search");
    for body in [json!({}), json!({"number": "20123456", "reference": "x"})] {
        let refused = service.api.call(request.try_clone().expect("a request").json(&body)).await;
        assert_eq!((refused.problem(422), &refused.body["code"]), ("invalid".into(), &json!("number_or_reference")));
    }
}
