//! Look-ups: queue and log read as one list, reports in words, and nobody else's messages.
use budstikke::domain::content::to_bytes;
use budstikke::domain::inbound::{Content, Inbound, Languages, Segment};
use budstikke::domain::{Personal, Scope};
use budstikke::keyring::seal::{Field, PublicKey};
use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::service::{Service, mint, number, provide};

#[tokio::test]
async fn a_message_is_read_while_it_waits_and_after() {
    let service = Service::start().await;
    let text = "Æ".repeat(200);
    let id = service.sent("20123456", &text).await;
    let waiting = service.get(&format!("/v1/messages/{id}")).await;
    assert_eq!(waiting.status, StatusCode::OK, "{waiting:?}");
    assert_eq!(waiting.body["to"], "+4520123456");
    assert_eq!(waiting.body["text"], "Æ".repeat(160), "160 characters are logged");
    assert_eq!((&waiting.body["state"], &waiting.body["parts"]), (&json!("queued"), &json!(2)));
    assert_eq!(waiting.body["price"], "0.70", "all parts together");
    assert_eq!(waiting.body["final"], false);
    assert!(waiting.body["acceptedAt"].is_string() && waiting.body["submittedAt"].is_null());

    service.settle(&id, 4, Some(27)).await;
    let failed = service.get(&format!("/v1/messages/{id}")).await;
    assert_eq!(failed.body["state"], "failed");
    assert_eq!(failed.body["final"], true);
    assert_eq!(failed.body["error"], json!({"code": 27, "detail": "the handset is switched off or out of coverage"}));
    assert!(failed.body["submittedAt"].is_string() && failed.body["finalAt"].is_string());
    for same in ["to", "text", "from", "acceptedAt", "batchId"] {
        assert_eq!(failed.body[same], waiting.body[same], "{same}");
    }
}

