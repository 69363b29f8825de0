//! How often and in which order it is tried, and when it is given up.
use std::time::Duration;

use jiff::{SignedDuration, ToSpan as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::scene::{Scene, text};

const REJECTED: i16 = 6;

impl Scene {
    /// So many messages that ended, one after another: their ids.
    async fn ended(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let id = self.service.sent("20123456", "a").await;
            self.settle(&[&id], REJECTED, true).await;
            ids.push(id);
        }
        ids
    }

    fn subjects(&self) -> Vec<String> {
        self.receiver.taken().iter().map(|told| text(&told.body()["data"]["id"])).collect()
    }
}

#[tokio::test]
async fn the_head_of_the_line_is_tried_again_and_what_is_behind_it_waits() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    let ids = scene.ended(3).await;
    scene.receiver.answer(&[500, 302, 200]);
    assert_eq!(scene.deliver().await, 1, "one try, and nothing past it");
    assert_eq!(scene.deliver().await, 0, "not before its time");
    let first = &scene.deliveries(&webhook).await[2];
    assert_eq!(
        (&first["state"], &first["lastStatus"], &first["lastFailure"]),
        (&json!("waiting"), &json!(500), &json!("status"))
    );
    assert!(first["nextAttemptAt"].is_string());

    scene.clock.pass(SignedDuration::from_secs(7));
    assert_eq!(scene.deliver().await, 1, "a redirection is no delivery");
    scene.clock.pass(SignedDuration::from_secs(200));
    assert_eq!(scene.deliver().await, 0, "the second time it waits for minutes");
    scene.clock.pass(SignedDuration::from_mins(6));
    assert_eq!(scene.deliver().await, 3);
    let told = scene.receiver.told();
    assert!(
        told[1..3].iter().all(|told| told.id == told.id && told.id == scene.receiver.told()[0].id),
        "the same id at every try"
    );
    assert_ne!(told[0].timestamp, told[2].timestamp, "and a time of its own");
    assert_eq!(scene.subjects(), [&ids[0], &ids[0], &ids[0], &ids[1], &ids[2]].map(Clone::clone));
    assert_eq!(scene.states(&webhook).await, ["delivered"; 3]);
}

#[tokio::test]
async fn an_endpoint_may_ask_for_time() {
    let scene = Scene::set().await;
    scene.webhook(&["message.final"]).await;
    scene.ended(1).await;
    scene.receiver.answer_with(503, "retry-after", "600");
    assert_eq!(scene.deliver().await, 1);
    scene.clock.pass(SignedDuration::from_secs(590));
    assert_eq!(scene.deliver().await, 0);
    scene.clock.pass(SignedDuration::from_secs(20));
    assert_eq!(scene.deliver().await, 1);
}

#[tokio::test]
async fn after_three_days_the_endpoint_is_switched_off_and_its_tenant_can_have_all_again() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    let ids = scene.ended(2).await;
    scene.receiver.answer(&[500; 10]);
    let (mut tries, mut passed) = (scene.deliver().await, SignedDuration::ZERO);
    while scene.read(&webhook).await["enabled"] == true {
        scene.clock.pass(SignedDuration::from_hours(30));
        passed += SignedDuration::from_hours(30);
        tries += scene.deliver().await;
        assert!(tries <= 10, "it is never given up");
    }
    assert_eq!(tries, 10);
    assert_eq!(scene.states(&webhook).await, ["failed", "cancelled"]);
    assert_eq!(scene.read(&webhook).await["disabledReason"], "failing");
    scene.ended(1).await;
    assert_eq!(scene.states(&webhook).await.len(), 2, "nothing more is noted for it");
    scene.receiver.taken();

    let path = format!("/v1/webhooks/{webhook}");
    let deliveries = scene.deliveries(&webhook).await;
    let replay = |nth: usize| format!("{path}/deliveries/{}/replay", text(&deliveries[nth]["id"]));
    let off = scene.call(Method::POST, &replay(1), &Value::Null).await;
    assert_eq!(off.problem(409), "webhook-disabled");
    let on = scene.call(Method::PATCH, &path, &json!({"enabled": true})).await;
    assert_eq!((on.status.as_u16(), &on.body["enabled"]), (200, &json!(true)));
    for nth in [1, 0] {
        assert_eq!(scene.call(Method::POST, &replay(nth), &Value::Null).await.status, 202);
    }
    assert_eq!(scene.deliver().await, 2);
    let told = scene.receiver.told();
    assert_eq!(told[0].id, text(&deliveries[1]["id"]), "known by its id");
    assert_eq!(scene.subjects(), ids);
    assert_eq!(scene.states(&webhook).await, ["delivered", "delivered"]);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_told_nothing_more() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    scene.ended(3).await;
    scene.receiver.answer(&[200, 410]);
    assert_eq!(scene.deliver().await, 2);
    assert_eq!(scene.states(&webhook).await, ["delivered", "failed", "cancelled"]);
    let shown = scene.read(&webhook).await;
    assert_eq!((&shown["enabled"], &shown["disabledReason"]), (&json!(false), &json!("gone")));
    assert!(shown["disabledAt"].is_string());
    let trial = scene.call(Method::POST, &format!("/v1/webhooks/{webhook}/test"), &Value::Null).await;
    assert_eq!(trial.problem(409), "webhook-disabled");
    scene.clock.pass(SignedDuration::from_hours(30));
    assert_eq!(scene.deliver().await, 0);
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_for_a_day() {
    let scene = Scene::set().await;
    let (webhook, old) = scene.webhook(&["message.final"]).await;
    let rotated = scene.call(Method::POST, &format!("/v1/webhooks/{webhook}/rotate"), &Value::Null).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let new = text(&rotated.body["secret"]);
    assert_ne!(new, old);
    assert!(rotated.body["oldSecretUntil"].is_string());
    scene.ended(1).await;
    scene.deliver().await;
    let told = &scene.receiver.taken()[0];
    assert_eq!((told.signatures().len(), told.signed_by(&old), told.signed_by(&new)), (2, 1, 1));

    scene.clock.pass(SignedDuration::from_hours(25));
    scene.ended(1).await;
    scene.deliver().await;
    let told = &scene.receiver.taken()[0];
    assert_eq!((told.signatures().len(), told.signed_by(&old), told.signed_by(&new)), (1, 0, 1));
}

