//! The chart over its life, with Tenants present: test, upgrade, uninstall, reinstall, another namespace.
use std::sync::Arc;
use std::time::Duration;

use budstikke::crd::{SmsRoute, Tenant};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::caller::numbers;
use crate::support::helm::{RELEASE, helm, install};
use crate::support::manifests;
use crate::support::stage;
use crate::support::traffic::Traffic;
use crate::support::wait::{eventually, holds};
use crate::support::world::SOON;

#[tokio::test]
async fn the_chart_is_upgraded_and_reinstalled_with_tenants_present() {
    stage::changing_the_release("chart", async |world| {
        let smsc = world.smsc(&[]).await;
        let (route, tenant, caller) = world.simple(&smsc).await;
        let caller = Arc::new(caller);
        let unverified = world
            .tenant("unverified", &[&route], |spec| drop(spec.as_object_mut().expect("a spec").remove("verification")))
            .await;
        let suspended =
            world.tenant("suspended", &[&route], |spec| spec["suspension"] = json!({"reason": "spam"})).await;
        for waiting in [&unverified, &suspended] {
            world.tenant_ready(waiting).await;
            world.condition::<Tenant>(waiting, "Active", "False").await;
        }
        let accepted = caller.send(&numbers(1, 1)).await;
        caller.until(accepted.messages[0], "delivered", SOON).await;

        helm(&["test", RELEASE, "--timeout", "5m"]).await;
        let api = "app.kubernetes.io/component=api";
        let before = world.pods(api).await;
        assert!(!before.is_empty());
        let traffic = Traffic::start(&caller, 1_000);
        install(&["--set", "operator.log=debug", "--set", "api.log=debug"]).await;
        world.replaced(api, &before).await;
        // Every call was answered meanwhile, if need be when it was repeated.
        traffic.settle(Vec::new(), SOON).await.assert_all("delivered");
        let later = caller.send(&numbers(2, 1)).await;
        caller.until(later.messages[0], "delivered", SOON).await;

        helm(&["uninstall", RELEASE, "--wait", "--timeout", "5m"]).await;
        eventually("its pods are gone", SOON, async || {
            let pods = world.pods("app.kubernetes.io/component in (operator,api,postgres,keyring)").await;
            holds(pods.is_empty(), pods.len())
        })
        .await;
        world.api::<Tenant>().get(&tenant).await.expect("Tenants stay");
        install(&[]).await;
        world.tenant_ready(&tenant).await;
        assert_eq!(caller.read(accepted.messages[0]).await["state"], "delivered", "history stays, and its keys");
        let last = caller.send(&numbers(3, 1)).await;
        caller.until(last.messages[0], "delivered", SOON).await;
    })
    .await;
}

#[tokio::test]
async fn a_served_namespace_is_deleted_with_all_that_is_in_it() {
    stage::changing_the_release("goes", async |world| {
        let smsc = world.smsc(&[]).await;
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        let name = world.namespace("second").await;
        install(&["--set", &format!("watchNamespaces={{{},{name}}}", manifests::NAMESPACE)]).await;

        let second = world.elsewhere(&name);
        for object in manifests::plan_and_policy() {
            second.apply(&object).await;
        }
        let route = second.route("main", &smsc, |_| {}).await;
        let tenant = second.tenant("tenant", &[&route], |_| {}).await;
        second.condition::<SmsRoute>(&route, "Ready", "True").await;
        second.condition::<Tenant>(&tenant, "Ready", "True").await;
        eventually("its sender runs", SOON, async || {
            let pods: Vec<Pod> = second.pods(&format!("budstikke.dev/tenant={tenant}")).await;
            holds(!pods.is_empty(), pods.len())
        })
        .await;

        namespaces.delete(&name, &DeleteParams::default()).await.expect("delete");
        eventually("the namespace is gone", Duration::from_secs(300), async || {
            let left = namespaces.get_opt(&name).await.map_err(|error| error.to_string())?;
            holds(left.is_none(), left.and_then(|left| left.status))
        })
        .await;
    })
    .await;
}