#[tokio::test]
async fn another_tenant_finds_nothing() {
    let service = Service::start().await;
    let (_, other) = service.other_tenant("other").await;
    let answer = service.api.post(&service.key, &json!({"to": "20123456", "text": "Hej"})).await;
    let (id, batch) = (&answer.body["messages"][0]["id"], &answer.body["batchId"]);
    let (message, batch) = (format!("/v1/messages/{}", text(id)), format!("/v1/batches/{}", text(batch)));
    for path in [&message, &batch] {
        assert_eq!(service.get(path).await.status, StatusCode::OK);
        assert_eq!(service.api.get(&other, path).await.problem(404), "not-found");
    }
    assert_eq!(service.api.get(&other, "/v1/messages").await.body["messages"], json!([]));
    let filtered = format!("/v1/messages?batch={}", text(&answer.body["batchId"]));
    assert_eq!(service.api.get(&other, &filtered).await.body["messages"], json!([]));
    for unknown in [Uuid::now_v7().to_string(), Uuid::nil().to_string(), "x".to_owned()] {
        assert_eq!(service.get(&format!("/v1/messages/{unknown}")).await.problem(404), "not-found");
        assert_eq!(service.get(&format!("/v1/batches/{unknown}")).await.problem(404), "not-found");
    }
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_messages_come_and_move() {
    let service = Service::start().await;
    let mut sent = Vec::new();
    for nth in 0..25 {
        sent.push(service.sent(&number(), &format!("nr {nth}")).await);
    }
    for id in sent.iter().step_by(3) {
        service.settle(id, 3, None).await;
    }
    let (mut seen, mut path) = (Vec::new(), "/v1/messages?limit=4".to_owned());
    for page in 1.. {
        let answer = service.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let ids = answer.body["messages"].as_array().expect("a list").iter().map(|it| text(&it["id"]).to_owned());
        seen.extend(ids);
        // Between two pages a message comes in, one of the next page moves to the log, and one of the last one too.
        service.sent(&number(), "later").await;
        let moving: Vec<_> =
            sent.iter().rev().filter(|id| sent.iter().position(|it| it == *id).is_some_and(|at| at % 3 == 1)).collect();
        if let Some(id) = moving.get(page - 1) {
            service.settle(id, 2, None).await;
        }
        let Some(next) = answer.body["next"].as_str() else { break };
        path = format!("/v1/messages?limit=4&cursor={next}");
    }
    sent.reverse();
    assert_eq!(seen, sent, "newest first, each once, none that came later");
}

#[tokio::test]
async fn filters_narrow_the_list() {
    let service = Service::start().await;
    let first = service.sent("20100001", "en").await;
    let second = service.sent("20100002", "to").await;
    service.settle(&first, 3, None).await;
    let ids = async |query: &str| {
        let answer = service.get(&format!("/v1/messages?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body["messages"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| text(&it["id"]).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("state=delivered").await, std::slice::from_ref(&first));
    assert_eq!(ids("state=queued").await, std::slice::from_ref(&second));
    let accepted = service.get(&format!("/v1/messages/{second}")).await;
    let at = text(&accepted.body["acceptedAt"]).to_owned();
    assert_eq!(ids(&format!("from={at}")).await, std::slice::from_ref(&second));
    assert_eq!(ids(&format!("until={at}")).await, std::slice::from_ref(&first));
    assert_eq!(ids("until=2020-01-01T00:00:00Z").await, Vec::<String>::new());
    let batch = text(&accepted.body["batchId"]).to_owned();
    assert_eq!(ids(&format!("batch={batch}")).await, [second]);

    for (query, path) in [("limit=0", "limit"), ("limit=201", "limit"), ("cursor=x", "cursor")] {
        let answer = service.get(&format!("/v1/messages?{query}")).await;
        assert_eq!(answer.problem(422), "invalid");
        assert_eq!(answer.body["path"], path);
    }
    for query in ["limit=many", "state=lost", "batch=1", "colour=red"] {
        assert_eq!(service.get(&format!("/v1/messages?{query}")).await.problem(400), "malformed", "{query}");
    }
}

#[tokio::test]
async fn a_batch_counts_its_messages_by_state() {
    let service = Service::start().await;
    let to: Vec<String> = (0..60).map(|_| number()).collect();
    let sent = service.api.post(&service.key, &json!({"to": to, "text": "Hej"})).await;
    let messages = sent.body["messages"].as_array().expect("a list");
    service.settle(text(&messages[0]["id"]), 3, None).await;
    service.settle(text(&messages[3]["id"]), 4, Some(1)).await;
    service.sent(&number(), "another call").await;
    let batch = service.get(&format!("/v1/batches/{}", text(&sent.body["batchId"]))).await;
    assert_eq!(batch.status, StatusCode::OK, "{batch:?}");
    assert_eq!(batch.body["messages"], 60);
    assert_eq!(batch.body["states"], json!({"queued": 58, "delivered": 1, "failed": 1}));
    assert_eq!(batch.body["final"], false);
    let listed = service.get(&format!("/v1/messages?limit=200&batch={}", text(&sent.body["batchId"]))).await;
    let listed: Vec<_> = listed.body["messages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| text(&it["to"]))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, to.into_iter().rev().collect::<Vec<_>>(), "in the order of the call, the last first");
}

#[tokio::test]
async fn without_receipts_a_message_is_final_when_it_is_sent() {
    let service = Service::start().await;
    let answer = service.api.post(&service.key, &json!({"to": ["20123456", "20123457"], "text": "Hej"})).await;
    let ids = [0, 1].map(|nth| text(&answer.body["messages"][nth]["id"]).to_owned());
    let batch = format!("/v1/batches/{}", text(&answer.body["batchId"]));
    for (id, all) in [(&ids[0], false), (&ids[1], true)] {
        service.settle(id, 2, None).await;
        assert_eq!(service.get(&format!("/v1/messages/{id}")).await.body["final"], false, "a receipt is awaited");
        let over = sqlx::query("update message_log set final_at = now() where message_id = $1::uuid").bind(id);
        over.execute(&service.owner()).await.expect("no receipt was asked for");
        let message = service.get(&format!("/v1/messages/{id}")).await.body;
        assert_eq!((&message["state"], &message["final"]), (&json!("sent"), &json!(true)));
        assert_eq!(service.get(&batch).await.body["final"], all);
    }
    assert_eq!(service.get(&batch).await.body["states"], json!({"sent": 2}));
}

#[tokio::test]
async fn where_nothing_is_logged_there_is_no_history() {
    let service = Service::start().await;
    service.enforce("log_days = 0").await;
    let id = service.sent("20123456", "hemmeligt").await;
    let logged: bool =
        sqlx::query_scalar("select log_key is not null or entry is not null or number_hash is not null from queue")
            .fetch_one(&service.owner())
            .await
            .expect("a row");
    assert!(!logged, "D4");
    assert_eq!(service.get(&format!("/v1/messages/{id}")).await.problem(404), "not-found");
    assert_eq!(service.get("/v1/messages").await.body["messages"], json!([]));
}

#[tokio::test]
async fn who_opts_out_has_no_history_though_it_is_not_erased_yet() {
    let service = Service::start().await;
    let answer = service.api.post(&service.key, &json!({"to": "20123456", "text": "Hej"})).await;
    let paths = [("messages", &answer.body["messages"][0]["id"]), ("batches", &answer.body["batchId"])]
        .map(|(kind, id)| format!("/v1/{kind}/{}", text(id)));
    for path in &paths {
        assert_eq!(service.get(path).await.status, StatusCode::OK);
    }
    service.enforce("log_days = 0").await;
    // What the key opens is remembered for a second, and the message sealed as if it were to be logged: it is not (D4).
    let late = service.sent("20123457", "hemmeligt").await;
    let logged = "select log_key is not null or entry is not null or number_hash is not null from queue where message_id = $1::uuid";
    assert!(!sqlx::query_scalar::<_, bool>(logged).bind(late).fetch_one(&service.owner()).await.expect("a row"), "D4");
    // Another key of the tenant's opens what holds now.
    let key = mint(&service.databases, service.tenant, &Scope::ALL).await;
    for path in &paths {
        assert_eq!(service.api.get(&key, path).await.problem(404), "not-found");
    }
    assert_eq!(service.api.get(&key, "/v1/messages").await.body["messages"], json!([]));
}

#[tokio::test]
async fn received_messages_are_opened_for_their_tenant_alone() {
    let service = Service::start().await;
    let key = &provide(&service.databases, service.tenant).await[0];
    let public = PublicKey::new(service.tenant, &key.name, &key.key).expect("a key");
    let route = service.databases.route("route", &[(service.tenant, 1)]).await;
    let text_of = |text: &str| Content::Text(Personal::new(text.to_owned()));
    let binary = Content::Octets(Personal::new(vec![0xFF, 0x00]));
    let part = |octets: &[u8]| Content::Octets(Personal::new(octets.to_vec()));
    let [awaited, octets, whole] = [(); 3].map(|()| Uuid::now_v7());
    for (id, content, segment, of, done) in [
        (awaited, part(b"endnu"), Segment::checked(6, 1, 2), Some(awaited), false),
        (octets, binary, Segment::checked(7, 1, 2), None, true),
        (Uuid::now_v7(), part(b" hel"), Segment::checked(8, 2, 2), Some(whole), true),
        (whole, part(b"en"), Segment::checked(8, 1, 2), Some(whole), true),
        (Uuid::now_v7(), text_of("første"), None, None, true),
        (Uuid::now_v7(), text_of("anden"), None, None, true),
    ] {
        let from = Personal::new("4520123456".to_owned());
        let coding = segment.map(|segment| if segment.reference == 7 { 4 } else { 0 });
        let inbound = Inbound {
            from,
            to: Personal::new("1231".to_owned()),
            content,
            segment,
            coding,
            languages: Languages::default(),
        };
        let plain = to_bytes(&inbound).expect("bytes");
        sqlx::query(
            "insert into inbound (tenant_id, inbound_id, day, route_id, received_at, key_name, sealed, whole, done, open_until)
             values ($1, $2, (now() at time zone 'Europe/Copenhagen')::date, $3, now(), $4, $5, $6, $7, now() + interval '1 hour')",
        )
        .bind(service.tenant.0)
        .bind(id)
        .bind(route.0)
        .bind(&key.name)
        .bind(public.seal(id, Field::Inbound, plain.reveal()).expect("sealed"))
        .bind(of)
        .bind(done)
        .execute(&service.owner())
        .await
        .expect("store");
    }
    let page = service.get("/v1/inbound?limit=1").await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let newest = &page.body["messages"][0];
    assert_eq!(
        (&newest["from"], &newest["to"], &newest["text"]),
        (&json!("4520123456"), &json!("1231"), &json!("anden"))
    );
    let next = service.get(&format!("/v1/inbound?cursor={}", text(&page.body["next"]))).await;
    assert_eq!(next.body["messages"][0]["text"], "første");
    assert_eq!((&newest["parts"], &newest["missingParts"]), (&json!(1), &json!(null)));
    let all = next.body["messages"].as_array().expect("a list");
    assert_eq!(all.len(), 3, "one whose parts are awaited is not there yet");
    assert_eq!((&all[1]["id"], &all[1]["text"]), (&json!(whole), &json!("en hel")));
    assert_eq!((&all[1]["parts"], &all[1]["missingParts"]), (&json!(2), &json!(null)));
    assert_eq!((&all[2]["text"], &all[2]["octets"]), (&json!(null), &json!("/wA=")));
    assert_eq!((&all[2]["parts"], &all[2]["missingParts"]), (&json!(2), &json!([2])));
    assert!(next.body["next"].is_null());
    let found = json!({"number": "20123456"});
    let request = service.api.request(&service.key, reqwest::Method::POST, "/v1/inbound/search").json(&found);
    let found = service.api.call(request).await;
    let all = found.body["messages"].as_array().expect("a list");
    assert_eq!(all.len(), 5, "but all that there is of a number is found: {found:?}");
    assert_eq!((&all[4]["text"], &all[4]["missingParts"]), (&json!("endnu"), &json!([2])));
    let (other, _) = service.other_tenant("other").await;
    let other = mint(&service.databases, other, &[Scope::InboundRead]).await;
    assert_eq!(service.api.get(&other, "/v1/inbound").await.body["messages"], json!([]));
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().expect("a text")
}
