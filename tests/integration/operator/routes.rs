//! What a route's status says of its upstream, and what keeps when its pods or its Secret change.
use budstikke::crd::smsroute::ReceiptIdFormat;
use budstikke::crd::{BillingPlan, RetentionPolicy, SmsRoute, Tenant};
use budstikke::domain::{Circuit, Clock as _, SystemClock, copenhagen_day};
use budstikke::store::upstream_reports::{self, Failure, LastError, ReceiptIds, Report, Trouble};
use budstikke::store::{self, Dsn};
use jiff::ToSpan as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::ResourceExt as _;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::scene::{Scene, plan, policy, route, tenant};

/// The route's own login, as its connector has it.
async fn connector(scene: &Scene) -> PgPool {
    let secret: Secret = scene.until("the connector's Secret", || scene.find("connector-main")).await;
    let url = String::from_utf8(secret.data.expect("data")["database-url"].0.clone()).expect("text");
    store::connect(&Dsn::parse(&url).expect("a URL"), 1, "test")
}

/// What a pod tells whose circuit is closed.
fn report(binds: u16, failure: Option<Failure>) -> Report {
    Report { binds, failure, id_format: None, circuit: Circuit::Closed, since: SystemClock.now(), last_error: None }
}

/// What the printer column shows of binds.
async fn binds(scene: &Scene) -> Option<String> {
    let route: SmsRoute = scene.find("main").await?;
    Some(route.status?.connector?.summary)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_away_is_told_beside_ready() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    scene.pods_come("connector-main").await;
    scene.route_says("main", "Ready", "True", "Succeeded").await;
    scene.route_says("main", "UpstreamReady", "False", "NotReported").await;
    let connector = connector(&scene).await;
    let tell = async |binds, failure| {
        upstream_reports::tell(&connector, Uuid::from_u128(1), report(binds, failure)).await.expect("told");
    };

    tell(0, Some(Failure::Refused(14))).await;
    let message = scene.route_says("main", "UpstreamReady", "False", "UpstreamUnavailable").await;
    let named = "select processor ->> 'name' from route where name = 'main'";
    let processor: Option<String> =
        sqlx::query_scalar(named).fetch_one(&scene.databases.data.pool("budstikke_owner")).await.expect("the route");
    assert_eq!(processor.as_deref(), Some("SMSC"), "for the privacy page (D9)");
    assert!(
        message.contains("(status 0x0000000E): check systemId and password in Secret main-credentials"),
        "{message}"
    );
    assert_eq!(binds(&scene).await.as_deref(), Some("0/2"));
    assert_eq!(scene.route_says("main", "Ready", "True", "Succeeded").await, message, "the column says why");
    scene.tenant_says("acme", "RoutesReady", "True", "Succeeded").await;

    tell(2, None).await;
    scene.route_says("main", "UpstreamReady", "True", "Succeeded").await;
    assert_eq!(binds(&scene).await.as_deref(), Some("2/2"));
    scene.route_says("main", "Ready", "True", "Succeeded").await;

    // A pod that says nothing for three minutes.
    let owner = scene.databases.data.pool("budstikke_owner");
    let stale = "update upstream_report set reported_at = now() - interval '181 seconds'";
    sqlx::query(stale).execute(&owner).await.expect("time goes by");
    scene.route_says("main", "UpstreamReady", "False", "NotReported").await;
    assert_eq!(binds(&scene).await.as_deref(), Some("0/2"));
    let left: i64 = sqlx::query_scalar("select count(*) from upstream_report").fetch_one(&owner).await.expect("count");
    assert_eq!(left, 0, "what is stale is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_that_opens_is_told_with_the_last_error_and_closes_in_the_status_too() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let _operator = scene.operator("one");
    scene.pods_come("connector-main").await;
    scene.route_says("main", "UpstreamReady", "False", "NotReported").await;
    let connector = connector(&scene).await;
    let at = SystemClock.now();
    let tell = async |circuit, last_error| {
        let report = Report { binds: 2, failure: None, id_format: None, circuit, since: at, last_error };
        upstream_reports::tell(&connector, Uuid::from_u128(1), report).await.expect("told");
    };
    let told = async || {
        let route: SmsRoute = scene.find("main").await?;
        serde_json::to_value(route.status?.circuit?).ok()
    };
    let second = jiff::Timestamp::from_second(at.as_second()).expect("a time").to_string();

    tell(Circuit::Closed, None).await;
    scene.route_says("main", "UpstreamReady", "True", "Succeeded").await;
    assert_eq!(told().await, Some(json!({"state": "closed", "since": second})));

    tell(Circuit::Open, Some(LastError { trouble: Trouble::Throttled, status: Some(0x58), at })).await;
    let message = scene.route_says("main", "UpstreamReady", "False", "CircuitOpen").await;
    assert!(message.contains("throttles") && message.contains("0x00000058"), "{message}");
    let error = json!({"class": "throttled", "code": "0x00000058", "at": second});
    assert_eq!(told().await, Some(json!({"state": "open", "since": second, "lastError": error})));
    scene.route_says("main", "Ready", "True", "Succeeded").await;

    let last = LastError { trouble: Trouble::Throttled, status: Some(0x58), at };
    tell(Circuit::Closed, Some(last)).await;
    scene.route_says("main", "UpstreamReady", "True", "Succeeded").await;
    assert_eq!(told().await, Some(json!({"state": "closed", "since": second, "lastError": error})), "it stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_waits_for_its_window_and_nothing_else_does() {
    let scene = Scene::set().await;
    let day = copenhagen_day(SystemClock.now()).saturating_add(3.days());
    let weekday = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
        [usize::try_from(day.weekday().to_monday_zero_offset()).expect("a day of the week")];
    scene.furnish().await;
    let window = json!({"days": [weekday], "from": "03:00", "until": "05:00"});
    scene.change::<SmsRoute>("main", json!({"spec": {"maintenance": {"rolloutWindow": window}}})).await;
    let operator = scene.operator_of_version("one", "budstikke:1");
    scene.pods_come("connector-main").await;
    scene.route_says("main", "ConnectorReady", "True", "Succeeded").await;
    scene.route_says("main", "RolloutPending", "False", "None").await;
    operator.stop().await;

    let _operator = scene.operator_of_version("two", "budstikke:2");
    let message = scene.route_says("main", "RolloutPending", "True", "OutsideWindow").await;
    assert!(message.starts_with(&format!("a new version waits until {day} 03:00 in Copenhagen")), "{message}");
    let image = async || -> Option<String> {
        let deployment: Deployment = scene.find("connector-main").await?;
        deployment.spec?.template.spec?.containers.into_iter().next()?.image
    };
    scene.change::<SmsRoute>("main", json!({"spec": {"ratePerSecond": 30}})).await;
    scene
        .until("another rate", || async {
            let secret: Secret = scene.find("connector-main").await?;
            let config = String::from_utf8(secret.data?["config.json"].0.clone()).ok()?;
            config.contains("\"rateMillis\":30000").then_some(())
        })
        .await;
    assert_eq!(image().await.as_deref(), Some("budstikke:1"));
    scene.route_says("main", "Ready", "True", "Succeeded").await;

    scene.change::<SmsRoute>("main", json!({"spec": {"maintenance": {"rolloutWindow": null}}})).await;
    scene.until("the new version", || async { (image().await? == "budstikke:2").then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_tcp_is_not_compliant() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let _operator = scene.operator("one");
    let message = scene.route_says("main", "Compliant", "False", "PlainTcp").await;
    assert!(message.contains("`upstream.smpp.tls.mode`"), "{message}");
    scene.pods_come("connector-main").await;
    scene.route_says("main", "Ready", "True", "Succeeded").await;
    scene.change::<SmsRoute>("main", json!({"spec": {"upstream": {"smpp": {"tls": null}}}})).await;
    scene.route_says("main", "Compliant", "True", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_outstanding_receipts_outlives_the_secret() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let _operator = scene.operator("one");
    let before: Secret = scene.until("the connector's Secret", || scene.find("connector-main")).await;
    scene.delete::<Secret>("connector-main").await;
    let after = scene.until("another one", || async {
        let found: Secret = scene.find("connector-main").await?;
        (found.uid() != before.uid()).then_some(found)
    });
    let key = |secret: Secret| secret.data.expect("data")["tag-key"].0.clone();
    assert_eq!(key(after.await), key(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_pods_lets_all_old_ones_end_first() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let _operator = scene.operator("one");
    let pods = |deployment: Deployment| {
        let spec = deployment.spec.expect("a spec");
        assert_eq!(spec.strategy.and_then(|strategy| strategy.type_).as_deref(), Some("Recreate"));
        let env = spec.template.spec.expect("a pod").containers[0].env.clone().expect("an environment");
        env.into_iter().find(|env| env.name == "BUDSTIKKE_PODS").and_then(|env| env.value)
    };
    let before = scene.until("the connector", || scene.find("connector-main")).await;
    assert_eq!(pods(before).as_deref(), Some("1"));
    scene.change::<SmsRoute>("main", json!({"spec": {"connector": {"replicas": 2}}})).await;
    let after = scene.until("two pods", || async {
        let found: Deployment = scene.find("connector-main").await?;
        (found.spec.as_ref()?.replicas == Some(2)).then_some(found)
    });
    assert_eq!(pods(after.await).as_deref(), Some("2"), "else old pods would stay, each with all binds");
}

/// A text in the Secret of a pod.
fn told(secret: &Secret, key: &str) -> Option<String> {
    let data = secret.data.as_ref()?.get(key)?;
    String::from_utf8(data.0.clone()).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_over_https_has_a_connector_that_is_told_of_it() {
    let scene = Scene::set().await;
    scene.create::<BillingPlan>(plan("standard")).await;
    scene.create::<RetentionPolicy>(policy("standard")).await;
    let mut https = route("main");
    https["spec"]["upstream"] = json!({"https": {
        "url": "https://eu.sms.example.com:8444/xms/v1", "servicePlanId": "plan_1", "credentialsRef": {"name": "rest"},
    }});
    scene.create::<SmsRoute>(https).await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    let message = scene.route_says("main", "CredentialsReady", "False", "SecretNotFound").await;
    assert!(message.contains("Secret rest does not exist: create it with `token` and `callbackSecret`"), "{message}");
    let token_alone =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "rest"}, "stringData": {"token": "abc"}});
    scene.create::<Secret>(token_alone).await;
    let message = scene.route_says("main", "CredentialsReady", "False", "SecretInvalid").await;
    assert!(message.contains("Secret rest: write callbackSecret"), "{message}");
    assert_eq!(scene.find::<Secret>("connector-main").await, None, "nobody could prove anything to it");

    let with_secret = |token: &str| json!({"stringData": {"token": token, "callbackSecret": "a-long-secret"}});
    scene.change::<Secret>("rest", with_secret("abc")).await;
    scene.route_says("main", "CredentialsReady", "True", "Succeeded").await;
    scene.route_says("main", "Compliant", "True", "Succeeded").await;
    let secret: Secret = scene.until("the connector's Secret", || scene.find("connector-main")).await;
    let all = ["system-id", "password", "callback-secret"].map(|key| told(&secret, key).expect("a text"));
    assert_eq!(all, ["plan_1", "abc", "a-long-secret"]);
    let settings: serde_json::Value =
        serde_json::from_str(&told(&secret, "config.json").expect("settings")).expect("JSON");
    assert_eq!(settings["https"], json!({"path": "/xms/v1", "callbackPath": "main"}));
    assert_eq!((&settings["host"], &settings["port"]), (&json!("eu.sms.example.com"), &json!(8444)));
    let ports = async || {
        let service: Service = scene.find("connector-main").await?;
        Some(service.spec?.ports?.into_iter().map(|port| port.port).collect::<Vec<_>>())
    };
    assert_eq!(scene.until("the Service", ports).await, [2775, 8443]);
    let leg = async || {
        let sender: Secret = scene.find("sender-acme").await?;
        let settings: serde_json::Value = serde_json::from_str(&told(&sender, "config.json")?).ok()?;
        settings["routes"].get(0).cloned()
    };
    let leg = scene.until("the sender's Secret", leg).await;
    assert_eq!((&leg["concatenation"], &leg["alphabet"]), (&json!("payload"), &json!("gsm7")), "texts go out whole");

    // Another token reaches the connector's files, and its pods stay.
    let deployment = async || scene.find::<Deployment>("connector-main").await?.metadata.generation;
    let before = scene.until("the Deployment", deployment).await;
    scene.change::<Secret>("rest", with_secret("def")).await;
    scene
        .until("the other token", async || {
            let secret: Secret = scene.find("connector-main").await?;
            (told(&secret, "password")? == "def").then_some(())
        })
        .await;
    assert_eq!(deployment().await, Some(before));

    scene.pods_come("connector-main").await;
    let report = report(0, Some(Failure::Refused(401)));
    upstream_reports::tell(&connector(&scene).await, Uuid::from_u128(1), report).await.expect("told");
    let message = scene.route_says("main", "UpstreamReady", "False", "UpstreamUnavailable").await;
    assert!(message.contains("HTTP 401: check token in Secret rest"), "{message}");
    let route: SmsRoute = scene.find("main").await.expect("the route");
    let status = route.status.expect("a status");
    assert_eq!(status.upstream.as_deref(), Some("https://eu.sms.example.com:8444/xms/v1"));

    scene.change::<SmsRoute>("main", json!({"spec": {"text": {"concatenation": "sar"}}})).await;
    let message = scene.route_says("main", "Stalled", "True", "Invalid").await;
    assert!(message.contains("leave `text` out"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_never_came_are_given_up_after_the_hours_of_their_route() {
    let scene = Scene::set().await;
    let owner = scene.databases.data.pool("budstikke_owner");
    let message = Uuid::now_v7();
    sqlx::query(
        "with old as (insert into route (namespace, name) values ('elsewhere', 'old') returning route_id)
         insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, route_id, submitted_at)
         select 1, $1, (now() at time zone 'Europe/Copenhagen')::date, $1, 2, 1, 0, route_id, now() - interval '73 hours' from old",
    )
    .bind(message)
    .execute(&owner)
    .await
    .expect("a message");
    scene.furnish().await;
    let _operator = scene.operator("one");
    scene
        .until("it is given up", || async {
            let state = sqlx::query_scalar("select state from message_log where message_id = $1").bind(message);
            let state: i16 = state.fetch_one(&owner).await.expect("the message");
            (state == 8).then_some(())
        })
        .await;
    let hours = async || -> Option<i32> {
        let hours = sqlx::query_scalar("select give_up_hours from route where name = 'main'");
        hours.fetch_optional(&owner).await.expect("the route")
    };
    assert_eq!(scene.until("the route", hours).await, 72);
    scene.change::<SmsRoute>("main", json!({"spec": {"receipts": {"giveUpHours": 5}}})).await;
    scene.until("its own hours", || async { (hours().await == Some(5)).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spelling_of_ids_that_would_fit_stands_in_the_status() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    scene.pods_come("connector-main").await;
    let connector = connector(&scene).await;
    let report = Report { id_format: Some(ReceiptIds::DecimalThenHex), ..report(2, None) };
    upstream_reports::tell(&connector, Uuid::from_u128(1), report).await.expect("told");
    let message = scene.route_says("main", "UpstreamReady", "True", "Succeeded").await;
    assert!(message.ends_with("with `receipts.idFormat: decimalToHex`, and do not as it is"), "{message}");
    let route: SmsRoute = scene.find("main").await.expect("the route");
    assert_eq!(route.status.expect("a status").proposed_id_format, Some(ReceiptIdFormat::DecimalToHex));
}
