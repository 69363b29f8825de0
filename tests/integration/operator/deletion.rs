//! Tenants that are deleted: their account waits, and is nobody else's.
use budstikke::crd::Tenant;
use budstikke::store::accounts;
use k8s_openapi::api::apps::v1::Deployment;
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
    // Though its resource is still applied, nothing is left that opens anything.
    for name in ["acme-api-key", "sender-acme"] {
        let empty = scene.until("an empty Secret", || async {
            let secret: Secret = scene.find(name).await?;
            secret.data.is_none_or(|data| data.is_empty()).then_some(())
        });
        empty.await;
    }
    let sender = scene.find::<Deployment>("sender-acme").await.and_then(|sender| sender.spec);
    assert_eq!(sender.and_then(|spec| spec.replicas), Some(0));
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
async fn who_follows_under_the_same_name_is_left_nothing_of_the_account_before() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    let id = account(&scene, "acme").await;
    scene.enforces("acme", true, None).await;
    let key = |secret: Secret| secret.data.and_then(|mut data| data.remove("apiKey"));
    let first = scene.until("a key", || async { key(scene.find("acme-api-key").await?) }).await;

    // Its name is another organisation's at once, and what was made for it is still there.
    scene.delete::<Tenant>("acme").await;
    let mut other = tenant("acme");
    other["spec"]["organisation"]["registration"] = json!({"vat": "SE556012579001"});
    scene.create::<Tenant>(other).await;
    scene.tenant_says("acme", "Stalled", "True", "NameInUse").await;
    scene.enforces("acme", false, Some("deleted")).await;
    let owner = scene.databases.data.pool("budstikke_owner");
    for statement in
        ["update tenant set erase_on = current_date", "select erase_account(tenant_id, current_date) from tenant"]
    {
        sqlx::query(statement).execute(&owner).await.expect(statement);
    }
    scene.change::<Tenant>("acme", json!({"spec": {"defaultCountry": "SE"}})).await;
    let other = scene.until("another account", || async {
        scene.find::<Tenant>("acme").await?.status?.account_id.filter(|other| *other != id)
    });
    other.await;
    let second = scene.until("a key", || async { key(scene.find("acme-api-key").await?).filter(|key| *key != first) });
    assert_ne!(second.await, first, "whoever knows the old key opens nothing");
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
    assert!(held(&scene).await.contains("3 Tenants"));
    assert_eq!(vanished(&scene).await, 0, "nothing is closed");
    assert_eq!(scene.enforced("one").await, Some((true, true, None)));

    // A row that somebody keeps locked holds up no other, and stays confirmed.
    let owner = scene.databases.data.pool("budstikke_owner");
    let mut locked = owner.begin().await.expect("begin");
    sqlx::query("select from tenant where name = 'one' for update").execute(&mut *locked).await.expect("lock");
    confirm(&scene, 3).await;
    for name in ["two", "three"] {
        scene.enforces(name, false, Some("deleted")).await;
    }
    locked.rollback().await.expect("let go");
    scene.enforces("one", false, Some("deleted")).await;
    assert_eq!(scene.enforced("four").await, Some((true, true, None)));
    let used = scene.until("the confirmation is used up", || async { words(&scene).await.is_empty().then_some(()) });
    used.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_outlives_time_and_leader_until_the_owner_confirms_it() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let operator = scene.operator("one");
    scene.enforces("acme", true, None).await;
    operator.stop().await;
    scene.delete::<Tenant>("acme").await;
    // As an earlier leader left it, when more were gone than now.
    let annotation = format!("held.budstikke.dev/{}", scene.namespace);
    scene.change::<Lease>("budstikke-operator", json!({"metadata": {"annotations": {annotation: "3"}}})).await;
    let _operator = scene.operator("two");
    assert!(held(&scene).await.contains("1 Tenants"));
    assert_eq!(vanished(&scene).await, 0, "one alone would be closed");
    confirm(&scene, 1).await;
    scene.enforces("acme", false, Some("deleted")).await;
    scene.until("the hold is over", || async { words(&scene).await.is_empty().then_some(()) }).await;
}

/// The alert of a hold.
async fn held(scene: &Scene) -> String {
    let events = scene.api::<k8s_openapi::api::events::v1::Event>();
    let event = scene.until("an alert", || async {
        let all = events.list(&Default::default()).await.expect("list");
        all.items.into_iter().find(|event| event.reason.as_deref() == Some("Held"))
    });
    event.await.note.expect("a note")
}

async fn confirm(scene: &Scene, number: usize) {
    let annotation = format!("vanished.budstikke.dev/{}", scene.namespace);
    let change = json!({"metadata": {"annotations": {annotation: number.to_string()}}});
    scene.change::<Lease>("budstikke-operator", change).await;
}

/// What the Lease says of vanished Tenants.
async fn words(scene: &Scene) -> Vec<String> {
    let lease: Lease = scene.find("budstikke-operator").await.expect("a Lease");
    lease.metadata.annotations.unwrap_or_default().into_keys().filter(|key| key.contains("budstikke.dev/")).collect()
}

async fn open_keys(scene: &Scene) -> i64 {
    sqlx::query_scalar("select count(*) from api_key where revoked_at is null")
        .fetch_one(&scene.pool())
        .await
        .expect("count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_applied_anew_at_once_keeps_its_key() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let operator = scene.operator("one");
    scene.tenant_says("acme", "CredentialsReady", "True", "Succeeded").await;
    let secret: Secret = scene.find("acme-api-key").await.expect("a key");
    operator.stop().await;

    scene.delete::<Tenant>("acme").await;
    let anew = scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("two");
    let adopted = scene.until("the Secret is the new Tenant's", || async {
        let secret: Secret = scene.find("acme-api-key").await?;
        let owners = secret.metadata.owner_references.clone()?;
        (owners.len() == 1 && Some(&owners[0].uid) == anew.metadata.uid.as_ref()).then_some(secret)
    });
    assert_eq!(adopted.await.data, secret.data, "no garbage collector comes for it");
    scene.tenant_says("acme", "CredentialsReady", "True", "Succeeded").await;
    assert_eq!(open_keys(&scene).await, 1);

    // Rotated by deleting it.
    scene.delete::<Secret>("acme-api-key").await;
    scene.until("another key", || scene.find::<Secret>("acme-api-key")).await;
    let revoked = "select count(*) from api_key where revoked_at is not null";
    let rotated = scene.until("the old key is closed", || async {
        let count: i64 = sqlx::query_scalar(revoked).fetch_one(&scene.pool()).await.expect("count");
        (count == 1).then_some(())
    });
    rotated.await;
    assert_eq!(open_keys(&scene).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_taken_up_meanwhile_is_not_closed() {
    let scene = Scene::set().await;
    let pool = scene.pool();
    let since = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
    let resource = |uid| accounts::Resource { namespace: "sms", name: "acme", registration: "DK1", uid, since };
    accounts::take_up(&pool, resource("old")).await.expect("made");
    let (living, _) = accounts::living(&pool, "sms", 5).await.expect("list");
    // Between the look and the verdict it is applied anew.
    accounts::take_up(&pool, resource("new")).await.expect("taken up");
    assert!(!accounts::vanish(&pool, &living[0]).await.expect("looked at"), "its resource is another one by now");
    assert_eq!(vanished(&scene).await, 0);
    let (living, _) = accounts::living(&pool, "sms", 5).await.expect("list");
    assert!(accounts::vanish(&pool, &living[0]).await.expect("closed"));
    assert_eq!(vanished(&scene).await, 1);
}
