//! The examples of `docs/sending.md` are answered as it says.
use reqwest::Method;
use serde_json::Value;

use super::service::Service;

const PAGE: &str = include_str!("../../../docs/sending.md");

#[tokio::test]
async fn the_examples_of_the_page_about_sending_work() {
    let service = Service::start().await;
    let mut answered = 0;
    for block in PAGE.split("\n```json ").skip(1) {
        let (head, rest) = block.split_once('\n').expect("a body");
        let (body, _) = rest.split_once("\n```").expect("an end");
        let [method, path, status] = head.split(' ').collect::<Vec<_>>()[..] else { panic!("{head}") };
        let body: Value = serde_json::from_str(body).expect(head);
        let request = service.api.request(&service.key, Method::from_bytes(method.as_bytes()).expect("a method"), path);
        let answer = service.api.call(request.json(&body)).await;
        assert_eq!(answer.status.as_str(), status, "{head}\n{body}\n{answer:?}");
        assert!(answer.body["refused"].as_array().is_none_or(Vec::is_empty), "{head}\n{answer:?}");
        answered += 1;
    }
    assert_eq!(answered, PAGE.matches("\n```json").count(), "every example says how it is answered");
    assert!(answered > 5, "there are some");
    let found = service.api.request(&service.key, Method::POST, "/v1/messages/search");
    let found = service.api.call(found.json(&serde_json::json!({"reference": "kunde 8"}))).await;
    assert_eq!(found.body["messages"][0]["text"], "Hej Bo, vi ses kl. 10.30.");
}
