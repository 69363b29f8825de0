//! Which services a tenant has: those of its spec that its brand offers.
use budstikke::crd::{BillingPlan, Tenant};
use serde_json::json;

use super::scene::{Scene, plan, tenant};

/// Waits until these services are enforced.
async fn has(scene: &Scene, wanted: &[&str]) {
    let enforced = "select services from enforcement join tenant using (tenant_id) where name = 'acme'";
    let what = format!("{wanted:?}");
    scene
        .until(&what, || async {
            let has: Vec<String> = sqlx::query_scalar(enforced).fetch_optional(&scene.pool()).await.expect("read")?;
            (has == wanted).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_brand_does_not_offer_is_told_and_comes_with_the_plan() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let mut wanted = tenant("acme");
    wanted["spec"]["services"] = json!(["api", "portal"]);
    scene.create::<Tenant>(wanted).await;
    let _operator = scene.operator("one");
    has(&scene, &["api"]).await;
    let message = scene.tenant_says("acme", "ServicesReady", "False", "Invalid").await;
    assert!(message.starts_with("brand sms of BillingPlan standard does not offer portal: "), "{message}");
    scene.tenant_says("acme", "Stalled", "True", "Invalid").await;
    scene.tenant_says("acme", "Active", "False", "NoRoute").await;

    let mut brands = plan("standard")["spec"]["brands"].clone();
    brands[0]["services"] = json!(["api", "portal"]);
    scene.change::<BillingPlan>("standard", json!({"spec": {"brands": brands}})).await;
    has(&scene, &["api", "portal"]).await;
    scene.tenant_says("acme", "ServicesReady", "True", "Succeeded").await;
}
