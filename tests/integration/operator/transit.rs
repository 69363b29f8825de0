//! A Tenant whose keys the transit engine is to wrap.
use budstikke::crd::Tenant;
use budstikke::keyring::TransitArgs;

use super::scene::{Scene, tenant};
use crate::support::vault::Vault;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_says_what_the_engine_lacks_and_goes_on_once_it_has_it() {
    let (mut scene, vault) = (Scene::set().await, Vault::start().await);
    let good = vault.args().await;
    let token = vault.token("default").await;
    scene.kek.transit = TransitArgs { token_file: Some(token.clone()), ..good.clone() };
    scene.furnish().await;
    scene.create::<Tenant>(tenant("bakery")).await;
    let _operator = scene.operator("one");
    let message = scene.tenant_says("bakery", "Ready", "False", "KeyEncryptionKeyUnavailable").await;
    assert!(message.contains("the transit engine refused (encrypt)"), "{message}");

    std::fs::copy(good.token_file.expect("a file"), token).expect("renewed");
    scene.tenant_says("bakery", "CredentialsReady", "True", "Succeeded").await;
    let kek = sqlx::query_scalar("select kek from keyring.wrapping_key");
    let kek: String = kek.fetch_one(&scene.databases.keyring.pool("budstikke_owner")).await.expect("one tenant's");
    assert_eq!(kek, "transit/budstikke:v1");
}
