//! What is missing is named, and heals without a restart; what was edited by hand is put right.
use budstikke::crd::{RetentionPolicy, SmsRoute, Tenant};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use serde_json::json;

use super::scene::{Scene, credentials, plan, policy, route, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_missing_is_named_and_heals_when_it_comes() {
    let scene = Scene::set().await;
    let mut wanted = tenant("acme");
    wanted["spec"]["api"] = json!({"keySecretRef": {"name": "acme-key"}});
    scene.create::<Tenant>(wanted).await;
    let _operator = scene.operator("one");

    let message = scene.tenant_says("acme", "Ready", "False", "NotFound").await;
    assert!(message.contains("BillingPlan standard does not exist"), "{message}");
    assert!(
        scene.tenant_says("acme", "RetentionReady", "False", "NotFound").await.contains("RetentionPolicy standard")
    );
    assert!(scene.tenant_says("acme", "RoutesReady", "False", "NotFound").await.contains("SmsRoute main"));
    assert!(scene.tenant_says("acme", "CredentialsReady", "False", "SecretNotFound").await.contains("acme-key"));
    assert_eq!(scene.enforced("acme").await, None, "nothing is accepted without a policy");

    scene.create::<budstikke::crd::BillingPlan>(plan("standard")).await;
    scene.create::<RetentionPolicy>(policy("standard")).await;
    scene.tenant_says("acme", "PlanReady", "True", "Succeeded").await;
    scene.tenant_says("acme", "RetentionReady", "True", "Succeeded").await;

    scene.create::<SmsRoute>(route("main")).await;
    let message = scene.route_says("main", "Ready", "False", "SecretNotFound").await;
    assert!(message.contains("Secret main-credentials does not exist"), "{message}");
    let told = scene.until("the Tenant says so too", || async {
        let message = scene.tenant_says("acme", "RoutesReady", "False", "Progressing").await;
        message.contains("main-credentials").then_some(())
    });
    told.await;
    assert!(scene.find::<Deployment>("connector-main").await.is_none(), "no connector without credentials");

    scene.create::<Secret>(credentials("main-credentials")).await;
    scene.route_says("main", "CredentialsReady", "True", "Succeeded").await;
    scene.pods_come("connector-main").await;
    scene.tenant_says("acme", "RoutesReady", "True", "Succeeded").await;

    let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-key"},
                     "stringData": {"apiKey": format!("bud_acme1_{}", "k".repeat(43))}});
    scene.create::<Secret>(key).await;
    scene.pods_come("sender-acme").await;
    scene.tenant_says("acme", "Ready", "True", "Succeeded").await;
    scene.enforces("acme", true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_were_edited_or_deleted_are_put_right() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    scene.pods_come("sender-acme").await;
    scene.pods_come("connector-main").await;
    scene.tenant_says("acme", "Ready", "True", "Succeeded").await;
    let url = |secret: Secret| secret.data.expect("data")["database-url"].clone();
    let before = url(scene.find("sender-acme").await.expect("a Secret"));

    scene.change::<Deployment>("sender-acme", json!({"spec": {"replicas": 7}})).await;
    scene.change::<Secret>("sender-acme", json!({"stringData": {"config.json": "{}"}})).await;
    scene.delete::<Service>("connector-main").await;

    scene
        .until("one replica", || async {
            let deployment: Deployment = scene.find("sender-acme").await?;
            (deployment.spec?.replicas == Some(1)).then_some(())
        })
        .await;
    scene
        .until("the settings", || async {
            let secret: Secret = scene.find("sender-acme").await?;
            (secret.data?["config.json"].0.len() > 2).then_some(())
        })
        .await;
    scene.until("the Service", || scene.find::<Service>("connector-main")).await;
    assert_eq!(url(scene.find("sender-acme").await.expect("a Secret")), before, "no new password without need");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_added_to_children_is_taken_away() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    scene.pods_come("sender-acme").await;
    scene.pods_come("connector-main").await;
    scene.tenant_says("acme", "Ready", "True", "Succeeded").await;
    let was: Deployment = scene.find("sender-acme").await.expect("the sender");

    let pod = json!({"hostNetwork": true, "nodeSelector": {"zone": "a"}});
    let template = json!({"metadata": {"labels": {"theirs": "a"}, "annotations": {"theirs": "b"}}, "spec": pod});
    scene.change::<Deployment>("sender-acme", json!({"spec": {"paused": true, "template": template}})).await;
    scene.change::<Secret>("sender-acme", json!({"stringData": {"theirs": "a"}})).await;
    scene.change::<Service>("connector-main", json!({"spec": {"externalIPs": ["10.1.2.3"]}})).await;

    scene
        .until("the sender as it was", || async {
            let deployment: Deployment = scene.find("sender-acme").await?;
            (deployment.spec == was.spec).then_some(())
        })
        .await;
    scene
        .until("no entry of theirs", || async {
            let secret: Secret = scene.find("sender-acme").await?;
            (!secret.data?.contains_key("theirs")).then_some(())
        })
        .await;
    scene
        .until("no address of theirs", || async {
            let service: Service = scene.find("connector-main").await?;
            service.spec?.external_ips.is_none().then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_reach_the_connector_live() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let _operator = scene.operator("one");
    let generation = |deployment: Deployment| deployment.metadata.generation;
    let before = generation(scene.until("the connector", || scene.find("connector-main")).await);
    scene.change::<Secret>("main-credentials", json!({"stringData": {"password": "another1"}})).await;
    scene
        .until("the new password", || async {
            let secret: Secret = scene.find("connector-main").await?;
            (secret.data?["password"].0 == b"another1").then_some(())
        })
        .await;
    assert_eq!(generation(scene.find("connector-main").await.expect("a connector")), before, "no pod was replaced");

    scene.delete::<Secret>("main-credentials").await;
    let message = scene.route_says("main", "CredentialsReady", "False", "SecretNotFound").await;
    assert!(message.contains("goes on with the credentials it had"), "{message}");
    assert!(scene.find::<Deployment>("connector-main").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_policy_stays_in_force_where_it_was() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    scene.enforces("acme", true, None).await;
    scene.delete::<RetentionPolicy>("standard").await;
    let message = scene.tenant_says("acme", "RetentionReady", "False", "LastValidInForce").await;
    assert!(message.contains("RetentionPolicy standard does not exist"), "{message}");
    scene.enforces("acme", true, None).await;
    let days: i32 =
        sqlx::query_scalar("select log_days from enforcement").fetch_one(&scene.pool()).await.expect("enforcement");
    assert_eq!(days, 88, "as the policy said");

    scene.create::<Tenant>(tenant("later")).await;
    scene.tenant_says("later", "RetentionReady", "False", "NotFound").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_object_is_left_alone() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let mut wanted = tenant("acme");
    wanted["metadata"]["annotations"] = json!({"budstikke.dev/paused": "true"});
    scene.create::<Tenant>(wanted).await;
    scene.create::<Tenant>(tenant("other")).await;
    let _operator = scene.operator("one");
    scene.enforces("other", true, None).await;
    scene.tenant_says("acme", "Ready", "True", "Paused").await;
    assert_eq!(scene.enforced("acme").await, None);
    // Nobody who waits for it hangs.
    scene.change::<Tenant>("acme", json!({"spec": {"defaultCountry": "SE"}})).await;
    scene
        .until("the new generation is observed", || async {
            let tenant: Tenant = scene.find("acme").await?;
            (tenant.metadata.generation == Some(tenant.status?.observed_generation)).then_some(())
        })
        .await;
    assert_eq!(scene.enforced("acme").await, None);
    scene.change::<Tenant>("acme", json!({"metadata": {"annotations": {"budstikke.dev/paused": null}}})).await;
    scene.enforces("acme", true, None).await;
    scene.tenant_says("acme", "Active", "False", "NoRoute").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_restored_to_an_older_state_is_believed_after_a_while() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let operator = scene.operator("one");
    scene.enforces("acme", true, None).await;
    operator.stop().await;
    // What the database remembers is of later.
    sqlx::query("update tenant set resource_uid = 'later', resource_since = now() + interval '1 day'")
        .execute(&scene.pool())
        .await
        .expect("another resource");
    sqlx::query("update enforcement set generation = 100").execute(&scene.pool()).await.expect("a later generation");
    scene.change::<Tenant>("acme", json!({"spec": {"suspension": {"reason": "spam"}}})).await;
    let _operator = scene.operator("two");
    scene.enforces("acme", false, Some("suspended")).await;
}
