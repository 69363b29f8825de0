//! What is made for routes and tenants, and that nothing is written when nothing changed.
use budstikke::config::Load;
use budstikke::config::connector::ConnectorConfig;
use budstikke::config::sender::SenderConfig;
use budstikke::crd::{BillingPlan, RetentionPolicy, SmsRoute, Tenant};
use budstikke::domain::ApiKey;
use budstikke::store::{self, Dsn};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use super::scene::{Scene, route, tenant};

/// What a pod would find in its directory.
fn mounted<T: Load>(scene: &Scene, secret: &Secret) -> T {
    let dir = scene.files().join(secret.name_any());
    std::fs::create_dir_all(&dir).expect("make a folder");
    for (name, content) in secret.data.iter().flatten() {
        std::fs::write(dir.join(name), &content.0).expect("write a file");
    }
    T::load(&dir).expect("what the operator writes, the pod reads")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_gets_its_sender_and_a_route_its_connector() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let operator = scene.operator("one");

    scene.route_says("main", "CredentialsReady", "True", "Succeeded").await;
    scene.tenant_says("acme", "Ready", "False", "Progressing").await;
    scene.pods_come("connector-main").await;
    scene.route_says("main", "Ready", "True", "Succeeded").await;
    scene.tenant_says("acme", "Ready", "False", "PodsNotReady").await;
    scene.pods_come("sender-acme").await;
    scene.tenant_says("acme", "Ready", "True", "Succeeded").await;
    scene.tenant_says("acme", "Active", "True", "Sending").await;

    let secret: Secret = scene.find("sender-acme").await.expect("the sender's Secret");
    let sender: SenderConfig = mounted(&scene, &secret);
    let leg = &sender.settings.routes[0];
    assert_eq!(leg.server_name, format!("connector-main.{}.svc", scene.namespace));
    assert_eq!(leg.address, format!("{}:2775", leg.server_name));
    // Today's and those of a week ahead, the newest first.
    let keys: Vec<_> = sender.queue_keys.iter().map(|key| key.name.clone()).collect();
    assert!(keys.len() == 8 && keys.is_sorted_by(|one, next| one > next), "{keys:?}");
    let login = Dsn::parse(sender.database_url.expose()).expect("a URL");
    assert_eq!(login.login(), format!("bst_{}", sender.settings.tenant_id));
    let own: i64 = sqlx::query_scalar("select tenant_id from enforcement")
        .fetch_one(&store::connect(&login, 1, "test"))
        .await
        .expect("the sender's login sees its own row only");
    assert_eq!(own, sender.settings.tenant_id.0);

    let secret: Secret = scene.find("connector-main").await.expect("the connector's Secret");
    let connector: ConnectorConfig = mounted(&scene, &secret);
    assert_eq!((connector.settings.binds, connector.settings.rate_millis), (2, 20_000));
    assert_eq!(connector.password.expose(), "secret12");
    let login = Dsn::parse(connector.database_url.expose()).expect("a URL");
    let share: (i64, i32, bool) = sqlx::query_as("select tenant_id, weight, may_send from connector_shares()")
        .fetch_one(&store::connect(&login, 1, "test"))
        .await
        .expect("the connector's login sees its shares");
    assert_eq!(share, (own, 3, true));

    let deployment: Deployment = scene.find("sender-acme").await.expect("the sender");
    let owner = &deployment.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Tenant", "acme"));
    let pod = deployment.spec.expect("a spec").template.spec.expect("a pod");
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.containers[0].image.as_deref(), Some("budstikke:test"));
    assert!(scene.find::<NetworkPolicy>("sender-acme").await.is_some());
    assert!(scene.find::<Service>("connector-main").await.is_some());
    assert!(scene.find::<PodDisruptionBudget>("sender-acme").await.is_none(), "one pod is never guarded");

    let key: Secret = scene.find("acme-api-key").await.expect("the first API key");
    let key: ApiKey =
        std::str::from_utf8(&key.data.expect("data")["apiKey"].0).expect("text").parse().expect("a key of ours");
    let known: Vec<u8> = sqlx::query_scalar("select hash from api_key where prefix = $1 and revoked_at is null")
        .bind(key.prefix())
        .fetch_one(&scene.pool())
        .await
        .expect("the key opens the account");
    assert!(key.matches(&known));
    let keys: i64 = sqlx::query_scalar("select count(*) from public_key").fetch_one(&scene.pool()).await.expect("keys");
    assert!(keys >= 7, "keys are there before they are needed");
    let (words, key): (Vec<String>, i32) = sqlx::query_as(
        "select e.stop_words, length(k.key) from opt_out_key k join enforcement e using (tenant_id) where tenant_id = $1",
    )
    .bind(own)
    .fetch_one(&scene.pool())
    .await
    .expect("what opt-outs by SMS are sealed to");
    assert_eq!((words.first().map(String::as_str), key), (Some("STOP"), 32));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_are_guarded_and_spread_until_one_is_left() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let mut wanted = tenant("acme");
    wanted["spec"]["sender"] = json!({"replicas": 2});
    scene.create::<Tenant>(wanted).await;
    let _operator = scene.operator("one");
    scene.until("a budget", || scene.find::<PodDisruptionBudget>("sender-acme")).await;
    let deployment: Deployment = scene.find("sender-acme").await.expect("the sender");
    let pod = deployment.spec.and_then(|spec| spec.template.spec).expect("a pod");
    assert_eq!(pod.topology_spread_constraints.map(|all| all.len()), Some(1));

    scene.change::<Tenant>("acme", json!({"spec": {"sender": {"replicas": 1}}})).await;
    scene
        .until("no budget", || async { scene.find::<PodDisruptionBudget>("sender-acme").await.is_none().then_some(()) })
        .await;
    let deployment: Deployment = scene.find("sender-acme").await.expect("the sender");
    let pod = deployment.spec.and_then(|spec| spec.template.spec).expect("a pod");
    assert_eq!(pod.topology_spread_constraints, None, "what is no longer wanted is taken away");
}