#[tokio::test]
async fn what_died_between_the_call_and_its_answer_is_delivered_again() {
    let scene = Scene::set().await;
    let (webhook, secret) = scene.webhook(&["message.final"]).await;
    let ids = scene.ended(1).await;
    scene.receiver.hold();
    let mut dying = scene.worker();
    let under_way = tokio::spawn(async move { dying.pass().await });
    scene.receiver.until_arrived(1).await;
    under_way.abort();
    let _ = under_way.await;
    scene.receiver.let_go();
    assert_eq!(scene.deliver().await, 0, "it is that worker's, as far as anybody knows");
    scene.clock.pass(SignedDuration::from_secs(61));
    assert_eq!(scene.deliver().await, 1);
    let told = scene.receiver.told();
    assert_eq!(told.len(), 2);
    assert_eq!((&told[0].id, &told[0].bytes), (&told[1].id, &told[1].bytes), "the endpoint knows it again");
    assert_eq!(told[1].signed_by(&secret), 1);
    assert_eq!(scene.subjects(), [&ids[0], &ids[0]].map(Clone::clone));
    assert_eq!(scene.states(&webhook).await, ["delivered"]);
}

#[tokio::test]
async fn several_workers_deliver_to_an_endpoint_one_at_a_time_in_order() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    let ids = scene.ended(60).await;
    let mut workers = JoinSet::new();
    for _ in 0..3 {
        let mut worker = scene.worker();
        workers.spawn(async move { worker.pass().await.expect("the database answers") });
    }
    let mut tries = 0;
    while let Some(done) = workers.join_next().await {
        tries += done.expect("no panic");
    }
    tries += scene.deliver().await;
    assert_eq!(tries, 60, "each once");
    assert_eq!(scene.receiver.most_at_once(), 1);
    assert_eq!(scene.subjects(), ids);
    assert_eq!(scene.count("select count(*) from webhook_job where outcome = 'delivered'").await, 60);
    assert_eq!(scene.deliveries(&webhook).await.len(), 50, "a page");
}

#[tokio::test]
async fn private_addresses_are_not_gone_to_however_they_are_written() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    scene.ended(1).await;
    let mut careful = scene.worker_with(|settings| settings.allow_private = false);
    assert_eq!(careful.pass().await.expect("answers"), 1);
    assert_eq!(scene.receiver.told().len(), 0, "localhost is none of the Internet's");
    let delivery = &scene.deliveries(&webhook).await[0];
    assert_eq!((&delivery["lastFailure"], &delivery["state"]), (&json!("address"), &json!("waiting")));

    let path = format!("/v1/webhooks/{webhook}");
    let port = scene.receiver.port;
    for host in ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "[::1]", "169.254.169.254", "10.0.0.1"] {
        let change = json!({"url": format!("https://{host}:{port}/")});
        let refused = scene.call(Method::PATCH, &path, &change).await;
        assert_eq!(
            (refused.problem(422).as_str(), &refused.body["code"]),
            ("invalid", &json!("address_refused")),
            "{host}"
        );
    }
    // Ports are held by the worker too.
    let mut narrow = scene.worker_with(|settings| settings.ports = vec![443]);
    scene.clock.pass(SignedDuration::from_secs(7));
    assert_eq!(narrow.pass().await.expect("answers"), 1);
    assert_eq!(scene.receiver.told().len(), 0);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_trusted_or_reached_is_told_nothing() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    scene.ended(1).await;
    let mut stranger = scene.worker_with(|settings| settings.authority = None);
    assert_eq!(stranger.pass().await.expect("answers"), 1);
    assert_eq!(scene.deliveries(&webhook).await[0]["lastFailure"], "tls");
    assert_eq!(scene.receiver.told().len(), 0);

    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let change = json!({"url": format!("https://localhost:{free}/")});
    assert_eq!(scene.call(Method::PATCH, &format!("/v1/webhooks/{webhook}"), &change).await.status, 200);
    assert_eq!(scene.deliver().await, 1, "another address is tried at once");
    assert_eq!(scene.deliveries(&webhook).await[0]["lastFailure"], "connect");
}

