//! What is accepted, what is refused, and that calls which share a commit do not share their fate.
use std::sync::Arc;

use budstikke::domain::{Clock, Scope, SystemClock};
use reqwest::StatusCode;
use serde_json::json;
use sqlx::postgres::PgListener;

use super::service::{Api, Service, mint, number};

#[tokio::test]
async fn one_recipient_gets_one_message() {
    let service = Service::start().await;
    let mut wake_ups = PgListener::connect_with(&service.owner()).await.expect("connect");
    wake_ups.listen("budstikke_wake").await.expect("listen");

    let answer = service.api.post(&service.key, &json!({"to": "20 12 34 56", "text": "Hej!"})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let message = &answer.body["messages"][0];
    assert_eq!(message["to"], "+4520123456");
    assert_eq!((&message["index"], &message["parts"]), (&json!(0), &json!(1)));
    assert_eq!((&message["state"], &message["encoding"]), (&json!("queued"), &json!("gsm")));
    assert_eq!(answer.body["refused"], json!([]));
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(service.count("queue").await, 1);
    let woken = wake_ups.recv().await.expect("a wake-up");
    assert_eq!(woken.payload(), service.tenant.to_string());

    let amount: i64 = sqlx::query_scalar("select amount from queue").fetch_one(&service.owner()).await.expect("a row");
    assert_eq!(amount, 35_000, "the price of the plan, for one part");
}

#[tokio::test]
async fn each_recipient_has_an_outcome_of_its_own() {
    let service = Service::start().await;
    let to = json!(["20100001", "no number", "+45 2010", "+4520100002", "20 10 00 01"]);
    let answer = service.api.post(&service.key, &json!({"to": to, "text": "Hej"})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let indexes: Vec<_> = answer.body["messages"].as_array().expect("a list").iter().map(|it| &it["index"]).collect();
    assert_eq!(indexes, [&json!(0), &json!(3)]);
    let refused: Vec<_> =
        answer.body["refused"].as_array().expect("a list").iter().map(|it| (&it["index"], &it["code"])).collect();
    assert_eq!(
        refused,
        [
            (&json!(1), &json!("number_malformed")),
            (&json!(2), &json!("number_not_in_numbering_plan")),
            (&json!(4), &json!("number_repeated"))
        ]
    );
    assert_eq!(service.count("queue").await, 2);

    let none = service.api.post(&service.key, &json!({"to": ["x", "1"], "text": "Hej"})).await;
    assert_eq!(none.problem(422), "recipients-refused");
    assert_eq!(none.body["refused"].as_array().map(Vec::len), Some(2));
    assert_eq!(service.count("queue").await, 2, "nothing more");
}

#[tokio::test]
async fn a_call_may_ask_to_go_first() {
    let service = Service::start().await;
    for (priority, urgent) in [(json!(null), false), (json!("normal"), false), (json!("high"), true)] {
        let mut call = json!({"to": "20123456", "text": "Din kode er 4711"});
        if !priority.is_null() {
            call["priority"] = priority.clone();
        }
        let answer = service.api.post(&service.key, &call).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let stored = "select urgent from queue order by message_id desc limit 1";
        let stored: bool = sqlx::query_scalar(stored).fetch_one(&service.owner()).await.expect("a row");
        assert_eq!(stored, urgent, "{priority}");
    }
    let wrong = json!({"to": "20123456", "text": "Hej", "priority": "urgent"});
    let refused = service.api.post(&service.key, &wrong).await;
    assert_eq!((refused.problem(400).as_str(), &refused.body["path"]), ("malformed", &json!("priority")));
}

#[tokio::test]
async fn a_dry_run_counts_and_stores_nothing() {
    let service = Service::start().await;
    let body = json!({"to": "20123456", "text": "ж".repeat(71), "dryRun": true});
    let answer = service.api.post(&service.key, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let message = &answer.body["messages"][0];
    assert_eq!((&message["parts"], &message["encoding"]), (&json!(2), &json!("ucs2")));
    assert!(message["id"].is_null() && answer.body["batchId"].is_null());
    assert_eq!(service.count("queue").await, 0);
}

#[tokio::test]
async fn a_suspension_holds_from_the_next_call_on() {
    let service = Service::start().await;
    let body = json!({"to": "20123456", "text": "Hej"});
    service.sent("20123456", "før").await;
    service.enforce("may_accept = false, code = 'suspended', reason = 'Spam reported on 3 March'").await;
    let refused = service.api.post(&service.key, &body).await;
    assert_eq!(refused.problem(403), "account-not-active");
    assert_eq!(refused.body["code"], "suspended");
    assert_eq!(refused.body["detail"], "Spam reported on 3 March");
    assert_eq!(service.count("queue").await, 1, "what was accepted waits");
    service.enforce("may_accept = true, code = null, reason = null").await;
    assert_eq!(service.api.post(&service.key, &body).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn calls_that_share_a_commit_do_not_share_their_fate() {
    let service = Service::start().await;
    let (suspended, suspended_key) = service.other_tenant("suspended").await;
    let (limited, limited_key) = service.other_tenant("limited").await;
    for (tenant, change) in
        [(suspended, "may_accept = false, code = 'unverified', reason = 'not yet'"), (limited, "messages_per_day = 7")]
    {
        let statement = format!("update enforcement set {change} where tenant_id = {tenant}");
        let operator = service.databases.data.pool("budstikke_operator");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&operator).await.expect("enforce");
    }
    let calls = (0..60).map(|nth| {
        let key = [&service.key, &suspended_key, &limited_key][nth % 3];
        let api = &service.api;
        async move {
            let body = json!({"to": [number(), number()], "text": "Hej"});
            (nth % 3, api.post_once(key, &format!("call {nth}"), &body).await)
        }
    });
    let answers = futures::future::join_all(calls).await;
    let with = |who: usize, status: StatusCode| {
        answers.iter().filter(|(tenant, answer)| *tenant == who && answer.status == status).count()
    };
    assert_eq!(with(0, StatusCode::ACCEPTED), 20);
    assert_eq!(with(1, StatusCode::FORBIDDEN), 20);
    assert_eq!(with(2, StatusCode::ACCEPTED), 3, "of two messages each, within seven");
    assert_eq!(with(2, StatusCode::TOO_MANY_REQUESTS), 17);
    assert_eq!(service.count("queue").await, 46);
    let used: i32 = sqlx::query_scalar("select used from quota").fetch_one(&service.owner()).await.expect("a quota");
    assert_eq!(used, 6, "refused calls gave back what they asked for");

    let (_, over) = answers.iter().find(|(_, answer)| answer.status == StatusCode::TOO_MANY_REQUESTS).expect("one");
    assert_eq!(over.problem(429), "quota-exceeded");
    assert!((1..=86_400).contains(&over.retry_after()));
    assert_eq!(service.count("idempotency").await, 23, "a refusal is no answer to repeat");
    let one = service.api.post(&limited_key, &json!({"to": number(), "text": "Hej"})).await;
    assert_eq!(one.status, StatusCode::ACCEPTED, "the seventh still fits");
}

/// Calls wait for a commit under way, to share the next: not for one that itself waits.
#[tokio::test]
async fn a_call_that_cannot_be_stored_yet_holds_up_no_others() {
    let service = Service::start().await;
    // The locks of opt-outs are shared by accounts, but not by these two.
    let (mut tenant, mut key) = service.other_tenant("other").await;
    if (tenant.0 - service.tenant.0) % 128 == 0 {
        (tenant, key) = service.other_tenant("another").await;
    }
    let owner = service.owner();
    let mut list_grows = owner.begin().await.expect("a transaction");
    sqlx::query("select opt_out_lock($1)").bind(tenant.0).execute(&mut *list_grows).await.expect("a lock");
    let body = json!({"to": number(), "text": "Hej"});
    let held = service.api.post(&key, &body);
    let others = async {
        let waits = "select exists (select from pg_locks where locktype = 'advisory' and not granted
            and database = (select oid from pg_database where datname = current_database()))";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&owner).await.expect("an answer") {
            tokio::task::yield_now().await;
        }
        let stored = service.api.post(&service.key, &body).await;
        assert_eq!(stored.status, StatusCode::ACCEPTED, "{stored:?}");
        assert_eq!(service.count("queue").await, 1, "the first still waits");
        list_grows.commit().await.expect("unlocked");
    };
    let (held, ()) = futures::future::join(held, others).await;
    assert_eq!(held.status, StatusCode::ACCEPTED, "{held:?}");
}

#[tokio::test]
async fn calls_that_come_at_once_share_a_commit() {
    const CALLS: usize = 40;
    let service = Service::start().await;
    let owner = service.owner();
    // What is being stored waits for a lock, so that the rest comes meanwhile.
    let mut list_grows = owner.begin().await.expect("a transaction");
    sqlx::query("select opt_out_lock($1)").bind(service.tenant.0).execute(&mut *list_grows).await.expect("a lock");
    let calls = futures::future::join_all((0..CALLS).map(|nth| {
        let body = json!({"to": format!("201{nth:05}"), "text": "Hej"});
        let (api, key) = (&service.api, &service.key);
        async move { api.post(key, &body).await.status }
    }));
    let others = async {
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
            and database = (select oid from pg_database where datname = current_database())";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&owner).await.expect("an answer") < 2 {
            tokio::task::yield_now().await;
        }
        list_grows.commit().await.expect("unlocked");
    };
    let (statuses, ()) = futures::future::join(calls, others).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::ACCEPTED), "{statuses:?}");
    let (messages, transactions): (i64, i64) =
        sqlx::query_as("select count(*), count(distinct xmin::text) from queue").fetch_one(&owner).await.expect("rows");
    assert_eq!(messages, i64::try_from(CALLS).expect("few"));
    assert!(transactions * 2 <= messages, "{messages} messages in {transactions} transactions");
}

