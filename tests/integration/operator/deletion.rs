//! Tenants that are deleted: their account waits, and is nobody else's.
use budstikke::crd::Tenant;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::scene::{Scene, tenant};

async fn account(scene: &Scene, name: &str) -> i64 {
    let found = scene.until("an account id", || async { scene.find::<Tenant>(name).await?.status?.account_id });
    found.await
}

async fn vanished(scene: &Scene) -> i64 {
    sqlx::query_scalar("select count(*) from tenant where vanished_at is not null")
        .fetch_one(&scene.pool())
        .await
        .expect("count")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_waits_for_its_tenant_and_for_no_other() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    let id = account(&scene, "acme").await;
    scene.enforces("acme", true, None).await;
    let key = |secret: Secret| secret.data.expect("data")["apiKey"].clone();
    let first_key = key(scene.until("a key", || scene.find("acme-api-key")).await);

    scene.delete::<Tenant>("acme").await;
    scene.enforces("acme", false, Some("deleted")).await;
    assert_eq!(vanished(&scene).await, 1, "the clock has started");
    // No garbage collector runs here.
    scene.delete::<Secret>("acme-api-key").await;

    let mut other = tenant("acme");
    other["spec"]["organisation"]["registration"] = json!({"vat": "SE556012579001"});
    scene.create::<Tenant>(other).await;
    scene.tenant_says("acme", "Stalled", "True", "NameInUse").await;
    let status = scene.find::<Tenant>("acme").await.and_then(|tenant| tenant.status).expect("a status");
    assert_eq!(status.account_id, None, "it sees nothing of the old account");
    assert_eq!(vanished(&scene).await, 1, "and stops no clock");
    assert!(scene.find::<Secret>("acme-api-key").await.is_none());
    scene.delete::<Tenant>("acme").await;

    scene.create::<Tenant>(tenant("acme")).await;
    assert_eq!(account(&scene, "acme").await, id, "the account is taken up again");
    scene.enforces("acme", true, None).await;
    assert_eq!(vanished(&scene).await, 0);
    assert_ne!(key(scene.until("a key", || scene.find("acme-api-key")).await), first_key);
    let open: i64 = sqlx::query_scalar("select count(*) from api_key where revoked_at is null")
        .fetch_one(&scene.pool())
        .await
        .expect("count");
    assert_eq!(open, 2, "keys that were given out before are good again");

    sqlx::query("update tenant set erased_at = now()")
        .execute(&scene.databases.data.pool("budstikke_owner"))
        .await
        .expect("erase the account");
    scene.change::<Tenant>("acme", json!({"spec": {"defaultCountry": "SE"}})).await;
    scene.tenant_says("acme", "Stalled", "True", "AccountDeleted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organisation_under_the_same_name_does_not_keep_an_account_open() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let operator = scene.operator("one");
    scene.enforces("acme", true, None).await;
    operator.stop().await;

    // Nobody sees that it was gone for a moment.
    scene.delete::<Tenant>("acme").await;
    let mut other = tenant("acme");
    other["spec"]["organisation"]["registration"] = json!({"vat": "SE556012579001"});
    scene.create::<Tenant>(other).await;
    let _operator = scene.operator("two");
    scene.tenant_says("acme", "Stalled", "True", "NameInUse").await;
    scene.enforces("acme", false, Some("deleted")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_once_are_held_until_the_owner_confirms_it() {
    let scene = Scene::set().await;
    scene.furnish().await;
    for name in ["one", "two", "three", "four"] {
        scene.create::<Tenant>(tenant(name)).await;
    }
    let _operator = scene.operator("one");
    for name in ["one", "two", "three", "four"] {
        scene.enforces(name, true, None).await;
    }
    for name in ["one", "two", "three"] {
        scene.delete::<Tenant>(name).await;
    }
    let events = scene.api::<k8s_openapi::api::events::v1::Event>();
    let event = scene
        .until("an alert", || async {
            let all = events.list(&Default::default()).await.expect("list");
            all.items.into_iter().find(|event| event.reason.as_deref() == Some("Held"))
        })
        .await;
    assert!(event.note.expect("a note").contains("3 Tenants"));
    assert_eq!(vanished(&scene).await, 0, "nothing is closed");
    assert_eq!(scene.enforced("one").await, Some((true, true, None)));

    let annotation = format!("vanished.budstikke.dev/{}", scene.namespace);
    scene.change::<Lease>("budstikke-operator", json!({"metadata": {"annotations": {annotation: "3"}}})).await;
    for name in ["one", "two", "three"] {
        scene.enforces(name, false, Some("deleted")).await;
    }
    assert_eq!(scene.enforced("four").await, Some((true, true, None)));
}
