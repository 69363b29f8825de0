//! A suspended tenant neither accepts nor sends, at once; its pods follow.
use budstikke::crd::{RetentionPolicy, Tenant};
use budstikke::store::installation::{self, Queued};
use budstikke::store::{self, Dsn};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use sqlx::postgres::PgListener;

use super::scene::{Scene, tenant};

async fn replicas(scene: &Scene, wanted: i32) {
    scene
        .until(&format!("{wanted} replicas"), || async {
            let deployment: Deployment = scene.find("sender-acme").await?;
            (deployment.spec?.replicas == Some(wanted)).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_and_lifted() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    scene.enforces("acme", true, None).await;
    replicas(&scene, 1).await;
    let mut changes = PgListener::connect_with(&scene.pool()).await.expect("listen");
    changes.listen("budstikke_change").await.expect("listen");

    let suspension = json!({"reason": "spam", "message": "Uopfordrede beskeder"});
    scene.change::<Tenant>("acme", json!({"spec": {"suspension": suspension}})).await;
    scene.enforces("acme", false, Some("suspended")).await;
    assert!(changes.recv().await.expect("a notification").payload().starts_with("tenant:"));
    replicas(&scene, 0).await;
    let message = scene.tenant_says("acme", "Suspended", "True", "Suspended").await;
    assert_eq!(message, "Uopfordrede beskeder");
    scene.tenant_says("acme", "Active", "False", "Suspended").await;
    scene.pods_come("connector-main").await;
    scene.tenant_says("acme", "Ready", "True", "Succeeded").await;

    scene.change::<Tenant>("acme", json!({"spec": {"suspension": null}})).await;
    scene.enforces("acme", true, None).await;
    replicas(&scene, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_awaited_without_holding_up_helm() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let mut wanted = tenant("acme");
    wanted["spec"].as_object_mut().expect("a spec").remove("verification");
    scene.create::<Tenant>(wanted).await;
    let _operator = scene.operator("one");
    scene.pods_come("connector-main").await;
    scene.tenant_says("acme", "Active", "False", "OrganisationUnconfirmed").await;
    scene.tenant_says("acme", "Ready", "True", "Succeeded").await;
    scene.enforces("acme", false, Some("unverified")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_holds_though_no_policy_can_be_read() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let operator = scene.operator("one");
    scene.enforces("acme", true, None).await;
    operator.stop().await;

    scene.delete::<RetentionPolicy>("standard").await;
    sqlx::query("update in_force set spec = '{}' where kind = 'policy'")
        .execute(&scene.pool())
        .await
        .expect("spoil it");
    scene.change::<Tenant>("acme", json!({"spec": {"suspension": {"reason": "spam"}}})).await;
    let _operator = scene.operator("two");
    scene.enforces("acme", false, Some("suspended")).await;
    scene.change::<Tenant>("acme", json!({"spec": {"suspension": null}})).await;
    scene.enforces("acme", false, Some("not_ready")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_keeps_its_gate_open_is_shut_out() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    let secret: Secret = scene.until("the sender's Secret", || scene.find("sender-acme")).await;
    let url = String::from_utf8(secret.data.expect("data")["database-url"].0.clone()).expect("text");
    scene.enforces("acme", true, None).await;

    let sender = store::connect(&Dsn::parse(&url).expect("a URL"), 1, "test");
    let mut claim = sender.begin().await.expect("begin");
    for statement in ["set local idle_in_transaction_session_timeout = 0", "select sender_gate(0)"] {
        sqlx::query(statement).execute(&mut *claim).await.expect(statement);
    }
    scene.change::<Tenant>("acme", json!({"spec": {"suspension": {"reason": "spam"}}})).await;
    scene.enforces("acme", false, Some("suspended")).await;
    assert!(sqlx::query("select 1").execute(&mut *claim).await.is_err(), "its session was ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_told_until_it_is_released() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    scene.pods_come("connector-main").await;
    scene.pods_come("sender-acme").await;
    scene.tenant_says("acme", "Active", "True", "Sending").await;

    // As the operator does when it finds one.
    sqlx::query("select close_sending(1, 'data', now(), now(), 0, 0, 0, 0)")
        .execute(&scene.pool())
        .await
        .expect("closed");
    let message = scene.tenant_says("acme", "Active", "False", "Restored").await;
    assert!(message.contains("budstikke restored"), "{message}");
    scene.tenant_says("acme", "Ready", "True", "Succeeded").await;
    let released = || async { installation::release(&scene.pool(), Queued::Send, &[]).await.ok()? };
    scene.until("what was erased is erased again", released).await;
    scene.tenant_says("acme", "Active", "True", "Sending").await;
}
