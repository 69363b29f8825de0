//! Setting endpoints up: what is taken, what is refused in words, and whose they are.
use budstikke::domain::Scope;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::service::mint;
use super::scene::{Scene, text};

const PATHS: [(Method, &str); 6] = [
    (Method::GET, ""),
    (Method::PATCH, ""),
    (Method::DELETE, ""),
    (Method::POST, "/rotate"),
    (Method::GET, "/deliveries"),
    (Method::POST, "/test"),
];

#[tokio::test]
async fn an_endpoint_is_set_up_read_changed_and_removed() {
    let scene = Scene::set().await;
    let new = json!({"url": "https://hooks.example.dk/sms", "events": ["message.final", "message.sent", "message.final"],
                     "description": "kundesystem"});
    let made = scene.call(Method::POST, "/v1/webhooks", &new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert!(text(&made.body["secret"]).starts_with("whsec_"));
    let path = format!("/v1/webhooks/{}", text(&made.body["id"]));
    let shown = scene.call(Method::GET, &path, &Value::Null).await.body;
    assert_eq!(shown["url"], "https://hooks.example.dk/sms");
    assert_eq!(shown["events"], json!(["message.sent", "message.final"]));
    assert_eq!((&shown["description"], &shown["enabled"]), (&json!("kundesystem"), &json!(true)));
    assert!(shown.get("secret").is_none(), "once is enough");
    assert_eq!(scene.call(Method::GET, "/v1/webhooks", &Value::Null).await.body["webhooks"], json!([shown]));

    let change = json!({"events": ["message.received"], "description": "", "enabled": false});
    let changed = scene.call(Method::PATCH, &path, &change).await.body;
    assert_eq!((&changed["events"], &changed["enabled"]), (&json!(["message.received"]), &json!(false)));
    assert_eq!((&changed["url"], &changed["disabledReason"]), (&shown["url"], &json!("asked")));
    assert!(changed.get("description").is_none());
    let changed = scene.call(Method::PATCH, &path, &json!({"url": "https://hooks.example.dk/2"})).await.body;
    assert_eq!((&changed["url"], &changed["enabled"]), (&json!("https://hooks.example.dk/2"), &json!(false)));

    assert_eq!(scene.call(Method::DELETE, &path, &Value::Null).await.status, StatusCode::NO_CONTENT);
    assert_eq!(scene.call(Method::GET, &path, &Value::Null).await.problem(404), "not-found");
    assert_eq!(scene.call(Method::GET, "/v1/webhooks", &Value::Null).await.body["webhooks"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words() {
    let scene = Scene::set().await;
    let new = |change: Value| {
        let mut new = json!({"url": "https://hooks.example.dk/", "events": ["message.final"]});
        new.as_object_mut().expect("fields").extend(change.as_object().expect("fields").clone());
        new
    };
    for (change, path, code) in [
        (json!({"url": "http://hooks.example.dk/"}), "url", "not_an_address"),
        (json!({"url": "hooks.example.dk"}), "url", "not_an_address"),
        (json!({"url": "https://me:secret@hooks.example.dk/"}), "url", "not_an_address"),
        (json!({"url": "https://192.168.1.1/"}), "url", "address_refused"),
        (json!({"events": []}), "events", "no_events"),
        (json!({"description": "x".repeat(201)}), "description", "text_length"),
        (json!({"description": "a\nb"}), "description", "control_character"),
    ] {
        let refused = scene.call(Method::POST, "/v1/webhooks", &new(change)).await;
        assert_eq!(refused.problem(422), "invalid");
        assert_eq!((&refused.body["path"], &refused.body["code"]), (&json!(path), &json!(code)));
    }
    for change in [json!({"events": ["message.lost"]}), json!({"events": ["webhook.test"]}), json!({"colour": "red"})] {
        assert_eq!(scene.call(Method::POST, "/v1/webhooks", &new(change)).await.problem(400), "malformed");
    }
    for nth in 0..10 {
        let made = scene.call(Method::POST, "/v1/webhooks", &new(json!({}))).await;
        assert_eq!(made.status, StatusCode::CREATED, "{nth}: {made:?}");
    }
    assert_eq!(scene.call(Method::POST, "/v1/webhooks", &new(json!({}))).await.problem(409), "many-webhooks");
}

#[tokio::test]
async fn nobody_else_sees_or_changes_an_endpoint() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    let (_, other) = scene.service.other_tenant("other").await;
    let api = &scene.service.api;
    let narrow = mint(
        &scene.service.databases,
        scene.service.tenant,
        &[Scope::MessagesSend, Scope::MessagesRead, Scope::InboundRead, Scope::DataRead],
    )
    .await;
    for (method, rest) in PATHS {
        let path = format!("/v1/webhooks/{webhook}{rest}");
        let call = |key| {
            let request = api.request(key, method.clone(), &path);
            api.call(if method == Method::PATCH { request.json(&json!({"enabled": false})) } else { request })
        };
        assert_eq!(call(&other).await.problem(404), "not-found", "{method} {rest}");
        assert_eq!(call(&narrow).await.problem(403), "missing-scope", "{method} {rest}");
    }
    assert_eq!(api.get(&other, "/v1/webhooks").await.body["webhooks"], json!([]));
    assert_eq!(api.get(&narrow, "/v1/webhooks").await.problem(403), "missing-scope");

    scene.call(Method::POST, &format!("/v1/webhooks/{webhook}/test"), &Value::Null).await;
    scene.deliver().await;
    let delivery = text(&scene.deliveries(&webhook).await[0]["id"]);
    let replay = format!("/v1/webhooks/{webhook}/deliveries/{delivery}/replay");
    let foreign = api.call(api.request(&other, Method::POST, &replay)).await;
    assert_eq!(foreign.problem(404), "not-found");
    assert_eq!(scene.deliver().await, 0);
    let read = scene.read(&webhook).await;
    assert_eq!(read["enabled"], true, "all is as it was");
    for unknown in [Uuid::now_v7().to_string(), "x".to_owned()] {
        let path = format!("/v1/webhooks/{unknown}");
        assert_eq!(scene.call(Method::GET, &path, &Value::Null).await.problem(404), "not-found");
    }
}

#[tokio::test]
async fn pages_of_deliveries_neither_skip_nor_repeat() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    for _ in 0..7 {
        scene.call(Method::POST, &format!("/v1/webhooks/{webhook}/test"), &Value::Null).await;
    }
    scene.deliver().await;
    let (mut seen, mut path) = (Vec::new(), format!("/v1/webhooks/{webhook}/deliveries?limit=3"));
    loop {
        let page = scene.call(Method::GET, &path, &Value::Null).await.body;
        seen.extend(page["deliveries"].as_array().expect("a list").iter().map(|it| text(&it["id"])));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/webhooks/{webhook}/deliveries?limit=3&cursor={next}");
    }
    let all: Vec<String> = scene.deliveries(&webhook).await.iter().map(|it| text(&it["id"])).collect();
    assert_eq!((seen.len(), seen), (7, all));
}
