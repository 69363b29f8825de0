//! What becomes of messages that wait: cancelled, released, given up; and never of those that are on their way.
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::service::{Answer, Service, number};

impl Service {
    async fn decide(&self, decision: &str, body: &Value) -> Answer {
        let request = self.api.request(&self.key, Method::POST, &format!("/v1/messages/{decision}"));
        self.api.call(request.json(body)).await
    }

    async fn state(&self, id: &str) -> Value {
        self.get(&format!("/v1/messages/{id}")).await.body["state"].clone()
    }

    /// As its sender does: one flight with this message.
    async fn fly(&self, id: &str) {
        let flight = "insert into flight (tenant_id, flight_id, epoch, route_id, message_ids)
                      values ($1, gen_random_uuid(), 1, 1, array[$2::uuid])";
        sqlx::query(flight).bind(self.tenant.0).bind(id).execute(&self.owner()).await.expect("a flight");
    }

    async fn hold(&self, id: &str) {
        let held = sqlx::query("update queue set state = 1 where message_id = $1::uuid").bind(id);
        assert_eq!(held.execute(&self.owner()).await.expect("held").rows_affected(), 1);
    }
}

#[tokio::test]
async fn what_was_not_sent_is_cancelled_and_what_is_on_its_way_is_not() {
    let service = Service::start().await;
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(20);
    let later = json!({"to": number(), "text": "Hej", "sendAt": tomorrow.to_string()});
    let later =
        service.api.post(&service.key, &later).await.body["messages"][0]["id"].as_str().expect("an id").to_owned();
    let now = service.sent(&number(), "Hej").await;
    let flying = service.sent(&number(), "Hej").await;
    service.fly(&flying).await;
    let sent = service.sent(&number(), "Hej").await;
    service.settle(&sent, 2, None).await;
    let (other, other_key) = service.other_tenant("other").await;
    let others = service.api.post(&other_key, &json!({"to": number(), "text": "Hej"})).await;
    let others = others.body["messages"][0]["id"].as_str().expect("an id").to_owned();
    let unknown = Uuid::now_v7().to_string();

    let all = json!({"messages": [later, now, flying, sent, others, unknown, now]});
    let answer = service.decide("cancel", &all).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.body, json!({"messages": [later, now], "untouched": [flying, sent, others, unknown]}));
    for id in [&later, &now] {
        let message = service.get(&format!("/v1/messages/{id}")).await.body;
        assert_eq!((&message["state"], &message["final"]), (&json!("cancelled"), &json!(true)));
        assert_eq!(message["stateText"], "cancelled before it was sent");
    }
    assert_eq!((service.state(&flying).await, service.state(&sent).await), (json!("queued"), json!("sent")));
    assert_eq!(service.count("usage").await, 0, "it costs nothing");
    let waits: i64 = sqlx::query_scalar("select count(*) from queue where tenant_id = $1")
        .bind(other.0)
        .fetch_one(&service.owner())
        .await
        .expect("a count");
    assert_eq!(waits, 1, "another account's is not touched");

    let again = service.decide("cancel", &json!({"messages": [now]})).await;
    assert_eq!(again.body, json!({"messages": [], "untouched": [now]}));
}

