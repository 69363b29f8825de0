//! One of two operators leads; the other takes over. A namespace that cannot be served does not hold up the others.
use budstikke::crd::Tenant;
use k8s_openapi::api::coordination::v1::Lease;

use super::scene::{Scene, tenant};

async fn leader(scene: &Scene) -> Option<String> {
    scene.find::<Lease>("budstikke-operator").await?.spec?.holder_identity
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_by_takes_over_from_a_leader_that_stops_or_dies() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let first = scene.operator("first");
    scene.until("a leader", || leader(&scene)).await;
    let second = scene.operator("second");
    scene.create::<Tenant>(tenant("acme")).await;
    scene.enforces("acme", true, None).await;
    assert_eq!(leader(&scene).await.as_deref(), Some("first"));

    first.stop().await;
    scene.until("the second", || async { leader(&scene).await.filter(|holder| holder == "second") }).await;
    let third = scene.operator("third");
    scene.create::<Tenant>(tenant("bravo")).await;
    scene.enforces("bravo", true, None).await;

    // Dies without a word: its Lease runs out.
    drop(second);
    scene.until("the third", || async { leader(&scene).await.filter(|holder| holder == "third") }).await;
    scene.create::<Tenant>(tenant("charlie")).await;
    scene.enforces("charlie", true, None).await;
    third.stop().await;
    assert_eq!(leader(&scene).await, None, "the lead is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_cannot_be_listed_holds_up_no_other() {
    let scene = Scene::set().await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    // Its RoleBinding went with it: every list is refused.
    let namespaces = vec!["gone".to_owned(), scene.namespace.clone()];
    let operator = scene.operator_of("one", scene.confined().await, namespaces);
    scene.enforces("acme", true, None).await;
    operator.stop().await;
    assert_eq!(leader(&scene).await, None, "and it stops as ever");
}