#[tokio::test]
async fn a_key_may_do_what_its_scopes_say() {
    let service = Service::start().await;
    let send = mint(&service.databases, service.tenant, &[Scope::MessagesSend]).await;
    let read = mint(&service.databases, service.tenant, &[Scope::MessagesRead]).await;
    let body = json!({"to": "20123456", "text": "Hej"});
    assert_eq!(service.api.post(&send, &body).await.status, StatusCode::ACCEPTED);
    assert_eq!(service.api.get(&send, "/v1/messages").await.problem(403), "missing-scope");
    assert_eq!(service.api.get(&read, "/v1/messages").await.status, StatusCode::OK);
    assert_eq!(service.api.post(&read, &body).await.problem(403), "missing-scope");
    assert_eq!(service.api.get(&read, "/v1/inbound").await.problem(403), "missing-scope");
}

#[tokio::test]
async fn what_is_part_of_a_service_that_the_account_lacks_is_refused_by_its_name() {
    let service = Service::start().await;
    service.enforce("services = '{portal,bulk}'").await;
    let body = json!({"to": "20123456", "text": "Hej"});
    for answer in [
        service.api.post(&service.key, &body).await,
        service.get("/v1/messages").await,
        service.get("/v1/inbound").await,
        service.get("/v1/webhooks").await,
    ] {
        assert_eq!(answer.problem(403), "missing-service");
        assert_eq!(answer.body["code"], "api");
        let detail = answer.body["detail"].as_str().expect("a detail");
        assert_eq!(
            detail,
            "this call needs the service `api`, which the account does not have: ask the provider for it"
        );
    }
    assert_eq!(service.count("queue").await, 0);
    assert_eq!(service.get("/v1/disclosures").await.status, StatusCode::OK, "what is registered is the tenant's (D7)");
    assert_eq!(service.get("/v1/opt-outs").await.status, StatusCode::OK, "and whom not to write to depends on nothing");

    service.enforce("services = '{api}', sender_ids = '{1204,Nordlys}', sender_lacks = '{premium,\"\"}'").await;
    let key = mint(&service.databases, service.tenant, &Scope::ALL).await;
    let answer = service.api.post(&key, &json!({"to": "20123456", "text": "Hej", "from": "1204"})).await;
    assert_eq!((answer.problem(403).as_str(), &answer.body["code"]), ("missing-service", &json!("premium")));
    let answer = service.api.post(&key, &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let id = answer.body["messages"][0]["id"].as_str().expect("an id");
    let sent = service.api.get(&key, &format!("/v1/messages/{id}")).await;
    assert_eq!(sent.body["from"], "Nordlys", "the first that it may use");
}

#[tokio::test]
async fn schedule_validity_and_sender_are_stored_as_asked() {
    let service = Service::start().await;
    let at = jiff::Timestamp::now().saturating_add(jiff::SignedDuration::from_hours(5)).expect("a timestamp");
    let body = json!({"to": "20123456", "text": "Hej", "from": "Budstikke", "sendAt": at.to_string(), "validity": 600});
    let answer = service.api.post(&service.key, &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let (kept, seconds): (bool, i64) = sqlx::query_as(
        "select abs(extract(epoch from not_before - $1::timestamptz)) < 0.001,
             extract(epoch from expires_at - not_before)::bigint from queue",
    )
    .bind(at.to_string())
    .fetch_one(&service.owner())
    .await
    .expect("a row");
    assert!(kept);
    assert_eq!(seconds, 600);
    let id = answer.body["messages"][0]["id"].as_str().expect("an id");
    let message = service.get(&format!("/v1/messages/{id}")).await;
    assert_eq!(message.body["from"], "Budstikke");
    assert!(message.body["sendAt"].is_string(), "{message:?}");
}

#[tokio::test]
async fn each_recipient_may_have_words_of_its_own() {
    let service = Service::start().await;
    let (ase, bo) = (number(), number());
    let body = json!({"text": "Hej {{navn}}, vi ses kl. {{tid}}", "to": [
        {"number": ase, "parameters": {"navn": "Åse", "tid": "10.15"}},
        {"number": bo, "parameters": {"navn": "ж".repeat(70), "tid": "11"}},
        {"number": number(), "parameters": {"navn": "Bo"}},
        number(),
    ]});
    let answer = service.api.post(&service.key, &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let accepted = answer.body["messages"].as_array().expect("a list");
    let seen: Vec<_> =
        accepted.iter().map(|one| (&one["index"], &one["encoding"], &one["parts"], &one["price"])).collect();
    let (gsm, ucs2) = (json!("gsm"), json!("ucs2"));
    assert_eq!(seen, [(&json!(0), &gsm, &json!(1), &json!("0.35")), (&json!(1), &ucs2, &json!(2), &json!("0.70"))]);
    for (at, word) in [(0, "tid"), (1, "navn")] {
        let refused = &answer.body["refused"][at];
        assert_eq!(refused["code"], "parameter_missing");
        let detail = format!("the text has a place {{{{{word}}}}} and the recipient no parameter of that name");
        assert_eq!(refused["detail"], detail);
    }
    let message = service.get(&format!("/v1/messages/{}", accepted[0]["id"].as_str().expect("an id"))).await;
    assert_eq!(message.body["text"], "Hej Åse, vi ses kl. 10.15");

    let plain = service.sent(&number(), "Hej {{navn}}").await;
    let message = service.get(&format!("/v1/messages/{plain}")).await;
    assert_eq!(message.body["text"], "Hej {{navn}}", "without parameters it is text as any other");
    for (to, path) in
        [(json!([{"nummer": "20123456"}]), "to[0]"), (json!([1]), "to[0]"), (json!({"number": 1}), "to.number")]
    {
        let refused = service.api.post(&service.key, &json!({"to": to, "text": "Hej"})).await;
        assert_eq!(refused.problem(400), "malformed");
        assert!(refused.body["path"].as_str().is_some_and(|at| at.starts_with(path)), "{refused:?}");
    }
}

#[tokio::test]
async fn where_and_under_what_name_an_account_may_send_is_kept_to() {
    let service = Service::start().await;
    service
        .enforce(
            "sender_ids = '{Nordlys,Aurora}', sender_countries = '{\"DK,FO\",SE}', allowed_prefixes = '{45,46,47}'",
        )
        .await;
    let to = json!(["20123456", "+46701234567", "+4740612345", "+4915123456789"]);
    let answer = service.api.post(&service.key, &json!({"to": to, "text": "Hej"})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let mut senders = Vec::new();
    for message in answer.body["messages"].as_array().expect("a list") {
        let id = message["id"].as_str().expect("an id");
        senders.push(service.get(&format!("/v1/messages/{id}")).await.body["from"].clone());
    }
    assert_eq!(senders, ["Nordlys", "Aurora"], "the first that fits the country");
    let codes: Vec<_> = (0..2).map(|at| answer.body["refused"][at]["code"].clone()).collect();
    assert_eq!(codes, ["sender_id_not_in_country", "destination_not_allowed"]);

    let asked = json!({"to": ["20123456", "+46701234567"], "text": "Hej", "from": "Aurora"});
    let answer = service.api.post(&service.key, &asked).await;
    assert_eq!(answer.body["messages"][0]["index"], 1);
    assert_eq!(answer.body["refused"][0]["code"], "sender_id_not_in_country");
}

/// A clock that stands.
#[derive(Debug)]
struct Still(jiff::Timestamp);

impl Clock for Still {
    fn now(&self) -> jiff::Timestamp {
        self.0
    }
}

#[tokio::test]
async fn a_quota_holds_for_calls_without_a_key() {
    let service = Service::start().await;
    let api = Api::at(&service.databases, 10_000, Arc::new(Still(SystemClock.now()))).await;
    let send = async || api.post(&service.key, &json!({"to": number(), "text": "Hej"})).await;
    for limit in ["messages_per_hour = 1", "messages_per_hour = null, messages_per_day = 1"] {
        service.enforce(limit).await;
        assert_eq!(send().await.status, StatusCode::ACCEPTED);
        assert_eq!(send().await.problem(429), "quota-exceeded", "{limit}");
    }
    assert_eq!(service.count("queue").await, 2);
}

#[tokio::test]
async fn an_hour_has_its_quota_beside_the_day() {
    let service = Service::start().await;
    service.enforce("messages_per_hour = 3, messages_per_day = 5").await;
    // One instant, so that no hour ends meanwhile.
    let api = Api::at(&service.databases, 10_000, Arc::new(Still(SystemClock.now()))).await;
    let send = async |count: usize| {
        let to: Vec<_> = (0..count).map(|_| number()).collect();
        api.post_once(&service.key, &uuid::Uuid::now_v7().to_string(), &json!({"to": to, "text": "Hej"})).await
    };
    assert_eq!(send(2).await.status, StatusCode::ACCEPTED);
    let over = send(2).await;
    assert_eq!(over.problem(429), "quota-exceeded");
    let hour = "the account may send 3 messages an hour, and this call exceeds it; nothing was accepted";
    assert_eq!(over.body["detail"], hour);
    assert!((1..=3600).contains(&over.retry_after()));
    assert_eq!(send(1).await.status, StatusCode::ACCEPTED, "what was refused has used nothing");

    // As in the next hour.
    sqlx::query("update quota set hour = hour + 1 where hour >= 0").execute(&service.owner()).await.expect("later");
    let over = send(3).await;
    assert!(over.body["detail"].as_str().is_some_and(|said| said.contains("5 messages a day")), "{over:?}");
    assert_eq!(send(2).await.status, StatusCode::ACCEPTED, "the hour was given back what the day had no room for");
    assert_eq!((service.count("queue").await, service.count("idempotency").await), (5, 3));
}
