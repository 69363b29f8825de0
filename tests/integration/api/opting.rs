//! Those who want nothing more: on the list by the API and by SMS, refused on accept, and what waits for them ended.
use std::time::{Duration, Instant};

use budstikke::domain::{Scope, TenantId};
use budstikke::keyring::seal::{Field, PublicKey};
use budstikke::keyring::{self, Kek, Keyring};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::service::{Answer, KEK, Service, mint, number};

const PATIENCE: Duration = Duration::from_secs(60);

impl Service {
    async fn opt_out(&self, numbers: &[&str]) -> Value {
        let request = self.api.request(&self.key, Method::POST, "/v1/opt-outs").json(&json!({"numbers": numbers}));
        let answer = self.api.call(request).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body
    }

    async fn listed(&self) -> Vec<Value> {
        let page = self.get("/v1/opt-outs").await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        page.body["optOuts"].as_array().expect("a list").clone()
    }

    async fn send_to(&self, to: &Value, dry_run: bool) -> Answer {
        self.api.post(&self.key, &json!({"to": to, "text": "Hej", "dryRun": dry_run})).await
    }

    /// Sends one message for later and returns its id.
    async fn scheduled(&self, to: &str) -> String {
        let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(5);
        let answer = self.api.post(&self.key, &json!({"to": to, "text": "Hej", "sendAt": later.to_string()})).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        answer.body["messages"][0]["id"].as_str().expect("an id").to_owned()
    }

    /// State and error as they are stored.
    async fn logged(&self, id: &str) -> Option<(i16, Option<i32>)> {
        sqlx::query_as("select state, error from message_log where message_id = $1::uuid")
            .bind(id)
            .fetch_optional(&self.owner())
            .await
            .expect("read the log")
    }

    /// What a connector stores when a handset writes such a word.
    async fn asked_by_sms(&self, from: &str, stops: bool) {
        let id = Uuid::now_v7();
        sqlx::query(
            "insert into opt_out_request (tenant_id, request_id, stops, sealed, asked_at) values ($1, $2, $3, $4, now())",
        )
        .bind(self.tenant.0)
        .bind(id)
        .bind(stops)
        .bind(sealed_to(self, self.tenant, id, from).await)
        .execute(&self.owner())
        .await
        .expect("stored");
    }
}

async fn sealed_to(service: &Service, tenant: TenantId, id: Uuid, from: &str) -> Vec<u8> {
    let pool = keyring::connect(&service.databases.keyring.dsn("budstikke_operator"), 1, "test");
    let keyring = Keyring::open(pool.clone(), Kek::parse(KEK).expect("a key"));
    let key = keyring.account_key(tenant).await.expect("the account's key");
    let public = PublicKey::new(tenant, key.name(), &key.requests_key()).expect("its public half");
    pool.close().await;
    public.seal(id, Field::OptOutRequest, from.as_bytes()).expect("sealed")
}