/// The versions of everything that the operator writes.
async fn versions(scene: &Scene) -> Vec<(String, Option<String>)> {
    async fn of<K>(scene: &Scene) -> Vec<(String, Option<String>)>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let all = scene.api::<K>().list(&ListParams::default()).await.expect("list");
        let name = |object: &K| format!("{} {}", K::kind(&()), object.name_any());
        all.items.iter().map(|object| (name(object), object.resource_version())).collect()
    }
    let mut all = of::<Deployment>(scene).await;
    all.extend(of::<Secret>(scene).await);
    all.extend(of::<Service>(scene).await);
    all.extend(of::<NetworkPolicy>(scene).await);
    all.extend(of::<Tenant>(scene).await);
    all.extend(of::<SmsRoute>(scene).await);
    all.extend(of::<RetentionPolicy>(scene).await);
    all.extend(of::<BillingPlan>(scene).await);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_when_nothing_changed() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let operator = scene.operator("one");
    scene.pods_come("connector-main").await;
    scene.pods_come("sender-acme").await;
    scene.tenant_says("acme", "Ready", "True", "Succeeded").await;
    scene
        .until("a run of retention is shown", || async {
            let policy: RetentionPolicy = scene.find("standard").await?;
            policy.status?.last_run.map(drop)
        })
        .await;
    operator.stop().await;
    let before = versions(&scene).await;

    // An operator that is new looks at everything, and would write whatever it takes for different.
    let (client, writes) = scene.watched().await;
    let operator = scene.operator_of("two", client, vec![scene.namespace.clone()]);
    scene.create::<SmsRoute>(route("later")).await;
    scene.route_says("later", "CredentialsReady", "False", "SecretNotFound").await;
    // And once more.
    scene.change::<Tenant>("acme", json!({"metadata": {"annotations": {"note": "a"}}})).await;
    scene.change::<SmsRoute>("main", json!({"metadata": {"annotations": {"note": "a"}}})).await;
    scene.change::<SmsRoute>("later", json!({"spec": {"ratePerSecond": 21}})).await;
    scene
        .until("the later route is looked at again", || async {
            let route: SmsRoute = scene.find("later").await?;
            (Some(route.status?.observed_generation) == route.metadata.generation).then_some(())
        })
        .await;
    operator.stop().await;
    let (needed, idle): (Vec<String>, Vec<String>) =
        writes.lock().expect("no panic").drain(..).partition(|write| write.contains("/later"));
    assert!(!needed.is_empty(), "what is written is seen");
    assert!(idle.is_empty(), "sent though nothing changed: {idle:?}");
    let after = versions(&scene).await;
    // Annotating them gave these two another version.
    for (what, version) in before.into_iter().filter(|(what, _)| what != "Tenant acme" && what != "SmsRoute main") {
        assert!(after.contains(&(what.clone(), version)), "{what} was written though nothing changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyword_is_one_tenants_and_another_that_wants_it_is_told() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let wants = |name: &str, keywords: &[&str]| {
        let mut wanted = tenant(name);
        wanted["spec"]["inboundNumbers"] = json!([{"number": "1204", "keywords": keywords}]);
        wanted
    };
    let of = async |name: &'static str, keyword: &'static str| -> bool {
        let owned = sqlx::query_scalar(
            "select exists (select from inbound_number join tenant using (tenant_id)
                            where name = $1 and number = '1204' and keyword = $2)",
        );
        owned.bind(name).bind(keyword).fetch_one(&scene.pool()).await.expect("read")
    };
    scene.create::<Tenant>(wants("acme", &["STEM", "VIND"])).await;
    let operator = scene.operator("one");
    scene.until("the keywords of the first", || async { of("acme", "STEM").await.then_some(()) }).await;

    scene.pods_come("connector-main").await;
    scene.create::<Tenant>(wants("other", &["STEM", "HJÆLP"])).await;
    let message = scene.tenant_says("other", "Stalled", "True", "Invalid").await;
    assert_eq!(message, "another Tenant has 1204 STEM in `inboundNumbers`: take it out of one of the two");
    scene.tenant_says("other", "Ready", "False", "Invalid").await;
    assert!(of("other", "HJÆLP").await, "what nobody else wants is the tenant's at once");
    assert!(of("acme", "STEM").await && !of("other", "STEM").await, "the first one keeps it");

    let less = json!({"spec": {"inboundNumbers": [{"number": "1204", "keywords": ["VIND"]}]}});
    scene.change::<Tenant>("acme", less).await;
    scene.until("the keyword is the other's", || async { of("other", "STEM").await.then_some(()) }).await;
    scene.tenant_says("other", "Ready", "False", "PodsNotReady").await;
    operator.stop().await;
}
