//! What the API's ServiceAccount may write of a Tenant: what sign-up, profile and termination own, and nothing else.
use budstikke::crd::Tenant;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::manifests::{self, NAMESPACE};
use crate::support::stage;
use crate::support::world::client;

const API: &str = "system:serviceaccount:budstikke:budstikke-api";

/// A Tenant as sign-up writes it.
fn signed_up(name: &str) -> Value {
    let mut tenant = manifests::tenant(name, &["main"]);
    tenant["metadata"]["labels"] = json!({"budstikke.dev/sign-up": "portal"});
    for field in ["senderIds", "limits", "verification", "acceptance", "sender"] {
        tenant["spec"].as_object_mut().expect("a spec").remove(field);
    }
    tenant
}

fn refused<T: std::fmt::Debug>(what: &str, outcome: kube::Result<T>) {
    match outcome {
        Err(kube::Error::Api(refusal)) if [403, 422].contains(&refusal.code) => {}
        other => panic!("{what} is refused: {other:?}"),
    }
}

#[tokio::test]
async fn the_api_writes_what_it_owns_of_a_tenant_and_nothing_else() {
    stage::beside_others("admit", async |world| {
        let tenants: Api<Tenant> = Api::namespaced(client(Some(API)).await, NAMESPACE);
        let name = world.named("signup");
        let read = |tenant: Value| serde_json::from_value::<Tenant>(tenant).expect("a Tenant");

        let owners = [
            ("suspension", json!({"reason": "spam"})),
            ("verification", json!({"organisationConfirmedOn": "2026-01-05"})),
            ("acceptance", json!({"termsVersion": "2026-01", "acceptedOn": "2026-01-06"})),
            ("limits", json!({"messagesPerDay": 1_000_000})),
            ("senderIds", json!([{"id": "Banken"}])),
            ("sender", json!({"replicas": 5})),
        ];
        for (field, value) in &owners {
            let mut tenant = signed_up(&name);
            tenant["spec"][field] = value.clone();
            refused(&format!("a sign-up with {field}"), tenants.create(&PostParams::default(), &read(tenant)).await);
        }
        let mut unmarked = signed_up(&name);
        unmarked["metadata"].as_object_mut().expect("metadata").remove("labels");
        refused("a Tenant that is no sign-up", tenants.create(&PostParams::default(), &read(unmarked)).await);
        tenants.create(&PostParams::default(), &read(signed_up(&name))).await.expect("a sign-up");

        let patch = async |patch: Value| tenants.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        for (field, value) in &owners {
            refused(field, patch(json!({"spec": {*field: value}})).await);
        }
        refused("another plan", patch(json!({"spec": {"planRef": {"name": "cheap"}}})).await);
        refused("other routes", patch(json!({"spec": {"routes": [{"name": "premium"}]}})).await);
        refused("another policy", patch(json!({"spec": {"retentionRef": {"name": "for-ever"}}})).await);
        refused("an annotation", patch(json!({"metadata": {"annotations": {"budstikke.dev/pause": "true"}}})).await);
        let status = Patch::Merge(json!({"status": {"observedGeneration": 1}}));
        refused("the status", tenants.patch_status(&name, &PatchParams::default(), &status).await);
        refused("a deletion", tenants.delete(&name, &DeleteParams::default()).await);

        patch(json!({"spec": {"contact": {"email": "ny@proeve.example"}}})).await.expect("another contact");
        let notice = json!({"by": "tenant", "noticeGivenOn": "2026-03-01", "reason": "notice"});
        patch(json!({"spec": {"termination": notice}})).await.expect("a notice");

        world.api::<Tenant>().delete(&name, &DeleteParams::default()).await.expect("delete");
    })
    .await;
}