/// Looks until something holds.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn who_is_on_the_list_is_refused_until_taken_off() {
    let service = Service::start().await;
    let (listed, free) = (number(), number());
    // Before there is a list: what is remembered of the caller says so for a while.
    service.sent(&listed, "Hej").await;

    let answer = service.opt_out(&[&listed, "abc", &listed[3..]]).await;
    let id = answer["optOuts"][0]["id"].as_str().expect("an id").to_owned();
    let places = json!([{"index": 0, "id": id, "added": true}, {"index": 2, "id": id, "added": false}]);
    assert_eq!(answer["optOuts"], places, "the same number twice is one entry");
    assert_eq!(answer["refused"][0]["index"], 1);
    assert_eq!(answer["refused"][0]["code"], "number_malformed");
    assert_eq!(answer["ended"], 1, "what waited");

    for dry_run in [true, false] {
        let some = service.send_to(&json!([listed, free]), dry_run).await;
        assert_eq!(some.status.as_u16(), if dry_run { 200 } else { 202 }, "{some:?}");
        assert_eq!(some.body["messages"].as_array().map(Vec::len), Some(1));
        assert_eq!((&some.body["messages"][0]["index"], &some.body["messages"][0]["to"]), (&json!(1), &json!(free)));
        assert_eq!(
            (&some.body["refused"][0]["index"], &some.body["refused"][0]["code"]),
            (&json!(0), &json!("opted_out"))
        );
        let all = service.send_to(&json!(listed), dry_run).await;
        assert_eq!(all.problem(422), "recipients-refused");
    }
    assert_eq!(service.count("queue").await, 1, "to the other one alone");
    let (_, other) = service.other_tenant("other").await;
    let others = service.api.post(&other, &json!({"to": listed, "text": "Hej"})).await;
    assert_eq!(others.status, StatusCode::ACCEPTED, "another tenant's list is another list");

    let shown = service.listed().await;
    assert_eq!(
        (&shown[0]["id"], &shown[0]["number"], &shown[0]["source"]),
        (&json!(id), &json!(listed), &json!("api"))
    );
    let again = service.opt_out(&[&listed]).await;
    assert_eq!(again["optOuts"], json!([{"index": 0, "id": id, "added": false}]));
    assert_eq!(service.listed().await.len(), 1, "adding again changes nothing");

    let path = format!("/v1/opt-outs/{id}");
    let remove = async |key| service.api.call(service.api.request(key, Method::DELETE, &path)).await;
    assert_eq!(remove(&other).await.problem(404), "not-found", "nobody else's to remove");
    assert_eq!(remove(&service.key).await.status, StatusCode::NO_CONTENT);
    assert_eq!(remove(&service.key).await.problem(404), "not-found");
    assert_eq!(service.send_to(&json!(listed), false).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn the_list_is_looked_up_and_paged_and_needs_its_own_scope() {
    let service = Service::start().await;
    let numbers = [number(), number(), number()];
    let all: Vec<&str> = numbers.iter().map(String::as_str).collect();
    service.opt_out(&all).await;
    let search = async |number: &str| {
        let request = service.api.request(&service.key, Method::POST, "/v1/opt-outs/search");
        service.api.call(request.json(&json!({"number": number}))).await
    };
    let found = search(&numbers[1][3..]).await;
    assert_eq!(found.body["optOuts"][0]["number"], numbers[1]);
    assert_eq!(search(&number()).await.body, json!({"optOuts": []}));
    assert_eq!(search("12").await.body["code"], "number_not_in_numbering_plan");

    let (mut paged, mut path) = (Vec::new(), "/v1/opt-outs?limit=2".to_owned());
    loop {
        let page = service.get(&path).await.body;
        let page_of = page["optOuts"].as_array().expect("a list").iter();
        paged.extend(page_of.map(|entry| entry["number"].as_str().expect("a number").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/opt-outs?limit=2&cursor={next}");
    }
    assert_eq!(paged, [&numbers[2], &numbers[1], &numbers[0]].map(String::clone), "newest first");

    let call = async |body: Value| {
        service.api.call(service.api.request(&service.key, Method::POST, "/v1/opt-outs").json(&body)).await
    };
    assert_eq!(call(json!({"numbers": []})).await.body["code"], "numbers_empty");
    assert_eq!(call(json!({"numbers": vec!["1"; 10_001]})).await.body["code"], "too_many_numbers");
    assert_eq!(call(json!({"number": "1"})).await.problem(400), "malformed");
    let others: Vec<Scope> = Scope::ALL.into_iter().filter(|scope| *scope != Scope::OptOutsManage).collect();
    let key = mint(&service.databases, service.tenant, &others).await;
    assert_eq!(service.api.get(&key, "/v1/opt-outs").await.problem(403), "missing-scope");
}

#[tokio::test]
async fn ten_thousand_numbers_fit_in_a_call() {
    let service = Service::start().await;
    let numbers: Vec<String> = (0..10_000).map(|nth| format!("+45202{nth:05}")).collect();
    let all: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let answer = service.opt_out(&all).await;
    let added = answer["optOuts"].as_array().expect("a list").iter().filter(|entry| entry["added"] == true).count();
    assert_eq!((added, service.count("opt_out").await), (10_000, 10_000));
    assert_eq!(service.send_to(&json!(numbers[9_999]), false).await.problem(422), "recipients-refused");
}

#[tokio::test]
async fn what_waits_is_ended_and_what_is_on_its_way_is_not() {
    let service = Service::start().await;
    let to = number();
    let later = service.scheduled(&to).await;
    let (held, flying, others) =
        (service.scheduled(&to).await, service.scheduled(&to).await, service.scheduled(&number()).await);
    for (change, id) in [
        ("update queue set state = 1 where message_id = $1::uuid", &held),
        (
            "insert into flight (tenant_id, flight_id, epoch, route_id, message_ids)
             select tenant_id, gen_random_uuid(), 1, 1, array[message_id] from queue where message_id = $1::uuid",
            &flying,
        ),
    ] {
        sqlx::query(change).bind(id).execute(&service.owner()).await.expect("changed");
    }
    // Where nothing is logged, nothing but the message itself says whom it is for.
    service.enforce("log_days = 0").await;
    let unlogged = service.scheduled(&to).await;
    let others_unlogged = service.scheduled(&number()).await;
    service.enforce("log_days = 90").await;

    assert_eq!(service.opt_out(&[&to]).await["ended"], 3);
    assert_eq!(service.logged(&later).await, Some((7, Some(-7))), "cancelled");
    assert_eq!(service.logged(&unlogged).await, Some((7, Some(-7))));
    assert_eq!(service.logged(&held).await, Some((8, Some(-7))), "whether that was sent nobody knows");
    for waits in [&flying, &others, &others_unlogged] {
        assert_eq!(service.logged(waits).await, None);
    }
    let message = service.get(&format!("/v1/messages/{later}")).await.body;
    assert_eq!((&message["state"], &message["error"]["code"]), (&json!("cancelled"), &json!(-7)));
    assert_eq!(message["error"]["detail"], "the recipient opted out before it was sent");
}

#[tokio::test]
async fn a_repeated_call_is_answered_as_before_whatever_was_listed_since() {
    let service = Service::start().await;
    let call = json!({"to": [number(), number()], "text": "Hej"});
    let first = service.api.post_once(&service.key, "en-gang", &call).await;
    service.opt_out(&[call["to"][0].as_str().expect("a number")]).await;
    let again = service.api.post_once(&service.key, "en-gang", &call).await;
    assert_eq!((again.status, &again.body), (StatusCode::ACCEPTED, &first.body));
    service.opt_out(&[call["to"][1].as_str().expect("a number")]).await;
    let again = service.api.post_once(&service.key, "en-gang", &call).await;
    assert_eq!((again.status, &again.body), (StatusCode::ACCEPTED, &first.body));
    assert_eq!(service.count("queue").await, 0, "both have been ended");
}

#[tokio::test]
async fn what_was_asked_by_sms_holds_for_the_next_call_whoever_was_away() {
    let service = Service::start().await;
    let (stops, changes) = (number(), number());
    service.sent(&number(), "Hej").await;
    service.asked_by_sms(&stops[1..], true).await;
    service.asked_by_sms(&changes, true).await;
    service.asked_by_sms(&changes, false).await;
    // Neither can be sent to: nobody is to be entered.
    service.asked_by_sms("1231", true).await;
    service.asked_by_sms("Budstikke", true).await;

    let answer = service.send_to(&json!([stops, changes]), false).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(answer.body["messages"][0]["to"], changes);
    assert_eq!(answer.body["refused"][0]["code"], "opted_out");
    let shown = service.listed().await;
    assert_eq!((shown.len(), &shown[0]["number"], &shown[0]["source"]), (1, &json!(stops), &json!("keyword")));
    until("the requests are done with", async || (service.count("opt_out_request").await == 0).then_some(())).await;

    // National, as some networks write it.
    service.asked_by_sms(&stops[3..], false).await;
    assert_eq!(service.send_to(&json!(stops), true).await.status, StatusCode::OK, "taken off again");
    assert!(service.listed().await.is_empty());
}

#[tokio::test]
async fn what_was_asked_by_sms_is_entered_though_nobody_calls() {
    let service = Service::start().await;
    let to = number();
    let later = service.scheduled(&to).await;
    service.asked_by_sms(&to, true).await;
    let ended = until("the message ends", async || service.logged(&later).await).await;
    assert_eq!(ended, (7, Some(-7)));
    until("the request is done with", async || (service.count("opt_out_request").await == 0).then_some(())).await;
    assert_eq!(service.count("opt_out").await, 1);
}

#[tokio::test]
async fn a_number_is_entered_after_the_calls_that_did_not_find_it_are_stored() {
    let service = Service::start().await;
    let to = number();
    let api = service.databases.data.pool("budstikke_api");
    let mut accepting = api.begin().await.expect("a transaction");
    let gate: i16 = sqlx::query_scalar("select gate from opt_out_gates(array[$1::bigint])")
        .bind(service.tenant.0)
        .fetch_one(&mut *accepting)
        .await
        .expect("the gate");
    assert_eq!(gate, 0, "no list");
    let numbers = [to.as_str()];
    let adding = service.opt_out(&numbers);
    tokio::pin!(adding);
    let owner = service.owner();
    let waits = until("the list waits for the call", async || {
        let waiting = sqlx::query_scalar::<_, bool>(
            "select exists (select from pg_locks where locktype = 'advisory' and not granted
                and database = (select oid from pg_database where datname = current_database()))",
        );
        waiting.fetch_one(&owner).await.expect("locks").then_some(())
    });
    tokio::select! {
        _ = &mut adding => panic!("it did not wait for the call"),
        () = waits => {}
    }
    accepting.commit().await.expect("committed");
    assert_eq!(adding.await["optOuts"][0]["added"], true);
    let mut next = api.begin().await.expect("a transaction");
    let gate: i16 = sqlx::query_scalar("select gate from opt_out_gates(array[$1::bigint])")
        .bind(service.tenant.0)
        .fetch_one(&mut *next)
        .await
        .expect("a gate");
    assert_eq!(gate, 1, "the next call is held against it");
}