/// D12: what did its work goes, as the policy says.
#[tokio::test]
async fn jobs_go_after_their_time_as_the_tenants_policy_says() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    let operator = scene.service.databases.data.pool("budstikke_operator");
    let purge = async |days: i64, hours: i64| {
        let at = scene.clock_now().saturating_add((days * 24 + hours).hours()).expect("near");
        budstikke::store::retention::purge_jobs(&operator, at).await.expect("purged").items
    };
    scene.ended(2).await;
    scene.receiver.answer(&[204, 500]);
    scene.deliver().await;
    assert_eq!(purge(2, 23).await, 0);
    assert_eq!(purge(3, 1).await, 1, "three days after its last try");
    assert_eq!(scene.states(&webhook).await, ["waiting"], "what is tried again stays");
    assert_eq!(purge(7, 0).await, 0);
    assert_eq!(purge(8, 1).await, 1, "though nobody delivers it");

    let policy = "insert into in_force (tenant_id, kind, name, spec) values ($1, 'policy', 'short', '{\"working\": {\"jobDays\": 0}}')";
    sqlx::query(policy).bind(scene.service.tenant.0).execute(&scene.service.owner()).await.expect("a policy");
    scene.clock.pass(SignedDuration::from_secs(7));
    scene.ended(1).await;
    assert_eq!(scene.deliver().await, 1);
    assert_eq!(purge(0, 0).await, 1, "at once");

    let rotated = scene.call(Method::POST, &format!("/v1/webhooks/{webhook}/rotate"), &Value::Null).await;
    assert_eq!(rotated.status, 200);
    purge(0, 1).await;
    let old = "select count(*) from webhook where old_secret is not null";
    assert_eq!(scene.count(old).await, 1);
    purge(1, 1).await;
    assert_eq!(scene.count(old).await, 0, "it signs no more");
}

#[tokio::test]
async fn an_endpoint_that_fails_holds_up_no_other() {
    let scene = Scene::set().await;
    let (good, _) = scene.webhook(&["message.final"]).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let new = json!({"url": format!("https://localhost:{free}/"), "events": ["message.final"]});
    let bad = text(&scene.call(Method::POST, "/v1/webhooks", &new).await.body["id"]);
    let ids = scene.ended(2).await;
    assert_eq!(scene.deliver().await, 3);
    assert_eq!(scene.subjects(), ids);
    assert_eq!(scene.states(&good).await, ["delivered", "delivered"]);
    assert_eq!(scene.states(&bad).await, ["waiting", "waiting"]);
}

#[tokio::test]
async fn a_worker_delivers_until_it_is_told_to_stop_and_ends_what_is_under_way() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(scene.worker_until(stop.clone(), |_| {}).run());
    scene.receiver.hold();
    scene.ended(2).await;
    scene.receiver.until_arrived(1).await;
    stop.cancel();
    scene.receiver.let_go();
    tokio::time::timeout(Duration::from_secs(60), running).await.expect("it stops").expect("no panic");
    assert_eq!(scene.states(&webhook).await, ["delivered", "waiting"], "the one under way was noted");
    assert_eq!(scene.deliver().await, 1, "the next worker need not wait");
}

#[tokio::test]
async fn what_was_cancelled_while_it_was_tried_waits_no_more() {
    let scene = Scene::set().await;
    let (webhook, _) = scene.webhook(&["message.final"]).await;
    scene.ended(1).await;
    scene.receiver.answer(&[500]);
    scene.receiver.hold();
    let mut worker = scene.worker();
    let under_way = tokio::spawn(async move { worker.pass().await });
    scene.receiver.until_arrived(1).await;
    scene.call(Method::PATCH, &format!("/v1/webhooks/{webhook}"), &json!({"enabled": false})).await;
    scene.receiver.let_go();
    assert_eq!(under_way.await.expect("no panic").expect("the database answers"), 1);
    let told = &scene.deliveries(&webhook).await[0];
    assert_eq!((&told["state"], &told["attempts"], &told["lastStatus"]), (&json!("cancelled"), &json!(1), &json!(500)));
}