#[tokio::test]
async fn a_call_is_cancelled_whole_but_for_what_is_on_its_way() {
    let service = Service::start().await;
    let call = json!({"to": [number(), number(), number()], "text": "Hej"});
    let accepted = service.api.post(&service.key, &call).await.body;
    let ids: Vec<&str> =
        accepted["messages"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    let beside = service.sent(&number(), "Hej").await;
    service.fly(ids[1]).await;
    let answer = service.decide("cancel", &json!({"batch": accepted["batchId"]})).await;
    assert_eq!(answer.body, json!({"messages": [ids[0], ids[2]], "untouched": []}));
    let batch = service.get(&format!("/v1/batches/{}", accepted["batchId"].as_str().expect("an id"))).await.body;
    assert_eq!(batch["states"], json!({"cancelled": 2, "queued": 1}));
    assert_eq!(service.state(&beside).await, "queued");
}

#[tokio::test]
async fn a_flight_that_is_being_begun_is_waited_for() {
    let service = Service::start().await;
    let owner = service.owner();
    sqlx::query("insert into sender_epoch (tenant_id, epoch) values ($1, 1)")
        .bind(service.tenant.0)
        .execute(&owner)
        .await
        .expect("an epoch");
    let id = service.sent(&number(), "Hej").await;
    // As `sender_launch` does, after its gate and before its commit.
    let mut launch = owner.begin().await.expect("begin");
    sqlx::query("select from sender_epoch where tenant_id = $1 and epoch = 1 for share")
        .bind(service.tenant.0)
        .execute(&mut *launch)
        .await
        .expect("the gate");
    sqlx::query(
        "insert into flight (tenant_id, flight_id, epoch, route_id, message_ids)
         values ($1, gen_random_uuid(), 1, 1, array[$2::uuid])",
    )
    .bind(service.tenant.0)
    .bind(&id)
    .execute(&mut *launch)
    .await
    .expect("a flight");
    let body = json!({"messages": [id]});
    let (answer, ()) = tokio::join!(service.decide("cancel", &body), async {
        // The owner of the schema does not see what others ask.
        let watch = service.databases.data.pool("postgres");
        let waits = "select exists (select from pg_stat_activity
                     where datname = $1 and wait_event_type = 'Lock' and query like '%decide(%')";
        let deadline = Instant::now() + Duration::from_secs(30);
        let database: String = sqlx::query_scalar("select current_database()").fetch_one(&owner).await.expect("a name");
        while !sqlx::query_scalar::<_, bool>(waits).bind(&database).fetch_one(&watch).await.expect("an answer") {
            assert!(Instant::now() < deadline, "it does not wait");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        launch.commit().await.expect("commit");
    });
    assert_eq!(answer.body, json!({"messages": [], "untouched": [id]}));
    assert_eq!(service.state(&id).await, "queued");
}

#[tokio::test]
async fn what_is_held_is_released_or_given_up() {
    let service = Service::start().await;
    let (again, never) = (service.sent(&number(), "Hej").await, service.sent(&number(), "Hej").await);
    let waiting = service.sent(&number(), "Hej").await;
    for id in [&again, &never] {
        service.hold(id).await;
    }
    let held = service.get("/v1/messages?state=held").await.body;
    assert_eq!(held["messages"].as_array().map(Vec::len), Some(2), "they can be listed");
    assert_eq!(
        service.decide("cancel", &json!({"messages": [again]})).await.body["messages"],
        json!([]),
        "it may have been sent: it cannot be cancelled"
    );

    let mut wake_ups = PgListener::connect_with(&service.owner()).await.expect("connect");
    wake_ups.listen("budstikke_wake").await.expect("listen");
    let released = service.decide("release", &json!({"messages": [again, waiting]})).await;
    assert_eq!(released.body, json!({"messages": [again], "untouched": [waiting]}));
    assert_eq!(service.state(&again).await, "queued");
    assert_eq!(wake_ups.recv().await.expect("a wake-up").payload(), service.tenant.to_string());

    let given_up = service.decide("fail", &json!({"messages": [never, waiting]})).await;
    assert_eq!(given_up.body, json!({"messages": [never], "untouched": [waiting]}));
    let message = service.get(&format!("/v1/messages/{never}")).await.body;
    assert_eq!((&message["state"], &message["final"]), (&json!("unknown"), &json!(true)));
    assert_eq!(message["error"]["detail"], "it was held and then given up: whether it was sent is not known");
}

#[tokio::test]
async fn a_decision_names_what_it_is_about() {
    let service = Service::start().await;
    for (body, code) in [
        (json!({}), "messages_or_batch"),
        (json!({"messages": [Uuid::now_v7()], "batch": Uuid::now_v7()}), "messages_or_batch"),
        (json!({"messages": []}), "messages_empty"),
        (json!({"messages": vec![Uuid::now_v7(); 1001]}), "too_many_messages"),
    ] {
        let refused = service.decide("cancel", &body).await;
        assert_eq!((refused.problem(422).as_str(), &refused.body["code"]), ("invalid", &json!(code)));
    }
    assert_eq!(service.decide("release", &json!({"messages": ["x"]})).await.problem(400), "malformed");
    let none = service.decide("fail", &json!({"batch": Uuid::nil()})).await;
    assert_eq!(none.body, json!({"messages": [], "untouched": []}));
}
